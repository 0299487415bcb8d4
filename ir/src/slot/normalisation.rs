//! Division by a sum over slots, which softmax is made of.

use serde::{Deserialize, Serialize};

use super::Chebyshev;

/// The function whose values are divided by their sum.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighting {
    /// `exp(rate·(x − 1))`, at most 1 for slots in [−1, 1].
    Exponential {
        /// The exponent of the largest slot against that of 0.
        rate: f64,
    },
    /// `x²`.
    Square,
}

impl Weighting {
    /// The function on plain numbers.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Exponential { rate } => (rate * (x - 1.0)).exp(),
            Self::Square => x * x,
        }
    }
}

/// `g(x)/Σ g(x)` slot by slot, where the sum is taken by rotations and the division is
/// Goldschmidt's: with `D = c·Σ g(x)` and `w ≈ c/D` the quotient is `g·w·(1 + e)(1 + e²)(1 + e⁴)…`,
/// `e = 1 − D·w/c`.
///
/// Operand and result are slots in [−1, 1]. The result is at most 1 and never more than the exact
/// quotient.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalisation {
    /// g.
    pub function: Weighting,
    /// An approximation of g on [−1, 1].
    pub numerator: Chebyshev,
    /// The same times `c`, with which the sum stays within [−1, 1]; equal to the numerator where
    /// `c` is 1.
    pub denominator: Chebyshev,
    /// Rotations of the sum, in slots, as in [`RotateSum`](super::Op::RotateSum).
    pub rotations: Vec<usize>,
    /// `w` as a function of `D`.
    pub start: Chebyshev,
    /// `e` as a function of `D`.
    pub deviation: Chebyshev,
    /// Number of factors `1 + e^(2^i)`.
    pub iterations: usize,
}

impl Normalisation {
    /// The approximation on one period of slots.
    pub fn eval(&self, slots: &[f64]) -> Vec<f64> {
        let denominators = slots.iter().map(|x| self.denominator.eval(*x)).collect();
        let sums = rotate_sum(denominators, &self.rotations);
        let quotient = |(x, sum): (&f64, f64)| {
            let mut deviation = self.deviation.eval(sum);
            let mut quotient = self.numerator.eval(*x) * self.start.eval(sum);
            for _ in 0..self.iterations {
                quotient *= 1.0 + deviation;
                deviation *= deviation;
            }
            quotient
        };
        slots.iter().zip(sums).map(quotient).collect()
    }

    /// `g(x)/Σ g(x)` on one period of slots.
    pub fn exact(&self, slots: &[f64]) -> Vec<f64> {
        let values: Vec<f64> = slots.iter().map(|x| self.function.apply(*x)).collect();
        let sums = rotate_sum(values.clone(), &self.rotations);
        values
            .iter()
            .zip(sums)
            .map(|(value, sum)| value / sum)
            .collect()
    }

    /// Levels that an evaluation consumes. A square is one product; a factor `1 + e²` is a
    /// polynomial of `e`, whose constant takes a second level.
    pub fn depth(&self) -> usize {
        let stage = |polynomial: &Chebyshev| match is_square(polynomial) {
            true => 1,
            false => polynomial.depth(),
        };
        let sum = stage(&self.denominator);
        let mut quotient = stage(&self.numerator).max(sum + self.start.depth()) + 1;
        for iteration in 0..self.iterations {
            let behind = if iteration == 0 { 0 } else { iteration + 1 };
            quotient = quotient.max(sum + self.deviation.depth() + behind) + 1;
        }
        quotient
    }

    /// Every polynomial, in a fixed order.
    pub fn polynomials(&self) -> [&Chebyshev; 4] {
        [
            &self.numerator,
            &self.denominator,
            &self.start,
            &self.deviation,
        ]
    }
}

/// Whether a polynomial is `x²`, which takes one product.
pub fn is_square(polynomial: &Chebyshev) -> bool {
    polynomial.coefficients == [0.5, 0.0, 0.5]
}

/// `y ← y + rotate(y, by)` for each rotation.
pub(crate) fn rotate_sum(mut slots: Vec<f64>, rotations: &[usize]) -> Vec<f64> {
    for by in rotations {
        let mut rotated = slots.clone();
        rotated.rotate_left(by % slots.len().max(1));
        slots
            .iter_mut()
            .zip(&rotated)
            .for_each(|(slot, other)| *slot += other);
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square() -> Normalisation {
        let chebyshev = |coefficients: &[f64]| Chebyshev {
            coefficients: coefficients.to_vec(),
        };
        let squared = chebyshev(&[0.5, 0.0, 0.5]);
        Normalisation {
            function: Weighting::Square,
            numerator: squared.clone(),
            denominator: squared,
            rotations: vec![1, 2],
            // w = 2 − D, e = (1 − D)².
            start: chebyshev(&[2.0, -1.0]),
            deviation: chebyshev(&[1.5, -2.0, 0.5]),
            iterations: 6,
        }
    }

    #[test]
    fn goldschmidt_converges_to_the_quotient_from_below() {
        let slots = [0.5, 0.25, 0.125, 0.0625];
        let mut normalisation = square();
        let exact = normalisation.exact(&slots);
        assert!((exact.iter().sum::<f64>() - 1.0).abs() < 1e-15);
        let mut last = 1.0;
        for iterations in 1..8 {
            normalisation.iterations = iterations;
            let found = normalisation.eval(&slots);
            let error = exact
                .iter()
                .zip(&found)
                .map(|(e, f)| (e - f) / e)
                .fold(0.0, f64::max);
            assert!(exact.iter().zip(&found).all(|(e, f)| *f <= e + 1e-15));
            assert!(error < last || error < 1e-14, "{iterations}: {error}");
            last = error;
        }
        assert!(last < 1e-12, "{last}");
    }

    #[test]
    fn depth_counts_the_longest_chain() {
        // The square 1; e and 1 + e 2; e² one more and 1 + e² two more; products from the second on
        // wait for these.
        let depths = [3, 4, 6, 7, 8, 9, 10];
        for (iterations, depth) in depths.into_iter().enumerate() {
            let mut division = square();
            division.iterations = iterations;
            assert_eq!(division.depth(), depth, "{iterations}");
        }
        let mut general = square();
        general.numerator.coefficients[0] = 0.25;
        general.denominator = general.numerator.clone();
        assert_eq!(general.depth(), 11);
        let tiny = Weighting::Exponential { rate: 2.0 };
        assert_eq!(tiny.apply(1.0), 1.0);
    }
}
