//! Non-linear functions as polynomials.

use serde::{Deserialize, Serialize};

use super::Chebyshev;
use crate::nn::Activation;

/// `factor(x)·gate(x)`, where the gate is a composition of polynomials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatedTerm {
    /// A polynomial of low degree; `T_1` is the operand itself and takes no evaluation.
    pub factor: Chebyshev,
    /// `p_k ∘ … ∘ p_1`: close to one number on one side of a threshold and to another on the other.
    pub gate: Vec<Chebyshev>,
}

impl GatedTerm {
    fn eval(&self, x: f64) -> f64 {
        self.factor.eval(x) * self.gate.iter().fold(x, |y, stage| stage.eval(y))
    }

    /// Levels from the operand to the gate.
    fn gate_depth(&self) -> usize {
        self.gate.iter().map(Chebyshev::depth).sum()
    }

    /// Levels of the factor, which is evaluated beside the gate.
    fn factor_depth(&self) -> usize {
        if self.factor.is_identity() {
            0
        } else {
            self.factor.depth()
        }
    }

    /// Levels of the term with its product.
    pub fn depth(&self) -> usize {
        self.gate_depth().max(self.factor_depth()) + 1
    }
}

/// A non-linear function as polynomials: `free(x) + Σ factor(x)·gate(x)`.
///
/// Operand and result are slots: with bounds `B` and `B'` of the tensors' elements it approximates
/// `x ↦ function(B·x)/B'` on [−1, 1]. A smooth function is a free polynomial alone; ReLU is one
/// term, `x·(1 + s(x))/2` with a composition `s` that approximates the sign function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApproximatedActivation {
    /// The function that is approximated.
    pub function: Activation,
    /// The summands that switch at a threshold.
    pub terms: Vec<GatedTerm>,
    /// The summand that does not; `T_1` is the operand itself and takes no evaluation.
    pub free: Option<Chebyshev>,
    /// The largest error on [−1, 1], in units of the result's bound.
    pub error: f64,
}

impl ApproximatedActivation {
    /// The approximation on plain numbers, stage by stage.
    pub fn eval(&self, x: f64) -> f64 {
        let free = self.free.as_ref().map_or(0.0, |free| free.eval(x));
        self.terms.iter().fold(free, |sum, term| sum + term.eval(x))
    }

    /// Levels that an evaluation consumes: those of the deepest summand.
    pub fn depth(&self) -> usize {
        let terms = self.terms.iter().map(GatedTerm::depth);
        let evaluated = self.free.iter().filter(|free| !free.is_identity());
        let free = evaluated.map(Chebyshev::depth);
        terms.chain(free).max().unwrap_or(0)
    }

    /// Bits of precision over the range: `−log2(error)`, at most those of a double.
    pub fn precision_bits(&self) -> f64 {
        -self.error.max(f64::EPSILON).log2()
    }

    /// Every polynomial, in a fixed order: the terms' factors and gates, then the free one.
    pub fn polynomials(&self) -> impl Iterator<Item = &Chebyshev> {
        let terms = self
            .terms
            .iter()
            .flat_map(|term| std::iter::once(&term.factor).chain(&term.gate));
        terms.chain(&self.free)
    }

    /// The error on [−1, 1] as [`error`](Self::error) counts it, seen on a grid that is fine where
    /// x is close to 0, for an operand of bound `operand` and a result of bound `result`.
    pub fn measured_error(&self, operand: f64, result: f64) -> f64 {
        sample_points()
            .map(|x| (self.eval(x) - self.function.apply(operand * x) / result).abs())
            .fold(0.0, |worst: f64, error| {
                if error > worst || error.is_nan() {
                    error
                } else {
                    worst
                }
            })
    }
}

/// Points of [−1, 1] on which approximations are measured: evenly spaced, and towards 0 on a
/// logarithmic scale.
pub fn sample_points() -> impl Iterator<Item = f64> {
    const EVEN: i32 = 2000;
    const LOGARITHMIC: i32 = 400;
    let even = (-EVEN..=EVEN).map(|i| f64::from(i) / f64::from(EVEN));
    let positive = (1..LOGARITHMIC).map(|i| (-16.0 * f64::from(i) / f64::from(LOGARITHMIC)).exp2());
    even.chain(positive.clone()).chain(positive.map(|x| -x))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chebyshev(coefficients: &[f64]) -> Chebyshev {
        Chebyshev {
            coefficients: coefficients.to_vec(),
        }
    }

    #[test]
    fn summands_are_evaluated_beside_each_other() {
        let gate = vec![chebyshev(&[0.0, 1.5, 0.0, -0.5]), chebyshev(&[0.5, 0.5])];
        let quadratic = chebyshev(&[0.5, 1.0, 0.5]);
        let mut activation = ApproximatedActivation {
            function: Activation::HardSwish,
            terms: vec![GatedTerm {
                factor: Chebyshev::identity(),
                gate: gate.clone(),
            }],
            free: None,
            error: 0.25,
        };
        // Two levels, one, and the product.
        assert_eq!(activation.depth(), 4);
        assert_eq!(activation.precision_bits(), 2.0);
        activation.terms[0].factor = quadratic.clone();
        assert_eq!(activation.depth(), 4);
        activation.free = Some(quadratic);
        let x: f64 = 0.3;
        let sign = 1.5 * x - 0.5 * (4.0 * x.powi(3) - 3.0 * x);
        let square = x * x + x;
        let expected = square + square * 0.5 * (1.0 + sign);
        assert!((activation.eval(x) - expected).abs() < 1e-15);
        assert_eq!(activation.polynomials().count(), 4);
        activation.terms.clear();
        assert_eq!(activation.depth(), 2);
    }

    #[test]
    fn errors_are_measured_in_units_of_the_result() {
        // x² on [−2, 2], bound 4: x ↦ (T_0 + T_2)/2.
        let mut square = ApproximatedActivation {
            function: Activation::Square,
            terms: Vec::new(),
            free: Some(chebyshev(&[0.5, 0.0, 0.5])),
            error: 0.0,
        };
        assert!(square.measured_error(2.0, 4.0) < 1e-15);
        square.free = Some(chebyshev(&[0.5, 0.0, 0.25]));
        assert!((square.measured_error(2.0, 4.0) - 0.25).abs() < 1e-12);
        square.free = Some(chebyshev(&[f64::NAN]));
        assert!(square.measured_error(2.0, 4.0).is_nan());
    }
}
