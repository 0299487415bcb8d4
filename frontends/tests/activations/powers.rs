//! Powers, exponentials and logarithms.

use super::*;

const CUBE: Activation = Activation::Monomial { degree: 3 };

#[test]
fn exponents_of_any_type_are_read() {
    let bytes = |write: fn(&mut OnnxBuilder)| {
        model(13, |m| {
            write(m);
            m.node("Pow", &["x", "e"], "y", &[]);
        })
    };
    let cube = |_: usize, x: f64| x.powi(3);
    let floats: fn(&mut OnnxBuilder) = |m| {
        m.floats("e", &[1], &[3.0]);
    };
    let ints: fn(&mut OnnxBuilder) = |m| {
        m.ints("e", &[3]);
    };
    for write in [floats, ints] {
        // The bound of 64·ε for results of 64 and 32-bit floats.
        let model = import(&bytes(write));
        assert_eq!(activations(&model), [CUBE]);
        let output = eval::nn::run(&model, &image()).unwrap();
        for (found, x) in output.iter().zip(image()) {
            assert!((f64::from(*found) - cube(0, f64::from(x))).abs() < 1e-4);
        }
    }
}

/// Expects one activation, and `f(x)` up to 32-bit rounding of the largest result.
#[track_caller]
fn check_power(bytes: &[u8], degree: u32, f: impl Fn(f64) -> f64) {
    let model = import(bytes);
    let expected = match degree {
        2 => Activation::Square,
        degree => Activation::Monomial { degree },
    };
    assert_eq!(activations(&model), [expected]);
    let output = eval::nn::run(&model, &image()).unwrap();
    for (found, x) in output.iter().zip(image()) {
        let expected = f(f64::from(x));
        let difference = (f64::from(*found) - expected).abs();
        assert!(difference <= 1e-5 * expected.abs().max(1.0), "{x}: {found}");
    }
}

#[test]
fn products_of_powers_of_one_value_are_powers() {
    let cube = model(13, |m| {
        m.node("Mul", &["x", "x"], "s", &[])
            .node("Mul", &["s", "x"], "y", &[]);
    });
    check_power(&cube, 3, |x| x.powi(3));
    let fifth = model(13, |m| {
        m.floats("k", &[], &[-2.0])
            .node("Mul", &["x", "x"], "s", &[])
            .node("Mul", &["s", "k"], "t", &[])
            .node("Mul", &["x", "t"], "c", &[])
            .node("Mul", &["c", "s"], "y", &[]);
    });
    check_power(&fifth, 5, |x| -2.0 * x.powi(5));
    let square_of_square = model(13, |m| {
        m.node("Mul", &["x", "x"], "s", &[])
            .node("Mul", &["s", "s"], "y", &[]);
    });
    check_power(&square_of_square, 4, |x| x.powi(4));
    let cube_of_square = model(13, |m| {
        m.floats("two", &[], &[2.0])
            .floats("three", &[], &[3.0])
            .node("Pow", &["x", "two"], "s", &[])
            .node("Neg", &["s"], "n", &[])
            .node("Pow", &["n", "three"], "y", &[]);
    });
    check_power(&cube_of_square, 6, |x| -x.powi(6));
}

#[test]
fn high_powers_of_powers_stay_two() {
    let bytes = model(13, |m| {
        m.floats("four", &[], &[4.0])
            .node("Pow", &["x", "four"], "s", &[])
            .node("Pow", &["s", "four"], "y", &[]);
    });
    let fourth = Activation::Monomial { degree: 4 };
    assert_eq!(activations(&import(&bytes)), [fourth; 2]);
}

#[test]
fn polynomials_are_sums_of_powers() {
    let bytes = model(13, |m| {
        m.floats("three", &[], &[3.0])
            .floats("a", &[], &[0.1])
            .floats("b", &[], &[0.5])
            .node("Pow", &["x", "three"], "c", &[])
            .node("Mul", &["c", "a"], "ac", &[])
            .node("Mul", &["x", "b"], "bx", &[])
            .node("Add", &["ac", "bx"], "y", &[]);
    });
    let model = import(&bytes);
    assert_eq!(activations(&model), [CUBE]);
    let output = eval::nn::run(&model, &image()).unwrap();
    for (found, x) in output.iter().zip(image()) {
        let x = f64::from(x);
        let expected = 0.1 * x.powi(3) + 0.5 * x;
        assert!((f64::from(*found) - expected).abs() < 1e-5, "{x}: {found}");
    }
}

