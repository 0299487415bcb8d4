//! `heddle eval`.

use std::fs;

use heddle_ir::weights::{Tensor, Weights};
use heddle_tests::npy::npy;
use heddle_tests::toy;
use serde_json::Value;

use crate::folder::{Folder, said, words};

const EVAL: &str = "eval toy.plan --data images --json";
const RESUME: &str = "eval toy.plan --data images --json --resume record.json";

/// A folder with three images in `images`.
fn with_images() -> Folder {
    let folder = Folder::new();
    fs::create_dir(folder.path("images")).unwrap();
    for (name, seed) in [
        ("images/a.npy", 1),
        ("images/b.npy", 2),
        ("images/c.npy", 3),
    ] {
        folder.image(name, seed);
    }
    folder
}

fn report(folder: &Folder, arguments: &str) -> Value {
    serde_json::from_str(&folder.succeed(&words(arguments))).unwrap()
}

/// The largest slot before each non-linear function.
fn worst(report: &Value) -> Vec<f64> {
    let ranges = report["ranges"].as_array().unwrap().iter();
    ranges
        .map(|range| range["worst"].as_f64().unwrap())
        .collect()
}

#[test]
fn every_backend_is_measured() {
    let folder = with_images();
    let clear = report(&folder, EVAL);
    assert_eq!(
        (&clear["backend"], &clear["images"]),
        (&"clear".into(), &3.into())
    );
    assert!(clear["agreement"].is_null() && clear["accuracy"].is_null());
    assert!(!worst(&clear).is_empty() && worst(&clear).iter().all(|w| *w > 0.0));

    // The noisy backend gives nearly the same, and the same each time.
    let noisy = report(&folder, &format!("{EVAL} --backend noisy"));
    let again = report(&folder, &format!("{EVAL} --backend noisy"));
    assert_eq!(worst(&noisy), worst(&again));
    assert_ne!(worst(&noisy), worst(&clear));
    for (noisy, clear) in worst(&noisy).iter().zip(worst(&clear)) {
        assert!((noisy - clear).abs() < 0.01, "{noisy} {clear}");
    }

    let encrypted = report(
        &folder,
        &format!("{EVAL} --backend ckks --limit 1 --resume ckks.json"),
    );
    assert_eq!(encrypted["images"], 1);
    assert!(encrypted["ranges"].as_array().unwrap().is_empty());

    let text = folder.succeed(&words("eval toy.plan --data images"));
    assert!(text.contains("3 images on the clear backend"), "{text}");
}

#[test]
fn an_interrupted_run_is_resumed() {
    let folder = with_images();
    let clear = report(&folder, EVAL);
    report(&folder, &format!("{RESUME} --limit 2"));
    let output = folder.run(&words(RESUME));
    let said = said(&output);
    assert!(said.contains("2 of 3 images are on record"), "{said}");
    let resumed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&resumed["images"], worst(&resumed)),
        (&3.into(), worst(&clear))
    );
}

#[test]
fn a_record_of_something_else_is_refused_and_kept() {
    let folder = with_images();
    report(&folder, RESUME);
    let record = folder.read("record.json");
    folder.refuses(
        &format!("{RESUME} --backend noisy"),
        &["`record.json`: holds answers of another plan, data, reference or backend"],
    );

    let text = String::from_utf8(record.clone()).unwrap();
    let edited = text.replacen("\"class\": ", "\"class\": 1", 1);
    assert_ne!(edited, text);
    folder.write("record.json", edited);
    folder.refuses(RESUME, &["`record.json`: was edited"]);

    folder.write("record.json", &record);
    folder.image("images/b.npy", 77);
    folder.refuses(
        RESUME,
        &["`record.json`: image 1 was another than `images/b.npy`"],
    );
    folder.image("images/b.npy", 2);
    report(&folder, RESUME);

    folder.write("record.json", "{");
    folder.refuses(RESUME, &["record.json"]);
}

/// Three float tensors of 3×8×8 in one file. The second has an element of 1.001, above the toy
/// plan's range.
fn one_outside(folder: &Folder) {
    let mut elements = vec![0.25_f32; 3 * 192];
    elements[192 + 7] = 1.001;
    let data: Vec<u8> = elements.iter().flat_map(|x| x.to_le_bytes()).collect();
    folder.write("three.npy", npy("<f4", "3, 3, 8, 8", &data));
    folder.write(
        "outside.npy",
        npy("<f4", "3, 8, 8", &data[4 * 192..8 * 192]),
    );
}

