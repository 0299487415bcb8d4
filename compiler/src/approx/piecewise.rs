//! Piecewise polynomial functions (ReLU, absolute value, clipping, hard sigmoids) from the composition that
//! approximates the sign function.
//!
//! A continuous function with pieces p_0, p_1, … and thresholds t_1, t_2, … is `p_0 + Σ (p_k −
//! p_(k−1))·(1 + sign(v − t_k))/2`. At its threshold each factor p_k − p_(k−1) is zero, where the
//! approximate sign is wrong. The sign of `v − t` wants an argument in [−1, 1]; scaling and shift
//! are absorbed into the first polynomial of the composition and the half and the one into the
//! last, so that every such function takes the levels of the composition and of one product.
//!
//! A function that jumps at a threshold is wrong in a small neighbourhood of it, by up to the jump.
//! A smooth function with a kink is one without it and a ReLU, see [`kink`].

use heddle_ir::nn::Activation;
use heddle_ir::slot::{Chebyshev, GatedTerm};

use super::smooth::{interpolate, trimmed};

/// A polynomial of degree 2 from its threshold upward: `c_0 + c_1·v + c_2·v²`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    /// Where it begins; −∞ for the first.
    pub start: f64,
    /// Its coefficients.
    pub coefficients: [f64; 3],
}

/// The pieces of a function in ascending order; `None` for a function that has none.
pub fn pieces(function: Activation) -> Option<Vec<Piece>> {
    let piece = |start, coefficients| Piece {
        start,
        coefficients,
    };
    let first = |coefficients| piece(f64::NEG_INFINITY, coefficients);
    const IDENTITY: [f64; 3] = [0.0, 1.0, 0.0];
    let found = match function {
        Activation::Relu => vec![first([0.0; 3]), piece(0.0, IDENTITY)],
        Activation::LeakyRelu { slope } => vec![first([0.0, slope, 0.0]), piece(0.0, IDENTITY)],
        Activation::Clip { low, high } => {
            let below = low.map(|low| (low, [low, 0.0, 0.0]));
            let above = high.map(|high| piece(high, [high, 0.0, 0.0]));
            let mut found = match below {
                Some((low, constant)) => vec![first(constant), piece(low, IDENTITY)],
                None => vec![first(IDENTITY)],
            };
            found.extend(above);
            found
        }
        Activation::HardSigmoid { alpha: 0.0, .. } => {
            vec![first([function.apply(0.0), 0.0, 0.0])]
        }
        Activation::HardSigmoid { alpha, beta } => {
            let at = |level: f64| (level - beta) / alpha;
            let slope = [beta, alpha, 0.0];
            if alpha > 0.0 {
                vec![
                    first([0.0; 3]),
                    piece(at(0.0), slope),
                    piece(at(1.0), [1.0, 0.0, 0.0]),
                ]
            } else {
                vec![
                    first([1.0, 0.0, 0.0]),
                    piece(at(1.0), slope),
                    piece(at(0.0), [0.0; 3]),
                ]
            }
        }
        Activation::HardSwish => vec![
            first([0.0; 3]),
            piece(-3.0, [0.0, 0.5, 1.0 / 6.0]),
            piece(3.0, IDENTITY),
        ],
        Activation::Square => vec![first([0.0, 0.0, 1.0])],
        Activation::Abs => vec![first([0.0, -1.0, 0.0]), piece(0.0, IDENTITY)],
        Activation::ThresholdedRelu { threshold } => {
            vec![first([0.0; 3]), piece(threshold, IDENTITY)]
        }
        Activation::Shrink { threshold, bias } => vec![
            first([bias, 1.0, 0.0]),
            piece(-threshold, [0.0; 3]),
            piece(threshold, [-bias, 1.0, 0.0]),
        ],
        _ => return None,
    };
    Some(found)
}

