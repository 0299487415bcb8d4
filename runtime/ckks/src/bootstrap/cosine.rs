//! The scaled cosine of EvalMod, fitted where it is used.
//!
//! After ModRaise the slots are near integers: `x = m/R + I` with `|I| < K`. With `u = x − ¼` the function
//! `cos(2π·u/2^r)` is even in `u`, and `r` double angles turn it into `cos(2π·u) = sin(2π·x)`. Fitting on the union
//! of small intervals around the integers instead of all of `[−K, K]` saves a quarter of the degree (Han and Ki,
//! ePrint 2019/688; Lee et al., arXiv 2106.07229), here by iteratively reweighted least squares (Lawson 1961) in the
//! Chebyshev basis of even polynomials.

use crate::eval::polynomial::ChebyshevPolynomial;
use heddle_params::bootstrap::BootstrapParameters;
use std::f64::consts::PI;

/// Sample points per interval: enough that the fit cannot wiggle between them.
const POINTS: usize = 6;
/// Reweighting rounds.
const ROUNDS: usize = 24;
/// How much larger the error may be at the least likely integers than at 0.
const TOLERANCE: f64 = 8.0;
/// How much wider than `|m| ≤ 1` the intervals are, to give noise and slightly large messages room.
const MARGIN: f64 = 1.25;

/// A fitted cosine.
#[derive(Clone, Debug)]
pub struct Cosine {
    /// Even Chebyshev polynomial in `t = (x − ¼)/half_width`, `t` in `[−1, 1]`.
    pub polynomial: ChebyshevPolynomial,
    /// The half width of the interval of `x − ¼`.
    pub half_width: f64,
    /// Double angles that must follow.
    pub double_angles: u32,
    /// Largest error of `sin(2πx)/2π`, in units of `q_0`, found on a grid finer than the fit's.
    pub error: f64,
}

impl Cosine {
    /// Fits the cosine of the given bootstrapping parameters.
    pub fn fit(parameters: &BootstrapParameters) -> Self {
        let epsilon = MARGIN * 2f64.powi(-(parameters.log_message_ratio as i32));
        let bound = i64::from(parameters.k) - 1;
        let half_width = bound as f64 + 0.25 + epsilon;
        let factor = 2.0 * PI / 2f64.powi(parameters.double_angles as i32);
        let unknowns = parameters.degree as usize / 2 + 1;

        let (mut points, mut tolerances) = (Vec::new(), Vec::new());
        for integer in -bound..=bound {
            for j in 0..POINTS {
                let node = (PI * (j as f64 + 0.5) / POINTS as f64).cos();
                points.push((integer as f64 + epsilon * node - 0.25).abs());
                tolerances.push(tolerance(integer, bound));
            }
        }
        let rows: Vec<Vec<f64>> = points
            .iter()
            .map(|u| {
                let angle = 2.0 * (u / half_width).acos();
                (0..unknowns).map(|k| (angle * k as f64).cos()).collect()
            })
            .collect();
        let wanted: Vec<f64> = points.iter().map(|u| (factor * u).cos()).collect();

        let mut weights = vec![1.0 / points.len() as f64; points.len()];
        let (mut best, mut least) = (vec![0.0; unknowns], f64::INFINITY);
        for _ in 0..ROUNDS {
            let solution = least_squares(&rows, &wanted, &weights);
            let residuals: Vec<f64> = rows
                .iter()
                .zip(&wanted)
                .zip(&tolerances)
                .map(|((row, f), tolerance)| {
                    let value = row.iter().zip(&solution).map(|(a, c)| a * c).sum::<f64>();
                    (value - f).abs() / tolerance
                })
                .collect();
            let largest = residuals.iter().copied().fold(0.0, f64::max);
            if largest < least {
                (best, least) = (solution, largest);
            }
            let total: f64 = residuals.iter().zip(&weights).map(|(r, w)| r * w).sum();
            if total == 0.0 {
                break;
            }
            for (weight, residual) in weights.iter_mut().zip(&residuals) {
                *weight *= residual / total;
            }
        }

        let mut coefficients = vec![0.0; 2 * unknowns - 1];
        for (k, c) in best.into_iter().enumerate() {
            coefficients[2 * k] = c;
        }
        let polynomial = ChebyshevPolynomial::new(coefficients);
        let mut cosine = Self {
            polynomial,
            half_width,
            double_angles: parameters.double_angles,
            error: 0.0,
        };
        for integer in -bound..=bound {
            for step in -20..=20 {
                let x = integer as f64 + epsilon * f64::from(step) / 20.0;
                let error = (cosine.sine(x) - (2.0 * PI * x).sin()).abs() / (2.0 * PI);
                cosine.error = cosine.error.max(error);
            }
        }
        cosine
    }

