//! The binary, as separate processes of client and server.

use std::fs;
use std::path::Path;

use crate::folder::{DECRYPT, Folder, RUN, npy, words};
use crate::toy;

#[test]
fn client_and_server_work_as_separate_processes() {
    let folder = Folder::new();
    folder.keygen();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(folder.path("client.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    folder.encrypt();
    // The server works where the secret key is not.
    fs::rename(folder.path("client.key"), folder.path("away")).unwrap();
    folder.succeed(
        &[
            &words(RUN)[..],
            &["--trace", "trace.json", "--threads", "2"],
        ]
        .concat(),
    );
    let table = folder.succeed(&[&words(RUN)[..], &["--trace", "-", "--force"]].concat());
    for word in ["relu0", "activation", "linear_transform", "polynomial"] {
        assert!(table.contains(word), "{word}:\n{table}");
    }
    assert!(!folder.path("-").exists());
    fs::rename(folder.path("away"), folder.path("client.key")).unwrap();
    let trace: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path("trace.json")).unwrap()).unwrap();
    assert!(trace["split"]["bootstrap"].as_f64().unwrap() > 0.0);
    let kinds = trace["kinds"].as_array().unwrap();
    let seconds = |kind: &serde_json::Value| kind["seconds"].as_f64().unwrap();
    let total: f64 = kinds.iter().map(seconds).sum();
    assert!((total - trace["seconds"].as_f64().unwrap()).abs() < 1e-9);
    let bootstraps: Vec<_> = kinds
        .iter()
        .filter(|kind| kind["op"] == "bootstrap")
        .collect();
    assert_eq!(bootstraps.len(), 1);
    assert_eq!(bootstraps[0]["operations"], 1);

    let decrypted: serde_json::Value = serde_json::from_str(
        &folder.succeed(&[&words(DECRYPT)[..], &["--json", "--top", "2"]].concat()),
    )
    .unwrap();
    assert_eq!(decrypted["top"].as_array().unwrap().len(), 2);
    let logits = numbers(&decrypted["logits"]);
    let clear: serde_json::Value = serde_json::from_str(&folder.succeed(&[
        "infer",
        "toy.plan",
        "image.npy",
        "--backend",
        "clear",
        "--json",
    ]))
    .unwrap();
    for (encrypted, clear) in logits.iter().zip(numbers(&clear["images"][0]["logits"])) {
        assert!((encrypted - clear).abs() < 1e-3);
    }
    assert_eq!(clear["images"][0]["class"], decrypted["class"]);
    let table = folder.succeed(&words(DECRYPT));
    assert_eq!(table.lines().count(), 4);
    assert!(table.starts_with(decrypted["label"].as_str().unwrap()));
    folder.succeed(&[&words(DECRYPT)[..], &["--share"]].concat());

    for (file, words) in [
        (
            "toy.plan",
            &[
                "INSECURE",
                "2^10",
                "bee",
                "made by hand",
                "a bootstrap fails",
            ][..],
        ),
        ("client.key", &["secret key", "`toy`"]),
        ("eval.keys", &["evaluation-key file", "keys"]),
        (
            "toy.client.plan",
            &["client plan", "INSECURE", "bee", "evaluation keys"],
        ),
        ("image.ct", &["an encrypted image", "seed"]),
        ("logits.ct", &["an encrypted answer"]),
    ] {
        let text = folder.succeed(&["inspect", file]);
        for word in words {
            assert!(text.contains(word), "{file} lacks {word}:\n{text}");
        }
    }
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

#[test]
fn infer_reports_as_json() {
    let folder = Folder::new();
    folder.image("second.npy", 90);
    let text = folder.succeed(&[
        "infer",
        "toy.plan",
        "image.npy",
        "second.npy",
        "--limit",
        "1",
        "--json",
    ]);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), 1);
    let keys: Vec<&String> = images[0].as_object().unwrap().keys().collect();
    let expected = [
        "class",
        "image",
        "label",
        "logits",
        "reference_class",
        "reference_logits",
        "seconds",
    ];
    assert_eq!(
        {
            let mut keys = keys;
            keys.sort();
            keys
        },
        expected
    );
    assert!(report["agreement"].is_null());
    assert!(report["security_bits"].as_f64().unwrap() < 128.0);
    assert!(report["peak_rss_bytes"].as_u64().unwrap() > 0);
    let text = folder.succeed(&[
        "infer",
        "toy.plan",
        "image.npy",
        "second.npy",
        "--backend",
        "clear",
    ]);
    assert_eq!(text.lines().count(), 3, "{text}");
}