/// The pieces of a function without which a smooth one with a continuous slope is left; `None` for
/// a function that has no kink of its own.
///
/// With `c = alpha/width`, an exponential linear unit is `gamma·(1 − c)·relu(x)` and what has the
/// slope `gamma·c` on both sides of 0.
pub fn kink(function: Activation) -> Option<Vec<Piece>> {
    let Activation::Elu {
        alpha,
        gamma,
        width,
    } = function
    else {
        return None;
    };
    let step = 1.0 - alpha / width;
    // Parameters are 32-bit floats.
    (step.abs() > f64::from(f32::EPSILON)).then(|| {
        let piece = |start, slope| Piece {
            start,
            coefficients: [0.0, slope, 0.0],
        };
        vec![piece(f64::NEG_INFINITY, 0.0), piece(0.0, gamma * step)]
    })
}

/// The value of a piecewise function.
pub fn value(pieces: &[Piece], v: f64) -> f64 {
    let piece = pieces.iter().rfind(|piece| piece.start <= v);
    piece.map_or(0.0, |piece| piece.at(v))
}

/// The thresholds at which two pieces do not meet.
pub fn jumps(pieces: &[Piece]) -> Vec<f64> {
    let meet = |below: &Piece, above: &Piece| {
        let [left, right] = [below, above].map(|piece| piece.at(above.start));
        let scale = left.abs().max(right.abs()).max(above.start.abs());
        (left - right).abs() <= JUMP_TOLERANCE * scale
    };
    let pairs = pieces.iter().zip(pieces.iter().skip(1));
    pairs
        .filter(|(below, above)| !meet(below, above))
        .map(|(_, above)| above.start)
        .collect()
}

/// Relative difference up to which two pieces meet; parameters are 32-bit floats.
const JUMP_TOLERANCE: f64 = 1e-6;

impl Piece {
    fn at(&self, v: f64) -> f64 {
        let [c0, c1, c2] = self.coefficients;
        c0 + v * (c1 + v * c2)
    }
}

/// The summands of a piecewise function on [−bound, bound], over `result`: a free polynomial and a
/// gated term for every threshold inside, with `sign` the composition for the sign function.
pub fn summands(
    pieces: &[Piece],
    bound: f64,
    result: f64,
    sign: &[Chebyshev],
) -> (Vec<GatedTerm>, Option<Chebyshev>) {
    let reached = pieces.iter().filter(|piece| piece.start < bound);
    let (mut base, mut thresholds) = ([0.0; 3], Vec::new());
    for piece in reached {
        if piece.start <= -bound {
            base = piece.coefficients;
        } else {
            thresholds.push(*piece);
        }
    }
    let mut below = base;
    let mut terms = Vec::new();
    for Piece {
        start,
        coefficients,
    } in thresholds
    {
        let step = [0, 1, 2].map(|power| coefficients[power] - below[power]);
        below = coefficients;
        if step != [0.0; 3] {
            terms.push(GatedTerm {
                factor: in_slots(step, bound, result),
                gate: gate(sign, start, bound),
            });
        }
    }
    let free = in_slots(base, bound, result);
    let mut free = (free.coefficients != [0.0]).then_some(free);
    for term in &mut terms {
        absorb_factor(term, &mut free);
    }
    (terms, free)
}

/// A polynomial in tensor elements as one in slots: `v = bound·x`, the result over `result`.
fn in_slots([c0, c1, c2]: [f64; 3], bound: f64, result: f64) -> Chebyshev {
    let square = c2 * bound * bound / 2.0;
    trimmed(vec![
        (c0 + square) / result,
        c1 * bound / result,
        square / result,
    ])
}

