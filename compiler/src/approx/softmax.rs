//! Softmax as polynomials, rotations and products.
//!
//! As in Lee et al. (arXiv 2106.07229), the logits are bounded by a range and scaled down by 2^k,
//! the exponential is a polynomial of degree 12, the sum over the classes is taken by rotations and
//! divided by with Goldschmidt's iteration. The k squarings that undo the scaling each divide by
//! their sum again (Cho, Hanrot, Kim, Park and Stehlé, CCS 2024): `softmax(2x) = softmax(x)²/Σ
//! softmax(x)²`. So values stay between 1/classes and 1 wherever they matter, while a single
//! exponential over a range of ±20 would need 58 bits of precision.
//!
//! Divisions in between scale all classes alike and need no precision, since the next one corrects
//! them.

use heddle_ir::slot::{Chebyshev, Normalisation, Weighting};

/// Degree of the exponential.
const DEGREE: usize = 12;
/// The largest exponent that a polynomial of that degree is precise for.
const MAX_RATE: f64 = 4.0;
/// The least range of the logits. A slot without a class holds [`PADDING`] of it, and must not
/// count.
pub const LEAST_RANGE: f64 = 13.0;
/// What slots without a class hold: close to −1, but not beyond it with noise.
pub const PADDING: f64 = -15.0 / 16.0;
/// What a division in between may leave out.
const COARSE: f64 = 0.25;
/// What the last division may leave out.
const FINE: f64 = 1.0 / 32768.0;
/// Margin at the ends of the intervals, for noise and approximation errors.
const MARGIN: f64 = 1.0 / 64.0;

/// A softmax over slots that hold centred logits over their range.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax {
    /// The steps: the exponential's division, then the squarings'.
    pub steps: Vec<Normalisation>,
    /// A bound on the error of a probability, noise left out.
    pub error: f64,
}

impl Softmax {
    /// What the steps are, one sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let steps = self.steps.iter().map(|step| {
            let function = match step.function {
                Weighting::Exponential { rate } => {
                    format!(
                        "exp({rate:.3}·(x − 1)) by degree {}",
                        step.numerator.degree()
                    )
                }
                Weighting::Square => "squares".to_owned(),
            };
            format!(
                "{function} over their sum, {} products of the division, {} levels",
                step.iterations,
                step.depth()
            )
        });
        let error = format!("error of a probability at most 2^{:.1}", self.error.log2());
        steps.chain([error]).collect()
    }
}

/// The steps for `classes` logits with a sum of 0 and an absolute value of at most `range`, which
/// is at least [`LEAST_RANGE`]; slots repeat with the period `classes` rounded up to a power of
/// two, and slots without a class hold [`PADDING`].
pub fn design(classes: usize, range: f64) -> Softmax {
    let (count, slots) = (classes as f64, classes.next_power_of_two());
    let period = slots as f64;
    // With the mean of the logits 0, that of the exponentials is at least e^−rate. A rate of
    // ln(classes) makes the first division about as hard as the others, whose sums are at least
    // 1/classes.
    let most = count.ln().clamp(1.0, MAX_RATE);
    let squarings = (range / most).log2().ceil().max(0.0) as u32;
    let rate = range / f64::from(squarings).exp2();
    let rotations: Vec<usize> = (0..slots.trailing_zeros()).map(|bit| 1 << bit).collect();

    let weighting = Weighting::Exponential { rate };
    let exponential = interpolate(|x| weighting.apply(x));
    let floor = (-rate).exp();
    let exponential_error = (0..=1000)
        .map(|i| f64::from(i) / 500.0 - 1.0)
        .map(|x| (exponential.eval(x) - weighting.apply(x)).abs())
        .fold(0.0, f64::max)
        / floor;
    let scaled = Chebyshev {
        coefficients: exponential
            .coefficients
            .iter()
            .map(|c| c / period)
            .collect(),
    };
    let precision = |step: u32| if step == squarings { FINE } else { COARSE };
    let lowest = (1.0 - MARGIN) * count * floor / period;
    let first = Inverse::on(lowest, 1.0 / period, precision(0));
    let mut steps = vec![first.normalisation(weighting, exponential, scaled, &rotations)];
    let square = Chebyshev {
        coefficients: vec![0.5, 0.0, 0.5],
    };
    let mut left_out = first.left_out;
    for step in 1..=squarings {
        let lowest = (1.0 - MARGIN) * (1.0 - COARSE).powi(2) / period;
        let inverse = Inverse::on(lowest, 1.0, precision(step));
        steps.push(inverse.normalisation(
            Weighting::Square,
            square.clone(),
            square.clone(),
            &rotations,
        ));
        left_out = inverse.left_out;
    }
    let padding = (period - count) / count * (PADDING * range).exp();
    // p(1 − p) ≤ ¼ times twice the relative error of an exponential, doubled by every squaring.
    let error = exponential_error * f64::from(squarings).exp2() / 2.0 + left_out + padding;
    Softmax { steps, error }
}

