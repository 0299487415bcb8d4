//! From an activation and its range to polynomials.

use heddle_ir::nn::Activation;
use heddle_ir::slot::{ApproximatedActivation, Chebyshev, sample_points};

use super::{piecewise, smooth};

/// Precision in bits that a smooth function's polynomial reaches, of the result's bound.
pub const SMOOTH_BITS: i32 = 13;

/// Precision in bits that it reaches where this takes no further level. Its error is spread over
/// the whole range, while ReLU's is close to 0 for most operands.
pub const WANTED_SMOOTH_BITS: i32 = 16;

/// Results beyond two to this power are refused: what follows would overflow.
const MAX_RESULT_BITS: f64 = 100.0;

/// An activation as polynomials on its range.
#[derive(Clone, Debug, PartialEq)]
pub struct Approximation {
    /// The polynomials, which map slots to slots.
    pub activation: ApproximatedActivation,
    /// The bound of the operand's elements.
    pub operand_bound: f64,
    /// The bound of the result's elements.
    pub result_bound: f64,
}

/// Most bits by which the results on the calibration images may lie below the result's bound.
/// Beyond, noise and the polynomials' errors, which go with the bound, leave nothing of them.
const MAX_UNUSED_BITS: f64 = 12.0;

/// Distance from a jump, relative to the result's bound and as `−log2`, from which a gate counts as
/// settled.
const SETTLED_BITS: i32 = 8;

impl Approximation {
    /// How far from its jumps the function is not followed; `None` for a continuous function, and
    /// where no jump lies within the range.
    pub fn jump_width(&self) -> Option<f64> {
        let bound = self.operand_bound;
        let pieces = piecewise::pieces(self.activation.function)?;
        let settled = f64::from(-SETTLED_BITS).exp2();
        let off = |v: f64| {
            let exact = self.activation.function.apply(v) / self.result_bound;
            (self.activation.eval(v / bound) - exact).abs() > settled
        };
        let jumps = piecewise::jumps(&pieces);
        let widths = jumps.into_iter().filter(|at| at.abs() < bound).map(|at| {
            const STEPS: i32 = 400;
            let distances = (0..=STEPS).map(|i| {
                let exponent = -20.0 * f64::from(i) / f64::from(STEPS);
                2.0 * bound * exponent.exp2()
            });
            let within = |v: f64| v.abs() <= bound;
            let unsettled = |distance: &f64| {
                [at - distance, at + distance]
                    .into_iter()
                    .any(|v| within(v) && off(v))
            };
            distances.into_iter().find(unsettled).unwrap_or(0.0)
        });
        widths.reduce(f64::max)
    }
}

/// [`approximate`] where the calibration images use the fraction `used` of the bound. Exponentials,
/// logarithms and powers of offset operands get polynomials that are as precise on what the images
/// reach as those of others are on the whole range.
///
/// # Errors
/// A sentence if the function has no polynomials on the range, or none that help: the range reaches
/// a pole, results overflow, or those of the images lie far below the bound.
pub fn approximate_used(
    function: Activation,
    bound: f64,
    used: f64,
    sign: &[Chebyshev],
) -> Result<Approximation, String> {
    if let Some(pole) = function.pole().filter(|pole| -bound <= *pole) {
        return Err(format!(
            "the range reaches {pole:.4}, which its operand must stay above"
        ));
    }
    let whole = result_bound(function, bound);
    if !(whole.is_finite() && whole.log2() < MAX_RESULT_BITS) {
        return Err(format!("its results reach {whole:e}"));
    }
    let steep = matches!(function, Activation::Monomial { .. }) || function.offset().is_some();
    if !steep || used <= 0.0 {
        return Ok(approximate(function, bound, sign));
    }
    let unused = (whole / result_bound(function, bound * used.min(1.0))).log2();
    if unused > MAX_UNUSED_BITS {
        return Err(format!(
            "its results on the sample images lie below 2^-{:.0} of those at the ends of the \
             range, which leaves no precision",
            unused.floor()
        ));
    }
    let more = unused.max(0.0).ceil() as i32;
    Ok(with_precision(function, bound, sign, more))
}

/// Approximates `function` on [−bound, bound]; `sign` is the composition for the sign function that
/// piecewise functions are made of. `bound` is positive and finite.
///
/// The error is that of the composition for piecewise functions. For smooth ones it is at most
/// 2^−[`SMOOTH_BITS`], down to 2^−[`WANTED_SMOOTH_BITS`] where this takes no further level, or what
/// a polynomial of degree [`smooth::MAX_DEGREE`] reaches. What was reached is recorded.
pub fn approximate(function: Activation, bound: f64, sign: &[Chebyshev]) -> Approximation {
    with_precision(function, bound, sign, 0)
}

