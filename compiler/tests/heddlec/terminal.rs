//! What the binary reads and prints: it waits at no pipe, obeys no name, and a reader that leaves is no error.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use heddle_tests::onnx_builder::{Attr, OnnxBuilder};
use heddle_tests::processes::{closed_pipe, files, is_tame, output_within};
use heddle_tests::resnet::Shortcut;

use crate::folder::{Folder, HEDDLEC, network};

/// Longer than a command takes that refuses its input.
const AT_ONCE: Duration = Duration::from_secs(20);

/// What a terminal obeys: ESC, the one-character CSI, an override of direction, a line break.
const HOSTILE: [&str; 5] = [
    "\x1b]0;owned\x07",
    "\u{9b}2J",
    "\u{202e}gpj",
    "\r",
    "x\nheddlec: forged",
];

fn compile<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let ring = ["model.onnx", "--insecure-log-n", "10", "-o", "x.plan"];
    [&ring[..], more].concat()
}

#[test]
fn pipes_devices_and_folders_are_refused_at_once_by_name() {
    let folder = Folder::new();
    folder.write("model.onnx", &network(Shortcut::A));
    let made = Command::new("mkfifo").arg(folder.path("pipe")).status();
    assert!(made.unwrap().success());
    fs::create_dir(folder.path("dir")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path("link")).unwrap();
    let before = files(folder.root());
    for odd in ["pipe", "/dev/zero", "dir", "link"] {
        for arguments in [
            compile(&["--labels", odd]),
            compile(&["--preprocess", odd]),
            compile(&["--calibrate", odd]),
            vec![odd, "-o", "x.plan"],
        ] {
            let output = output_within(&mut folder.command(&arguments), AT_ONCE);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
            assert!(error.contains(odd), "{arguments:?}: {error}");
        }
    }
    assert!(files(folder.root()) == before);
}

fn assert_tame(printed: &[u8], what: &str) {
    let text = String::from_utf8(printed.to_vec()).expect("UTF-8");
    assert!(is_tame(&text), "{what}: {text:?}");
    let forged = text.lines().any(|line| line.starts_with("heddlec: forged"));
    assert!(!forged, "{what}: {text:?}");
}

/// A convolution and a ReLU, all of whose names begin with `name`.
fn named(name: &str, relu: &str) -> Vec<u8> {
    let mut onnx = OnnxBuilder::new(13);
    let [image, kernel, conv, out] =
        ["image", "kernel", "conv", "relu"].map(|what| format!("{name}{what}"));
    onnx.input(&image, &[1_i64, 1, 8, 8]);
    onnx.floats(&kernel, &[1, 1, 3, 3], &[0.1; 9]);
    let pads = [("pads", Attr::Ints(vec![1; 4]))];
    onnx.node("Conv", &[&image, &kernel], &conv, &pads);
    onnx.node(relu, &[&conv], &out, &[]);
    onnx.output(&out);
    onnx.build()
}

#[test]
fn names_in_a_model_that_a_terminal_would_obey_are_printed_escaped() {
    let folder = Folder::new();
    for hostile in HOSTILE {
        folder.write("model.onnx", &named(hostile, "Relu"));
        let range = ["--range", "*=4"];
        for emit in ["nn", "slot", "ckks", "schedule"] {
            let arguments = compile(&[&range[..], &["--emit", emit, "--explain"]].concat());
            let output = folder.run(&arguments);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{hostile:?}: {error}");
            assert_tame(&output.stdout, emit);
            assert_tame(&output.stderr, emit);
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(text.contains("\\u{"), "{hostile:?} in {emit}: {text}");
        }
        // What is refused names its nodes.
        for model in [
            named(hostile, "Relu"),
            named(hostile, "Cosh"),
            named("", hostile),
        ] {
            folder.write("model.onnx", &model);
            let output = folder.run(&compile(&[]));
            assert_eq!(output.status.code(), Some(1));
            assert_tame(&output.stderr, hostile);
        }
        folder.write("model.onnx", &named("", "Relu"));
        folder.write("labels.txt", format!("{hostile}\n").repeat(64).as_bytes());
        let output = folder.run(&compile(
            &[&range[..], &["--labels", "labels.txt"]].concat(),
        ));
        assert_tame(&output.stderr, "labels");
    }
}

#[test]
fn names_of_files_that_a_terminal_would_obey_are_printed_escaped() {
    let folder = Folder::new();
    folder.write("model.onnx", &network(Shortcut::A));
    for hostile in HOSTILE {
        let (model, plan) = (format!("{hostile}.onnx"), format!("{hostile}.plan"));
        folder.write(&model, &network(Shortcut::A));
        let missing = format!("{hostile}missing");
        for (code, arguments) in [
            (0, vec![&*model, "-o", &plan, "--insecure-log-n", "10"]),
            (1, vec![&*missing, "-o", &plan]),
            (1, vec![&*plan, "-o", "x.plan"]),
            (1, compile(&["--labels", &missing])),
            (1, compile(&["--labels", &plan])),
            (1, compile(&["--preprocess", hostile])),
            (1, compile(&["--preprocess", &plan])),
            (1, compile(&["--calibrate", &missing])),
            (1, compile(&["--calibrate", &plan])),
            (1, compile(&["--range", &format!("{missing}=4")])),
            (1, vec!["model.onnx", "-o", &model]),
            (1, vec!["model.onnx", "-o", &missing, "--labels", &missing]),
            (2, compile(&["--range", hostile])),
            (2, compile(&["--emit", hostile])),
            (2, vec!["model.onnx", hostile, hostile]),
        ] {
            let output = folder.run(&arguments);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
            assert_tame(&output.stdout, &format!("{arguments:?}"));
            assert_tame(&output.stderr, &format!("{arguments:?}"));
        }
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = Folder::new();
    folder.write("model.onnx", &network(Shortcut::A));
    for arguments in [
        compile(&["--emit", "nn"]),
        compile(&["--emit", "ckks"]),
        compile(&["--emit", "schedule", "--explain"]),
        vec!["--help"],
        vec!["--version"],
    ] {
        let mut command = folder.command(&arguments);
        let child = command
            .stdout(closed_pipe())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {} {error}",
            output.status
        );
        assert!(
            !error.contains("pipe") && !error.contains("panicked"),
            "{error}"
        );
    }
    let head =
        format!("set -o pipefail; {HEDDLEC} model.onnx --insecure-log-n 10 --emit ckks | head -1");
    let mut shell = Command::new("bash");
    let output = shell
        .args(["-c", &head])
        .current_dir(folder.root())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && !error.contains("pipe"),
        "{error}"
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
}
