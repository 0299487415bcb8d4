//! `heddle bench`.

use std::fs;

use crate::folder::Folder;

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
