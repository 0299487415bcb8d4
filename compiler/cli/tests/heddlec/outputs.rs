//! Plans take the place of no input, of no secret key and of no file of another kind.

use std::fs;
use std::os::unix::fs::symlink;

use heddle_tests::program::{files, spellings};
use heddle_tests::resnet::Shortcut;

use crate::folder::{folder, network};

/// The first bytes of a secret key, of whatever version.
const SECRET: &[u8] = b"\x8aHeddle\n\x01\0\x02\0\0\0\0\0";

fn compile<'a>(output: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let ring = ["--insecure-log-n", "10"];
    [&["model.onnx", "-o", output][..], &ring, more].concat()
}

#[test]
fn a_plan_takes_the_place_of_no_input_under_any_name() {
    let folder = folder();
    folder.write("model.onnx", network(Shortcut::A));
    folder.write("labels.txt", b"one\ntwo\nthree\nfour\n");
    folder.write(
        "unit.json",
        b"{\"scale\": 1, \"mean\": [0], \"std\": [1], \"channels\": \"rgb\"}",
    );
    folder.write("samples.npy", b"no samples");
    // An input whose name is that of the client plan to come.
    folder.write("y.client.plan", b"one\ntwo\nthree\nfour\n");
    for (input, option) in [
        ("model.onnx", None),
        ("labels.txt", Some("--labels")),
        ("unit.json", Some("--preprocess")),
        ("samples.npy", Some("--calibrate")),
    ] {
        let more: Vec<&str> = option
            .into_iter()
            .flat_map(|option| [option, input])
            .collect();
        for spelling in spellings(&folder, input) {
            folder.refuses(&compile(&spelling, &more), &[&spelling, "input", "help:"]);
        }
        assert!(folder.path("dir/link").is_symlink());
    }
    folder.refuses(
        &compile("y.plan", &["--labels", "y.client.plan"]),
        &["`y.client.plan` is an input"],
    );
    folder.refuses(
        &compile("samples.npy", &["--calibrate", "samples.npy#0..2"]),
        &["`samples.npy`", "input"],
    );
}

#[test]
fn a_plan_takes_the_place_of_plans_alone() {
    let folder = folder();
    folder.write("model.onnx", network(Shortcut::A));
    folder.write("client.key", SECRET);
    folder.write("z.client.plan", SECRET);
    folder.write("thesis.txt", b"years of work");
    fs::create_dir(folder.path("dir")).unwrap();
    assert!(folder.run(&compile("x.plan", &[])).status.success());
    symlink(folder.path("x.plan"), folder.path("link.plan")).unwrap();
    fs::hard_link(folder.path("client.key"), folder.path("hard.plan")).unwrap();
    for (output, said) in [
        (
            "client.key",
            "`client.key` is a secret key, which is never replaced",
        ),
        ("hard.plan", "`hard.plan` is a secret key"),
        ("z.plan", "`z.client.plan` is a secret key"),
        ("thesis.txt", "`thesis.txt` holds something of another kind"),
        ("x.client.plan", "expected plan, found client plan"),
        ("dir", "`dir` is a folder"),
        ("dir/", "is not the name of a file"),
        ("link.plan", "is a symbolic link"),
        ("missing/x.plan", "there is no folder `missing`"),
    ] {
        folder.refuses(&compile(output, &[]), &[said, "help:"]);
    }
    let before = files(folder.root());
    assert!(
        folder
            .run(&compile("x.plan", &["--relu-precision", "7"]))
            .status
            .success()
    );
    let after = files(folder.root());
    assert!(
        before["x.plan"] != after["x.plan"] && before["x.client.plan"] != after["x.client.plan"]
    );
    assert_eq!(before.len(), after.len());
}