#[test]
fn roots_quotients_and_logarithms_of_positive_values() {
    let power = |exponent| Activation::Power {
        offset: 0.0,
        exponent,
    };
    // x² + 1, from 1 to 17.
    let of_positive = |nodes: fn(&mut OnnxBuilder)| {
        model(13, |m| {
            m.floats("one", &[], &[1.0])
                .floats("three", &[], &[3.0])
                .floats("e", &[], &[-0.75])
                .node("Mul", &["x", "x"], "s", &[])
                .node("Add", &["s", "one"], "p", &[]);
            nodes(m);
        })
    };
    type Case = (fn(&mut OnnxBuilder), Activation, fn(f64) -> f64);
    let cases: [Case; 5] = [
        (
            |m| {
                m.node("Sqrt", &["p"], "y", &[]);
            },
            power(0.5),
            f64::sqrt,
        ),
        (
            |m| {
                m.node("Reciprocal", &["p"], "y", &[]);
            },
            power(-1.0),
            f64::recip,
        ),
        (
            |m| {
                m.node("Div", &["three", "p"], "y", &[]);
            },
            power(-1.0),
            |p| 3.0 / p,
        ),
        (
            |m| {
                m.node("Pow", &["p", "e"], "y", &[]);
            },
            power(-0.75),
            |p| p.powf(-0.75),
        ),
        (
            |m| {
                m.node("Log", &["p"], "y", &[]);
            },
            Activation::Log { offset: 0.0 },
            f64::ln,
        ),
    ];
    for (nodes, expected, f) in cases {
        let model = import(&of_positive(nodes));
        assert_eq!(activations(&model), [Activation::Square, expected]);
        let output = eval::nn::run(&model, &image()).unwrap();
        for (found, x) in output.iter().zip(image()) {
            let expected = f(f64::from(x).powi(2) + 1.0);
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{x}: {found}");
        }
    }
}

#[test]
fn exponentials_of_any_base() {
    let exp = Activation::Exp { offset: 0.0 };
    let natural = import(&node(13, "Exp", &[]));
    assert_eq!(activations(&natural), [exp]);
    let with_base = |base: f32| {
        model(13, |m| {
            m.floats("base", &[], &[base])
                .node("Pow", &["base", "x"], "y", &[]);
        })
    };
    check(&with_base(0.5), &[exp], |_, x| (-x).exp2());
    assert!(refusal(&with_base(-2.0)).contains("the base -2"));
}

/// By the definition in ONNX's text.
fn lrn(x: &[f32], [size, channels]: [usize; 2], [alpha, beta, bias]: [f64; 3]) -> Vec<f64> {
    let plane = x.len() / channels;
    let at = |channel: usize, pixel: usize| f64::from(x[channel * plane + pixel]);
    (0..x.len())
        .map(|index| {
            let (channel, pixel) = (index / plane, index % plane);
            let first = channel.saturating_sub((size - 1) / 2);
            let last = (channel + size / 2).min(channels - 1);
            let sum: f64 = (first..=last).map(|c| at(c, pixel).powi(2)).sum();
            at(channel, pixel) * (bias + alpha / size as f64 * sum).powf(-beta)
        })
        .collect()
}

#[test]
fn local_response_normalisation_sums_over_channels() {
    let float = Attr::Float;
    for size in [1, 2, 3, 9] {
        let attributes = [
            ("size", Attr::Int(size)),
            ("alpha", float(0.5)),
            ("beta", float(0.6)),
            ("bias", float(2.0)),
        ];
        let model = import(&node(13, "LRN", &attributes));
        let found = eval::nn::run(&model, &image()).unwrap();
        let parameters = [0.5, f64::from(0.6_f32), 2.0];
        let expected = lrn(&image(), [size as usize, CHANNELS], parameters);
        for (found, expected) in found.iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-5, "{size}");
        }
    }
    let defaults = import(&node(13, "LRN", &[("size", Attr::Int(3))]));
    let found = eval::nn::run(&defaults, &image()).unwrap();
    let expected = lrn(&image(), [3, CHANNELS], [1e-4, 0.75, 1.0]);
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-5);
    }
    assert!(refusal(&node(13, "LRN", &[])).contains("`size` is missing"));
    let zero = [("size", Attr::Int(3)), ("bias", float(0.0))];
    assert!(refusal(&node(13, "LRN", &zero)).contains("must stay positive"));
}
