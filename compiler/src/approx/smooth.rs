//! Smooth functions by one polynomial: interpolation at Chebyshev nodes, cut where the rest is
//! below the error that is asked for.
//!
//! For an analytic function the coefficients fall geometrically, and the cut series is close to the
//! best polynomial of its degree (Trefethen, Approximation Theory and Approximation Practice,
//! chapters 8 and 16).

use std::f64::consts::PI;

use heddle_ir::slot::{Chebyshev, sample_points};

/// The largest degree that is attempted, ten levels deep.
pub const MAX_DEGREE: usize = 1023;

/// Coefficients below this fraction of the largest are rounding errors, and exact zeros by
/// symmetry.
const ROUNDING: f64 = 1e-15;

/// A polynomial and its distance from a function.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The polynomial.
    pub polynomial: Chebyshev,
    /// The largest error on [−1, 1], as seen on [`sample_points`].
    pub error: f64,
}

/// The polynomial of degree `degree` or less that agrees with `f` at the Chebyshev nodes of
/// [−1, 1]; exact for polynomials up to this degree.
pub fn interpolate(degree: usize, f: impl Fn(f64) -> f64) -> Chebyshev {
    let nodes = degree + 1;
    let half_step = PI / (2 * nodes) as f64;
    // cos(half_step·i) for all i; the nodes are those of odd i.
    let cosines: Vec<f64> = (0..4 * nodes)
        .map(|i| (half_step * i as f64).cos())
        .collect();
    let values: Vec<f64> = (0..nodes).map(|node| f(cosines[2 * node + 1])).collect();
    let mut coefficients: Vec<f64> = (0..nodes)
        .map(|k| {
            let sum: f64 = values
                .iter()
                .enumerate()
                .map(|(node, value)| value * cosines[k * (2 * node + 1) % (4 * nodes)])
                .sum();
            sum * if k == 0 { 1.0 } else { 2.0 } / nodes as f64
        })
        .collect();
    let largest = coefficients.iter().fold(0.0_f64, |max, c| max.max(c.abs()));
    for coefficient in &mut coefficients {
        if coefficient.abs() <= ROUNDING * largest {
            *coefficient = 0.0;
        }
    }
    trimmed(coefficients)
}

/// The polynomial without coefficients of zero at its end; a constant keeps one.
pub(super) fn trimmed(mut coefficients: Vec<f64>) -> Chebyshev {
    let last = coefficients.iter().rposition(|c| *c != 0.0).unwrap_or(0);
    coefficients.truncate(last + 1);
    if coefficients.is_empty() {
        coefficients.push(0.0);
    }
    Chebyshev { coefficients }
}

/// A polynomial for `f` on [−1, 1], a cut series, as shallow as an error of at most `required`
/// allows: of least degree for an error of `wanted` within the depth that `required` takes, or of
/// the highest degree of that depth. Where not even [`MAX_DEGREE`] gives `required`, it has that
/// degree.
///
/// Levels are what bootstraps give back; a higher degree within a depth takes a few products only.
pub fn fit(f: impl Fn(f64) -> f64, required: f64, wanted: f64) -> Fit {
    let wanted = wanted.min(required);
    let series = series(&f, wanted);
    let points: Vec<(f64, f64)> = sample_points().map(|x| (x, f(x))).collect();
    let least = least_degree(&series, &points, required, MAX_DEGREE);
    let highest = least.polynomial.degree().max(1) + 1;
    least_degree(&series, &points, wanted, highest.next_power_of_two() - 1)
}