#[test]
fn eval_reports_and_resumes() {
    let folder = Folder::new();
    fs::create_dir(folder.path("images")).unwrap();
    for (name, seed) in [
        ("images/a.npy", 1),
        ("images/b.npy", 2),
        ("images/c.npy", 3),
    ] {
        folder.image(name, seed);
    }
    let eval = ["eval", "toy.plan", "--data", "images", "--json"];
    let report = |more: &[&str]| -> serde_json::Value {
        serde_json::from_str(&folder.succeed(&[&eval[..], more].concat())).unwrap()
    };
    let clear = report(&[]);
    assert_eq!(
        (&clear["backend"], &clear["images"]),
        (&"clear".into(), &3.into())
    );
    assert!(clear["agreement"].is_null() && clear["accuracy"].is_null());
    let worst = |report: &serde_json::Value| -> Vec<f64> {
        let ranges = report["ranges"].as_array().unwrap().iter();
        ranges
            .map(|range| range["worst"].as_f64().unwrap())
            .collect()
    };
    assert!(!worst(&clear).is_empty() && worst(&clear).iter().all(|w| *w > 0.0));

    // The noisy backend gives nearly the same, and the same each time.
    let noisy = report(&["--backend", "noisy"]);
    assert_eq!(worst(&noisy), worst(&report(&["--backend", "noisy"])));
    assert_ne!(worst(&noisy), worst(&clear));
    for (noisy, clear) in worst(&noisy).iter().zip(worst(&clear)) {
        assert!((noisy - clear).abs() < 0.01, "{noisy} {clear}");
    }

    // What an interrupted run recorded is not computed again.
    let record = ["--resume", "record.json"];
    report(&[&record[..], &["--limit", "2"]].concat());
    let output = folder.run(&[&eval[..], &record].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("2 of 3 images are on record"), "{said}");
    let resumed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&resumed["images"], worst(&resumed)),
        (&3.into(), worst(&clear))
    );

    // A record of something else is refused and kept.
    let kept = fs::read(folder.path("record.json")).unwrap();
    let other = [&eval[..], &record, &["--backend", "noisy"]].concat();
    assert!(folder.fail(1, &other).contains("another plan"));
    assert_eq!(fs::read(folder.path("record.json")).unwrap(), kept);
    // So are an edited record, and a record of images that have changed since.
    let resume = [&eval[..], &record].concat();
    let text = String::from_utf8(kept.clone()).unwrap();
    let edited = text.replacen("\"class\": ", "\"class\": 1", 1);
    assert_ne!(edited, text);
    fs::write(folder.path("record.json"), edited).unwrap();
    assert!(folder.fail(1, &resume).contains("was edited"));
    fs::write(folder.path("record.json"), &kept).unwrap();
    folder.image("images/b.npy", 77);
    let changed = folder.fail(1, &resume);
    assert!(
        changed.contains("image 1 was another than `images/b.npy`"),
        "{changed}"
    );
    folder.image("images/b.npy", 2);
    report(&record);
    fs::write(folder.path("record.json"), "{").unwrap();
    let damaged = folder.fail(1, &[&eval[..], &record].concat());
    assert!(
        damaged.contains("record.json") && damaged.contains("help:"),
        "{damaged}"
    );
    let text = folder.succeed(&["eval", "toy.plan", "--data", "images"]);
    assert!(text.contains("3 images on the clear backend"), "{text}");

    // Encrypted, the same images have the same classes.
    let encrypted = report(&["--backend", "ckks", "--limit", "1", "--resume", "ckks.json"]);
    assert_eq!(encrypted["images"], 1);
    assert!(encrypted["ranges"].as_array().unwrap().is_empty());
}

