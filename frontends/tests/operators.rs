//! One small model an operator, with attributes that are not the defaults. The expected numbers are
//! those of onnxruntime 1.31.1 or 1.32.0 for the same bytes.

use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::eval;
use heddle_ir::nn::{LinearOp, Model, Op};
use heddle_tests::onnx_builder::{Attr, Dim, OnnxBuilder, TensorProto, data_type};

/// Numbers between −1 and 1 that repeat late.
fn ramp(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0)
        .collect()
}

fn ints(values: &[i64]) -> Attr {
    Attr::Ints(values.to_vec())
}

/// A model with the image `x`, whose output is `y`.
fn model(opset: i64, image: &[i64], nodes: impl FnOnce(&mut OnnxBuilder)) -> Vec<u8> {
    let mut builder = OnnxBuilder::new(opset);
    builder.input("x", image).output("y");
    nodes(&mut builder);
    builder.build()
}

/// Adds a tensor of ramp values.
fn weight(builder: &mut OnnxBuilder, name: &str, dims: &[i64]) {
    let len = dims.iter().product::<i64>() as usize;
    builder.floats(name, dims, &ramp(len));
}

fn import(bytes: &[u8]) -> Model {
    import_bytes("test.onnx", bytes, &ImportOptions::default()).unwrap()
}

/// The output for the ramp image, given in the axis order of the model's file.
fn run(bytes: &[u8]) -> Vec<f32> {
    let model = import(bytes);
    let [c, h, w] = model.image_shape();
    let image = ramp(c * h * w);
    let image = match model.input_order {
        heddle_ir::nn::AxisOrder::Chw => image,
        heddle_ir::nn::AxisOrder::Hwc => (0..c)
            .flat_map(|channel| {
                image
                    .iter()
                    .skip(channel)
                    .step_by(c)
                    .copied()
                    .collect::<Vec<_>>()
            })
            .collect(),
    };
    eval::nn::run(&model, &image).unwrap()
}

#[track_caller]
fn check(bytes: &[u8], expected: &[f32]) {
    let output = run(bytes);
    assert_eq!(output.len(), expected.len());
    for (output, want) in output.iter().zip(expected) {
        assert!(
            (output - want).abs() < 1e-5,
            "{output:?}, expected {expected:?}"
        );
    }
}

#[path = "operators/shapes.rs"]
mod shapes;

#[test]
fn conv_with_groups_dilation_and_lopsided_pads() {
    let bytes = model(11, &[1, 4, 4, 5], |m| {
        weight(m, "w", &[2, 2, 3, 2]);
        weight(m, "b", &[2]);
        let attributes = [
            ("kernel_shape", ints(&[3, 2])),
            ("strides", ints(&[2, 1])),
            ("pads", ints(&[1, 0, 0, 2])),
            ("dilations", ints(&[1, 3])),
            ("group", Attr::Int(2)),
        ];
        m.node("Conv", &["x", "w", "b"], "y", &attributes);
    });
    check(
        &bytes,
        &[
            -1.648, -2.0304, -0.1852, -1.5524, 1.014, -1.2828, -1.1532, 0.6612, -1.0244, 1.7536,
            -0.6568, 0.6672, 1.4652, -1.646, 1.6412, -1.0724,
        ],
    );
}

#[test]
fn conv_with_automatic_padding() {
    let conv = |mode| {
        model(7, &[1, 1, 5, 4], |m| {
            weight(m, "w", &[1, 1, 2, 3]);
            let attributes = [("auto_pad", Attr::Str(mode)), ("strides", ints(&[2, 2]))];
            m.node("Conv", &["x", "w"], "y", &attributes);
        })
    };
    check(
        &conv("SAME_UPPER"),
        &[0.8092, -0.2448, 0.7588, -0.0712, -0.442, -0.2932],
    );
    check(
        &conv("SAME_LOWER"),
        &[-0.1608, -0.3868, 0.3144, -0.8888, 0.3968, -0.9392],
    );
    check(&conv("VALID"), &[0.8092, 0.7588]);
}

