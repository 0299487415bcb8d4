//! `heddle eval`.

use std::fs;

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