#[test]
fn bench_measures_every_row() {
    let folder = Folder::new();
    let toy = ["bench", "--insecure-log-n", "10", "--repeat", "2"];
    let text = folder.succeed(&[&toy[..], &["--full", "--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["insecure"], true);
    assert!(report["cores"].as_u64().unwrap() > 0 && !report["cpu"].as_str().unwrap().is_empty());
    let kernel = report["kernel"].as_str().unwrap();
    let rows = report["rows"].as_array().unwrap();
    let labels: Vec<&str> = rows
        .iter()
        .map(|row| row["label"].as_str().unwrap())
        .collect();
    let mut expected = Vec::new();
    for kernel in heddle_ckks::kernel::Kernel::available() {
        for operation in ["ntt_forward", "ntt_inverse", "multiply_accumulate"] {
            expected.push(format!("{operation}/1024/1/{}", kernel.name()));
        }
    }
    expected.push("memory_read/1024/1024".into());
    for operation in [
        "multiply_relinearise_rescale/1024/25",
        "rotate/1024/25",
        "rotate_hoisted_8/1024/25",
        "rotate/1024/3",
        "bootstrap_real/1024/4",
        "bootstrap_complex/1024/4",
    ] {
        expected.push(format!("{operation}/{kernel}"));
    }
    assert_eq!(labels, expected);
    for row in rows {
        let figure = |name: &str| row[name].as_f64().unwrap();
        assert_eq!(figure("runs"), 2.0);
        assert!(figure("least_seconds") > 0.0, "{row}");
        assert!(figure("least_seconds") <= figure("median_seconds"), "{row}");
        assert!(figure("median_seconds") <= figure("most_seconds"), "{row}");
        let label = row["label"].as_str().unwrap();
        for (operation, name, at_least) in [
            ("ntt", "transform_floor_seconds", 0.0),
            ("rotate", "key_floor_seconds", 0.0),
            ("bootstrap", "transform_floor_seconds", 0.0),
            ("ntt", "bytes_per_second", 0.0),
            ("memory", "bytes_per_second", 0.0),
            ("bootstrap", "worst_bits", 10.0),
        ] {
            assert!(
                !label.starts_with(operation) || figure(name) > at_least,
                "{row}"
            );
        }
    }

    let table = folder.succeed(&[&toy[..], &["--only", "ops"]].concat());
    assert!(table.contains("INSECURE") && table.contains("rotate_hoisted_8"));
    assert!(!table.contains("ntt_forward") && !table.contains("bootstrap_real"));
    // A bench writes nothing but its table.
    assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 3);
    folder.fail(2, &["bench", "--only", "magic"]);
    folder.fail(2, &["bench", "--insecure-log-n", "16"]);
}

#[test]
fn bad_files_give_one_clear_message_and_no_output() {
    let folder = Folder::new();
    folder.keygen();
    folder.encrypt();
    // Keys and ciphertexts of another plan.
    let mut other = toy::plan();
    other.name = "other".into();
    other.write_file(&folder.path("other.plan")).unwrap();
    for arguments in [
        [
            "run",
            "other.plan",
            "--eval",
            "eval.keys",
            "image.ct",
            "-o",
            "out.ct",
        ],
        [
            "encrypt",
            "other.plan",
            "--secret",
            "client.key",
            "image.npy",
            "-o",
            "out.ct",
        ],
    ] {
        let error = folder.fail(1, &arguments);
        assert!(
            error.contains("made for another plan") && error.contains("help:"),
            "{error}"
        );
    }
    // A ciphertext at the wrong level: an image instead of logits.
    let error = folder.fail(
        1,
        &["decrypt", "toy.plan", "--secret", "client.key", "image.ct"],
    );
    assert!(
        error.contains("`image.ct`: is an encrypted image, expected an encrypted answer"),
        "{error}"
    );
    // A file of another kind.
    let error = folder.fail(
        1,
        &[
            "run",
            "toy.plan",
            "--eval",
            "client.key",
            "image.ct",
            "-o",
            "out.ct",
        ],
    );
    assert!(
        error.contains("`client.key` is a secret key, expected a"),
        "{error}"
    );
    let error = folder.fail(1, &["inspect", "image.npy"]);
    assert!(
        error.contains("`image.npy` is not a file of Heddle's"),
        "{error}"
    );
    // Truncated and damaged files.
    for name in ["toy.plan", "eval.keys", "image.ct"] {
        let whole = fs::read(folder.path(name)).unwrap();
        for length in [0, 5, 40, whole.len() / 2, whole.len() - 1] {
            fs::write(folder.path(name), &whole[..length]).unwrap();
            let error = folder.fail(
                1,
                &[
                    "run",
                    "toy.plan",
                    "--eval",
                    "eval.keys",
                    "image.ct",
                    "-o",
                    "out.ct",
                ],
            );
            assert!(error.contains(&format!("`{name}`")), "{length}: {error}");
        }
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 4;
        fs::write(folder.path(name), &damaged).unwrap();
        folder.fail(
            1,
            &[
                "run",
                "toy.plan",
                "--eval",
                "eval.keys",
                "image.ct",
                "-o",
                "out.ct",
            ],
        );
        fs::write(folder.path(name), whole).unwrap();
    }
    let absent = [
        "encrypt",
        "toy.plan",
        "--secret",
        "no.key",
        "image.npy",
        "-o",
        "out.ct",
    ];
    let error = folder.fail(1, &absent);
    assert!(error.contains("`no.key`"), "{error}");
    assert!(!folder.path("out.ct").exists());
    assert!(leftovers(folder.root()).is_empty());
}

fn leftovers(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with('.'))
        .collect()
}

#[test]
fn bad_images_are_refused_by_name() {
    let folder = Folder::new();
    folder.keygen();
    let values = |value: f32| value.to_le_bytes().repeat(192);
    fs::write(
        folder.path("nan.npy"),
        npy("<f4", "3, 8, 8", &values(f32::NAN)),
    )
    .unwrap();
    fs::write(
        folder.path("large.npy"),
        npy("<f4", "3, 8, 8", &values(3.0)),
    )
    .unwrap();
    fs::write(folder.path("small.npy"), npy("|u1", "1, 8, 8", &[0; 64])).unwrap();
    fs::write(folder.path("two.npy"), npy("|u1", "2, 3, 8, 8", &[0; 384])).unwrap();
    fs::write(folder.path("text.png"), "no picture").unwrap();
    for (image, word) in [
        ("nan.npy", "NaN"),
        ("large.npy", "values up to 1"),
        ("small.npy", "3×8×8"),
        ("two.npy", "2 images"),
        ("two.npy#2", "selects no images"),
        ("text.png", "is no picture"),
        ("missing.png", "missing.png"),
    ] {
        let error = folder.fail(
            1,
            &[
                "encrypt",
                "toy.plan",
                "--secret",
                "client.key",
                image,
                "-o",
                "out.ct",
            ],
        );
        assert!(error.contains(word), "{image}: {error}");
        assert!(!folder.path("out.ct").exists());
    }
}

#[test]
fn wrong_usage_exits_with_two() {
    let folder = Folder::new();
    for arguments in [
        &["run", "toy.plan"][..],
        &["infer", "toy.plan"],
        &["infer", "toy.plan", "image.npy", "--backend", "magic"],
        &[
            "run",
            "toy.plan",
            "--eval",
            "k",
            "i",
            "-o",
            "o",
            "--threads",
            "0",
        ],
        &["unknown"],
        &[],
    ] {
        folder.fail(2, arguments);
    }
}
