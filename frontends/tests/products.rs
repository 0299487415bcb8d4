//! Products, maxima and minima of two and more values, with broadcasting.

use heddle_frontends::Error;
use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::eval;
use heddle_ir::nn::{Activation, Model, Op};
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};

const IMAGE: [usize; 3] = [4, 2, 3];

fn image() -> Vec<f32> {
    (0..24)
        .map(|i| ((i * 37 + 11) % 101) as f32 / 25.0 - 2.0)
        .collect()
}

fn model(nodes: impl FnOnce(&mut OnnxBuilder)) -> Vec<u8> {
    let mut builder = OnnxBuilder::new(13);
    builder.input("x", &[1, 4, 2, 3]).output("y");
    nodes(&mut builder);
    builder.build()
}

fn import(bytes: &[u8]) -> Model {
    import_bytes("test.onnx", bytes, &ImportOptions::default()).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    match import_bytes("test.onnx", bytes, &ImportOptions::default()) {
        Err(Error::Unsupported { problems, .. }) => problems.list[0].message.clone(),
        other => panic!("{other:?}"),
    }
}

/// Expects `f(image, channel, row, column)` at every element, and this many products and
/// activations.
#[track_caller]
fn check(
    bytes: &[u8],
    [products, activations]: [usize; 2],
    f: impl Fn(&dyn Fn(usize, usize, usize) -> f32, [usize; 3]) -> f32,
) {
    let model = import(bytes);
    assert_eq!(model.products().count(), products);
    assert_eq!(model.activations().count(), activations);
    let image = image();
    let [_, height, width] = IMAGE;
    let at = |c: usize, y: usize, x: usize| image[(c * height + y) * width + x];
    let found = eval::nn::run(&model, &image).unwrap();
    let [channels, rows, columns] = model.graph.ty(model.output()).chw();
    assert_eq!(found.len(), channels * rows * columns);
    for (index, found) in found.iter().enumerate() {
        let place = [
            index / (rows * columns),
            index / columns % rows,
            index % columns,
        ];
        let expected = f(&at, place);
        assert!(
            (found - expected).abs() < 1e-5,
            "{place:?}: {found}, not {expected}"
        );
    }
}

