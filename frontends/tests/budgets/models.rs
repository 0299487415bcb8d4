//! Models.

use std::fs::{self, File};
use std::path::Path;

use heddle_frontends::Error;
use heddle_frontends::onnx::{ImportOptions, MAX_MODEL_BYTES, import, import_bytes};
use heddle_ir::nn::Model;
use heddle_tests::onnx_builder::{Attr, Message, OnnxBuilder, TensorProto, data_type};
use heddle_tests::terminal::make_pipe;

use super::hostile;

/// Writes a model with the image `x` of the given shape and the output `y`.
fn write(folder: &Path, image: &[i64], nodes: impl FnOnce(&mut OnnxBuilder)) {
    let mut builder = OnnxBuilder::new(13);
    builder.input("x", image).output("y");
    nodes(&mut builder);
    fs::write(folder.join("m.onnx"), builder.build()).unwrap();
}

fn read(folder: &Path) -> Result<Model, Error> {
    import(&folder.join("m.onnx"), &ImportOptions::default())
}

#[track_caller]
fn refused(folder: &Path, words: &str) {
    let text = match read(folder) {
        Ok(_) => "imported".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(text.contains(words), "{text}");
}

/// `n7`.
fn named(index: usize) -> String {
    format!("n{index}")
}

/// A chain of `count` nodes from `x` to the value that is returned.
fn chain(m: &mut OnnxBuilder, from: &str, op: &str, count: usize, more: &[&str]) -> String {
    let mut last = from.to_owned();
    for index in 0..count {
        let next = format!("{op}{index}");
        let inputs: Vec<&str> = std::iter::once(&*last)
            .chain(more.iter().copied())
            .collect();
        m.node(op, &inputs, &next, &[]);
        last = next;
    }
    last
}

hostile!(
    a_model_of_a_million_empty_nodes_is_refused_before_it_is_parsed,
    32,
    10,
    |folder| {
        let graph = [1 << 3 | 2, 0].repeat(1_000_000);
        fs::write(folder.join("m.onnx"), Message::default().bytes(7, graph).0).unwrap();
    },
    |folder| refused(folder, "its 2000004 bytes would take 46")
);

hostile!(
    sixty_thousand_sound_nodes_are_imported,
    400,
    60,
    |folder| write(folder, &[1, 2, 4, 4], |m| {
        let last = chain(m, "x", "Relu", 60_000, &[]);
        m.node("Relu", &[&last], "y", &[]);
    }),
    |folder| {
        read(folder).unwrap();
    }
);

hostile!(
    a_file_of_2_gib_is_refused_by_its_length,
    20,
    10,
    |folder| {
        let file = File::create(folder.join("m.onnx")).unwrap();
        file.set_len(MAX_MODEL_BYTES + 1).unwrap();
    },
    |folder| refused(folder, "has 2147483648 bytes, at most 2147483647 are read")
);

hostile!(
    external_data_of_more_than_2_gib_is_refused_by_its_length,
    20,
    10,
    |folder| {
        File::create(folder.join("w"))
            .unwrap()
            .set_len((1 << 31) + 1)
            .unwrap();
        write(folder, &[1, 1, 1, 1], |m| {
            m.tensor(TensorProto::external("w", &[1], &[("location", "w")]))
                .node("Add", &["x", "w"], "y", &[]);
        });
    },
    |folder| refused(folder, "at most 2147483648 are read")
);

hostile!(
    a_thousand_tensors_of_the_same_bytes_are_refused,
    400,
    20,
    |folder| {
        File::create(folder.join("w"))
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        write(folder, &[1, 1, 1, 1], |m| {
            for index in 0..1000 {
                let name = named(index);
                m.tensor(TensorProto::external(
                    &name,
                    &[4 << 20],
                    &[("location", "w")],
                ))
                .node("Identity", &[&name], &format!("i{index}"), &[]);
            }
            let all: Vec<String> = (0..1000).map(|index| format!("i{index}")).collect();
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            m.node("Max", &all, "c", &[])
                .node("Add", &["x", "c"], "y", &[]);
        });
    },
    |folder| refused(folder, "with the other tensors is more than")
);

hostile!(
    integers_of_one_byte_are_not_widened_without_bound,
    300,
    20,
    |folder| write(folder, &[1, 1, 1, 1], |m| {
        let raw = vec![0; 80 << 20];
        m.tensor(TensorProto::raw("w", &[80 << 20], 3, &raw))
            .node("Add", &["x", "w"], "y", &[]);
    }),
    |folder| refused(folder, "takes 671088640 bytes")
);

hostile!(
    a_thousand_folded_constants_are_refused,
    400,
    20,
    |folder| write(folder, &[1, 1, 1, 1], |m| {
        m.ints("shape", &[1 << 20])
            .node("ConstantOfShape", &["shape"], "c0", &[]);
        for index in 0..1000 {
            let (from, to) = (format!("c{index}"), format!("c{}", index + 1));
            m.node("Identity", &[&from], &to, &[]);
        }
        m.node("Add", &["x", "c1000"], "y", &[]);
    }),
    |folder| refused(folder, "too large to be evaluated")
);

hostile!(
    constants_of_2_to_the_40_elements_are_refused,
    32,
    10,
    |folder| write(folder, &[1, 1, 1, 1], |m| {
        let all = |range: std::ops::Range<usize>| range.map(named).collect::<Vec<String>>();
        m.ints("shape", &[1 << 20, 1 << 20])
            .ints("long", &[1 << 40])
            .floats("one", &[1, 1], &[1.0])
            .tensor(TensorProto::ints("zero", &[], &[0]))
            .tensor(TensorProto::ints("end", &[], &[1 << 40]))
            .tensor(TensorProto::ints("step", &[], &[1]))
            .node("ConstantOfShape", &["long"], "n0", &[])
            .node("Expand", &["one", "shape"], "n1", &[])
            .node("Tile", &["one", "shape"], "n2", &[])
            .node("Range", &["zero", "end", "step"], "n3", &[]);
        let names = all(0..4);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        m.node("Max", &names, "c", &[])
            .node("Add", &["x", "c"], "y", &[]);
    }),
    |folder| {
        let text = read(folder).unwrap_err().to_string();
        assert_eq!(
            text.matches("is too large to be evaluated").count(),
            4,
            "{text}"
        );
    }
);

hostile!(
    rows_of_nothing_are_not_walked,
    32,
    10,
    |folder| write(folder, &[1, 1, 1, 1], |m| {
        m.floats("empty", &[1 << 50, 0], &[])
            .ints("none", &[])
            .node(
                "Concat",
                &["empty", "empty"],
                "n0",
                &[("axis", Attr::Int(1))],
            )
            .node(
                "Gather",
                &["empty", "none"],
                "n1",
                &[("axis", Attr::Int(1))],
            )
            .node("Max", &["n0", "n1"], "c", &[])
            .node("Add", &["x", "c"], "y", &[]);
    }),
    |folder| refused(folder, "1125899906842624")
);

hostile!(
    one_constant_reduced_ten_thousand_times_is_refused,
    400,
    120,
    |folder| write(folder, &[1, 1, 1, 1], |m| {
        m.ints("shape", &[1 << 23])
            .node("ConstantOfShape", &["shape"], "c", &[]);
        for index in 0..10_000 {
            m.node(
                "ReduceSum",
                &["c"],
                &named(index),
                &[("keepdims", Attr::Int(0))],
            );
        }
        let all: Vec<String> = (0..10_000).map(named).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        m.node("Max", &all, "m", &[])
            .node("Add", &["x", "m"], "y", &[]);
    }),
    |folder| refused(folder, "too much for a model of this size")
);

hostile!(
    scales_for_thirty_million_channels_are_refused_when_they_add_up,
    512,
    10,
    |folder| write(folder, &[1, 1 << 25, 1, 5], |m| {
        m.floats("half", &[], &[0.5]);
        let last = chain(m, "x", "Neg", 100, &[]);
        let last = chain(m, &last, "Mul", 100, &["half"]);
        m.node("Relu", &[&last], "y", &[]);
    }),
    |folder| refused(folder, "beyond what the file holds")
);

hostile!(
    scales_for_every_pixel_are_refused_when_they_add_up,
    700,
    30,
    |folder| write(folder, &[1, 1, 1 << 11, 1 << 11], |m| {
        let ramp: Vec<f32> = (0..2048_u16).map(f32::from).collect();
        m.floats("ramp", &[1, 1, 1, 2048], &ramp);
        for index in 0..100 {
            let from = if index == 0 {
                "x".into()
            } else {
                named(index - 1)
            };
            let shift = format!("s{index}");
            m.node("Neg", &["ramp"], &shift, &[])
                .node("Add", &[&from, &shift], &named(index), &[]);
        }
        m.node("Relu", &["n99"], "y", &[]);
    }),
    |folder| refused(folder, "beyond what the file holds")
);

hostile!(
    a_kernel_shared_by_twenty_thousand_nodes_is_refused,
    400,
    120,
    |folder| write(folder, &[1, 1, 8, 8], |m| {
        let kernel = vec![0.0; 1 << 20];
        m.floats("w", &[1, 1, 1024, 1024], &kernel);
        let pads = ("pads", Attr::Ints(vec![512, 512, 511, 511]));
        for index in 0..20_000 {
            let from = if index == 0 {
                "x".into()
            } else {
                named(index - 1)
            };
            m.node(
                "Conv",
                &[&from, "w"],
                &named(index),
                std::slice::from_ref(&pads),
            );
        }
        m.node("Relu", &["n19999"], "y", &[]);
    }),
    |folder| refused(folder, "too much for a model of this size")
);

hostile!(
    max_pools_over_a_column_of_a_hundred_million_are_refused,
    64,
    60,
    |folder| write(folder, &[1, 1, 1 << 27, 1], |m| {
        let kernel = ("kernel_shape", Attr::Ints(vec![1, 1]));
        for index in 0..5000 {
            let from = if index == 0 {
                "x".into()
            } else {
                named(index - 1)
            };
            m.node(
                "MaxPool",
                &[&from],
                &named(index),
                std::slice::from_ref(&kernel),
            );
        }
        m.node("Relu", &["n4999"], "y", &[]);
    }),
    |folder| refused(folder, "too much for a model of this size")
);

hostile!(
    means_whose_divisors_differ_are_refused_when_they_add_up,
    700,
    60,
    |folder| write(folder, &[1, 1, 1, 1], |m| {
        let attributes = [
            ("kernel_shape", Attr::Ints(vec![4096, 4096])),
            ("pads", Attr::Ints(vec![4095; 4])),
            ("strides", Attr::Ints(vec![4096, 4096])),
            ("ceil_mode", Attr::Int(1)),
            ("count_include_pad", Attr::Int(1)),
        ];
        for index in 0..5000 {
            let from = if index == 0 {
                "x".into()
            } else {
                named(index - 1)
            };
            m.node("AveragePool", &[&from], &named(index), &attributes);
        }
        m.node("Relu", &["n4999"], "y", &[]);
    }),
    |folder| {
        // Taken or refused, it ends.
        let _ = read(folder);
    }
);

hostile!(
    names_do_not_grow_with_every_transpose,
    200,
    60,
    |folder| write(folder, &[1, 1, 2, 2], |m| {
        m.floats("w", &[2, 2], &[0.0; 4]);
        let last = chain(m, "w", "Transpose", 30_000, &[]);
        m.node("Add", &["x", &last], "y", &[]);
    }),
    |folder| {
        read(folder).unwrap();
    }
);

hostile!(
    products_behind_long_chains_take_linear_time,
    400,
    60,
    |folder| write(folder, &[1, 1, 2, 2], |m| {
        let last = chain(m, "x", "Identity", 20_000, &[]);
        for index in 0..20_000 {
            m.node("Mul", &[&last, &last], &named(index), &[]);
        }
        let mut sum = "n0".to_owned();
        for index in 1..20_000 {
            let next = format!("s{index}");
            m.node("Add", &[&sum, &named(index)], &next, &[]);
            sum = next;
        }
        m.node("Relu", &[&sum], "y", &[]);
    }),
    |folder| {
        read(folder).unwrap();
    }
);

hostile!(
    long_chains_of_error_functions_are_read_in_linear_time,
    400,
    60,
    |folder| write(folder, &[1, 1, 2, 2], |m| {
        let last = chain(m, "x", "Erf", 40_000, &[]);
        m.node("Relu", &[&last], "y", &[]);
    }),
    |folder| {
        read(folder).unwrap();
    }
);

hostile!(
    ten_thousand_outputs_behind_ten_thousand_softmaxes_are_refused,
    200,
    20,
    |folder| {
        let mut builder = OnnxBuilder::new(13);
        builder.input("x", &[1_i64, 1, 2, 2]);
        let last = chain(&mut builder, "x", "Softmax", 10_000, &[]);
        for index in 0..10_000 {
            builder
                .node("Identity", &[&last], &named(index), &[])
                .output(&named(index));
        }
        fs::write(folder.join("m.onnx"), builder.build()).unwrap();
    },
    |folder| refused(folder, "has 10000 outputs; say which")
);

hostile!(
    a_chain_of_softmaxes_is_cut_with_few_notes,
    200,
    20,
    |folder| write(folder, &[1, 1, 2, 2], |m| {
        let first = chain(m, "x", "Relu", 2, &[]);
        let last = chain(m, &first, "Softmax", 20_000, &[]);
        m.node("Identity", &[&last], "y", &[]);
    }),
    |folder| {
        let notes = read(folder).unwrap().notes;
        assert_eq!(notes.len(), 20);
    }
);

hostile!(
    a_concatenation_of_two_hundred_thousand_operands_is_refused,
    500,
    60,
    |folder| write(folder, &[1, 1, 1, 1], |m| {
        let name = "c".repeat(1000);
        m.node(
            "Concat",
            &vec!["x"; 200_000],
            &name,
            &[("axis", Attr::Int(1))],
        )
        .node("Relu", &[&name], "y", &[]);
    }),
    |folder| refused(folder, "beyond what the file holds")
);

hostile!(
    shapes_of_a_hundred_thousand_axes_are_refused_without_being_printed,
    200,
    20,
    |folder| write(folder, &[1, 1, 1, 1], |m| {
        m.ints("shape", &vec![1; 100_000])
            .floats("w", &vec![1; 100_000], &[1.0]);
        let last = chain(m, "x", "Reshape", 1, &["shape"]);
        for index in 0..5000 {
            m.node("Reshape", &["x", "shape"], &named(index), &[]);
        }
        let all: Vec<String> = (0..5000).map(named).collect();
        let mut all: Vec<&str> = all.iter().map(String::as_str).collect();
        all.extend(["w", &last]);
        m.node("Sum", &all, "y", &[]);
    }),
    |folder| {
        let text = read(folder).unwrap_err().to_string();
        assert!(text.contains("has 100000 elements, at most 4096"), "{text}");
        assert!(
            text.contains("a tensor of 100000 axes; at most 32"),
            "{text}"
        );
        assert!(text.len() < 10_000, "{} bytes", text.len());
    }
);

/// The most records of a kind that the scan lets through, each inside the messages `around`.
fn most_records(around: &[u64], record: impl Fn(usize) -> Vec<u8>) -> usize {
    let passes = |count: usize| {
        let mut bytes: Vec<u8> = (0..count).flat_map(&record).collect();
        for field in around.iter().rev() {
            bytes = Message::default().bytes(*field, bytes).0;
        }
        let error = import_bytes("m", &bytes, &ImportOptions::default()).unwrap_err();
        !error.to_string().contains("of memory, at most")
    };
    let (mut low, mut high) = (0, 1_000_000);
    while high - low > high / 20 + 1 {
        let middle = (low + high) / 2;
        if passes(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

hostile!(
    what_is_parsed_takes_about_what_was_estimated,
    180,
    120,
    |_| {},
    |_| {
        let kinds: [(&[u64], &[u8]); 10] = [
            // Nodes with an attribute, a graph in one, five inputs, a property.
            (&[7], &[0x0a, 2, 0x2a, 0]),
            (&[7], &[0x0a, 4, 0x2a, 2, 0x32, 0]),
            (
                &[7],
                &[0x0a, 10, 0x0a, 0, 0x0a, 0, 0x0a, 0, 0x0a, 0, 0x0a, 0],
            ),
            (&[7], &[0x0a, 2, 0x4a, 0]),
            // Nodes with an unknown field.
            (&[7], &[0x0a, 2, 0x78, 1]),
            // Names of one byte.
            (&[7, 1], &[0x0a, 1, b'a']),
            // Numbers, one by one and by the dozen.
            (&[7, 5], &[8, 1]),
            (&[7, 5], &[0x3a, 2, 1, 1]),
            // Inputs with a shape of one axis.
            (&[7], &[0x5a, 8, 0x12, 6, 0x0a, 4, 0x12, 2, 0x0a, 0]),
            // Tensors with a name.
            (&[7], &[0x2a, 3, 0x42, 1, b'w']),
        ];
        for (around, record) in kinds {
            let most = most_records(around, |_| record.to_vec());
            assert!(most > 10_000, "{record:x?}: {most}");
        }
        // Unknown fields of many numbers.
        let most = most_records(&[7, 1], |index| {
            Message::default().varint(100 + index as u64, 1).0
        });
        assert!(most > 10_000, "{most}");
    }
);

#[test]
fn windows_at_the_ends_of_their_numbers_do_not_panic() {
    let list = |values: &[i64]| Attr::Ints(values.to_vec());
    let third = i64::MAX / 3;
    for op in ["MaxPool", "AveragePool"] {
        for strides in [1, i64::MAX] {
            for pads in [0, i64::MAX] {
                for (kernel, dilation) in [(1, 1), (3, i64::MAX), (4, third * 2), (i64::MAX, 2)] {
                    for auto in ["NOTSET", "SAME_LOWER"] {
                        let folder = tempfile::tempdir().unwrap();
                        write(folder.path(), &[1, 1, 4, 4], |m| {
                            let attributes = [
                                ("kernel_shape", list(&[kernel; 2])),
                                ("strides", list(&[strides; 2])),
                                ("dilations", list(&[dilation; 2])),
                                ("pads", list(&[pads; 4])),
                                ("ceil_mode", Attr::Int(1)),
                                ("auto_pad", Attr::Str(auto)),
                            ];
                            m.node(op, &["x"], "y", &attributes);
                        });
                        let _ = read(folder.path());
                    }
                }
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[1, 1, 4, 4], |m| {
        let auto = ("auto_pad", Attr::Str("SAME_UPPER"));
        m.tensor(TensorProto::raw("w", &[1, 1, 0, 3], data_type::FLOAT, &[]))
            .node("Conv", &["x", "w"], "y", &[auto]);
    });
    refused(folder.path(), "the kernel is empty");
}

#[test]
fn devices_and_named_pipes_are_refused() {
    let options = ImportOptions::default();
    let text = import(Path::new("/dev/zero"), &options)
        .unwrap_err()
        .to_string();
    assert_eq!(text, "cannot read `/dev/zero`: is not a regular file");
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("m.onnx");
    make_pipe(&pipe);
    refused(folder.path(), "is not a regular file");
}
