use super::*;

const CLIP: Activation = Activation::Clip {
    low: Some(-1.0),
    high: Some(6.0),
};
const GELU: Activation = Activation::Gelu {
    form: GeluForm::Erf,
};
const GELU_TANH: Activation = Activation::Gelu {
    form: GeluForm::Tanh,
};

const ELU: Activation = Activation::Elu {
    alpha: 0.5,
    gamma: 1.0,
    width: 1.0,
};
const SELU: Activation = Activation::Elu {
    alpha: 1.673_263_192_176_818_8,
    gamma: 1.050_700_700_283_050_5,
    width: 1.0,
};
const CELU: Activation = Activation::Elu {
    alpha: 2.0,
    gamma: 1.0,
    width: 2.0,
};
const SHRINK: Activation = Activation::Shrink {
    threshold: 1.0,
    bias: 0.25,
};
const POWER: Activation = Activation::Power {
    offset: 5.0,
    exponent: -0.5,
};

#[test]
fn functions_have_their_known_values() {
    let hard_sigmoid = Activation::HardSigmoid {
        alpha: 0.2,
        beta: 0.5,
    };
    let leaky = Activation::LeakyRelu { slope: 0.25 };
    let cases = [
        (Activation::Relu, -2.0, 0.0),
        (Activation::Relu, 2.0, 2.0),
        (leaky, -2.0, -0.5),
        (leaky, 2.0, 2.0),
        (CLIP, -2.0, -1.0),
        (CLIP, 2.0, 2.0),
        (CLIP, 7.0, 6.0),
        (Activation::Sigmoid, 2.0, 0.880_797_077_977_882_4),
        (Activation::Sigmoid, -800.0, 0.0),
        (Activation::Tanh, 0.5, 0.462_117_157_260_009_76),
        (Activation::Silu, -1.0, -0.268_941_421_369_995_1),
        (Activation::Silu, 800.0, 800.0),
        (hard_sigmoid, 1.0, 0.7),
        (hard_sigmoid, -3.0, 0.0),
        (hard_sigmoid, 3.0, 1.0),
        (Activation::HardSwish, 1.5, 1.125),
        (Activation::HardSwish, -1.5, -0.375),
        (Activation::HardSwish, 4.0, 4.0),
        (GELU, 1.0, 0.841_344_746_068_542_9),
        (GELU, -2.0, -0.045_500_263_896_358_42),
        (GELU_TANH, 1.0, 0.841_191_990_608_276_8),
        (Activation::Square, -3.0, 9.0),
        (Activation::Checkpoint, -3.0, -3.0),
        (Activation::Monomial { degree: 5 }, -2.0, -32.0),
        (Activation::Abs, -2.5, 2.5),
        (ELU, 2.0, 2.0),
        (ELU, -1.0, -0.316_060_279_414_278_8),
        (SELU, 2.0, 2.101_401_400_566_101_1),
        (SELU, -1.0, -1.111_330_400_848_473),
        (CELU, 3.0, 3.0),
        (CELU, -1.0, -0.786_938_680_574_733_2),
        (Activation::Softplus, 1.0, 1.313_261_687_518_222_8),
        (Activation::Softplus, 800.0, 800.0),
        (Activation::Softplus, -800.0, 0.0),
        (Activation::Softsign, -3.0, -0.75),
        (Activation::Mish, 1.0, 0.865_098_388_267_310_3),
        (Activation::Erf, 0.5, 0.520_499_877_813_046_5),
        (Activation::ThresholdedRelu { threshold: 1.5 }, 1.5, 0.0),
        (Activation::ThresholdedRelu { threshold: 1.5 }, 2.0, 2.0),
        (SHRINK, -2.0, -1.75),
        (SHRINK, 0.5, 0.0),
        (SHRINK, 2.0, 1.75),
        (Activation::Exp { offset: 0.5 }, 0.5, std::f64::consts::E),
        (Activation::Log { offset: 1.0 }, 1.0, std::f64::consts::LN_2),
        (POWER, 3.0, 0.353_553_390_593_273_8),
    ];
    for (function, x, expected) in cases {
        let found = function.apply(x);
        assert!(
            (found - expected).abs() < 1e-14,
            "{function}({x}) = {found}, not {expected}"
        );
    }
}

#[test]
fn parameters_display_as_the_model_has_them() {
    let slope = f64::from(0.1_f32);
    assert_eq!(
        Activation::LeakyRelu { slope }.to_string(),
        "leaky_relu(0.1)"
    );
    assert_eq!(CLIP.to_string(), "clip(-1, 6)");
    let below = Activation::Clip {
        low: None,
        high: Some(6.0),
    };
    assert_eq!(below.to_string(), "clip(−∞, 6)");
}

#[test]
fn parameters_are_checked() {
    assert!(CLIP.check().is_ok() && Activation::Relu.check().is_ok());
    let wrong = [
        Activation::LeakyRelu { slope: f64::NAN },
        Activation::Clip {
            low: Some(1.0),
            high: Some(0.0),
        },
        Activation::Clip {
            low: None,
            high: Some(f64::INFINITY),
        },
        Activation::HardSigmoid {
            alpha: 1.0,
            beta: f64::NEG_INFINITY,
        },
        Activation::Monomial { degree: 0 },
        Activation::Monomial { degree: 1024 },
        Activation::Elu {
            alpha: 1.0,
            gamma: 1.0,
            width: 0.0,
        },
        Activation::Shrink {
            threshold: -1.0,
            bias: 0.0,
        },
        Activation::ThresholdedRelu {
            threshold: f64::NAN,
        },
        Activation::Exp { offset: f64::NAN },
        Activation::Power {
            offset: 1.0,
            exponent: f64::INFINITY,
        },
    ];
    for function in wrong {
        assert!(function.check().is_err(), "{function}");
    }
}

#[test]
fn a_shift_of_the_operand_joins_the_offset() {
    let functions = [
        Activation::Exp { offset: 0.5 },
        Activation::Log { offset: 6.0 },
        POWER,
    ];
    for function in functions {
        let shifted = function.shifted(1.25);
        let difference = shifted.apply(0.75) - function.apply(2.0);
        assert!(difference.abs() < 1e-14, "{function}");
        assert_eq!(shifted.offset(), function.offset().map(|at| at + 1.25));
    }
    assert_eq!(POWER.pole(), Some(-5.0));
    assert_eq!(Activation::Exp { offset: 1.0 }.pole(), None);
    assert_eq!(SELU.shifted(1.0), SELU);
    assert_eq!(SELU.offset(), None);
}