/// [`approximate`] with `more` bits of precision where the function is smooth.
fn with_precision(
    function: Activation,
    bound: f64,
    sign: &[Chebyshev],
    more: i32,
) -> Approximation {
    let result_bound = result_bound(function, bound);
    let fit = |f: &dyn Fn(f64) -> f64| {
        let in_slots = |x: f64| f(bound * x) / result_bound;
        let error = |bits: i32| f64::from(-bits - more).exp2();
        smooth::fit(in_slots, error(SMOOTH_BITS), error(WANTED_SMOOTH_BITS)).polynomial
    };
    let (terms, free) = if let Some(pieces) = piecewise::pieces(function) {
        let (terms, free) = piecewise::summands(&pieces, bound, result_bound, sign);
        // A function that vanishes on its range still needs a value.
        let vanishes = terms.is_empty() && free.is_none();
        let zero = Chebyshev {
            coefficients: vec![0.0],
        };
        (terms, if vanishes { Some(zero) } else { free })
    } else if let Some(kink) = piecewise::kink(function) {
        let (terms, _) = piecewise::summands(&kink, bound, result_bound, sign);
        let rest = |v: f64| function.apply(v) - piecewise::value(&kink, v);
        (terms, Some(fit(&rest)))
    } else if let Activation::Monomial { degree } = function {
        let in_slots = |x: f64| function.apply(bound * x) / result_bound;
        (
            Vec::new(),
            Some(smooth::interpolate(degree as usize, in_slots)),
        )
    } else if function == Activation::Checkpoint {
        (Vec::new(), Some(Chebyshev::identity()))
    } else {
        (Vec::new(), Some(fit(&|v| function.apply(v))))
    };
    let mut activation = ApproximatedActivation {
        function,
        terms,
        free,
        error: 0.0,
    };
    activation.error = activation.measured_error(bound, result_bound);
    Approximation {
        activation,
        operand_bound: bound,
        result_bound,
    }
}

