//! Ranges without calibration images.
//!
//! A batch normalisation's result has mean β and standard deviation |γ| in every channel, over the
//! images that it was trained on. Means and deviations are carried along from there: through an
//! activation as if its operand were normal; through a residual join as if the summands were fully
//! correlated, since a block's result and its shortcut are large in the same places, and through a
//! product of two values likewise; through a matrix product as if the features were independent.

use heddle_ir::nn::linear::Moments;
use heddle_ir::nn::{Activation, Model, Op};

use super::{Bound, BoundOrigin, Target, Targets};
use crate::approx::activation::result_bound;

/// [`Moments::bound`] of every target; `None` where no batch normalisation tells.
pub(super) fn bounds(model: &Model, targets: &Targets) -> Vec<Option<Bound>> {
    let moments = propagate(model);
    let bound = |target: &Target| {
        let value = moments[target.bounded.index()].as_ref()?.bound();
        value.is_finite().then_some(Bound {
            value,
            origin: BoundOrigin::Statistics,
        })
    };
    targets.iter().map(bound).collect()
}

fn propagate(model: &Model) -> Vec<Option<Moments>> {
    let graph = &model.graph;
    let mut all: Vec<Option<Moments>> = Vec::with_capacity(graph.len());
    for value in graph.values() {
        let operands = graph.operands(value);
        let operand = |position: usize| all[operands[position].index()].as_ref();
        let moments = match &graph.node(value).op {
            Op::Input => None,
            Op::Identity => operand(0).cloned(),
            Op::Activation {
                function: Activation::Relu,
                ..
            } => operand(0).map(rectified),
            // A pass in front of calibration has turned these into ReLUs.
            Op::MaxPool { .. } => None,
            Op::Activation { function, .. } => {
                operand(0).map(|moments| activated(*function, moments))
            }
            Op::Add => operand(0).zip(operand(1)).map(|(a, b)| Moments {
                mean: a.mean.iter().zip(&b.mean).map(|(a, b)| a + b).collect(),
                deviation: a
                    .deviation
                    .iter()
                    .zip(&b.deviation)
                    .map(|(a, b)| a + b)
                    .collect(),
            }),
            Op::Multiply { .. } => operand(0).zip(operand(1)).map(|(a, b)| multiplied(a, b)),
            Op::Linear(op) => {
                let shape = graph.ty(operands[0]).chw();
                op.as_operation().moments(operand(0), shape, &model.weights)
            }
        };
        all.push(moments);
    }
    all
}

/// Moments of xy for normal x = μ + σz and y = μ' + σ'z with one z: E = μμ' + σσ' and
/// V = (μσ' + μ'σ)² + 2σ²σ'².
fn multiplied(a: &Moments, b: &Moments) -> Moments {
    let left = a.mean.iter().zip(&a.deviation);
    let right = b.mean.iter().zip(&b.deviation);
    let (mean, deviation) = left
        .zip(right)
        .map(|((m, s), (n, t))| {
            let variance = (m * t + n * s).powi(2) + 2.0 * (s * t).powi(2);
            (m * n + s * t, variance.sqrt())
        })
        .unzip();
    Moments { mean, deviation }
}

/// Moments of max(x, 0) for normal x: with z = μ/σ, E = μΦ(z) + σφ(z) and
/// E² = (μ² + σ²)Φ(z) + μσφ(z).
fn rectified(moments: &Moments) -> Moments {
    let channels = moments.mean.iter().zip(&moments.deviation);
    let (mean, deviation) = channels
        .map(|(mean, sigma)| {
            if *sigma == 0.0 {
                return (mean.max(0.0), 0.0);
            }
            let z = mean / sigma;
            let (below, density) = (normal_distribution(z), normal_density(z));
            let first = mean * below + sigma * density;
            let second = (mean * mean + sigma * sigma) * below + mean * sigma * density;
            (first.max(0.0), (second - first * first).max(0.0).sqrt())
        })
        .unzip();
    Moments { mean, deviation }
}

/// Moments of f(x) for normal x, by Simpson's rule over eight deviations to either side; good to
/// about three digits where f has a kink.
fn activated(function: Activation, moments: &Moments) -> Moments {
    const STEPS: i32 = 512;
    let h = 16.0 / f64::from(STEPS);
    let channels = moments.mean.iter().zip(&moments.deviation);
    let (mean, deviation) = channels
        .map(|(mean, sigma)| {
            if *sigma == 0.0 {
                return (function.apply(*mean), 0.0);
            }
            let points = (0..=STEPS).map(|i| {
                let weight = match i {
                    0 | STEPS => 1.0,
                    i if i % 2 == 1 => 4.0,
                    _ => 2.0,
                };
                let z = -8.0 + h * f64::from(i);
                let y = function.apply(mean + sigma * z);
                (weight * normal_density(z) * h / 3.0, y)
            });
            let (first, second) = points.fold((0.0, 0.0), |(first, second), (weight, y)| {
                (first + weight * y, second + weight * y * y)
            });
            (first, (second - first * first).max(0.0).sqrt())
        })
        .unzip();
    Moments { mean, deviation }
}

