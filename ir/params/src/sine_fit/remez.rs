//! Minimax approximation on a union of intervals by Remez' exchange (Remez 1934; on several
//! intervals Lee, Lee, Kim and No, EUROCRYPT 2021).
//!
//! The exchange runs on a grid that is fine against the distance of neighbouring extrema. Its rows
//! stay in double precision: a system that is nearly singular leaves directions open in which the
//! polynomial does not matter on the intervals, and least squares with a tiny regularisation keeps
//! these small.

use super::Interval;
use super::least_squares::least_squares;
use crate::chebyshev;
use std::f64::consts::PI;

/// Grid points per interval; an interval has fewer than five extrema.
const POINTS: usize = 25;
/// Exchanges at most; convergence takes about ten.
const EXCHANGES: usize = 60;
/// The ratio of the largest error to the levelled one at which the reference counts as found.
const SETTLED: f64 = 1.005;

/// Centre, half width and Chebyshev coefficients of the cosine with all powers.
pub(super) fn cosine(interval: &Interval) -> (f64, f64, Vec<f64>) {
    let Interval {
        bound,
        epsilon,
        factor,
        degree,
    } = *interval;
    let half_width = bound as f64 + epsilon;
    let mut points = Vec::new();
    for integer in -bound..=bound {
        for j in (0..POINTS).rev() {
            let node = (PI * j as f64 / (POINTS - 1) as f64).cos();
            points.push(integer as f64 + epsilon * node);
        }
    }
    // With θ = factor·(x − ¼), the double angles magnify an error of cos θ by |sin(2^r·θ)/sin θ|
    // times a constant, and near integers the numerator is 1.
    let weights: Vec<f64> = points
        .iter()
        .map(|x| 1.0 / (factor * (x - 0.25)).sin().abs())
        .collect();
    let rows: Vec<Vec<f64>> = points
        .iter()
        .zip(&weights)
        .map(|(x, weight)| {
            let angle = (x / half_width).clamp(-1.0, 1.0).acos();
            let basis = (0..=degree).map(|k| (angle * k as f64).cos());
            basis.map(|value| weight * value).collect()
        })
        .collect();
    let cosines: Vec<f64> = points.iter().map(|x| (factor * (x - 0.25)).cos()).collect();
    let wanted: Vec<f64> = cosines.iter().zip(&weights).map(|(c, w)| c * w).collect();
    let error = |coefficients: &[f64], i: usize| {
        (chebyshev::evaluate(coefficients, points[i] / half_width) - cosines[i]) * weights[i]
    };
    (0.0, half_width, minimax(&rows, &wanted, error))
}

/// The coefficients of the combination of basis functions whose largest error on the grid is least.
/// `rows` holds the basis functions, which are a Chebyshev system, at the grid's points in
/// ascending order; `error` is the signed error of a combination at a point.
pub(super) fn minimax(
    rows: &[Vec<f64>],
    wanted: &[f64],
    error: impl Fn(&[f64], usize) -> f64,
) -> Vec<f64> {
    let unknowns = rows[0].len();
    let mut reference = spread(rows, unknowns + 1);
    let (mut best, mut least) = (vec![0.0; unknowns], f64::INFINITY);
    for _ in 0..EXCHANGES {
        // Errors of alternating sign and one size on the reference.
        let (mut system, mut values) = (Vec::new(), Vec::new());
        for (position, &point) in reference.iter().enumerate() {
            let sign = if position % 2 == 0 { 1.0 } else { -1.0 };
            system.push(rows[point].iter().copied().chain([sign]).collect());
            values.push(wanted[point]);
        }
        let mut solution = least_squares(&system, &values, &vec![1.0; values.len()]);
        let level = solution.pop().unwrap_or_default().abs();
        let errors: Vec<f64> = (0..rows.len()).map(|i| error(&solution, i)).collect();
        let largest = errors.iter().fold(0.0_f64, |most, e| most.max(e.abs()));
        if largest < least {
            (best, least) = (solution, largest);
        }
        if largest <= SETTLED * level {
            break;
        }
        match extrema(&errors, unknowns + 1) {
            Some(next) if next != reference => reference = next,
            _ => break,
        }
    }
    best
}

/// `count` points on which the basis functions are as independent as a greedy choice makes them,
/// ascending.
fn spread(rows: &[Vec<f64>], count: usize) -> Vec<usize> {
    let mut rest: Vec<Vec<f64>> = rows.to_vec();
    let mut chosen: Vec<usize> = Vec::with_capacity(count);
    while chosen.len() < count {
        let square = |row: &Vec<f64>| row.iter().map(|x| x * x).sum::<f64>();
        let free = (0..rows.len()).filter(|point| !chosen.contains(point));
        let Some(pivot) = free.max_by(|a, b| square(&rest[*a]).total_cmp(&square(&rest[*b])))
        else {
            break;
        };
        chosen.push(pivot);
        let norm = square(&rest[pivot]);
        if norm > 0.0 {
            let direction = rest[pivot].clone();
            for row in &mut rest {
                let dot: f64 = row.iter().zip(&direction).map(|(a, b)| a * b).sum();
                row.iter_mut()
                    .zip(&direction)
                    .for_each(|(x, d)| *x -= dot / norm * d);
            }
        }
    }
    chosen.sort_unstable();
    chosen
}

/// The largest error of every run of one sign, thinned to `count` runs of alternating signs; `None`
/// where there are fewer.
fn extrema(errors: &[f64], count: usize) -> Option<Vec<usize>> {
    let mut runs: Vec<usize> = Vec::new();
    for (i, error) in errors.iter().enumerate() {
        match runs.last_mut() {
            Some(last) if errors[*last].is_sign_negative() == error.is_sign_negative() => {
                if error.abs() > errors[*last].abs() {
                    *last = i;
                }
            }
            _ => runs.push(i),
        }
    }
    while runs.len() > count {
        let size = |i: usize| errors[runs[i]].abs();
        if runs.len() == count + 1 {
            // One too many: only an end can go without breaking the alternation.
            if size(0) < size(runs.len() - 1) {
                runs.remove(0);
            } else {
                runs.pop();
            }
        } else {
            let smallest = (0..runs.len() - 1).min_by(|a, b| {
                size(*a)
                    .max(size(*a + 1))
                    .total_cmp(&size(*b).max(size(*b + 1)))
            })?;
            runs.drain(smallest..=smallest + 1);
        }
    }
    (runs.len() == count).then_some(runs)
}
