//! Activations as exporters write them: operators with attributes that are not the defaults, and
//! chains of operators that are one activation.

use heddle_frontends::Error;
use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::eval;
use heddle_ir::nn::{Activation, GeluForm, LinearOp, Model, Op};
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};

#[path = "activations/powers.rs"]
mod powers;
#[path = "activations/units.rs"]
mod units;

const CHANNELS: usize = 3;

/// Numbers between −4 and 4 in three channels of four pixels.
fn image() -> Vec<f32> {
    (0..CHANNELS * 4)
        .map(|i| ((i * 37 + 11) % 101) as f32 / 12.5 - 4.0)
        .collect()
}

fn model(opset: i64, nodes: impl FnOnce(&mut OnnxBuilder)) -> Vec<u8> {
    let mut builder = OnnxBuilder::new(opset);
    builder.input("x", &[1, CHANNELS as i64, 2, 2]).output("y");
    nodes(&mut builder);
    builder.build()
}

fn import(bytes: &[u8]) -> Model {
    import_bytes("test.onnx", bytes, &ImportOptions::default()).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    match import_bytes("test.onnx", bytes, &ImportOptions::default()) {
        Err(Error::Unsupported { problems, .. }) => {
            assert_eq!(problems.list.len(), 1, "{problems:?}");
            format!("{} {}", problems.list[0].subject, problems.list[0].message)
        }
        other => panic!("{other:?}"),
    }
}

/// The activations of a model, in order.
fn activations(model: &Model) -> Vec<Activation> {
    let op = |value| match model.graph.node(value).op {
        Op::Activation {
            function: activation,
            ..
        } => Some(activation),
        _ => None,
    };
    model.graph.values().filter_map(op).collect()
}

/// Expects `f(channel, x)` at every pixel, and these activations.
#[track_caller]
fn check(bytes: &[u8], expected: &[Activation], f: impl Fn(usize, f64) -> f64) {
    let model = import(bytes);
    let found = activations(&model);
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        for i in -20..=20 {
            let x = f64::from(i) / 4.0;
            let difference = (found.apply(x) - expected.apply(x)).abs();
            assert!(difference < 1e-5, "{found:?}, not {expected:?}");
        }
    }
    let output = eval::nn::run(&model, &image()).unwrap();
    for (index, (found, x)) in output.iter().zip(image()).enumerate() {
        let expected = f(index / 4, f64::from(x));
        assert!(
            (f64::from(*found) - expected).abs() < 2e-5,
            "f({x}) = {found}, not {expected}"
        );
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn hard_swish(x: f64) -> f64 {
    x * (x / 6.0 + 0.5).clamp(0.0, 1.0)
}

/// x·Φ(x), with Φ by the midpoint rule.
fn gelu(x: f64) -> f64 {
    let steps = 20_000;
    let h = x / f64::from(steps);
    let area: f64 = (0..steps)
        .map(|i| (-0.5 * (h * (f64::from(i) + 0.5)).powi(2)).exp())
        .sum();
    x * (0.5 + area * h / (2.0 * std::f64::consts::PI).sqrt())
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x.powi(3))).tanh())
}

fn clip(low: impl Into<Option<f64>>, high: impl Into<Option<f64>>) -> Activation {
    Activation::Clip {
        low: low.into(),
        high: high.into(),
    }
}

const GELU: Activation = Activation::Gelu {
    form: GeluForm::Erf,
};
const GELU_TANH: Activation = Activation::Gelu {
    form: GeluForm::Tanh,
};

/// One node with float attributes.
fn node(opset: i64, op: &str, attributes: &[(&str, Attr)]) -> Vec<u8> {
    model(opset, |m| {
        m.node(op, &["x"], "y", attributes);
    })
}