#[test]
fn batch_norm_of_three_operator_sets() {
    for (opset, attribute) in [
        (7, ("spatial", 1)),
        (9, ("momentum", 1)),
        (15, ("training_mode", 0)),
    ] {
        let bytes = model(opset, &[1, 2, 1, 2], |m| {
            for name in ["scale", "bias", "mean"] {
                weight(m, name, &[2]);
            }
            m.floats("var", &[2], &[0.5, 2.0]);
            let attribute = match attribute {
                ("momentum", _) => ("momentum", Attr::Float(0.7)),
                (name, value) => (name, Attr::Int(value)),
            };
            let attributes = [("epsilon", Attr::Float(0.1)), attribute];
            m.node(
                "BatchNormalization",
                &["x", "scale", "bias", "mean", "var"],
                "y",
                &attributes,
            );
        });
        check(&bytes, &[-0.78, -1.525162, -0.060426, -0.025095]);
    }
}

#[test]
fn average_pool_that_counts_padding() {
    let pool = |count: i64| {
        model(11, &[1, 1, 4, 5], |m| {
            let attributes = [
                ("kernel_shape", ints(&[3, 2])),
                ("strides", ints(&[2, 2])),
                ("pads", ints(&[1, 0, 1, 1])),
                ("count_include_pad", Attr::Int(count)),
            ];
            m.node("AveragePool", &["x"], "y", &attributes);
        })
    };
    check(
        &pool(1),
        &[-0.05, -0.073333, -0.003333, 0.256667, 0.053333, -0.26],
    );
    check(&pool(0), &[-0.075, -0.11, -0.01, 0.256667, 0.053333, -0.52]);
}

#[test]
fn average_pool_that_rounds_up() {
    let bytes = model(10, &[1, 1, 5, 6], |m| {
        let attributes = [
            ("kernel_shape", ints(&[2, 3])),
            ("strides", ints(&[2, 2])),
            ("ceil_mode", Attr::Int(1)),
        ];
        m.node("AveragePool", &["x"], "y", &attributes);
    });
    check(
        &bytes,
        &[
            -0.176667, -0.043333, 0.225, -0.05, 0.083333, 0.015, 0.213333, -0.326667, 0.11,
        ],
    );
}

#[test]
fn global_pool_reshape_and_scaled_gemm() {
    let bytes = model(13, &[1, 3, 2, 2], |m| {
        weight(m, "w", &[4, 3]);
        weight(m, "b", &[1, 4]);
        let attributes = [
            ("transB", Attr::Int(1)),
            ("alpha", Attr::Float(0.5)),
            ("beta", Attr::Float(2.0)),
        ];
        m.ints("shape", &[0, -1])
            .node("GlobalAveragePool", &["x"], "pool", &[])
            .node("Reshape", &["pool", "shape"], "flat", &[])
            .node("Gemm", &["flat", "w", "b"], "y", &attributes);
    });
    check(&bytes, &[-1.6072, -0.1502, 1.62495, -0.95805]);
}

#[test]
fn gemm_with_inputs_as_rows_and_one_bias() {
    let bytes = model(9, &[1, 2, 2, 1], |m| {
        weight(m, "w", &[4, 3]);
        m.floats("b", &[], &[0.25])
            .node("Flatten", &["x"], "flat", &[("axis", Attr::Int(1))])
            .node("Gemm", &["flat", "w", "b"], "y", &[]);
    });
    check(&bytes, &[0.72, 0.202, -0.5584]);
}

#[test]
fn matmul_and_add_become_one_product_with_bias() {
    let bytes = model(13, &[1, 2, 2, 1], |m| {
        weight(m, "w", &[4, 3]);
        weight(m, "b", &[3]);
        m.node("Flatten", &["x"], "flat", &[("axis", Attr::Int(-3))])
            .node("MatMul", &["flat", "w"], "product", &[])
            .node("Add", &["b", "product"], "y", &[]);
    });
    assert_eq!(import(&bytes).graph.len(), 3);
    check(&bytes, &[-0.31, -0.088, -0.1084]);
}

#[test]
fn products_of_plain_vectors() {
    let bytes = model(13, &[1, 2, 2, 1], |m| {
        weight(m, "w", &[4, 2]);
        m.ints("shape", &[4])
            .node("Reshape", &["x", "shape"], "flat", &[])
            .node("MatMul", &["flat", "w"], "y", &[]);
    });
    check(&bytes, &[0.9128, 0.4756]);
    // The matrix first: columns instead of rows.
    let bytes = model(13, &[1, 4, 1], |m| {
        weight(m, "w", &[3, 4]);
        weight(m, "b", &[3, 1]);
        weight(m, "v", &[2, 3]);
        m.node("MatMul", &["w", "x"], "p", &[])
            .node("Add", &["b", "p"], "q", &[])
            .node("Relu", &["q"], "r", &[])
            .node("MatMul", &["v", "r"], "y", &[]);
    });
    check(&bytes, &[1.052088, 1.630248]);
}

