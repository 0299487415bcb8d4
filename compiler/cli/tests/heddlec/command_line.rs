//! `heddlec` as a process: what it writes, what it says, and that bad input leaves nothing behind.

use std::fs;

use heddle_tests::onnx_builder::{Attr, Dim, OnnxBuilder};
use heddle_tests::program::said;
use heddle_tests::resnet::Shortcut;

use crate::folder::{folder, network};

/// A convolution with the given kernel and a ReLU; no batch norm.
fn lone_convolution(taps: &[f32]) -> Vec<u8> {
    let mut onnx = OnnxBuilder::new(13);
    onnx.input("image", &[1_i64, 1, 8, 8]);
    onnx.floats("kernel", &[1, 1, 3, 3], taps);
    onnx.node(
        "Conv",
        &["image", "kernel"],
        "conv",
        &[("pads", Attr::Ints(vec![1; 4]))],
    );
    onnx.node("Relu", &["conv"], "relu", &[]);
    onnx.output("relu");
    onnx.build()
}

#[test]
fn a_plan_is_written_and_every_stage_is_printed() {
    let folder = folder();
    folder.write("model.onnx", network(Shortcut::B));
    let ring = ["--insecure-log-n", "10", "--preprocess", "unit"];
    let compile = |output: &str| {
        let arguments = [&["model.onnx", "-o", output][..], &ring].concat();
        let output = folder.run(&arguments);
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = compile("one.plan");
    assert!(said.contains("INSECURE"), "{said}");
    compile("two.plan");
    let plan = |name: &str| fs::read(folder.path(name)).unwrap();
    assert_eq!(plan("one.plan"), plan("two.plan"));
    for (stage, sign) in [
        ("nn", "tensor<3x8x8>"),
        ("slot", "multiplexed<"),
        ("ckks", "bootstrap"),
        ("schedule", "evaluation keys by level"),
    ] {
        let output = folder.run(&[&["model.onnx", "--emit", stage][..], &ring].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && text.contains(sign),
            "{stage}: {text}"
        );
    }
    let output = folder.run(
        &[
            &["model.onnx", "--emit", "schedule", "--explain"][..],
            &ring,
        ]
        .concat(),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    for pass in [
        "fold-batch-norm",
        "pack",
        "fuse-linear-maps",
        "place-bootstraps",
        "schedule",
    ] {
        assert!(
            text.contains(&format!("== {pass}")),
            "{pass} is not explained: {text}"
        );
    }
    assert!(text.contains("image at level"), "{text}");
}

#[test]
fn eval_mod_and_softmax_are_chosen_and_stated() {
    let folder = folder();
    folder.write("model.onnx", network(Shortcut::B));
    let run = |more: &[&str]| {
        let ring = ["--insecure-log-n", "10", "--preprocess", "unit"];
        let output = folder.run(&[&["model.onnx", "-o", "x.plan"][..], &ring, more].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        said + &String::from_utf8(output.stdout).unwrap()
    };
    for (choice, signs) in [
        (
            "cosine",
            [
                "degree 62",
                "7 levels; error 2^-30.1 of q0",
                "2^10 is off by 2^-17.3",
            ],
        ),
        (
            "arcsine",
            ["degree 63", "9 levels; error 2^-3", "2^8 is off by 2^-29.1"],
        ),
        (
            "arcsine:5",
            [
                "degree 63",
                "10 levels; error 2^-3",
                "2^8 is off by 2^-42.6",
            ],
        ),
        (
            "arcsine:7",
            ["degree 63", "10 levels; error 2^-3", "2^8 is off by 2^-"],
        ),
    ] {
        let said = run(&["--eval-mod", choice]);
        for sign in signs
            .into_iter()
            .chain(["a bootstrap fails with probability 2^-"])
        {
            assert!(said.contains(sign), "{choice}: no `{sign}` in {said}");
        }
    }
    let summary = run(&["--softmax", "--emit", "schedule"]);
    for sign in [
        "softmax.exponential",
        "softmax.square",
        "results are probabilities",
        "EvalMod by",
    ] {
        assert!(summary.contains(sign), "no `{sign}` in {summary}");
    }
    let wrong = folder.run(&["model.onnx", "-o", "y.plan", "--eval-mod", "arcsine:4"]);
    assert_eq!(wrong.status.code(), Some(2));
    let message = said(&wrong);
    assert!(
        message.contains("cosine, arcsine:3, arcsine:5, arcsine:7"),
        "{message}"
    );
}

#[test]
fn bad_models_are_refused() {
    let folder = folder();
    let model = network(Shortcut::A);
    folder.write("cut.onnx", &model[..model.len() / 2]);
    folder.refuses(&["cut.onnx", "-o", "x.plan"], &["cut.onnx"]);
    folder.write("foreign.onnx", b"\x89PNG\r\n\x1a\n this is no model");
    folder.refuses(&["foreign.onnx", "-o", "x.plan"], &["foreign.onnx"]);
    folder.refuses(&["absent.onnx", "-o", "x.plan"], &["absent.onnx"]);
    let mut taps = [0.1; 9];
    taps[4] = f32::NAN;
    folder.write("nan.onnx", lone_convolution(&taps));
    folder.refuses(
        &["nan.onnx", "-o", "x.plan", "--range", "*=4"],
        &["nan.onnx", "kernel"],
    );
    let mut onnx = OnnxBuilder::new(13);
    onnx.input("image", &[1_i64, 1, 8, 8]);
    onnx.node("Sin", &["image"], "wave", &[]);
    onnx.node("Cosh", &["wave"], "other", &[]);
    onnx.output("other");
    folder.write("ops.onnx", onnx.build());
    folder.refuses(
        &["ops.onnx", "-o", "x.plan"],
        &["Sin", "`wave`", "Cosh", "`other`"],
    );
}

#[test]
fn ranges_must_come_from_somewhere_and_hold() {
    let folder = folder();
    folder.write("model.onnx", lone_convolution(&[0.5; 9]));
    let with = |more: &[&'static str]| {
        let ring = ["--insecure-log-n", "10", "--preprocess", "unit"];
        [&["model.onnx", "-o", "x.plan"][..], &ring, more].concat()
    };
    folder.refuses(&with(&[]), &["relu", "--calibrate", "--range"]);
    folder.refuses(&with(&["--range", "nothing*=4"]), &["nothing*", "relu"]);
    folder.refuses(&with(&["--calibrate", "absent.bin"]), &["absent.bin"]);
    assert!(folder.run(&with(&["--range", "*=5"])).status.success());
    assert_eq!(
        folder.run(&with(&["--range", "*=-1"])).status.code(),
        Some(2)
    );
}

#[test]
fn settings_are_checked() {
    let folder = folder();
    folder.write("model.onnx", network(Shortcut::A));
    let plan = ["model.onnx", "-o", "x.plan"];
    folder.refuses(
        &[&plan[..], &["--preprocess", "nothing"]].concat(),
        &["nothing", "cifar10"],
    );
    folder.write("labels.txt", b"one\ntwo\n");
    folder.refuses(
        &[&plan[..], &["--labels", "labels.txt"]].concat(),
        &["labels.txt", "4"],
    );
    folder.refuses(
        &[&plan[..], &["--insecure-log-n", "2"]].concat(),
        &["log_n", "between 4 and 17"],
    );
    assert_eq!(folder.run(&["model.onnx"]).status.code(), Some(2));
}

#[test]
fn the_precision_of_relu_is_a_choice() {
    let folder = folder();
    folder.write("model.onnx", network(Shortcut::A));
    let common = [
        "model.onnx",
        "--insecure-log-n",
        "10",
        "--preprocess",
        "unit",
    ];
    // Degrees and levels of the activations, as the schedule's summary lists them.
    let degrees = |choice: &[&str]| {
        let emit = ["--emit", "schedule", "-o", "x.plan"];
        let output = folder.run(&[&common[..], &emit, choice].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let text = String::from_utf8(output.stdout).unwrap();
        let of_activations: Vec<String> = text
            .lines()
            .filter(|line| line.contains(" activation "))
            .filter_map(|line| line.split_whitespace().last().map(str::to_owned))
            .collect();
        assert!(of_activations.len() >= 3, "{text}");
        assert!(of_activations.iter().all(|one| *one == of_activations[0]));
        (of_activations[0].clone(), said)
    };
    let (default, said) = degrees(&[]);
    assert_eq!(default, "15,15,27");
    assert!(said.contains("precise to 13.2 bits"), "{said}");
    assert_eq!(degrees(&["--relu-degrees", "alpha13"]).0, "15,15,27");
    assert_eq!(degrees(&["--relu-degrees", "alpha14"]).0, "15,27,29");
    for (alpha, expected) in [("7", "7,7"), ("10", "7,7,13"), ("14", "15,27,29")] {
        let (found, said) = degrees(&["--relu-precision", alpha]);
        assert_eq!(found, expected);
        assert!(said.contains(&format!("precise to {alpha}.")), "{said}");
    }
    let (found, said) = degrees(&["--relu-degrees", "7,7,7"]);
    assert_eq!(found, "7,7,7");
    assert!(said.contains("precise to 9."), "{said}");
    let refuses = |choice: &[&str], words: &[&str]| {
        folder.refuses(&[&common[..], &["-o", "y.plan"], choice].concat(), words);
    };
    refuses(&["--relu-precision", "15"], &["7…14"]);
    refuses(
        &["--relu-precision", "12", "--relu-degrees", "7,7"],
        &["2^-7.0", "higher degrees"],
    );
    let usage = folder.run(&[&common[..], &["-o", "y.plan", "--relu-degrees", "4"]].concat());
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn convolutions_can_be_multiplexed_and_parallel() {
    let folder = folder();
    folder.write("net.onnx", network(Shortcut::B));
    let schedule = |choice: &str| {
        let output = folder.run(&[
            "net.onnx",
            "--insecure-log-n",
            "10",
            "--convolution",
            choice,
            "--emit",
            "schedule",
        ]);
        let message = said(&output);
        assert!(output.status.success(), "{message}");
        String::from_utf8(output.stdout).unwrap()
    };
    // The stem, two convolutions a block, one shortcut.
    let lines = |text: &str| {
        text.lines()
            .filter(|line| line.contains("  parallel  "))
            .count()
    };
    assert_eq!(lines(&schedule("multiplexed-parallel")), 6);
    assert_eq!(lines(&schedule("single-level")), 0);
    let output = folder.run(&["net.onnx", "--convolution", "sideways", "--emit", "nn"]);
    assert_eq!(output.status.code(), Some(2));
}

/// An `.npy` file of 32-bit floats.
fn npy(shape: &str, data: &[f32]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data.iter().flat_map(|x| x.to_le_bytes()));
    bytes
}

#[test]
fn what_a_model_leaves_open_is_said_in_the_arguments() {
    let folder = folder();
    let mut onnx = OnnxBuilder::new(13);
    onnx.input("signal", &["n".into(), Dim::Fixed(2), "time".into()])
        .input("bias", &[1_i64, 1, 1])
        .output("mean")
        .output("largest")
        .floats("kernel", &[1, 2, 3], &[1.0; 6])
        .node("Conv", &["signal", "kernel"], "conv", &[])
        .node("Add", &["conv", "bias"], "sum", &[])
        .node("GlobalAveragePool", &["sum"], "mean", &[])
        .node("GlobalMaxPool", &["sum"], "largest", &[]);
    folder.write("model.onnx", onnx.build());
    folder.write("bias.npy", npy("1, 1, 1", &[0.5]));
    folder.write("signals.npy", npy("3, 2, 8", &[0.25; 48]));
    let run = |more: &[&str]| {
        let all = [
            &["model.onnx", "-o", "x.plan", "--insecure-log-n", "10"][..],
            &["--preprocess", "unit", "--calibrate", "signals.npy"],
            more,
        ];
        let output = folder.run(&all.concat());
        (output.status.success(), said(&output))
    };
    let (_, text) = run(&[]);
    for words in [
        "`mean`",
        "`largest`",
        "--output-name NAME",
        "`signal` [n, 2, time], `bias` [1, 1, 1]",
        "--input NAME=FILE.npy",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let shape = ["--input-shape", "signal=?,2,8"];
    let bias = ["--input", "bias=bias.npy"];
    for output in ["mean", "conv"] {
        let (done, text) = run(&[&["--output-name", output], &shape[..], &bias].concat());
        assert!(done, "{output}: {text}");
    }
    let (done, text) = run(&["--output-name", "mean", "--input", "bias=none.npy"]);
    assert!(!done && text.contains("`none.npy`"), "{text}");
    let (done, text) = run(&["--output-name", "mean", "--input-shape", "1,x"]);
    assert!(!done && text.contains("is no extent"), "{text}");
    let (done, text) = run(&[
        "--output-name",
        "mean",
        "--input-order",
        "hwc",
        "--input",
        "bias",
    ]);
    assert!(!done && text.contains("write the input's name"), "{text}");
}