/// An approximation of `c/D` for `D` between two bounds.
struct Inverse {
    start: Chebyshev,
    deviation: Chebyshev,
    iterations: usize,
    /// The largest relative error; the result is never too large.
    left_out: f64,
}

impl Inverse {
    /// For `D` from `lowest` to 1. The start is the cubic whose deviation `1 − D·w/c` is `T_4`,
    /// brought to 1 at `D = 0`: the smallest that a cubic can have.
    fn on(lowest: f64, c: f64, precision: f64) -> Self {
        let highest = 1.0 + MARGIN;
        let slope = 2.0 / (highest - lowest);
        let offset = -(highest + lowest) / (highest - lowest);
        // T_4(slope·D + offset) by powers of D.
        let line = [offset, slope];
        let squared = product(&line, &line);
        let mut powers: Vec<f64> = product(&squared, &squared)
            .iter()
            .map(|x| 8.0 * x)
            .collect();
        for (power, square) in powers.iter_mut().zip(&squared) {
            *power -= 8.0 * square;
        }
        powers[0] += 1.0;
        let deviation: Vec<f64> = powers.iter().map(|x| x / powers[0]).collect();
        let start: Vec<f64> = deviation[1..].iter().map(|x| -x * c).collect();
        let mut left_out = 1.0 / powers[0];
        let mut iterations = 0;
        while iterations == 0 || left_out > precision {
            left_out *= left_out;
            iterations += 1;
        }
        Self {
            start: from_powers(&start),
            deviation: from_powers(&deviation),
            iterations,
            left_out,
        }
    }

    fn normalisation(
        &self,
        function: Weighting,
        numerator: Chebyshev,
        denominator: Chebyshev,
        steps: &[usize],
    ) -> Normalisation {
        Normalisation {
            function,
            numerator,
            denominator,
            rotations: steps.to_vec(),
            start: self.start.clone(),
            deviation: self.deviation.clone(),
            iterations: self.iterations,
        }
    }
}

/// The product of two polynomials by their coefficients of powers.
fn product(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut result = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            result[i + j] += x * y;
        }
    }
    result
}

/// The Chebyshev coefficients of a polynomial given by powers, by Horner's rule with `x·T_k =
/// (T_{k+1} + T_{|k−1|})/2`.
fn from_powers(powers: &[f64]) -> Chebyshev {
    let mut coefficients = vec![0.0; powers.len()];
    for power in powers.iter().rev() {
        let mut shifted = vec![0.0; powers.len() + 1];
        for (k, c) in coefficients.iter().enumerate() {
            let half = if k == 0 { *c } else { c / 2.0 };
            shifted[k + 1] += half;
            if k > 0 {
                shifted[k - 1] += half;
            }
        }
        shifted.truncate(powers.len());
        shifted[0] += power;
        coefficients = shifted;
    }
    Chebyshev { coefficients }
}