/// `(1 + s((v − threshold)/(bound + |threshold|)))/2` as a function of `x = v/bound`.
fn gate(sign: &[Chebyshev], threshold: f64, bound: f64) -> Vec<Chebyshev> {
    let mut gate = sign.to_vec();
    if threshold != 0.0
        && let Some(stage) = gate.first_mut()
    {
        let reach = bound + threshold.abs();
        let shifted = |x: f64| ((bound * x - threshold) / reach).clamp(-1.0, 1.0);
        *stage = interpolate(stage.degree(), |x| stage.eval(shifted(x)));
    }
    if let Some(last) = gate.last_mut() {
        for coefficient in &mut last.coefficients {
            *coefficient /= 2.0;
        }
        match last.coefficients.first_mut() {
            Some(constant) => *constant += 0.5,
            None => last.coefficients.push(0.5),
        }
    }
    gate
}

/// A factor that is a multiple of the operand becomes the operand, and its multiple part of the
/// gate, as does a free polynomial of this kind.
fn absorb_factor(term: &mut GatedTerm, free: &mut Option<Chebyshev>) {
    let [0.0, multiple] = term.factor.coefficients[..] else {
        return;
    };
    let Some(last) = term.gate.last_mut() else {
        return;
    };
    term.factor = Chebyshev::identity();
    for coefficient in &mut last.coefficients {
        *coefficient *= multiple;
    }
    if let Some([0.0, slope]) = free.as_ref().map(|free| &free.coefficients[..]) {
        last.coefficients[0] += slope;
        *free = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approx::sign::ReluPrecision;

    const HARD_SIGMOID: Activation = Activation::HardSigmoid {
        alpha: -0.25,
        beta: 0.4,
    };

    fn clip(low: impl Into<Option<f64>>, high: impl Into<Option<f64>>) -> Activation {
        Activation::Clip {
            low: low.into(),
            high: high.into(),
        }
    }

    fn functions() -> Vec<Activation> {
        vec![
            Activation::Relu,
            Activation::LeakyRelu { slope: 0.2 },
            Activation::LeakyRelu { slope: -1.5 },
            clip(0.0, 6.0),
            clip(-1.0, 2.0),
            clip(-1.0, None),
            clip(None, 3.0),
            clip(None, None),
            clip(2.0, 2.0),
            Activation::HardSigmoid {
                alpha: 0.2,
                beta: 0.5,
            },
            HARD_SIGMOID,
            Activation::HardSigmoid {
                alpha: 0.0,
                beta: 3.0,
            },
            Activation::HardSwish,
            Activation::Square,
            Activation::Abs,
            Activation::ThresholdedRelu { threshold: 0.0 },
            Activation::ThresholdedRelu { threshold: 1.51 },
            Activation::ThresholdedRelu { threshold: -1.51 },
            Activation::Shrink {
                threshold: 0.51,
                bias: 0.51,
            },
            Activation::Shrink {
                threshold: 0.51,
                bias: -1.0,
            },
        ]
    }

    #[test]
    fn pieces_are_the_function() {
        for function in functions() {
            let pieces = pieces(function).unwrap();
            assert!(pieces.is_sorted_by(|a, b| a.start <= b.start));
            for i in -400..=400 {
                let v = f64::from(i) / 40.0;
                let found = value(&pieces, v);
                assert!(
                    (found - function.apply(v)).abs() < 1e-12,
                    "{function}({v}) = {found}"
                );
            }
        }
        assert_eq!(pieces(Activation::Tanh), None);
    }

    #[test]
    fn jumps_are_where_pieces_do_not_meet() {
        let jumps = |function| jumps(&pieces(function).unwrap());
        let shrink = |bias| Activation::Shrink {
            threshold: 0.5,
            bias,
        };
        assert_eq!(jumps(shrink(0.25)), [-0.5, 0.5]);
        assert_eq!(jumps(Activation::ThresholdedRelu { threshold: 1.5 }), [1.5]);
        let continuous = [
            shrink(0.5),
            Activation::ThresholdedRelu { threshold: 0.0 },
            Activation::Abs,
            Activation::HardSwish,
            HARD_SIGMOID,
        ];
        for function in continuous {
            assert_eq!(jumps(function), [0.0; 0], "{function}");
        }
    }

    #[test]
    fn without_its_kink_an_exponential_unit_has_a_continuous_slope() {
        for (alpha, gamma, width) in [(1.673, 1.0507, 1.0), (0.5, 1.0, 1.0), (-2.0, 3.0, 0.5)] {
            let function = Activation::Elu {
                alpha,
                gamma,
                width,
            };
            let kink = kink(function).unwrap();
            let rest = |v: f64| function.apply(v) - value(&kink, v);
            let h = 1e-6;
            let (below, above) = ((rest(0.0) - rest(-h)) / h, (rest(h) - rest(0.0)) / h);
            assert!((below - above).abs() < 1e-4, "{function}: {below} {above}");
        }
        let smooth = Activation::Elu {
            alpha: 1.0,
            gamma: 1.0,
            width: 1.0,
        };
        assert_eq!(kink(smooth), None);
        assert_eq!(kink(Activation::Mish), None);
    }

    #[test]
    fn an_exact_sign_gives_the_function() {
        // Without a composition the factors stay as they are, and the gates are steps.
        for function in functions() {
            for bound in [0.5_f64, 5.0, 20.0] {
                let pieces = pieces(function).unwrap();
                let (terms, free) = summands(&pieces, bound, 2.0, &[]);
                for i in -100..=100 {
                    let x = f64::from(i) / 100.0;
                    let v = bound * x;
                    let inside = pieces.iter().filter(|p| p.start.abs() < bound);
                    let gates: Vec<f64> =
                        inside.map(|p| f64::from(u8::from(v > p.start))).collect();
                    assert_eq!(terms.len(), gates.len(), "{function}");
                    let free = free.as_ref().map_or(0.0, |free| free.eval(x));
                    let sum: f64 = terms
                        .iter()
                        .zip(&gates)
                        .map(|(term, gate)| term.factor.eval(x) * gate)
                        .sum();
                    let expected = function.apply(v) / 2.0;
                    assert!(
                        (free + sum - expected).abs() < 1e-9,
                        "{function} at {v}: {} for {expected}",
                        free + sum
                    );
                }
            }
        }
    }

    #[test]
    fn thresholds_out_of_reach_take_no_gate() {
        let sign = ReluPrecision::default().stages().unwrap();
        let count = |function, bound| {
            let (terms, free) = summands(&pieces(function).unwrap(), bound, 1.0, &sign);
            (terms.len(), free.is_some())
        };
        assert_eq!(count(clip(0.0, 6.0), 8.0), (2, false));
        assert_eq!(count(clip(0.0, 6.0), 6.0), (1, false));
        assert_eq!(count(clip(-1.0, 6.0), 0.5), (0, true));
        assert_eq!(count(clip(-1.0, 6.0), 7.0), (2, true));
        assert_eq!(count(Activation::HardSwish, 2.0), (0, true));
        assert_eq!(count(Activation::HardSwish, 4.0), (2, false));
        assert_eq!(count(Activation::LeakyRelu { slope: 0.1 }, 4.0), (1, false));
        assert_eq!(count(Activation::LeakyRelu { slope: 1.0 }, 4.0), (0, true));
        assert_eq!(count(clip(2.0, 2.0), 1.0), (0, true));
    }

    #[test]
    fn gates_follow_the_sign_around_their_threshold() {
        let sign = ReluPrecision::default().stages().unwrap();
        let eval = |stages: &[Chebyshev], x: f64| stages.iter().fold(x, |y, p| p.eval(y));
        let (threshold, bound) = (-1.5, 4.0);
        let gate = gate(&sign, threshold, bound);
        let depth = |stages: &[Chebyshev]| stages.iter().map(Chebyshev::depth).sum::<usize>();
        assert_eq!(depth(&gate), depth(&sign));
        for i in -100..=100 {
            let x = f64::from(i) / 100.0;
            let u = (bound * x - threshold) / (bound + 1.5);
            let expected = 0.5 + 0.5 * eval(&sign, u);
            assert!((eval(&gate, x) - expected).abs() < 1e-9, "{x}");
        }
    }
}
