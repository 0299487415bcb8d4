//! What must be refused: damaged and foreign files, and models that cannot be compiled.

use heddle_frontends::Error;
use heddle_frontends::error::Problem;
use heddle_frontends::onnx::{ImportOptions, import, import_bytes};
use heddle_ir::nn::Model;
use heddle_tests::onnx_builder::{Attr, Dim, Message, OnnxBuilder, TensorProto, data_type};
use heddle_tests::resnet::{Shortcut, Spec};
use heddle_tests::small;

/// A model with a fitting image `x`, whose output is `y`.
fn model(opset: i64, nodes: impl FnOnce(&mut OnnxBuilder)) -> Vec<u8> {
    let mut builder = OnnxBuilder::new(opset);
    builder.input("x", &[1, 2, 4, 4]).output("y");
    nodes(&mut builder);
    builder.build()
}

fn refuse(bytes: &[u8]) -> Error {
    import_bytes("bad.onnx", bytes, &ImportOptions::default()).unwrap_err()
}

/// All problems of a model that is sound, but cannot be compiled.
fn problems(bytes: &[u8]) -> Vec<Problem> {
    match refuse(bytes) {
        Error::Unsupported { problems, .. } => problems.list,
        error => panic!("{error}"),
    }
}

/// The one problem of such a model.
#[track_caller]
fn assert_problem(bytes: &[u8], subject: &str, words: &str) {
    let problems = problems(bytes);
    let [problem] = &problems[..] else {
        panic!("{problems:#?}")
    };
    assert_eq!(problem.subject, subject, "{problem:?}");
    assert!(problem.message.contains(words), "{problem:?}");
}

/// The notes of a model.
fn sentences(model: &Model) -> Vec<String> {
    model.notes.iter().map(ToString::to_string).collect()
}

#[test]
fn everything_unsupported_is_reported_at_once() {
    let bytes = model(13, |m| {
        m.floats("b", &[5], &[0.0; 5])
            .node(
                "MaxPool",
                &["x"],
                "pool",
                &[("kernel_shape", Attr::Ints(vec![2, 2, 2]))],
            )
            .node("Relu", &["x"], "relu", &[])
            .node("Sign", &["relu"], "sign", &[])
            .node("Add", &["x", "b"], "shifted", &[])
            .node("LSTM", &["sign", "shifted", "pool"], "y", &[]);
    });
    let error = refuse(&bytes);
    assert_eq!(
        error.to_string(),
        "cannot import `bad.onnx`: 4 problems\n  \
         MaxPool  `pool`     attribute `kernel_shape` is [2, 2, 2], expected 2 numbers of at least 1 \
         (1-D and 2-D layers only)\n  \
         Sign     `sign`     the sign jumps at 0, where the values of a network lie, and polynomials \
         do not; use Tanh of a multiple, or HardSigmoid\n  \
         Add      `shifted`  the constant `b` of shape [5] does not broadcast to [1, 2, 4, 4]\n  \
         LSTM     `y`        recurrent layers are not supported; replace them with convolutions, \
         or run them on the client behind the encrypted part"
    );
}

#[test]
fn operators_are_refused_by_kind() {
    let cases = [
        ("", "QLinearConv", "quantised"),
        ("", "DequantizeLinear", "quantised"),
        ("", "ConvInteger", "quantised"),
        ("com.microsoft", "QGemm", "quantised"),
        ("", "If", "control flow"),
        ("", "Loop", "loops unrolled"),
        ("", "Scan", "control flow"),
        ("", "GRU", "replace them with convolutions"),
        ("", "RNN", "recurrent"),
        ("", "QuantizeLinear", "in float32"),
        ("", "DynamicQuantizeLinear", "quantised"),
        ("", "MatMulInteger", "quantised"),
        ("", "Softmax", "only as the last operation"),
        ("", "Nonsense", "not supported"),
        ("com.example", "Conv", "`com.example`"),
    ];
    for (domain, op, words) in cases {
        let bytes = model(13, |m| {
            m.node_in(
                domain,
                op,
                &["x", "x"],
                &["odd"],
                &[("then_branch", Attr::Graph)],
            )
            .node("Relu", &["odd"], "y", &[]);
        });
        assert_problem(&bytes, "odd", words);
    }
}