/// The polynomial of degree [`DEGREE`] through a function's values at Chebyshev's points.
fn interpolate(function: impl Fn(f64) -> f64) -> Chebyshev {
    let count = DEGREE + 1;
    let angle = |i: usize| std::f64::consts::PI * (i as f64 + 0.5) / count as f64;
    let values: Vec<f64> = (0..count).map(|i| function(angle(i).cos())).collect();
    let coefficient = |k: usize| {
        let sum: f64 = (0..count)
            .map(|i| values[i] * (k as f64 * angle(i)).cos())
            .sum();
        sum * if k == 0 { 1.0 } else { 2.0 } / count as f64
    };
    Chebyshev {
        coefficients: (0..count).map(coefficient).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Centred logits in slots, with their exact softmax.
    fn packed(logits: &[f64], range: f64) -> (Vec<f64>, Vec<f64>) {
        let mean = logits.iter().sum::<f64>() / logits.len() as f64;
        let centred: Vec<f64> = logits.iter().map(|z| z - mean).collect();
        let mut slots = vec![PADDING; logits.len().next_power_of_two()];
        for (slot, z) in slots.iter_mut().zip(&centred) {
            *slot = z / range;
        }
        let sum: f64 = centred.iter().map(|z| z.exp()).sum();
        (slots, centred.iter().map(|z| z.exp() / sum).collect())
    }

    /// Logits of several shapes: even, one or two above the rest, a ramp, at the ends of the range,
    /// and odd ones.
    fn cases(classes: usize, range: f64) -> Vec<Vec<f64>> {
        let spike = |height: f64| {
            let mut logits = vec![0.0; classes];
            logits[classes / 2] = height;
            logits
        };
        let mut pair = spike(0.6 * range);
        pair[0] = 0.6 * range - 0.3;
        let mut ends = vec![-range; classes];
        ends[..classes.div_ceil(2)].fill(range);
        let ramp = (0..classes).map(|i| range * (i as f64 / classes as f64 - 0.5));
        let odd = (0..classes).map(|i| 0.6 * range * (i as f64 * 2.3).sin());
        vec![
            spike(0.0),
            spike(0.9 * range),
            spike(0.2 * range),
            pair,
            ends,
            ramp.collect(),
            odd.collect(),
        ]
    }

    #[test]
    fn probabilities_are_within_the_stated_error() {
        for (classes, range) in [
            (2, 13.0),
            (3, 40.0),
            (4, 20.0),
            (10, 13.0),
            (10, 29.0),
            (10, 70.0),
            (17, 25.0),
            (100, 30.0),
            (1000, 40.0),
        ] {
            let softmax = design(classes, range);
            let (mut worst, mut depth) = (0.0_f64, 0);
            for logits in cases(classes, range) {
                let (mut slots, exact) = packed(&logits, range);
                for step in &softmax.steps {
                    slots = step.eval(&slots);
                    assert!(
                        slots.iter().all(|x| x.abs() <= 1.0),
                        "{classes} of ±{range}"
                    );
                }
                for (found, exact) in slots.iter().zip(&exact) {
                    worst = worst.max((found - exact).abs());
                }
            }
            for step in &softmax.steps {
                depth = depth.max(step.depth());
            }
            println!(
                "{classes} classes, ±{range}: {} steps of at most {depth} levels, error 2^{:.1}, at most 2^{:.1}",
                softmax.steps.len(),
                worst.log2(),
                softmax.error.log2()
            );
            assert!(worst <= softmax.error && softmax.error < (-12.0_f64).exp2());
            // A division fits between two bootstraps under `N16_QP1714_DENSE`.
            assert!(depth <= 15, "{classes} classes: {depth}");
        }
    }

    #[test]
    fn steps_are_what_they_say() {
        let softmax = design(10, 29.0);
        let Weighting::Exponential { rate } = softmax.steps[0].function else {
            panic!("the exponential comes first");
        };
        let squarings = softmax.steps.len() - 1;
        assert!((rate * f64::from(1 << squarings) - 29.0).abs() < 1e-12);
        assert_eq!(softmax.steps[0].numerator.degree(), DEGREE);
        for step in &softmax.steps {
            let slots: Vec<f64> = (0..16).map(|i| f64::from(i) / 30.0 + 0.1).collect();
            assert_eq!(step.rotations, [1, 2, 4, 8]);
            let c = step.denominator.eval(0.5) / step.numerator.eval(0.5);
            for x in [0.1, 0.3, 0.9] {
                let deviation = 1.0 - x * step.start.eval(x) / c;
                assert!((step.deviation.eval(x) - deviation).abs() < 1e-12, "{x}");
            }
            let total: f64 = step.exact(&slots).iter().sum();
            assert!((total - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn conversion_from_powers() {
        let powers = [0.3, -1.0, 2.0, 0.25, -0.5];
        let polynomial = from_powers(&powers);
        for x in [-1.0, -0.4, 0.0, 0.7, 1.0] {
            let direct = powers.iter().rev().fold(0.0, |y, c| y * x + c);
            assert!((polynomial.eval(x) - direct).abs() < 1e-14);
        }
    }
}