#[test]
fn single_operators() {
    let float = Attr::Float;
    check(
        &node(13, "LeakyRelu", &[("alpha", float(0.25))]),
        &[Activation::LeakyRelu { slope: 0.25 }],
        |_, x| if x > 0.0 { x } else { 0.25 * x },
    );
    check(
        &node(6 + 1, "LeakyRelu", &[]),
        &[Activation::LeakyRelu { slope: 0.01 }],
        |_, x| if x > 0.0 { x } else { 0.01 * x },
    );
    check(&node(13, "Sigmoid", &[]), &[Activation::Sigmoid], |_, x| {
        sigmoid(x)
    });
    check(&node(13, "Tanh", &[]), &[Activation::Tanh], |_, x| {
        let (up, down) = (x.exp(), (-x).exp());
        (up - down) / (up + down)
    });
    check(
        &node(
            13,
            "HardSigmoid",
            &[("alpha", float(0.5)), ("beta", float(0.25))],
        ),
        &[Activation::HardSigmoid {
            alpha: 0.5,
            beta: 0.25,
        }],
        |_, x| (0.5 * x + 0.25).clamp(0.0, 1.0),
    );
    check(
        &node(13, "HardSigmoid", &[]),
        &[Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        }],
        |_, x| (0.2 * x + 0.5).clamp(0.0, 1.0),
    );
    check(
        &node(14, "HardSwish", &[]),
        &[Activation::HardSwish],
        |_, x| hard_swish(x),
    );
    check(&node(20, "Gelu", &[]), &[GELU], |_, x| gelu(x));
    check(
        &node(20, "Gelu", &[("approximate", Attr::Str("tanh"))]),
        &[GELU_TANH],
        |_, x| gelu_tanh(x),
    );
    check(&node(24, "Swish", &[]), &[Activation::Silu], |_, x| {
        x * sigmoid(x)
    });
    check(
        &node(24, "Swish", &[("alpha", float(1.5))]),
        &[Activation::Silu],
        |_, x| x * sigmoid(1.5 * x),
    );
}

#[test]
fn clipping_by_attributes_and_inputs() {
    let float = Attr::Float;
    check(
        &node(6 + 1, "Clip", &[("min", float(0.0)), ("max", float(6.0))]),
        &[clip(0.0, 6.0)],
        |_, x| x.clamp(0.0, 6.0),
    );
    check(
        &node(10, "Clip", &[("max", float(1.5))]),
        &[clip(None, 1.5)],
        |_, x| x.min(1.5),
    );
    let inputs = |low: Option<f32>, high: Option<f32>| {
        model(13, |m| {
            let mut names = vec!["x"];
            for (name, bound) in [("low", low), ("high", high)] {
                match bound {
                    Some(bound) => {
                        m.floats(name, &[], &[bound]);
                        names.push(name);
                    }
                    None => names.push(""),
                }
            }
            m.node("Clip", &names, "y", &[]);
        })
    };
    check(
        &inputs(Some(-1.0), Some(2.5)),
        &[clip(-1.0, 2.5)],
        |_, x| x.clamp(-1.0, 2.5),
    );
    check(&inputs(Some(-1.0), None), &[clip(-1.0, None)], |_, x| {
        x.max(-1.0)
    });
    check(&inputs(None, Some(0.5)), &[clip(None, 0.5)], |_, x| {
        x.min(0.5)
    });
    check(
        &inputs(Some(0.0), Some(f32::MAX)),
        &[Activation::Relu],
        |_, x| x.max(0.0),
    );
    check(&inputs(None, None), &[], |_, x| x);
    let message = refusal(&inputs(Some(1.0), Some(-1.0)));
    assert!(message.contains("1…-1"), "{message}");
}

#[test]
fn maxima_and_minima_with_a_number_clip() {
    let with = |op: &'static str, numbers: &[f32], dims: &[i64]| {
        model(13, |m| {
            m.floats("bound", dims, numbers)
                .node(op, &["bound", "x"], "y", &[]);
        })
    };
    check(&with("Max", &[0.0], &[1]), &[Activation::Relu], |_, x| {
        x.max(0.0)
    });
    check(&with("Max", &[-0.5], &[]), &[clip(-0.5, None)], |_, x| {
        x.max(-0.5)
    });
    check(
        &with("Min", &[2.0; 3], &[1, 3, 1, 1]),
        &[clip(None, 2.0)],
        |_, x| x.min(2.0),
    );
    let two = model(13, |m| {
        m.node("Neg", &["x"], "n", &[])
            .node("Max", &["x", "n"], "y", &[]);
    });
    let absolute = Activation::LeakyRelu { slope: -1.0 };
    check(&two, &[absolute], |_, x| x.abs());
    // ReLU6 in two steps is one clipping.
    let steps = model(13, |m| {
        m.floats("six", &[], &[6.0])
            .node("Relu", &["x"], "r", &[])
            .node("Min", &["r", "six"], "y", &[]);
    });
    check(&steps, &[clip(0.0, 6.0)], |_, x| x.clamp(0.0, 6.0));
    let outside = model(13, |m| {
        m.floats("a", &[], &[-2.0])
            .floats("b", &[], &[-1.0])
            .node("Min", &["x", "a"], "r", &[])
            .node("Max", &["r", "b"], "y", &[]);
    });
    check(&outside, &[clip(-1.0, -1.0)], |_, _| -1.0);
}