#[test]
fn reduce_mean_by_attribute_and_by_input() {
    let by_attribute = model(13, &[1, 2, 3, 2], |m| {
        let attributes = [("axes", ints(&[-1, 2])), ("keepdims", Attr::Int(0))];
        m.node("ReduceMean", &["x"], "y", &attributes);
    });
    check(&by_attribute, &[0.06, -0.213333]);
    let by_input = model(18, &[1, 2, 3, 2], |m| {
        m.ints("axes", &[2])
            .node("ReduceMean", &["x", "axes"], "y", &[]);
    });
    check(&by_input, &[0.026667, 0.093333, -0.246667, -0.18]);
    let in_turn = model(13, &[1, 2, 3, 2], |m| {
        let over = |axis| [("axes", ints(&[axis])), ("keepdims", Attr::Int(0))];
        m.node("ReduceMean", &["x"], "rows", &over(2))
            .node("ReduceMean", &["rows"], "y", &over(2));
    });
    check(&in_turn, &[0.06, -0.213333]);
}

#[test]
fn arithmetic_with_constants_per_channel() {
    let bytes = model(13, &[1, 3, 1, 2], |m| {
        weight(m, "c", &[3, 1, 1]);
        m.floats("one", &[1], &[1.5])
            .floats("divisor", &[1, 3, 1, 1], &[2.0, -4.0, 0.5])
            .node("Mul", &["c", "x"], "a", &[])
            .node("Add", &["a", "one"], "b", &[])
            .node("Div", &["b", "divisor"], "c1", &[])
            .node("Sub", &["one", "c1"], "d", &[])
            .node("Sub", &["d", "c"], "e", &[])
            .node("Sub", &["e", "x"], "f", &[])
            .node("Neg", &["f"], "g", &[])
            .node("Sum", &["g", "x"], "y", &[]);
    });
    check(&bytes, &[-2.7858, -1.5944, -0.508, -3.0808, 2.744, 5.26]);
}

#[test]
fn arithmetic_with_constants_per_element() {
    let bytes = model(13, &[1, 2, 2, 3], |m| {
        weight(m, "mean", &[2, 3]);
        weight(m, "slopes", &[2, 2, 3]);
        m.floats("row", &[3], &[0.5, -2.0, 1.5])
            .floats("column", &[1, 1, 2, 1], &[2.0, -0.5])
            .floats("one", &[], &[1.5])
            .node("Sub", &["mean", "x"], "a", &[])
            .node("Mul", &["a", "row"], "b", &[])
            .node("Div", &["b", "column"], "c", &[])
            .node("Sub", &["c", "one"], "d", &[])
            .node("PRelu", &["d", "slopes"], "y", &[]);
    });
    check(
        &bytes,
        &[
            1.17, 0.06, -1.05, 0.87, -0.24, -1.35, 0.608, -0.396, 0.2622, 0.198, -1.736, 4.5792,
        ],
    );
    // Written out over all elements, but one number a channel.
    let bytes = model(13, &[1, 2, 2, 3], |m| {
        let scale: Vec<f32> = (0..12).map(|i| [0.5, -2.0][i / 6]).collect();
        m.floats("scale", &[1, 2, 2, 3], &scale)
            .node("Mul", &["scale", "x"], "y", &[]);
    });
    let graph = import(&bytes).graph;
    let op = &graph.node(graph.outputs()[0]).op;
    assert!(matches!(op, Op::Linear(LinearOp::ChannelAffine(_))));
    // Behind a transpose, and where all axes have become one.
    let bytes = model(13, &[1, 2, 2, 3], |m| {
        weight(m, "slopes", &[2, 3, 2]);
        weight(m, "last", &[3, 1]);
        weight(m, "flat", &[1, 12]);
        weight(m, "w", &[12, 3]);
        m.node("Transpose", &["x"], "t", &[("perm", ints(&[0, 2, 3, 1]))])
            .node("PRelu", &["t", "slopes"], "a", &[])
            .node("Add", &["last", "a"], "b", &[])
            .node("Flatten", &["b"], "c", &[])
            .node("Mul", &["c", "flat"], "d", &[])
            .node("MatMul", &["d", "w"], "y", &[]);
    });
    check(&bytes, &[-0.378139, -0.145491, -0.069352]);
}