#[test]
fn attributes_that_change_the_meaning_are_refused() {
    type Attributes = &'static [(&'static str, Attr)];
    let cases: [(&str, Attributes, &str); 5] = [
        (
            "Relu",
            &[("alpha", Attr::Float(0.1))],
            "`alpha` is not supported",
        ),
        ("AveragePool", &[], "`kernel_shape` is missing"),
        (
            "AveragePool",
            &[("kernel_shape", Attr::Int(2))],
            "has type INT, expected INTS",
        ),
        (
            "Flatten",
            &[("axis", Attr::Int(9))],
            "axis 9 does not exist",
        ),
        (
            "Clip",
            &[("max", Attr::Float(-1.0)), ("min", Attr::Float(0.0))],
            "0…-1",
        ),
    ];
    for (op, attributes, words) in cases {
        let bytes = model(10, |m| {
            m.node(op, &["x"], "y", attributes);
        });
        assert_problem(&bytes, "y", words);
    }
    let window = |attribute: (&'static str, Attr)| {
        model(13, |m| {
            m.floats("w", &[2, 2, 3, 3], &[0.0; 36])
                .node("Conv", &["x", "w"], "y", &[attribute]);
        })
    };
    let list = |values: &[i64]| Attr::Ints(values.to_vec());
    for (attribute, words) in [
        (("strides", list(&[0, 1])), "at least 1"),
        (("pads", list(&[-1, 0, 0, 0])), "at least 0"),
        (("pads", list(&[1, 1])), "expected 4 numbers"),
        (("pads", list(&[i64::MAX; 4])), "above"),
        (("dilations", list(&[2, 2])), "does not fit"),
        (("dilations", list(&[i64::MAX; 2])), "above"),
        (("group", Attr::Int(3)), "groups"),
        (("group", Attr::Int(-1)), "`group` is -1"),
        (("kernel_shape", list(&[2, 3])), "differs"),
        (("auto_pad", Attr::Str("SOME")), "`SOME`"),
    ] {
        assert_problem(&window(attribute), "y", words);
    }
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let mirror = model(13, |m| {
        let mode = ("mode", Attr::Str("mirror"));
        m.ints("pads", &[0, 0, 1, 1, 0, 0, 1, 1])
            .node("Pad", &["x", "pads"], "y", &[mode]);
    });
    assert_problem(&mirror, "y", "`mirror`");
    let by_zero = model(13, |m| {
        m.floats("zero", &[], &[0.0])
            .node("Div", &["x", "zero"], "y", &[]);
    });
    assert_problem(&by_zero, "y", "division by zero");
    let backwards = model(9, |m| {
        let attributes = [
            ("starts", Attr::Ints(vec![3])),
            ("ends", Attr::Ints(vec![3])),
        ];
        m.node("Slice", &["x"], "y", &attributes);
    });
    assert_problem(&backwards, "y", "keeps nothing");
    let training = model(13, |m| {
        m.tensor(TensorProto::raw("on", &[], data_type::BOOL, &[1]))
            .node("Dropout", &["x", "", "on"], "y", &[]);
    });
    assert_problem(&training, "y", "training mode");
    let bomb = model(13, |m| {
        m.ints("shape", &[1 << 30, 1 << 30])
            .node("ConstantOfShape", &["shape"], "zeros", &[])
            .node("Add", &["x", "zeros"], "y", &[]);
    });
    assert_problem(&bomb, "zeros", "too large");
}