#[test]
fn parametric_relu_has_one_slope_or_one_a_channel() {
    let slopes = |dims: &[i64], slopes: &[f32]| {
        model(9, |m| {
            m.floats("slopes", dims, slopes)
                .node("PRelu", &["x", "slopes"], "y", &[]);
        })
    };
    check(
        &slopes(&[1], &[0.125]),
        &[Activation::LeakyRelu { slope: 0.125 }],
        |_, x| if x > 0.0 { x } else { 0.125 * x },
    );
    let each = [0.25, -0.5, 2.0];
    let model = slopes(&[3, 1, 1], &each);
    check(&model, &[Activation::Relu], |channel, x| {
        if x > 0.0 {
            x
        } else {
            f64::from(each[channel]) * x
        }
    });
    let is_affine = |op: &Op| matches!(op, Op::Linear(LinearOp::ChannelAffine(_)));
    let graph = import(&model).graph;
    let affine = graph.values().filter(|v| is_affine(&graph.node(*v).op));
    assert_eq!(affine.count(), 2);
}

#[test]
fn squares_as_powers_and_products() {
    for (opset, op, operands) in [(13, "Pow", ["x", "two"]), (13, "Mul", ["x", "x"])] {
        let bytes = model(opset, |m| {
            m.floats("two", &[], &[2.0]).node(op, &operands, "y", &[]);
        });
        check(&bytes, &[Activation::Square], |_, x| x * x);
    }
    let multiples = model(13, |m| {
        m.floats("a", &[], &[-3.0])
            .floats("b", &[], &[0.5])
            .node("Mul", &["x", "a"], "p", &[])
            .node("Mul", &["b", "x"], "q", &[])
            .node("Mul", &["p", "q"], "y", &[]);
    });
    check(&multiples, &[Activation::Square], |_, x| -1.5 * x * x);
    let powers = |exponent: f32| {
        model(13, |m| {
            m.floats("e", &[], &[exponent])
                .node("Pow", &["x", "e"], "y", &[]);
        })
    };
    check(&powers(1.0), &[], |_, x| x);
    check(&powers(0.0), &[], |_, _| 1.0);
    assert!(refusal(&powers(1024.0)).contains("up to 1023"));
}

#[test]
fn products_of_unrelated_values_are_products() {
    let shifted = model(13, |m| {
        m.floats("one", &[], &[1.0])
            .node("Add", &["x", "one"], "s", &[])
            .node("Mul", &["x", "s"], "y", &[]);
    });
    check(&shifted, &[], |_, x| x * (x + 1.0));
    let per_channel = model(13, |m| {
        m.floats("scales", &[3, 1, 1], &[1.0, 2.0, 3.0])
            .node("Mul", &["x", "scales"], "s", &[])
            .node("Sigmoid", &["s"], "g", &[])
            .node("Mul", &["x", "g"], "y", &[]);
    });
    let scales = [1.0, 2.0, 3.0];
    check(&per_channel, &[Activation::Sigmoid], |channel, x| {
        x * sigmoid(scales[channel] * x)
    });
    // The argument is not the other factor's.
    let other = model(13, |m| {
        m.node("Relu", &["x"], "r", &[])
            .node("Sigmoid", &["r"], "g", &[])
            .node("Mul", &["x", "g"], "y", &[]);
    });
    let both = [Activation::Relu, Activation::Sigmoid];
    check(&other, &both, |_, x| x * sigmoid(x.max(0.0)));
    let offset = model(13, |m| {
        m.floats("one", &[], &[1.0])
            .node("Sigmoid", &["x"], "g", &[])
            .node("Add", &["g", "one"], "h", &[])
            .node("Mul", &["x", "h"], "y", &[]);
    });
    check(&offset, &[Activation::Sigmoid], |_, x| {
        x * (sigmoid(x) + 1.0)
    });
}

#[test]
fn silu_as_a_product() {
    for operands in [["x", "g"], ["g", "x"]] {
        let bytes = model(13, |m| {
            m.node("Sigmoid", &["x"], "g", &[])
                .node("Mul", &operands, "y", &[]);
        });
        check(&bytes, &[Activation::Silu], |_, x| x * sigmoid(x));
    }
    // With a factor inside, as in approximations of GELU.
    let scaled = model(13, |m| {
        m.floats("k", &[], &[1.702])
            .node("Mul", &["x", "k"], "s", &[])
            .node("Sigmoid", &["s"], "g", &[])
            .node("Mul", &["x", "g"], "y", &[]);
    });
    check(&scaled, &[Activation::Silu], |_, x| x * sigmoid(1.702 * x));
}