#[test]
fn relu_in_its_disguises() {
    let plain = model(7, &[1, 1, 2, 3], |m| {
        m.node("Relu", &["x"], "y", &[]);
    });
    check(&plain, &[0.0, 0.0, 0.7, 0.0, 0.16, 0.9]);
    let clip = model(7, &[1, 1, 2, 3], |m| {
        m.node("Clip", &["x"], "y", &[("min", Attr::Float(0.0))]);
    });
    check(&clip, &[0.0, 0.0, 0.7, 0.0, 0.16, 0.9]);
    let clip_by_input = model(13, &[1, 1, 2, 3], |m| {
        m.floats("low", &[], &[0.0])
            .node("Clip", &["x", "low"], "y", &[]);
    });
    check(&clip_by_input, &[0.0, 0.0, 0.7, 0.0, 0.16, 0.9]);
    let maximum = model(13, &[1, 1, 2, 3], |m| {
        m.floats("zero", &[1], &[0.0])
            .node("Max", &["zero", "x"], "y", &[]);
    });
    check(&maximum, &[0.0, 0.0, 0.7, 0.0, 0.16, 0.9]);
}

#[test]
fn operators_that_do_nothing() {
    let old = model(7, &[1, 1, 1, 3], |m| {
        m.node("Dropout", &["x"], "a", &[("ratio", Attr::Float(0.9))])
            .node(
                "Cast",
                &["a"],
                "b",
                &[("to", Attr::Int(data_type::DOUBLE as i64))],
            )
            .node(
                "Cast",
                &["b"],
                "c",
                &[("to", Attr::Int(data_type::FLOAT as i64))],
            )
            .node("Identity", &["c"], "y", &[]);
    });
    check(&old, &[-0.78, -0.04, 0.7]);
    let new = model(15, &[1, 1, 1, 3], |m| {
        m.floats("ratio", &[], &[0.9])
            .tensor(TensorProto::raw("training", &[], data_type::BOOL, &[0]))
            .node(
                "Dropout",
                &["x", "ratio", "training"],
                "a",
                &[("seed", Attr::Int(3))],
            )
            .node("CastLike", &["a", "ratio"], "y", &[]);
    });
    check(&new, &[-0.78, -0.04, 0.7]);
}

#[test]
fn weights_of_other_float_types() {
    let bytes = model(13, &[1, 1, 1, 2], |m| {
        let half: Vec<u8> = [0x3C00_u16, 0xB800]
            .iter()
            .flat_map(|bits| bits.to_le_bytes())
            .collect();
        let double: Vec<u8> = [0.1_f64, -3.0]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let to = ("to", Attr::Int(data_type::FLOAT as i64));
        m.tensor(TensorProto::raw(
            "half",
            &[2, 1, 1, 1],
            data_type::FLOAT16,
            &half,
        ))
        .tensor(TensorProto::raw("double", &[2], data_type::DOUBLE, &double))
        .tensor(TensorProto::float_data("plain", &[2, 1, 1], &[0.5, 4.0]))
        .node("Cast", &["half"], "w", std::slice::from_ref(&to))
        .node("Cast", &["double"], "b", &[to])
        .node("Conv", &["x", "w", "b"], "a", &[])
        .node("Mul", &["a", "plain"], "y", &[]);
    });
    check(&bytes, &[-0.34, 0.03, -10.440001, -11.92]);
}

#[test]
fn initialisers_may_also_be_inputs() {
    let mut builder = OnnxBuilder::new(7);
    builder
        .input("w", &[2, 1, 1, 1])
        .input("x", &[1, 1, 1, 2])
        .floats("w", &[2, 1, 1, 1], &[2.0, -1.0])
        .node("Conv", &["x", "w"], "y", &[])
        .output("y");
    check(&builder.build(), &[-1.56, -0.08, 0.78, 0.04]);
}
