//! The probability that modular reduction fails: that an integer of ModRaise is larger than EvalMod
//! was fitted for.
//!
//! Under a secret of weight `h` a raised coefficient is `m + q_0·I`, and `I` is the nearest integer
//! to a sum of `h` independent numbers, uniform on `[−½, ½]`. Its tail is computed to double
//! precision by integrating the generating function along a line through its saddle point (Daniels
//! 1954): the trapezoidal rule converges geometrically there.

/// What the sum of uniforms has to reach for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// `|Σ of h uniforms| ≥ K − ½`, that is `|I| ≥ K`: EvalMod is fitted for integers below `K`.
    Rounded,
    /// `|Σ of h + 1 uniforms| ≥ K`: Table 3 of Lee et al., arXiv 2106.07229, which counts the
    /// polynomial without the secret as one more uniform and does not round.
    Unrounded,
}

/// log2 of the probability that one coefficient's integer reaches `k` under a secret of weight `h`;
/// negative infinity where it cannot, 0 where it always does.
pub fn overflow_log2(h: u32, k: u32, convention: Convention) -> f64 {
    let (uniforms, twice_bound) = match convention {
        Convention::Rounded => (h, (2 * k).saturating_sub(1)),
        Convention::Unrounded => (h.saturating_add(1), 2 * k),
    };
    if twice_bound == 0 {
        return 0.0;
    }
    // Both tails.
    (1.0 + sum_tail_log2(uniforms, f64::from(twice_bound) / 2.0)).min(0.0)
}