#[test]
fn hard_swish_as_a_product() {
    let sixth = 1.0 / 6.0;
    let hard_sigmoid = model(13, |m| {
        m.node(
            "HardSigmoid",
            &["x"],
            "g",
            &[("alpha", Attr::Float(sixth)), ("beta", Attr::Float(0.5))],
        )
        .node("Mul", &["x", "g"], "y", &[]);
    });
    check(&hard_sigmoid, &[Activation::HardSwish], |_, x| {
        hard_swish(x)
    });
    // x·ReLU6(x + 3)/6, divided before or after the product.
    for before in [true, false] {
        let bytes = model(13, |m| {
            m.floats("three", &[], &[3.0])
                .floats("zero", &[], &[0.0])
                .floats("six", &[], &[6.0])
                .node("Add", &["x", "three"], "s", &[])
                .node("Clip", &["s", "zero", "six"], "c", &[]);
            if before {
                m.node("Div", &["c", "six"], "d", &[])
                    .node("Mul", &["d", "x"], "y", &[]);
            } else {
                m.node("Mul", &["x", "c"], "p", &[])
                    .node("Div", &["p", "six"], "y", &[]);
            }
        });
        check(&bytes, &[Activation::HardSwish], |_, x| hard_swish(x));
    }
    let keras = model(13, |m| {
        m.node("HardSigmoid", &["x"], "g", &[])
            .node("Mul", &["x", "g"], "y", &[]);
    });
    check(&keras, &[Activation::HardSwish], |_, x| {
        x * (0.2 * x + 0.5).clamp(0.0, 1.0)
    });
}

/// `erf(x/√2)` as `e`, divided or multiplied, plus one as `f`.
fn erf_plus_one(m: &mut OnnxBuilder, divided: bool) {
    m.floats("root", &[], &[std::f32::consts::SQRT_2])
        .floats("inverse", &[], &[std::f32::consts::FRAC_1_SQRT_2])
        .floats("one", &[], &[1.0])
        .floats("half", &[], &[0.5]);
    if divided {
        m.node("Div", &["x", "root"], "d", &[]);
    } else {
        m.node("Mul", &["x", "inverse"], "d", &[]);
    }
    m.node("Erf", &["d"], "e", &[])
        .node("Add", &["e", "one"], "f", &[]);
}

#[test]
fn gelu_with_the_error_function() {
    for divided in [true, false] {
        let last = model(13, |m| {
            erf_plus_one(m, divided);
            m.node("Mul", &["x", "f"], "p", &[])
                .node("Mul", &["p", "half"], "y", &[]);
        });
        let first = model(13, |m| {
            erf_plus_one(m, divided);
            m.node("Mul", &["half", "x"], "h", &[])
                .node("Mul", &["h", "f"], "y", &[]);
        });
        let inner = model(13, |m| {
            erf_plus_one(m, divided);
            m.node("Mul", &["f", "half"], "h", &[])
                .node("Mul", &["h", "x"], "y", &[]);
        });
        for bytes in [last, first, inner] {
            check(&bytes, &[GELU], |_, x| gelu(x));
        }
    }
    check(&node(13, "Erf", &[]), &[Activation::Erf], |_, x| {
        2.0 * gelu(x * std::f64::consts::SQRT_2) / (x * std::f64::consts::SQRT_2) - 1.0
    });
    let unshifted = model(13, |m| {
        erf_plus_one(m, true);
        m.node("Mul", &["x", "e"], "y", &[]);
    });
    check(&unshifted, &[Activation::Erf], |_, x| 2.0 * gelu(x) - x);
}

#[test]
fn gelu_with_a_hyperbolic_tangent() {
    for cube in ["Pow", "Mul"] {
        let bytes = model(13, |m| {
            m.floats("three", &[], &[3.0])
                .floats("k", &[], &[0.044_715])
                .floats("root", &[], &[0.797_884_6])
                .floats("one", &[], &[1.0])
                .floats("half", &[], &[0.5]);
            if cube == "Pow" {
                m.node("Pow", &["x", "three"], "c", &[]);
            } else {
                m.node("Mul", &["x", "x"], "s", &[])
                    .node("Mul", &["x", "s"], "c", &[]);
            }
            m.node("Mul", &["c", "k"], "kc", &[])
                .node("Add", &["x", "kc"], "sum", &[])
                .node("Mul", &["sum", "root"], "arg", &[])
                .node("Tanh", &["arg"], "t", &[])
                .node("Add", &["t", "one"], "f", &[])
                .node("Mul", &["x", "half"], "h", &[])
                .node("Mul", &["h", "f"], "y", &[]);
        });
        check(&bytes, &[GELU_TANH], |_, x| gelu_tanh(x));
    }
}
