//! What the binary reads and prints: it waits at no pipe, obeys no name, and a reader that leaves
//! is no error.

use heddle_tests::onnx_builder::{Attr, OnnxBuilder};
use heddle_tests::program::{files, said};
use heddle_tests::resnet::Shortcut;
use heddle_tests::terminal::{
    HOSTILE, assert_tame, first_line, odd_files, reader_may_leave, refuses_at_once,
};

use crate::folder::{folder, network};

fn compile<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let ring = ["model.onnx", "--insecure-log-n", "10", "-o", "x.plan"];
    [&ring[..], more].concat()
}

#[test]
fn pipes_devices_and_folders_are_refused_at_once_by_name() {
    let folder = folder();
    folder.write("model.onnx", network(Shortcut::A));
    let odd_files = odd_files(&folder);
    let before = files(folder.root());
    for odd in odd_files {
        for arguments in [
            compile(&["--labels", odd]),
            compile(&["--preprocess", odd]),
            compile(&["--calibrate", odd]),
            vec![odd, "-o", "x.plan"],
        ] {
            refuses_at_once(&mut folder.command(&arguments), odd);
        }
    }
    assert!(files(folder.root()) == before);
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
    let folder = folder();
    for hostile in HOSTILE {
        folder.write("model.onnx", named(hostile, "Relu"));
        let range = ["--range", "*=4"];
        for emit in ["nn", "slot", "ckks", "schedule"] {
            let arguments = compile(&[&range[..], &["--emit", emit, "--explain"]].concat());
            let output = folder.run(&arguments);
            let error = said(&output);
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
        folder.write("model.onnx", named("", "Relu"));
        folder.write("labels.txt", format!("{hostile}\n").repeat(64).as_bytes());
        let output = folder.run(&compile(
            &[&range[..], &["--labels", "labels.txt"]].concat(),
        ));
        assert_tame(&output.stderr, "labels");
    }
}

#[test]
fn names_of_files_that_a_terminal_would_obey_are_printed_escaped() {
    let folder = folder();
    folder.write("model.onnx", network(Shortcut::A));
    for hostile in HOSTILE {
        let (model, plan) = (format!("{hostile}.onnx"), format!("{hostile}.plan"));
        folder.write(&model, network(Shortcut::A));
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
            let error = said(&output);
            assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
            assert_tame(&output.stdout, &format!("{arguments:?}"));
            assert_tame(&output.stderr, &format!("{arguments:?}"));
        }
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = folder();
    folder.write("model.onnx", network(Shortcut::A));
    for arguments in [
        compile(&["--emit", "nn"]),
        compile(&["--emit", "ckks"]),
        compile(&["--emit", "schedule", "--explain"]),
        vec!["--help"],
        vec!["--version"],
    ] {
        reader_may_leave(&mut folder.command(&arguments));
    }
    first_line(&folder, "model.onnx --insecure-log-n 10 --emit ckks");
}