/// The cut series of least degree from 1 to `highest` whose error at the points is at most
/// `target`; that of the highest degree where none is.
fn least_degree(series: &Chebyshev, points: &[(f64, f64)], target: f64, highest: usize) -> Fit {
    let cut = |degree: usize| {
        let polynomial = trimmed(series.coefficients[..=degree].to_vec());
        let error = points.iter().fold(0.0_f64, |worst, (x, y)| {
            worst.max((polynomial.eval(*x) - y).abs())
        });
        Fit { polynomial, error }
    };
    let top = series.degree().min(highest);
    // What is cut off bounds the error, so the search can start where that is below the target.
    let mut rest: f64 = series.coefficients[top + 1..].iter().map(|c| c.abs()).sum();
    let mut degree = top;
    while degree > 1 && rest + series.coefficients[degree].abs() <= target {
        rest += series.coefficients[degree].abs();
        degree -= 1;
    }
    let mut best = cut(degree);
    while degree > 1 && best.error <= target {
        degree -= 1;
        let lower = cut(degree);
        if lower.error > target {
            break;
        }
        best = lower;
    }
    best
}

/// Coefficients of `f` up to where they no longer matter to `target`, or to [`MAX_DEGREE`].
fn series(f: &impl Fn(f64) -> f64, target: f64) -> Chebyshev {
    let mut degree = 31;
    loop {
        let series = interpolate(degree, f);
        let tail = series.coefficients.iter().skip(degree * 3 / 4);
        if degree > MAX_DEGREE || tail.map(|c| c.abs()).sum::<f64>() <= target / 64.0 {
            return series;
        }
        degree = 2 * degree + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_interpolated_exactly() {
        // 8x⁴ − 8x² + 1 + x = T_4 + T_1.
        let quartic = interpolate(9, |x| 8.0 * x.powi(4) - 8.0 * x * x + 1.0 + x);
        assert_eq!(quartic.degree(), 4);
        for (found, expected) in quartic.coefficients.iter().zip([0.0, 1.0, 0.0, 0.0, 1.0]) {
            assert!((found - expected).abs() < 1e-14, "{quartic:?}");
        }
        assert_eq!(interpolate(5, |_| 0.0).coefficients, [0.0]);
    }

    #[test]
    fn the_exponential_has_bessel_coefficients() {
        // e^x = I_0(1) + 2·Σ I_k(1)·T_k.
        let found = interpolate(20, f64::exp);
        let expected = [
            1.266_065_877_752_008_4,
            1.130_318_207_984_97,
            0.271_495_339_534_076_56,
            0.044_336_849_848_663_804,
        ];
        for (found, expected) in found.coefficients.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-14, "{found} {expected}");
        }
    }

    #[test]
    fn fits_have_the_least_degree_of_their_series() {
        let runge = |x: f64| 1.0 / (1.0 + 25.0 * x * x);
        for bits in [5, 13, 20] {
            let target = f64::from(-bits).exp2();
            let found = fit(runge, target, target);
            assert!(found.error <= target, "{bits}: {}", found.error);
            let shorter =
                trimmed(found.polynomial.coefficients[..found.polynomial.degree()].into());
            let worst = sample_points().fold(0.0_f64, |worst, x| {
                worst.max((shorter.eval(x) - runge(x)).abs())
            });
            assert!(worst > target, "{bits}: degree {}", shorter.degree());
        }
    }

    #[test]
    fn more_precision_takes_no_more_levels() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-12.0 * x).exp());
        let error = |bits: i32| f64::from(-bits).exp2();
        let [low, high, higher] = [13, 16, 40].map(|bits| fit(sigmoid, error(13), error(bits)));
        let depths = [&low, &high, &higher].map(|fit| fit.polynomial.depth());
        assert_eq!(depths, [6; 3]);
        assert!(low.polynomial.degree() < high.polynomial.degree());
        assert!(high.error <= error(16));
        // The highest odd degree of this depth.
        assert_eq!(higher.polynomial.degree(), 63);
    }

    #[test]
    fn what_no_degree_reaches_gets_the_largest() {
        let found = fit(|x| (4000.0 * x).tanh(), 1e-4, 1e-5);
        assert_eq!(found.polynomial.degree(), MAX_DEGREE);
        assert!(found.error > 1e-4);
    }
}