#[test]
fn joins_cuts_and_pools_that_do_not_fit_are_refused() {
    let axis = |axis: i64| [("axis", Attr::Int(axis))];
    let heights = model(13, |m| {
        m.node(
            "AveragePool",
            &["x"],
            "a",
            &[("kernel_shape", Attr::Ints(vec![2, 2]))],
        )
        .node("Concat", &["x", "a"], "y", &axis(1));
    });
    assert_problem(&heights, "y", "concatenates [1, 2, 3, 3] and [1, 2, 4, 4]");
    for (sizes, words) in [
        (vec![1, 2], "add up"),
        (vec![3, -1], "positive"),
        (vec![2], "for 2 outputs"),
    ] {
        let split = model(13, |m| {
            m.ints("sizes", &sizes)
                .node_in("", "Split", &["x", "sizes"], &["a", "b"], &axis(1))
                .node("Add", &["a", "b"], "y", &[]);
        });
        assert_problem(&split, "a", words);
    }
    let thirds = model(13, |m| {
        m.node_in("", "Split", &["x"], &["a", "b", "c"], &axis(2))
            .node("Add", &["a", "b"], "y", &[]);
    });
    assert_problem(&thirds, "a", "splits 4 into 3 equal parts");
    let kernel = |size: i64| ("kernel_shape", Attr::Ints(vec![size, size]));
    let indices = model(8, |m| {
        m.node_in("", "MaxPool", &["x"], &["a", "where"], &[kernel(2)])
            .node("Cast", &["where"], "b", &[("to", Attr::Int(1))])
            .node("Add", &["a", "b"], "y", &[]);
    });
    assert_problem(&indices, "a", "its output `where` is used; only the first");
    let empty = model(12, |m| {
        let pads = ("pads", Attr::Ints(vec![2, 0, 0, 0]));
        m.node("MaxPool", &["x"], "y", &[kernel(2), pads]);
    });
    assert_problem(&empty, "y", "lies in the padding");
    let one_dimensional = model(13, |m| {
        m.floats("w", &[2, 2, 3], &[0.0; 12])
            .node("Conv", &["x", "w"], "y", &[]);
    });
    assert_problem(&one_dimensional, "y", "but is applied to [1, 2, 4, 4]");
}

#[test]
fn graphs_that_hang_together_badly_are_refused() {
    let cycle = model(13, |m| {
        m.node("Add", &["x", "b"], "a", &[])
            .node("Relu", &["a"], "b", &[]);
        m.node("Relu", &["b"], "y", &[]);
    });
    assert_problem(&cycle, "a", "its own output");
    let missing = model(13, |m| {
        m.node("Add", &["x", "nowhere"], "y", &[]);
    });
    assert_problem(&missing, "y", "`nowhere` is not available");
    let twice = model(13, |m| {
        m.node("Relu", &["x"], "y", &[])
            .node("Relu", &["x"], "y", &[]);
    });
    assert_problem(&twice, "y", "two nodes");
    let outputs = model(13, |m| {
        m.node("Relu", &["x"], "y", &[])
            .node("Relu", &["y"], "z", &[])
            .output("z");
    });
    assert_problem(&outputs, "graph", "`y` [1, 2, 4, 4], `z` [1, 2, 4, 4];");
    let inputs = model(13, |m| {
        m.input("x2", &[1, 2, 4, 4])
            .node("Add", &["x", "x2"], "y", &[]);
    });
    assert_problem(&inputs, "graph", "`x` [1, 2, 4, 4], `x2`");
    let constant = model(13, |m| {
        m.ints("one", &[1]).node("Identity", &["one"], "y", &[]);
    });
    assert_problem(&constant, "graph", "does not depend on any input");
    let disordered = model(13, |m| {
        m.node("Relu", &["later"], "y", &[])
            .node("Neg", &["x"], "later", &[]);
    });
    import_bytes("fine.onnx", &disordered, &ImportOptions::default()).unwrap();
}

#[test]
fn images_of_the_wrong_kind_are_refused() {
    let image = |dims: &[Dim]| {
        let mut builder = OnnxBuilder::new(13);
        builder
            .input("picture", dims)
            .output("y")
            .node("Relu", &["picture"], "y", &[])
            .build()
    };
    let (n, h) = (Dim::Symbol("N"), Dim::Symbol("H"));
    let fixed = |extent: i64| Dim::Fixed(extent);
    let dynamic = image(&[n, fixed(3), h, fixed(32)]);
    assert_problem(
        &dynamic,
        "picture",
        "[N, 3, H, 32]; channels, height and width must be fixed",
    );
    assert_problem(
        &image(&[fixed(8), fixed(3), fixed(4), fixed(4)]),
        "picture",
        "batch of 8",
    );
    let film = image(&[n, fixed(9), fixed(3), fixed(4), fixed(4)]);
    assert_problem(&film, "picture", "[N, 9, 3, 4, 4]; an image of");
    assert_problem(&image(&[]), "picture", "no shape");
    let huge = image(&[n, fixed(1 << 30), fixed(1 << 30), fixed(1 << 30)]);
    assert_problem(&huge, "picture", "elements");
    let model = import_bytes(
        "m",
        &image(&[n, fixed(3), fixed(4), fixed(4)]),
        &ImportOptions::default(),
    );
    assert_eq!(
        sentences(&model.unwrap()),
        ["the batch of input `picture` is fixed to 1"]
    );
}

