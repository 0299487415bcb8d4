//! The inverse sine that takes away the sine's cubic term (Lee, Lee, Kim and No, EUROCRYPT 2021).

use super::remez;
use crate::bootstrap::BootstrapParameters;
use crate::chebyshev;
use crate::eval_mod::EvalMod;
use std::f64::consts::{PI, TAU};

/// Grid points on the interval.
const POINTS: usize = 400;

/// An odd minimax polynomial for `R/2π·arcsin(s)` on `|s| ≤ sin(2π/R)`, that is on messages up to
/// 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Arcsine {
    /// Chebyshev coefficients in `s/half_width`, `T_0` first; those of even index are zero.
    pub coefficients: Vec<f64>,
    /// `sin(2π/R)`.
    pub half_width: f64,
}

impl Arcsine {
    /// The inverse sine of the given parameters, if they have one.
    pub(super) fn of(parameters: &BootstrapParameters) -> Option<Self> {
        match parameters.eval_mod {
            EvalMod::Cosine => None,
            EvalMod::Arcsine { degree } => Some(Self::fit(degree, parameters.log_message_ratio)),
        }
    }

    fn fit(degree: u32, log_message_ratio: u32) -> Self {
        let ratio = f64::from(log_message_ratio).exp2();
        let half_width = (TAU / ratio).sin();
        // By oddness the positive half will do; at 0 every error vanishes.
        let points: Vec<f64> = (1..=POINTS)
            .map(|i| (0.5 * PI * i as f64 / POINTS as f64).sin())
            .collect();
        let odd: Vec<usize> = (1..=degree as usize).step_by(2).collect();
        let rows: Vec<Vec<f64>> = points
            .iter()
            .map(|u| odd.iter().map(|k| (u.acos() * *k as f64).cos()).collect())
            .collect();
        let wanted: Vec<f64> = points
            .iter()
            .map(|u| ratio / TAU * (half_width * u).asin())
            .collect();
        let spread = |combination: &[f64]| {
            let mut coefficients = vec![0.0; degree as usize + 1];
            for (k, c) in odd.iter().zip(combination) {
                coefficients[*k] = *c;
            }
            coefficients
        };
        let error = |combination: &[f64], i: usize| {
            chebyshev::evaluate(&spread(combination), points[i]) - wanted[i]
        };
        let coefficients = spread(&remez::minimax(&rows, &wanted, error));
        Self {
            coefficients,
            half_width,
        }
    }

    /// The message behind a sine of `2π·m/R`.
    pub fn apply(&self, sine: f64) -> f64 {
        chebyshev::evaluate(&self.coefficients, sine / self.half_width)
    }

    /// Levels that it uses.
    pub fn depth(&self) -> usize {
        chebyshev::depth(self.coefficients.len() - 1)
    }
}