/// A bound of |function| on [−bound, bound], positive: the largest magnitude on a fine grid.
/// Between grid points smooth functions exceed it by less than their approximation's error.
pub fn result_bound(function: Activation, bound: f64) -> f64 {
    let largest = sample_points()
        .map(|x| function.apply(bound * x).abs())
        .fold(0.0, f64::max);
    // Dividing by the bound of what is zero, or nearly so, would blow up noise.
    if largest > bound * f64::EPSILON {
        largest
    } else {
        bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approx::sign::ReluPrecision;
    use heddle_ir::nn::GeluForm;

    fn smooth() -> [Activation; 5] {
        [
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::Silu,
            Activation::Gelu {
                form: GeluForm::Erf,
            },
            Activation::Gelu {
                form: GeluForm::Tanh,
            },
        ]
    }

    fn sign() -> Vec<Chebyshev> {
        ReluPrecision::default().stages().unwrap()
    }

    #[test]
    fn relu_is_one_product_with_a_gate() {
        let relu = approximate(Activation::Relu, 7.3, &sign());
        assert_eq!(relu.result_bound, 7.3);
        let ApproximatedActivation {
            terms, free, error, ..
        } = &relu.activation;
        assert_eq!((terms.len(), free), (1, &None));
        assert!(terms[0].factor.is_identity());
        assert_eq!(terms[0].gate[..2], sign()[..2]);
        assert_eq!(relu.activation.depth(), 14);
        assert!((error.log2() + 13.1636).abs() < 1e-3, "{}", error.log2());
    }

    #[test]
    fn leaky_relu_takes_the_levels_of_relu() {
        for slope in [0.01, 0.2, -0.5, 3.0] {
            let leaky = approximate(Activation::LeakyRelu { slope }, 5.0, &sign());
            let result = 5.0 * slope.abs().max(1.0);
            assert!((leaky.result_bound - result).abs() < 1e-12);
            assert!(leaky.activation.terms[0].factor.is_identity());
            assert_eq!(
                (leaky.activation.free, leaky.activation.terms.len()),
                (None, 1)
            );
            let depth = approximate(Activation::Relu, 5.0, &sign())
                .activation
                .depth();
            assert_eq!(depth, 14);
        }
    }

    #[test]
    fn piecewise_functions_are_fourteen_levels_deep() {
        let cases = [
            (
                Activation::Clip {
                    low: Some(0.0),
                    high: Some(6.0),
                },
                9.0,
                10.5,
            ),
            (
                Activation::Clip {
                    low: Some(-1.0),
                    high: Some(1.0),
                },
                1.5,
                11.0,
            ),
            (
                Activation::HardSigmoid {
                    alpha: 0.2,
                    beta: 0.5,
                },
                5.0,
                10.5,
            ),
            (Activation::HardSwish, 6.0, 11.0),
        ];
        for (function, bound, bits) in cases {
            let found = approximate(function, bound, &sign()).activation;
            assert_eq!((found.depth(), found.terms.len()), (14, 2), "{function}");
            let reached = found.precision_bits();
            assert!(reached > bits, "{function}: {reached} bits");
        }
    }

    #[test]
    fn smooth_functions_reach_their_precision_in_few_levels() {
        for function in smooth() {
            let mut last = 0;
            for (bound, depth) in [(1.0, 3), (4.0, 4), (16.0, 6), (60.0, 8)] {
                let found = approximate(function, bound, &[]).activation;
                let bits = found.precision_bits();
                assert!(bits >= f64::from(SMOOTH_BITS), "{function}: {bits} bits");
                assert!(
                    found.depth() <= depth + 1,
                    "{function}, {bound}: {}",
                    found.depth()
                );
                let degree = found.free.unwrap().degree();
                assert!(degree > last, "{function}, {bound}: {degree}");
                last = degree;
            }
        }
    }

    const ELU: Activation = Activation::Elu {
        alpha: 1.0,
        gamma: 1.0,
        width: 1.0,
    };
    const SELU: Activation = Activation::Elu {
        alpha: 1.673,
        gamma: 1.0507,
        width: 1.0,
    };

    #[test]
    fn units_and_softplus_reach_their_precision() {
        let functions = [
            ELU,
            Activation::Softplus,
            Activation::Mish,
            Activation::Erf,
            Activation::Softsign,
        ];
        for function in functions {
            for bound in [1.0, 3.0, 8.0] {
                let found = approximate(function, bound, &[]).activation;
                let bits = found.precision_bits();
                assert!(bits >= f64::from(SMOOTH_BITS), "{function}: {bits} bits");
                assert!(found.depth() <= 10, "{function}: {}", found.depth());
            }
        }
    }

    #[test]
    fn a_kink_is_a_gate_beside_a_smooth_function() {
        for bound in [1.0, 8.0, 40.0] {
            let found = approximate(SELU, bound, &sign());
            assert_eq!(found.activation.terms.len(), 1);
            assert!(found.activation.terms[0].factor.is_identity());
            assert_eq!(found.activation.depth(), 14);
            let bits = found.activation.precision_bits();
            assert!(bits > 11.5, "{bound}: {bits} bits");
            assert_eq!(found.jump_width(), None);
        }
    }

    #[test]
    fn powers_are_exact() {
        for degree in [3, 5, 16] {
            let function = Activation::Monomial { degree };
            let found = approximate(function, 1.5, &[]);
            assert!((found.result_bound - 1.5_f64.powi(degree as i32)).abs() < 1e-9);
            assert!(found.activation.error < 1e-14, "{degree}");
            let free = found.activation.free.unwrap();
            assert_eq!(free.degree(), degree as usize);
        }
    }

    #[test]
    fn jumps_are_told_with_their_width() {
        let threshold = Activation::ThresholdedRelu { threshold: 1.0 };
        let found = approximate(threshold, 4.0, &sign());
        let width = found.jump_width().unwrap();
        assert!((1e-4..0.05).contains(&width), "{width}");
        for v in [-3.9, -1.0, 0.0, 0.9, 1.1, 3.9] {
            let error = found.activation.eval(v / 4.0) - threshold.apply(v) / 4.0;
            assert!(error.abs() < 1.0 / 256.0, "{v}: {error}");
        }
        assert_eq!(approximate(threshold, 0.5, &sign()).jump_width(), None);
        let soft = Activation::Shrink {
            threshold: 0.5,
            bias: 0.5,
        };
        assert_eq!(approximate(soft, 4.0, &sign()).jump_width(), None);
    }

    #[test]
    fn functions_without_use_on_a_range_are_refused() {
        let exp = Activation::Exp { offset: 1.0 };
        let found = approximate_used(exp, 4.0, 0.5, &[]).unwrap();
        // Results on images are e^−2 of those at the end, three bits.
        let bits = found.activation.precision_bits();
        assert!(bits >= f64::from(SMOOTH_BITS + 3), "{bits}");
        let reason =
            |function, bound, used| approximate_used(function, bound, used, &[]).unwrap_err();
        assert!(reason(exp, 40.0, 0.5).contains("leaves no precision"));
        assert!(reason(exp, 1e4, 1.0).contains("its results reach"));
        let degree = 20;
        assert!(reason(Activation::Monomial { degree }, 2.0, 0.5).contains("2^-20"));
        let log = Activation::Log { offset: 2.0 };
        assert!(reason(log, 2.0, 0.5).contains("reaches -2"));
        assert!(approximate_used(log, 1.5, 0.5, &[]).is_ok());
        let root = Activation::Power {
            offset: 1.0,
            exponent: 0.5,
        };
        let found = approximate_used(root, 0.9, 1.0, &[]).unwrap();
        assert!(found.activation.precision_bits() >= f64::from(SMOOTH_BITS));
    }

    #[test]
    fn polynomials_are_exact() {
        let square = approximate(Activation::Square, 3.0, &[]);
        assert_eq!((square.result_bound, square.activation.depth()), (9.0, 2));
        assert!(square.activation.error < 1e-15);
        let swish = approximate(Activation::HardSwish, 2.5, &[]);
        assert!(swish.activation.error < 1e-15 && swish.activation.terms.is_empty());
    }

    #[test]
    fn near_dead_ranges_and_constants_have_bounds() {
        for function in smooth() {
            let found = approximate(function, 1e-6, &[]);
            assert!(found.result_bound > 0.0 && found.activation.precision_bits() > 13.0);
        }
        let zero = approximate(
            Activation::Clip {
                low: Some(0.0),
                high: Some(0.0),
            },
            2.0,
            &sign(),
        );
        assert_eq!(zero.result_bound, 2.0);
        assert_eq!(zero.activation.eval(0.7), 0.0);
    }
}