    /// `sin(2πx)` as the polynomial and the double angles give it.
    pub fn sine(&self, x: f64) -> f64 {
        let mut y = self.polynomial.evaluate_plain((x - 0.25) / self.half_width);
        for _ in 0..self.double_angles {
            y = 2.0 * y * y - 1.0;
        }
        y
    }
}

/// The error allowed at an integer against that at 0: the integers of ModRaise are sums of many small ones, so that
/// their likelihood falls like a Gaussian's, and errors where hardly any falls cost nothing in the mean.
fn tolerance(integer: i64, bound: i64) -> f64 {
    let ratio = integer as f64 / bound as f64;
    (9.0 * ratio * ratio).exp().min(TOLERANCE)
}

/// Minimises `Σ w (row·c − f)²` by Householder reflections, with a regularisation far below the fit's error that
/// keeps undetermined directions small.
fn least_squares(rows: &[Vec<f64>], wanted: &[f64], weights: &[f64]) -> Vec<f64> {
    const REGULARISATION: f64 = 1e-13;
    let n = rows[0].len();
    let mut a: Vec<Vec<f64>> = rows
        .iter()
        .zip(wanted)
        .zip(weights)
        .map(|((row, &f), w)| row.iter().chain([&f]).map(|v| v * w.sqrt()).collect())
        .collect();
    for k in 0..n {
        let mut row = vec![0.0; n + 1];
        row[k] = REGULARISATION;
        a.push(row);
    }
    for k in 0..n {
        let norm = a[k..].iter().map(|row| row[k] * row[k]).sum::<f64>().sqrt();
        let alpha = if a[k][k] > 0.0 { -norm } else { norm };
        let mut v: Vec<f64> = a[k..].iter().map(|row| row[k]).collect();
        v[0] -= alpha;
        let square: f64 = v.iter().map(|x| x * x).sum();
        if square == 0.0 {
            continue;
        }
        for column in k..=n {
            let dot: f64 = v.iter().zip(&a[k..]).map(|(x, row)| x * row[column]).sum();
            let factor = 2.0 * dot / square;
            for (x, row) in v.iter().zip(&mut a[k..]) {
                row[column] -= factor * x;
            }
        }
    }
    let mut solution = vec![0.0; n];
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| a[k][j] * solution[j]).sum();
        solution[k] = if a[k][k] == 0.0 {
            0.0
        } else {
            (a[k][n] - known) / a[k][k]
        };
    }
    solution
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_error(k: u32, degree: u32, double_angles: u32, log_message_ratio: u32) -> f64 {
        let parameters = BootstrapParameters {
            k,
            degree,
            double_angles,
            log_message_ratio,
            ..BootstrapParameters::default()
        };
        let cosine = Cosine::fit(&parameters);
        assert!(
            cosine
                .polynomial
                .coefficients()
                .iter()
                .all(|c| c.abs() < 2.0)
        );
        cosine.error.log2()
    }

    #[test]
    fn the_default_fit_is_below_the_sines_own_error() {
        let found = log_error(14, 62, 1, 10);
        assert!(found < -30.0, "2^{found}");
    }

    #[test]
    fn other_sets_reach_their_known_errors() {
        for (k, degree, double_angles, ratio, known) in [
            (12, 62, 1, 8, -38.0),
            (14, 46, 2, 8, -40.0),
            (10, 44, 1, 8, -20.0),
            (2, 30, 0, 10, -40.0),
        ] {
            let found = log_error(k, degree, double_angles, ratio);
            println!("K = {k}, degree {degree}, {double_angles} double angles: 2^{found:.1}");
            assert!(found < known, "K = {k}, degree {degree}: 2^{found}");
        }
    }
}
