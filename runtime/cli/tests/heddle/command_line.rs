//! Client and server as separate processes, and everything in one.

use std::fs;

use crate::folder::{DECRYPT, Folder, RUN, words};

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
        ("eval.keys", &["set of evaluation keys", "keys"]),
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