#[test]
fn weights_must_be_finite_and_whole() {
    let conv = |weight: TensorProto| {
        model(13, |m| {
            m.tensor(weight).node("Conv", &["x", "w"], "y", &[]);
        })
    };
    let nan = conv(TensorProto::floats("w", &[1, 2, 1, 1], &[1.0, f32::NAN]));
    assert_problem(&nan, "y", "initializer `w` holds NaN at element 1");
    let short = conv(TensorProto::raw(
        "w",
        &[1, 2, 1, 1],
        data_type::FLOAT,
        &[0; 7],
    ));
    assert_problem(
        &short,
        "w",
        "needs 2 elements of 4 bytes, but holds 7 bytes",
    );
    let boundless = conv(TensorProto::raw(
        "w",
        &[1 << 30, 1 << 30],
        data_type::FLOAT,
        &[0; 8],
    ));
    assert_problem(&boundless, "w", "needs 1152921504606846976 elements");
    let text = conv(TensorProto::raw("w", &[1], 8, &[0; 8]));
    assert_problem(&text, "w", "string");
    let memory = conv(TensorProto::external(
        "w",
        &[1, 2, 1, 1],
        &[("location", "w.bin")],
    ));
    assert_problem(&memory, "w.bin", "in memory");
}

#[test]
fn operator_sets_before_7_are_refused() {
    let old = model(6, |m| {
        m.node("Relu", &["x"], "y", &[]);
    });
    assert_problem(&old, "opset_import", "operator set 6 is too old");
    let newer = model(1000, |m| {
        m.node("Relu", &["x"], "y", &[]);
    });
    let model = import_bytes("m", &newer, &ImportOptions::default()).unwrap();
    assert!(
        model.notes[0]
            .to_string()
            .contains("operator set 1000 is newer")
    );
}

#[test]
fn final_classification_layers_are_cut_with_a_note() {
    let bytes = model(13, |m| {
        m.node("GlobalAveragePool", &["x"], "pool", &[])
            .node("Flatten", &["pool"], "logits", &[])
            .node(
                "Softmax",
                &["logits"],
                "softmax",
                &[("axis", Attr::Int(-1))],
            )
            .node("Identity", &["softmax"], "same", &[])
            .node("ArgMax", &["same"], "y", &[("keepdims", Attr::Int(0))]);
    });
    let model = import_bytes("m", &bytes, &ImportOptions::default()).unwrap();
    assert_eq!(model.graph.len(), 3);
    assert_eq!(model.graph.node(model.output()).name, "logits");
    assert_eq!(
        sentences(&model),
        [
            "the final ArgMax `y` is cut off: results are logits",
            "the final Softmax `softmax` is cut off: results are logits",
        ]
    );
}

#[test]
fn foreign_and_damaged_files_are_refused() {
    let groups = Message::default().bytes(7, vec![15 << 3 | 3; 200_000]);
    let cases: [(&[u8], &str); 5] = [
        (&groups.0, "group tag"),
        (
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            "not a readable ONNX model",
        ),
        (b"", "no graph"),
        (b"#!/bin/sh\necho hello\n", "not a readable ONNX model"),
        (&[8, 7], "no graph"),
    ];
    for (bytes, words) in cases {
        let error = refuse(bytes);
        assert!(matches!(error, Error::NotOnnx { .. }) && error.to_string().contains(words));
    }
    let nowhere = import(
        "/nonexistent/model.onnx".as_ref(),
        &ImportOptions::default(),
    );
    assert!(matches!(nowhere, Err(Error::Io { .. })));
    let folder = import(std::env::temp_dir().as_ref(), &ImportOptions::default());
    assert!(matches!(folder, Err(Error::Io { .. })));
}

