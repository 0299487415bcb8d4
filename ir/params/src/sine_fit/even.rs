//! The even cosine: `cos(factor·u)` is even in `u = x − ¼`, and a polynomial with even powers alone
//! takes the fewest products.
//!
//! Fitted by iteratively reweighted least squares (Lawson 1961) in the Chebyshev basis of even
//! polynomials.

use super::Interval;
use super::least_squares::least_squares;
use std::f64::consts::PI;

/// Sample points per interval: enough that the fit cannot wiggle between them.
const POINTS: usize = 6;
/// Reweighting rounds.
const ROUNDS: usize = 24;
/// How much larger the error may be at the least likely integers than at 0.
const TOLERANCE: f64 = 8.0;

/// Centre, half width and Chebyshev coefficients of the fit; those of odd index are zero.
pub(super) fn fit(interval: &Interval) -> (f64, f64, Vec<f64>) {
    let (bound, epsilon) = (interval.bound, interval.epsilon);
    let half_width = bound as f64 + 0.25 + epsilon;
    let unknowns = interval.degree / 2 + 1;

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
    let cosine = |u: &f64| (interval.factor * u).cos();
    let wanted: Vec<f64> = points.iter().map(cosine).collect();

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
    (0.25, half_width, coefficients)
}

/// The error allowed at an integer against that at 0: the integers of ModRaise are sums of many
/// small ones, so that their likelihood falls like a Gaussian's, and errors where hardly any falls
/// cost nothing in the mean.
fn tolerance(integer: i64, bound: i64) -> f64 {
    let ratio = integer as f64 / bound as f64;
    (9.0 * ratio * ratio).exp().min(TOLERANCE)
}