/// The least `k` with which one coefficient fails with a probability of at most
/// `2^log2_probability`.
///
/// Some `k` up to `h + 1` always does, since a sum cannot exceed half the number of its uniforms.
pub fn least_k(h: u32, log2_probability: f64, convention: Convention) -> u32 {
    // The tail falls with k.
    let (mut low, mut high) = (1, h.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        if overflow_log2(h, middle, convention) <= log2_probability {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// log2 of the probability that at least one of several independent events happens, by the union
/// bound: at most 0.
pub fn any_log2(events: impl IntoIterator<Item = f64>) -> f64 {
    let events: Vec<f64> = events.into_iter().collect();
    let largest = events.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    let sum: f64 = events.iter().map(|log2| (log2 - largest).exp2()).sum();
    (largest + sum.log2()).min(0.0)
}

/// log2 of the probability that a sum of `h` uniforms on `[−½, ½]` exceeds `x > 0`.
fn sum_tail_log2(h: u32, x: f64) -> f64 {
    /// Below this many uniforms the integrand's tail is too long, and the sum of Irwin and Hall
    /// short and exact.
    const FEW: u32 = 12;
    let n = f64::from(h);
    if x >= n / 2.0 {
        return f64::NEG_INFINITY;
    }
    if h <= FEW {
        return irwin_hall_tail(h, x).log2();
    }
    // The cumulant function is h·ln(sinh(t/2)/(t/2)); its slope, h·(½·coth(t/2) − 1/t), grows from
    // 0 to h/2.
    let slope = |t: f64| n * (0.5 / (t / 2.0).tanh() - 1.0 / t);
    let (mut low, mut high) = (1e-9_f64, 4.0 * n.max(1.0) / (n / 2.0 - x).min(1.0));
    for _ in 0..200 {
        let middle = (low * high).sqrt();
        if slope(middle) < x {
            low = middle;
        } else {
            high = middle;
        }
    }
    let saddle = high;
    let curvature = n * (1.0 / (saddle * saddle) - 0.25 / (saddle / 2.0).sinh().powi(2));
    // ln of the integrand e^(cumulant(t) − t·x)/t at t = saddle + i·v, as real part and angle.
    let log_integrand = |v: f64| {
        let decay = (-saddle).exp();
        // 1 − e^−t.
        let (re, im) = (1.0 - decay * v.cos(), decay * v.sin());
        let log_abs_t = 0.5 * (saddle * saddle + v * v).ln();
        let angle_t = v.atan2(saddle);
        let log = n * (saddle / 2.0 + 0.5 * (re * re + im * im).ln() - log_abs_t);
        let angle = n * (v / 2.0 + im.atan2(re) - angle_t);
        (log - saddle * x - log_abs_t, angle - v * x - angle_t)
    };
    // Narrow against both the peak's width and the distance to the pole at 0.
    let step = (0.25 / curvature.sqrt()).min(saddle / 7.0);
    let (peak, _) = log_integrand(0.0);
    let mut sum = 0.5;
    for i in 1..1_000_000 {
        let (log, angle) = log_integrand(f64::from(i) * step);
        let size = (log - peak).exp();
        sum += size * angle.cos();
        if size < 1e-18 {
            break;
        }
    }
    (peak + (sum * step / std::f64::consts::PI).ln()) / std::f64::consts::LN_2
}

/// `Pr(Σ > x)` by the alternating sum of Irwin and Hall, from the end where it has the fewest
/// terms.
fn irwin_hall_tail(h: u32, x: f64) -> f64 {
    let n = f64::from(h);
    let room = n / 2.0 - x;
    let mut factor: f64 = (1..=h).map(|i| 1.0 / f64::from(i)).product();
    let mut sum = 0.0;
    for i in 0..=h {
        let base = room - f64::from(i);
        if base <= 0.0 {
            break;
        }
        sum += factor * base.powf(n);
        factor *= -f64::from(h - i) / f64::from(i + 1);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_3_of_the_paper_is_reproduced() {
        // The paper's figures, and the same by exact rational arithmetic.
        for (h, rows) in [
            (
                64,
                [
                    (12, -22.7, -22.7074),
                    (14, -30.6, -30.6067),
                    (16, -40.0, -40.0413),
                ],
            ),
            (
                128,
                [
                    (17, -22.5, -22.5305),
                    (20, -30.6, -30.5892),
                    (23, -40.1, -40.0720),
                ],
            ),
            (
                192,
                [
                    (21, -22.8, -22.8087),
                    (24, -29.3, -29.2479),
                    (28, -39.2, -39.2182),
                ],
            ),
        ] {
            for (k, table, exact) in rows {
                let found = overflow_log2(h, k, Convention::Unrounded);
                assert!((found - table).abs() < 0.1, "h = {h}, K = {k}: 2^{found}");
                assert!((found - exact).abs() < 1e-4, "h = {h}, K = {k}: 2^{found}");
            }
        }
    }

    #[test]
    fn the_least_bounds_are_the_reference_tables() {
        let targets = [-23.0, -30.0, -40.0, -64.0, -128.0];
        let dense = (1 << 16) * 2 / 3;
        for (h, bounds) in [
            (32, [9, 10, 12, 14, 16]),
            (64, [13, 15, 17, 21, 27]),
            (128, [18, 21, 24, 30, 41]),
            (192, [22, 25, 29, 37, 51]),
            (dense, [320, 370, 432, 553, 792]),
        ] {
            for (target, k) in targets.into_iter().zip(bounds) {
                let found = least_k(h, target, Convention::Rounded);
                assert_eq!(found, k, "h = {h}, 2^{target}");
            }
        }
    }

    /// Sums of few uniforms by convolving their lattice approximation would be coarse; the
    /// alternating sum in exact integers is not: `Pr(Σ > x) = Σ (−1)^i·C(h, i)·(h − 2x − 2i)^h /
    /// (2^h·h!)`.
    #[test]
    fn the_integral_agrees_with_exact_integers() {
        for (h, twice_x) in [
            (13_u32, 1_i128),
            (14, 6),
            (16, 9),
            (18, 17),
            (20, 1),
            (20, 19),
        ] {
            let (mut sum, mut binomial) = (0_i128, 1_i128);
            for i in 0..=i128::from(h) {
                let base = i128::from(h) - twice_x - 2 * i;
                if base <= 0 {
                    break;
                }
                sum += if i % 2 == 0 { binomial } else { -binomial } * base.pow(h);
                binomial = binomial * (i128::from(h) - i) / (i + 1);
            }
            let factorial: f64 = (1..=h).map(f64::from).product();
            let exact = sum as f64 / (f64::from(h).exp2() * factorial);
            let found = sum_tail_log2(h, twice_x as f64 / 2.0);
            assert!(
                (found - exact.log2()).abs() < 1e-9,
                "h = {h}: 2^{found}, 2^{}",
                exact.log2()
            );
        }
    }

    #[test]
    fn extremes_stay_probabilities() {
        assert_eq!(
            overflow_log2(32, 17, Convention::Rounded),
            f64::NEG_INFINITY
        );
        assert_eq!(overflow_log2(1, 1, Convention::Rounded), f64::NEG_INFINITY);
        assert!((overflow_log2(2, 1, Convention::Rounded) - (-2.0)).abs() < 1e-12);
        assert_eq!(overflow_log2(64, 0, Convention::Rounded), 0.0);
        assert!(overflow_log2(43_691, 1, Convention::Rounded) > -0.02);
        assert_eq!(least_k(1, -20.0, Convention::Rounded), 1);
        assert_eq!(any_log2([]), f64::NEG_INFINITY);
        assert_eq!(any_log2([-3.0, -3.0]), -2.0);
        assert_eq!(any_log2([-0.5, -0.5]), 0.0);
    }
}