#[test]
fn damage_anywhere_does_not_panic() {
    let spec = Spec {
        image: [1, 4, 4],
        seed: 5,
        ..small::network(1, 2, Shortcut::A)
    };
    let bytes = spec.build();
    for length in (0..bytes.len()).step_by(3) {
        refuse(&bytes[..length]);
    }
    // Whatever a changed byte makes of the model, the answer is a model or an error.
    let mut changed = bytes.clone();
    for index in 0..bytes.len() {
        for mask in [0x01, 0x80] {
            changed[index] ^= mask;
            let _ = import_bytes("changed.onnx", &changed, &ImportOptions::default());
            changed[index] = bytes[index];
        }
    }
}

mod external {
    use super::*;
    use std::path::Path;

    fn conv(entries: &[(&str, &str)]) -> Vec<u8> {
        model(13, |m| {
            m.tensor(TensorProto::external("w", &[1, 2, 1, 1], entries))
                .node("Conv", &["x", "w"], "y", &[]);
        })
    }

    fn import_from(folder: &Path, entries: &[(&str, &str)]) -> Result<(), Problem> {
        let path = folder.join("model.onnx");
        std::fs::write(&path, conv(entries)).unwrap();
        match import(&path, &ImportOptions::default()) {
            Ok(model) => {
                let weight = model.weights.iter().next().unwrap().1;
                assert_eq!(weight.data, [1.5, -2.0]);
                Ok(())
            }
            Err(Error::Unsupported { mut problems, .. }) if problems.list.len() == 1 => {
                Err(problems.list.remove(0))
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn data_beside_the_model_is_read_and_digested() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        let mut data = vec![7; 4];
        data.extend([1.5_f32, -2.0].iter().flat_map(|x| x.to_le_bytes()));
        std::fs::write(folder.path().join("sub/w.bin"), &data).unwrap();
        let entries = [
            ("location", "sub/w.bin"),
            ("offset", "4"),
            ("length", "8"),
            ("checksum", "-"),
        ];
        import_from(folder.path(), &entries).unwrap();
        import_from(folder.path(), &entries[..2]).unwrap();

        let path = folder.path().join("model.onnx");
        let digest = || import(&path, &ImportOptions::default()).unwrap().digest;
        let before = digest();
        data[0] = 8;
        std::fs::write(folder.path().join("sub/w.bin"), &data).unwrap();
        assert_ne!(digest(), before);
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("w.bin");
        std::fs::write(&secret, [0; 8]).unwrap();
        let folder = outside.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        for location in [
            "../w.bin",
            "sub/../../w.bin",
            secret.to_str().unwrap(),
            "/",
            "..",
        ] {
            let problem = import_from(&folder, &[("location", location)]).unwrap_err();
            assert_eq!(
                (&*problem.subject, &*problem.kind),
                (location, "external data")
            );
            assert!(
                problem.message.contains("leaves the model's folder"),
                "{problem:?}"
            );
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&secret, folder.join("link.bin")).unwrap();
            let problem = import_from(&folder, &[("location", "link.bin")]).unwrap_err();
            assert!(
                problem.message.contains("leaves the model's folder"),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn missing_and_short_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("w.bin"), [0; 10]).unwrap();
        let max = usize::MAX.to_string();
        type Entries<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Entries, &str, &str); 7] = [
            (&[("location", "gone.bin")], "gone.bin", "cannot be read"),
            (&[("location", ".")], ".", "not a regular file"),
            (&[("offset", "0")], "w", "names no file"),
            (
                &[("location", "w.bin"), ("offset", "4"), ("length", "8")],
                "w",
                "has 10 bytes",
            ),
            (
                &[("location", "w.bin"), ("offset", &max), ("length", &max)],
                "w",
                "has 10 bytes",
            ),
            (
                &[("location", "w.bin"), ("length", "x")],
                "w",
                "not a number",
            ),
            (&[("location", "w.bin")], "w", "needs 2 elements of 4 bytes"),
        ];
        for (entries, subject, words) in cases {
            let problem = import_from(folder.path(), entries).unwrap_err();
            assert_eq!(problem.subject, subject);
            assert!(problem.message.contains(words), "{problem:?}");
        }
    }
}
