//! Exponential linear units, softplus and its kin, and functions with thresholds.

use super::*;

fn elu(alpha: f64, gamma: f64, width: f64) -> Activation {
    Activation::Elu {
        alpha,
        gamma,
        width,
    }
}

fn softplus(x: f64) -> f64 {
    (1.0 + x.exp()).ln()
}

#[test]
fn exponential_linear_units() {
    let float = Attr::Float;
    let unit = |alpha: f64, gamma: f64, width: f64| {
        move |_: usize, x: f64| {
            if x > 0.0 {
                gamma * x
            } else {
                gamma * alpha * ((x / width).exp() - 1.0)
            }
        }
    };
    check(
        &node(6 + 1, "Elu", &[]),
        &[elu(1.0, 1.0, 1.0)],
        unit(1.0, 1.0, 1.0),
    );
    check(
        &node(22, "Elu", &[("alpha", float(0.5))]),
        &[elu(0.5, 1.0, 1.0)],
        unit(0.5, 1.0, 1.0),
    );
    let (alpha, gamma) = (1.673_263_2, 1.050_701);
    check(
        &node(6 + 1, "Selu", &[]),
        &[elu(alpha, gamma, 1.0)],
        unit(alpha, gamma, 1.0),
    );
    check(
        &node(13, "Selu", &[("alpha", float(2.0)), ("gamma", float(0.5))]),
        &[elu(2.0, 0.5, 1.0)],
        unit(2.0, 0.5, 1.0),
    );
    check(
        &node(12, "Celu", &[]),
        &[elu(1.0, 1.0, 1.0)],
        unit(1.0, 1.0, 1.0),
    );
    check(
        &node(12, "Celu", &[("alpha", float(2.0))]),
        &[elu(2.0, 1.0, 2.0)],
        unit(2.0, 1.0, 2.0),
    );
    let message = refusal(&node(12, "Celu", &[("alpha", float(-1.0))]));
    assert!(
        message.contains("the width -1 is not positive"),
        "{message}"
    );
}

#[test]
fn functions_with_thresholds() {
    let float = Attr::Float;
    check(&node(13, "Abs", &[]), &[Activation::Abs], |_, x| x.abs());
    let thresholded = |threshold: f64| move |_: usize, x: f64| if x > threshold { x } else { 0.0 };
    check(
        &node(10, "ThresholdedRelu", &[]),
        &[Activation::ThresholdedRelu { threshold: 1.0 }],
        thresholded(1.0),
    );
    check(
        &node(10, "ThresholdedRelu", &[("alpha", float(-0.5))]),
        &[Activation::ThresholdedRelu { threshold: -0.5 }],
        thresholded(-0.5),
    );
    let shrink = |threshold: f64, bias: f64| {
        move |_: usize, x: f64| {
            if x.abs() <= threshold {
                0.0
            } else {
                x - bias * x.signum()
            }
        }
    };
    check(
        &node(9, "Shrink", &[]),
        &[Activation::Shrink {
            threshold: 0.5,
            bias: 0.0,
        }],
        shrink(0.5, 0.0),
    );
    check(
        &node(9, "Shrink", &[("lambd", float(1.5)), ("bias", float(1.25))]),
        &[Activation::Shrink {
            threshold: 1.5,
            bias: 1.25,
        }],
        shrink(1.5, 1.25),
    );
    let message = refusal(&node(9, "Shrink", &[("lambd", float(-1.5))]));
    assert!(
        message.contains("the threshold -1.5 is negative"),
        "{message}"
    );
    let message = refusal(&node(13, "Sign", &[]));
    assert!(message.contains("the sign jumps at 0"), "{message}");
}

#[test]
fn softplus_and_what_is_made_of_it() {
    check(
        &node(6 + 1, "Softplus", &[]),
        &[Activation::Softplus],
        |_, x| softplus(x),
    );
    check(&node(18, "Mish", &[]), &[Activation::Mish], |_, x| {
        x * softplus(x).tanh()
    });
    for operands in [["x", "t"], ["t", "x"]] {
        let bytes = model(13, |m| {
            m.node("Softplus", &["x"], "s", &[])
                .node("Tanh", &["s"], "t", &[])
                .node("Mul", &operands, "y", &[]);
        });
        check(&bytes, &[Activation::Mish], |_, x| x * softplus(x).tanh());
    }
    // The softplus is scaled, so that the product is no Mish but one of two values.
    let scaled = model(13, |m| {
        m.floats("two", &[], &[2.0])
            .node("Softplus", &["x"], "s", &[])
            .node("Mul", &["s", "two"], "d", &[])
            .node("Tanh", &["d"], "t", &[])
            .node("Mul", &["x", "t"], "y", &[]);
    });
    let functions = [Activation::Softplus, Activation::Tanh];
    check(&scaled, &functions, |_, x| x * (2.0 * softplus(x)).tanh());
    let log_sigmoid = model(13, |m| {
        m.node("Sigmoid", &["x"], "s", &[])
            .node("Log", &["s"], "y", &[]);
    });
    check(&log_sigmoid, &[Activation::Softplus], |_, x| -softplus(-x));
    // ln(3 + 2·e^x).
    let written_out = model(13, |m| {
        m.floats("two", &[], &[2.0])
            .floats("three", &[], &[3.0])
            .node("Exp", &["x"], "e", &[])
            .node("Mul", &["e", "two"], "d", &[])
            .node("Add", &["d", "three"], "s", &[])
            .node("Log", &["s"], "y", &[]);
    });
    check(&written_out, &[Activation::Softplus], |_, x| {
        (3.0 + 2.0 * x.exp()).ln()
    });
}

#[test]
fn softsign_as_an_operator_and_a_quotient() {
    let softsign = |_: usize, x: f64| x / (1.0 + x.abs());
    check(
        &node(6 + 1, "Softsign", &[]),
        &[Activation::Softsign],
        softsign,
    );
    let quotient = |scale: f32, shift: f32| {
        model(13, |m| {
            m.floats("scale", &[], &[scale])
                .floats("shift", &[], &[shift])
                .node("Abs", &["x"], "a", &[])
                .node("Mul", &["a", "scale"], "p", &[])
                .node("Add", &["p", "shift"], "s", &[])
                .node("Div", &["x", "s"], "y", &[]);
        })
    };
    check(&quotient(1.0, 1.0), &[Activation::Softsign], softsign);
    check(&quotient(0.5, 2.0), &[Activation::Softsign], |_, x| {
        x / (2.0 + 0.5 * x.abs())
    });
    // 1/(2 − |x|/2) is no softsign, but a power that the image may or may not allow.
    let power = Activation::Power {
        offset: 0.0,
        exponent: -1.0,
    };
    let other = import(&quotient(-0.5, 2.0));
    assert_eq!(activations(&other), [Activation::Abs, power]);
}

#[test]
fn sigmoids_written_out() {
    for op in ["Reciprocal", "Div"] {
        let bytes = model(13, |m| {
            m.floats("one", &[], &[1.0])
                .node("Neg", &["x"], "n", &[])
                .node("Exp", &["n"], "e", &[])
                .node("Add", &["e", "one"], "s", &[]);
            match op {
                "Div" => m.node("Div", &["one", "s"], "y", &[]),
                _ => m.node("Reciprocal", &["s"], "y", &[]),
            };
        });
        check(&bytes, &[Activation::Sigmoid], |_, x| sigmoid(x));
    }
}