#[test]
fn an_image_out_of_range_costs_no_other_images_answer() {
    let folder = Folder::new();
    one_outside(&folder);
    let arguments = "eval toy.plan --data three.npy --json --resume record.json";
    let output = folder.run(&words(arguments));
    assert_eq!(output.status.code(), Some(1));
    let error = said(&output);
    for part in [
        "1 of 3 images have no answer",
        "--calibrate",
        "--margin",
        "--range",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["images"], 3);
    assert_eq!(report["out_of_range"].as_array().unwrap().len(), 1);
    assert_eq!(report["out_of_range"][0]["refused"], "image");
    // The record keeps the refusal, and the error comes again.
    let resumed = folder.run(&words(arguments));
    assert!(said(&resumed).contains("3 of 3 images are on record"));
    assert_eq!(resumed.status.code(), Some(1));
    let again: Value = serde_json::from_slice(&resumed.stdout).unwrap();
    assert_eq!(again["out_of_range"], report["out_of_range"]);

    let text = folder.run(&words("infer toy.plan three.npy --backend clear"));
    assert_eq!(text.status.code(), Some(1));
    let shown = String::from_utf8(text.stdout.clone()).unwrap();
    assert_eq!(shown.matches("no answer").count(), 1, "{shown}");
    assert!(
        said(&text).contains("0.100 % beyond the range"),
        "{}",
        said(&text)
    );
    let json = folder.run(&words("infer toy.plan three.npy --backend noisy --json"));
    let report: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.status.code(), Some(1));
    assert!(report["images"][1]["class"].is_null() && report["images"][0]["class"].is_u64());
    assert_eq!(report["images"][1]["refused"], "image");
    assert_eq!(
        report["images"][1]["logits"].as_array().map(Vec::len),
        Some(0)
    );
}

#[test]
fn an_only_image_out_of_range_is_refused_with_its_figure() {
    let folder = Folder::new();
    one_outside(&folder);
    for backend in ["clear", "noisy", "ckks"] {
        let arguments = format!("infer toy.plan outside.npy --backend {backend}");
        let parts = [
            "`outside.npy`",
            "1.001",
            "0.100 % beyond the range",
            "--range",
        ];
        folder.refuses(&arguments, &parts);
        let output = folder.run(&words(&arguments));
        assert!(output.stdout.is_empty(), "{backend}");
    }
}

/// The toy plan with weights so large that its gate diverges.
fn wild(folder: &Folder) {
    let mut plan = toy::plan();
    let mut weights = Weights::default();
    for (_, tensor) in plan.weights.iter() {
        let data = tensor.data.iter().map(|x| 1e9 * x).collect();
        weights.push(Tensor::new(
            tensor.name.as_str(),
            tensor.shape.clone(),
            data,
        ));
    }
    plan.weights = weights;
    plan.write_file(&folder.path("wild.plan")).unwrap();
}

#[test]
fn no_class_is_named_for_an_answer_out_of_range() {
    let folder = with_images();
    wild(&folder);
    for backend in ["clear", "noisy"] {
        let one = folder.run(&words(&format!(
            "infer wild.plan image.npy --backend {backend}"
        )));
        assert_eq!(one.status.code(), Some(1));
        let (error, shown) = (said(&one), String::from_utf8(one.stdout).unwrap());
        for part in [
            "`image.npy` is out of the plan's range",
            "help: ",
            "--calibrate",
        ] {
            assert!(error.contains(part), "{error}");
        }
        for class in ["ant", "bee", "cow", "dog"] {
            assert!(!shown.contains(class), "{shown}");
        }
        let all = folder.run(&words(&format!(
            "eval wild.plan --data images --backend {backend}"
        )));
        assert_eq!(all.status.code(), Some(1));
        let shown = String::from_utf8(all.stdout).unwrap();
        assert!(shown.contains("no answer: 3 of 3 images"), "{shown}");
        assert!(
            shown.contains("`images/b.npy`: the answer is out of"),
            "{shown}"
        );
    }
}
