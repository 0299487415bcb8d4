//! EvalMod's functions: the polynomials that a bootstrap reduces modulo `q_0` with.
//!
//! After ModRaise the slots are near integers: `x = m/R + I` with `|I| < K`. Every choice of
//! [`EvalMod`] fits a cosine slowed down by `2^r` on small intervals around the integers (Han and
//! Ki, ePrint 2019/688) and lets `r` double angles turn it into `sin(2πx)`, which is `2π·m/R` but
//! for a cubic term. The inverse sine, where it is chosen, removes that term.

mod arcsine;
mod even;
mod least_squares;
mod remez;

pub use arcsine::Arcsine;

use crate::bootstrap::BootstrapParameters;
use crate::chebyshev;
use crate::eval_mod::EvalMod;
use std::f64::consts::PI;

/// How much wider than `|m| ≤ 1` the cosine's intervals are: room for noise and for messages that
/// are slightly too large.
const MARGIN: f64 = 1.25;

/// The fitted functions of one choice.
#[derive(Clone, Debug, PartialEq)]
pub struct SineFit {
    /// The cosine's Chebyshev coefficients in `t = (x − centre)/half_width`, `t` in `[−1, 1]`,
    /// `T_0` first.
    pub coefficients: Vec<f64>,
    /// What is taken off `x` before it is scaled: the centre of the cosine's interval.
    pub centre: f64,
    /// The half width of that interval.
    pub half_width: f64,
    /// Double angles that must follow.
    pub double_angles: u32,
    /// The inverse sine that must follow, if one was chosen.
    pub arcsine: Option<Arcsine>,
    /// Largest error of `sin(2πx)/2π`, in units of `q_0`, found on a grid finer than the fit's.
    pub error: f64,
}

impl SineFit {
    /// Fits the functions of the given parameters, which have passed their check.
    pub fn new(parameters: &BootstrapParameters) -> Self {
        let fit = Interval::of(parameters);
        let (centre, half_width, coefficients) = match parameters.eval_mod {
            EvalMod::Cosine => even::fit(&fit),
            EvalMod::Arcsine { .. } => remez::cosine(&fit),
        };
        let mut fitted = Self {
            coefficients,
            centre,
            half_width,
            double_angles: parameters.double_angles,
            arcsine: Arcsine::of(parameters),
            error: 0.0,
        };
        for integer in -fit.bound..=fit.bound {
            for step in -20..=20 {
                let x = integer as f64 + fit.epsilon * f64::from(step) / 20.0;
                let error = (fitted.sine(x) - (2.0 * PI * x).sin()).abs() / (2.0 * PI);
                fitted.error = fitted.error.max(error);
            }
        }
        fitted
    }

    /// `sin(2πx)` as the polynomial and the double angles give it.
    pub fn sine(&self, x: f64) -> f64 {
        let mut y = chebyshev::evaluate(&self.coefficients, (x - self.centre) / self.half_width);
        for _ in 0..self.double_angles {
            y = 2.0 * y * y - 1.0;
        }
        y
    }
}

/// What EvalMod makes of a message when its cosine has no error: its own non-linearity.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduction {
    /// R, the ratio of `q_0` to a message of 1.
    ratio: f64,
    arcsine: Option<Arcsine>,
}

impl Reduction {
    /// Of the given parameters, which have passed their check.
    pub fn new(parameters: &BootstrapParameters) -> Self {
        Self {
            ratio: f64::from(parameters.log_message_ratio).exp2(),
            arcsine: Arcsine::of(parameters),
        }
    }

    /// What comes out for the message `m`; the default choice gives `R/2π·sin(2π·m/R)`.
    pub fn apply(&self, m: f64) -> f64 {
        let (inner, outer) = (
            std::f64::consts::TAU / self.ratio,
            self.ratio / std::f64::consts::TAU,
        );
        let sine = (inner * m).sin();
        match &self.arcsine {
            None => outer * sine,
            Some(arcsine) => arcsine.apply(sine),
        }
    }

    /// The largest error over `|m| ≤ 1`, in units of a message of 1.
    pub fn error(&self) -> f64 {
        (0..=1000)
            .map(|i| f64::from(i) / 1000.0)
            .map(|m| (self.apply(m) - m).abs())
            .fold(0.0, f64::max)
    }
}

/// Where a cosine is fitted and what it is.
struct Interval {
    /// Integers are from `−bound` to `bound`.
    bound: i64,
    /// Half width of the interval around each.
    epsilon: f64,
    /// The cosine is `cos(factor·(x − ¼))`.
    factor: f64,
    degree: usize,
}

impl Interval {
    fn of(parameters: &BootstrapParameters) -> Self {
        Self {
            bound: i64::from(parameters.k) - 1,
            epsilon: MARGIN * (-f64::from(parameters.log_message_ratio)).exp2(),
            factor: 2.0 * PI / f64::from(parameters.double_angles).exp2(),
            degree: parameters.degree as usize,
        }
    }
}

#[cfg(test)]
mod tests;