fn normal_density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// Φ(z), by Simpson's rule from 0; good to about 10 digits.
fn normal_distribution(z: f64) -> f64 {
    const STEPS: usize = 64;
    let h = z.abs().min(8.0) / STEPS as f64;
    let sum: f64 = (0..=STEPS)
        .map(|i| {
            let weight = match i {
                0 | STEPS => 1.0,
                i if i % 2 == 1 => 4.0,
                _ => 2.0,
            };
            weight * normal_density(i as f64 * h)
        })
        .sum();
    0.5 + z.signum() * sum * h / 3.0
}

/// By value: the largest magnitude that the known bounds of the targets, in their order, allow.
pub(super) fn worst_case(
    model: &Model,
    input: f64,
    targets: &Targets,
    known: &[Option<Bound>],
) -> Vec<f64> {
    let graph = &model.graph;
    let mut of_operands = vec![[None; 2]; graph.len()];
    for (target, bound) in targets.iter().zip(known) {
        let place = target.factor.unwrap_or(0);
        of_operands[target.node.index()][place] = bound.map(|bound| bound.value);
    }
    let mut bounds: Vec<f64> = Vec::with_capacity(graph.len());
    for value in graph.values() {
        let operands = graph.operands(value);
        let operand = |position: usize| bounds[operands[position].index()];
        let bound = match &graph.node(value).op {
            Op::Input => input,
            Op::Identity | Op::MaxPool { .. } => operand(0),
            Op::Activation { function, .. } => {
                let bound = of_operands[value.index()][0].unwrap_or_else(|| operand(0));
                result_bound(*function, bound)
            }
            Op::Multiply { .. } => {
                let factor = |place: usize| {
                    of_operands[value.index()][place].unwrap_or_else(|| operand(place))
                };
                factor(0) * factor(1)
            }
            Op::Add => operand(0) + operand(1),
            Op::Linear(op) => {
                let channels = graph.ty(value).chw()[0];
                let gains = op.as_operation().gains(channels, &model.weights);
                let bounds = gains.iter().map(|of| of.gain * operand(0) + of.shift);
                bounds.fold(0.0, f64::max)
            }
        };
        bounds.push(bound);
    }
    let usable = |bound: f64| match bound > 0.0 && bound.is_finite() {
        true => bound,
        false => 1.0,
    };
    bounds.into_iter().map(usable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_distribution_has_its_tabulated_values() {
        for (z, expected) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_1),
            (-1.96, 0.024_997_895_1),
            (40.0, 1.0),
        ] {
            assert!((normal_distribution(z) - expected).abs() < 1e-9, "{z}");
        }
    }

    #[test]
    fn rectified_moments_match_a_sum_over_the_density() {
        let moments = Moments {
            mean: vec![0.0, 1.5, -2.0, -1.0, 3.0],
            deviation: vec![1.0, 0.5, 2.0, 0.0, 0.0],
        };
        let found = rectified(&moments);
        for channel in 0..3 {
            let (mean, sigma) = (moments.mean[channel], moments.deviation[channel]);
            let steps = 200_000;
            let (mut first, mut second) = (0.0, 0.0);
            for i in 0..steps {
                let z = -10.0 + 20.0 * (f64::from(i) + 0.5) / f64::from(steps);
                let x = (mean + sigma * z).max(0.0);
                let weight = normal_density(z) * 20.0 / f64::from(steps);
                first += weight * x;
                second += weight * x * x;
            }
            assert!((found.mean[channel] - first).abs() < 1e-6);
            let deviation = (second - first * first).sqrt();
            assert!((found.deviation[channel] - deviation).abs() < 1e-6);
        }
        assert_eq!((found.mean[3], found.deviation[3]), (0.0, 0.0));
        assert_eq!((found.mean[4], found.deviation[4]), (3.0, 0.0));
    }

    #[test]
    fn moments_behind_other_activations_match_those_known() {
        let moments = Moments {
            mean: vec![0.0, 1.5, -2.0, 3.0],
            deviation: vec![1.0, 0.5, 2.0, 0.0],
        };
        let relu = activated(Activation::Relu, &moments);
        let exact = rectified(&moments);
        for channel in 0..4 {
            assert!((relu.mean[channel] - exact.mean[channel]).abs() < 1e-3);
            assert!((relu.deviation[channel] - exact.deviation[channel]).abs() < 1e-3);
        }
        // x² of a standard normal x has mean 1 and variance 2.
        let square = activated(Activation::Square, &moments);
        assert!((square.mean[0] - 1.0).abs() < 1e-9);
        assert!((square.deviation[0] - 2.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!((square.mean[3], square.deviation[3]), (9.0, 0.0));
        // So has the product of a value with itself.
        let squared = multiplied(&moments, &moments);
        for channel in 0..4 {
            assert!((squared.mean[channel] - square.mean[channel]).abs() < 1e-8);
            assert!((squared.deviation[channel] - square.deviation[channel]).abs() < 1e-8);
        }
        // The logistic function is odd around (0, 1/2).
        let sigmoid = activated(Activation::Sigmoid, &moments);
        assert!((sigmoid.mean[0] - 0.5).abs() < 1e-9);
    }
}