fn mean(at: &dyn Fn(usize, usize, usize) -> f32, channel: usize) -> f32 {
    let pixels = (0..6).map(|i| at(channel, i / 3, i % 3));
    pixels.sum::<f32>() / 6.0
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Two values that neither is a multiple of the other.
fn two(m: &mut OnnxBuilder) -> &mut OnnxBuilder {
    m.floats("shift", &[4, 1, 1], &[1.0, -0.5, 0.25, 2.0])
        .floats("scale", &[4, 1, 1], &[-1.0, 0.5, 3.0, 1.5])
        .node("Add", &["x", "shift"], "a", &[])
        .node("Mul", &["x", "scale"], "b", &[])
}

fn a(at: &dyn Fn(usize, usize, usize) -> f32, [c, y, x]: [usize; 3]) -> f32 {
    at(c, y, x) + [1.0, -0.5, 0.25, 2.0][c]
}

fn b(at: &dyn Fn(usize, usize, usize) -> f32, [c, y, x]: [usize; 3]) -> f32 {
    at(c, y, x) * [-1.0, 0.5, 3.0, 1.5][c]
}

#[test]
fn two_maps_are_multiplied() {
    let bytes = model(|m| {
        two(m).node("Mul", &["a", "b"], "y", &[]);
    });
    check(&bytes, [1, 0], |at, place| a(at, place) * b(at, place));
}

#[test]
fn a_gate_for_every_channel() {
    for operands in [["a", "g"], ["g", "a"]] {
        let bytes = model(|m| {
            two(m)
                .node("GlobalAveragePool", &["x"], "p", &[])
                .node("Sigmoid", &["p"], "g", &[])
                .node("Mul", &operands, "y", &[]);
        });
        check(&bytes, [1, 1], |at, place| {
            a(at, place) * sigmoid(mean(at, place[0]))
        });
        // The map comes first: it is where the product will lie.
        let model = import(&bytes);
        let product = model.products().next().unwrap();
        let first = model.graph.operands(product)[0];
        assert_eq!(model.graph.node(first).name, "a");
    }
}

/// PyTorch's linear layers give the gate as a vector, which is reshaped.
#[test]
fn a_gate_from_matrix_products() {
    let weight: Vec<f32> = (0..16)
        .map(|i| if i % 5 == 0 { 1.0 } else { 0.0 })
        .collect();
    let bytes = model(|m| {
        two(m)
            .node("GlobalAveragePool", &["x"], "p", &[])
            .node("Flatten", &["p"], "f", &[])
            .floats("w", &[4, 4], &weight)
            .node("Gemm", &["f", "w"], "l", &[])
            .node("Sigmoid", &["l"], "g", &[])
            .ints("shape", &[1, 4, 1, 1])
            .node("Reshape", &["g", "shape"], "r", &[])
            .node("Mul", &["a", "r"], "y", &[]);
    });
    check(&bytes, [1, 1], |at, place| {
        a(at, place) * sigmoid(mean(at, place[0]))
    });
}

#[test]
fn a_gate_for_every_pixel() {
    let bytes = model(|m| {
        two(m)
            .floats("w", &[1, 4, 1, 1], &[0.5, -1.0, 0.25, 1.0])
            .node("Conv", &["x", "w"], "s", &[])
            .node("Sigmoid", &["s"], "g", &[])
            .node("Mul", &["g", "a"], "y", &[]);
    });
    check(&bytes, [1, 1], |at, place @ [_, y, x]| {
        let sum = 0.5 * at(0, y, x) - at(1, y, x) + 0.25 * at(2, y, x) + at(3, y, x);
        a(at, place) * sigmoid(sum)
    });
}

/// Neither operand has the result's shape.
#[test]
fn both_operands_are_repeated() {
    let bytes = model(|m| {
        m.floats("w", &[1, 4, 1, 1], &[0.5, -1.0, 0.25, 1.0])
            .node("Conv", &["x", "w"], "s", &[])
            .node("GlobalAveragePool", &["x"], "p", &[])
            .node("Mul", &["p", "s"], "y", &[]);
    });
    check(&bytes, [1, 0], |at, [c, y, x]| {
        let sum = 0.5 * at(0, y, x) - at(1, y, x) + 0.25 * at(2, y, x) + at(3, y, x);
        mean(at, c) * sum
    });
}

#[test]
fn gated_linear_units() {
    let bytes = model(|m| {
        m.node_in("", "Split", &["x"], &["l", "r"], &[("axis", Attr::Int(1))])
            .node("Sigmoid", &["r"], "g", &[])
            .node("Mul", &["l", "g"], "y", &[]);
    });
    check(&bytes, [1, 1], |at, [c, y, x]| {
        at(c, y, x) * sigmoid(at(c + 2, y, x))
    });
}

#[test]
fn channels_may_come_last() {
    let bytes = model(|m| {
        let last = [("perm", Attr::Ints(vec![0, 2, 3, 1]))];
        let first = [("perm", Attr::Ints(vec![0, 3, 1, 2]))];
        two(m)
            .node("GlobalAveragePool", &["x"], "p", &[])
            .node("Transpose", &["a"], "t", &last)
            .ints("shape", &[1, 1, 1, 4])
            .node("Reshape", &["p", "shape"], "q", &[])
            .node("Mul", &["q", "t"], "u", &[])
            .node("Transpose", &["u"], "y", &first);
    });
    check(&bytes, [1, 0], |at, place| {
        a(at, place) * mean(at, place[0])
    });
}

#[test]
fn vectors_are_multiplied() {
    let bytes = model(|m| {
        two(m)
            .node("Flatten", &["a"], "fa", &[])
            .node("Flatten", &["b"], "fb", &[])
            .node("Mul", &["fa", "fb"], "y", &[]);
    });
    check(&bytes, [1, 0], |at, [index, ..]| {
        let place = [index / 6, index / 3 % 2, index % 3];
        a(at, place) * b(at, place)
    });
}

#[test]
fn shapes_that_do_not_broadcast_are_refused() {
    let bytes = model(|m| {
        m.ints("two", &[2])
            .node_in("", "Split", &["x"], &["l", "r"], &[("axis", Attr::Int(1))])
            .node("Mul", &["x", "l"], "y", &[]);
    });
    assert!(refusal(&bytes).contains("do not broadcast"));
    let quotient = model(|m| {
        two(m).node("Div", &["a", "b"], "y", &[]);
    });
    // The reciprocal of a value, and a product; compilation looks whether it is positive.
    let graph = import(&quotient).graph;
    let products = graph.select(|op| matches!(op, Op::Multiply { .. }));
    assert_eq!(products.count(), 1);
}

#[test]
fn maxima_and_minima_of_values() {
    for (op, pick) in [("Max", f32::max as fn(f32, f32) -> f32), ("Min", f32::min)] {
        let pair = model(|m| {
            two(m).node(op, &["a", "b"], "y", &[]);
        });
        check(&pair, [0, 1], |at, place| pick(a(at, place), b(at, place)));
        let many = model(|m| {
            two(m)
                .node("GlobalAveragePool", &["x"], "p", &[])
                .floats("half", &[], &[0.5])
                .node(op, &["a", "p", "half", "b"], "y", &[]);
        });
        check(&many, [0, 3], |at, place| {
            let values = [b(at, place), mean(at, place[0]), 0.5];
            values.into_iter().fold(a(at, place), pick)
        });
        let per_channel = model(|m| {
            m.floats("c", &[4, 1, 1], &[0.5, -0.5, 1.0, 0.0])
                .node(op, &["x", "c"], "y", &[]);
        });
        check(&per_channel, [0, 1], |at, [c, y, x]| {
            pick(at(c, y, x), [0.5, -0.5, 1.0, 0.0][c])
        });
        let per_pixel = model(|m| {
            m.floats("c", &[2, 3], &[0.5, -0.5, 1.0, 0.0, 0.25, -1.0])
                .node(op, &["x", "c"], "y", &[]);
        });
        check(&per_pixel, [0, 1], |at, [c, y, x]| {
            pick(at(c, y, x), [0.5, -0.5, 1.0, 0.0, 0.25, -1.0][3 * y + x])
        });
        let alone = model(|m| {
            m.node(op, &["x"], "y", &[]);
        });
        check(&alone, [0, 0], |at, [c, y, x]| at(c, y, x));
    }
}

/// Keras writes leaky ReLUs like that.
#[test]
fn a_value_and_its_multiple_are_a_leaky_relu() {
    for (op, pick) in [("Max", f32::max as fn(f32, f32) -> f32), ("Min", f32::min)] {
        for factor in [0.1, 2.5, 0.0, -1.0, -3.0] {
            let bytes = model(|m| {
                m.floats("factor", &[], &[factor])
                    .node("Mul", &["x", "factor"], "s", &[])
                    .node(op, &["s", "x"], "y", &[]);
            });
            check(&bytes, [0, 1], |at, [c, y, x]| {
                pick(at(c, y, x), factor * at(c, y, x))
            });
            let model = import(&bytes);
            let activation = model.activations().next().unwrap();
            assert!(matches!(
                model.graph.node(activation).op,
                Op::Activation {
                    function: Activation::LeakyRelu { .. } | Activation::Relu,
                    ..
                }
            ));
        }
    }
}
