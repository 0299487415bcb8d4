//! Evaluation of polynomials in the Chebyshev basis.
//!
//! Baby steps and giant steps after Paterson and Stockmeyer (1973), with odd- and even-only trees, in the least depth
//! and with exact scales (Bossuat, Mouchet, Troncoso-Pastoriza and Hubaux, EUROCRYPT 2021): every constant is encoded
//! at the scale that makes its sum match, so that the result has exactly the scale asked for.

mod plan;

use plan::Plan;

/// Which powers of its argument a polynomial has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// Odd powers only.
    Odd,
    /// Even powers only, the constant included.
    Even,
    /// Both.
    General,
}

/// A polynomial `Σ c_k·T_k(x)` for `x` in `[−1, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChebyshevPolynomial {
    coefficients: Vec<f64>,
    parity: Parity,
    plan: Plan,
}

impl ChebyshevPolynomial {
    /// The polynomial of given coefficients, `T_0` first; its parity is that of its exact zeros. Trailing zeros are
    /// dropped, and no coefficients mean the zero polynomial.
    pub fn new(mut coefficients: Vec<f64>) -> Self {
        let length = coefficients.iter().rposition(|&c| c != 0.0).map_or(1, |last| last + 1);
        coefficients.resize(length, 0.0);
        let lacks = |parity: usize| coefficients.iter().skip(parity).step_by(2).all(|&c| c == 0.0);
        let parity = match (lacks(0), lacks(1)) {
            (_, true) => Parity::Even,
            (true, false) => Parity::Odd,
            (false, false) => Parity::General,
        };
        let plan = match parity {
            // T_2k(x) = T_k(T_2(x)): half the degree one level lower.
            Parity::Even => Plan::new(&coefficients.iter().copied().step_by(2).collect::<Vec<_>>()),
            Parity::Odd | Parity::General => Plan::new(&coefficients),
        };
        Self { coefficients, parity, plan }
    }

    /// The coefficients, `T_0` first.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// Which powers occur.
    pub fn parity(&self) -> Parity {
        self.parity
    }

    /// The degree; 0 for constants.
    pub fn degree(&self) -> usize {
        self.coefficients.len() - 1
    }

    /// Levels that the evaluation uses: `⌈log2(degree + 1)⌉`.
    pub fn depth(&self) -> usize {
        plan::depth(self.degree())
    }

    /// The value at a plain number, by Clenshaw's recurrence.
    pub fn evaluate_plain(&self, x: f64) -> f64 {
        let (mut b1, mut b2) = (0.0, 0.0);
        for &c in self.coefficients[1..].iter().rev() {
            (b1, b2) = (c + 2.0 * x * b1 - b2, b1);
        }
        self.coefficients[0] + x * b1 - b2
    }
}
