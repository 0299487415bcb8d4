//! Minimax approximation of the sign function by odd polynomials on [−1, −a] ∪ [a, 1].
//!
//! By oddness the two intervals are one: the best odd polynomial of degree 2m − 1 is the best
//! approximation of 1 on [a, 1] from the span of T₁, T₃, …, T₂ₘ₋₁, a Chebyshev system of dimension
//! m. Its error takes its extreme value with alternating signs at m + 1 points. Remez' exchange
//! finds them: solve for equal errors on a reference, move the reference to the extrema of the
//! error, repeat. (Remez 1934; for its use here Lee et al., arXiv 2105.10879.)
//!
//! The exchange needs no search on a grid. The error alternates on the m + 1 reference points, so
//! its derivative changes sign at least m − 1 times inside [a, 1]; it is an even polynomial of
//! degree 2m − 2 and has no more than m − 1 positive zeros. So there is exactly one extremum
//! between neighbouring zeros of the error, and bisection finds it.

use heddle_ir::slot::Chebyshev;

use crate::error::Error;

/// The largest degree that is attempted: beyond it the error is below double precision for every
/// interval that a composition uses.
const MAX_DEGREE: usize = 127;
/// Exchanges before giving up; convergence is quadratic and takes fewer than ten.
const MAX_EXCHANGES: usize = 100;
/// The spread of the extrema, relative to the error, at which the reference counts as found.
const TOLERANCE: f64 = 1e-11;
/// Errors below this drown in the rounding of the evaluation.
const ROUNDING: f64 = 1e-14;

/// An odd polynomial and its distance from the sign function.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimax {
    /// The polynomial; coefficients of even index are zero.
    pub polynomial: Chebyshev,
    /// max |p(x) − 1| over [a, 1].
    pub error: f64,
}

/// The best odd approximation of degree `degree` of sign(x) on [−1, −a] ∪ [a, 1].
///
/// Deterministic; coefficients are good to about 12 digits.
///
/// # Errors
/// If the degree is even or above 127, if `a` is not inside (0, 1), or if the error would be below
/// double precision.
pub fn minimax_sign(degree: usize, a: f64) -> Result<Minimax, Error> {
    if degree.is_multiple_of(2) || degree > MAX_DEGREE {
        return Err(Error::Approximation(format!(
            "degree {degree} of a sign polynomial is not an odd number up to {MAX_DEGREE}"
        )));
    }
    if !(a > 0.0 && a < 1.0) {
        return Err(Error::Approximation(format!(
            "the sign function cannot be approximated on [{a}, 1]: the lower end must lie inside (0, 1)"
        )));
    }
    let terms = degree.div_ceil(2);
    let mut reference = initial_reference(terms, a);
    for _ in 0..MAX_EXCHANGES {
        let odd = OddChebyshev(solve_levelled(&reference));
        reference = exchange(&odd, &reference, a);
        let errors = reference.iter().map(|x| (odd.eval(*x) - 1.0).abs());
        let largest = errors.clone().fold(0.0, f64::max);
        let smallest = errors.fold(f64::INFINITY, f64::min);
        if largest - smallest <= TOLERANCE * largest + ROUNDING {
            return Ok(Minimax {
                polynomial: odd.into(),
                error: largest,
            });
        }
    }
    Err(Error::Approximation(format!(
        "the exchange for degree {degree} on [{a}, 1] does not settle; choose a lower degree"
    )))
}

/// Σ c_j T_{2j+1}.
struct OddChebyshev(Vec<f64>);

impl OddChebyshev {
    /// Clenshaw's recurrence over odd indices: T_{n+2} = 2 T_2 T_n − T_{n−2}, with T_{−1} = T_1.
    fn eval(&self, x: f64) -> f64 {
        let twice_t2 = 4.0 * x * x - 2.0;
        let (mut b1, mut b2) = (0.0, 0.0);
        for c in self.0.iter().rev() {
            (b1, b2) = (c + twice_t2 * b1 - b2, b1);
        }
        x * (b1 - b2)
    }

    /// The derivative, Σ c_j (2j+1) U_{2j}, by the same recurrence with U_{−2} = −U_0 = −1.
    fn derivative(&self, x: f64) -> f64 {
        let twice_t2 = 4.0 * x * x - 2.0;
        let (mut b1, mut b2) = (0.0, 0.0);
        for (j, c) in self.0.iter().enumerate().rev() {
            (b1, b2) = (c * (2 * j + 1) as f64 + twice_t2 * b1 - b2, b1);
        }
        b1 + b2
    }
}

impl From<OddChebyshev> for Chebyshev {
    fn from(odd: OddChebyshev) -> Self {
        Self {
            coefficients: odd.0.into_iter().flat_map(|c| [0.0, c]).collect(),
        }
    }
}

/// `terms + 1` points of [a, 1], ascending: Chebyshev's extrema in a coordinate between x and ln x,
/// since the extrema of the solution crowd towards a.
fn initial_reference(terms: usize, a: f64) -> Vec<f64> {
    (0..=terms)
        .map(|i| {
            let t = 0.5 - 0.5 * (std::f64::consts::PI * i as f64 / terms as f64).cos();
            let (arithmetic, geometric) = (a + (1.0 - a) * t, a.powf(1.0 - t));
            if i == terms {
                1.0
            } else {
                (arithmetic * geometric).sqrt().max(a)
            }
        })
        .collect()
}

/// The coefficients whose error on the reference is e, −e, e, … for some e.
fn solve_levelled(reference: &[f64]) -> Vec<f64> {
    let size = reference.len();
    let mut rows: Vec<Vec<f64>> = reference
        .iter()
        .enumerate()
        .map(|(i, x)| {
            let mut row = Vec::with_capacity(size + 1);
            let (mut previous, mut current) = (*x, *x);
            for _ in 0..size - 1 {
                row.push(current);
                (previous, current) = (current, (4.0 * x * x - 2.0) * current - previous);
            }
            row.push(if i.is_multiple_of(2) { -1.0 } else { 1.0 });
            row.push(1.0);
            row
        })
        .collect();
    solve(&mut rows);
    rows.iter().take(size - 1).map(|row| row[size]).collect()
}

/// Gauss–Jordan elimination with partial pivoting on rows that end with their right-hand side.
fn solve(rows: &mut [Vec<f64>]) {
    let size = rows.len();
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|i, j| rows[*i][column].abs().total_cmp(&rows[*j][column].abs()))
            .unwrap_or(column);
        rows.swap(column, pivot);
        let inverse = 1.0 / rows[column][column];
        rows[column][column..]
            .iter_mut()
            .for_each(|v| *v *= inverse);
        let pivot_row = rows[column].clone();
        for (i, row) in rows.iter_mut().enumerate() {
            let factor = row[column];
            if i != column && factor != 0.0 {
                for (v, p) in row[column..].iter_mut().zip(&pivot_row[column..]) {
                    *v -= factor * p;
                }
            }
        }
    }
}

/// The extrema of the error: both ends and one point between neighbouring zeros of the error.
fn exchange(odd: &OddChebyshev, reference: &[f64], a: f64) -> Vec<f64> {
    let zeros: Vec<f64> = reference
        .windows(2)
        .map(|w| bisect(w[0], w[1], |x| odd.eval(x) - 1.0))
        .collect();
    let interior = zeros
        .windows(2)
        .map(|w| bisect(w[0], w[1], |x| odd.derivative(x)));
    [a].into_iter().chain(interior).chain([1.0]).collect()
}

/// The sign change of `f` between `low` and `high`.
fn bisect(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let sign = f(low).is_sign_negative();
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return middle;
        }
        if f(middle).is_sign_negative() == sign {
            low = middle;
        } else {
            high = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Degree 3 has a closed form: p = c₁x + c₃x³ with p(a) = p(1) = 1 − e and, at the one extremum
    /// ξ in between, p(ξ) = 1 + e. p(a) = p(1) gives c₁ = −c₃(1 + a + a²), 3ξ² = 1 + a + a².
    #[test]
    fn cubic_matches_its_closed_form() {
        for a in [0.01, 0.2, 0.4462661413, 0.8] {
            let s: f64 = 1.0 + a + a * a;
            let (at_one, at_peak) = (s - 1.0, 2.0 * (s / 3.0).powf(1.5));
            let error = (at_peak - at_one) / (at_peak + at_one);
            let found = minimax_sign(3, a).unwrap();
            assert!(
                (found.error - error).abs() < 1e-13,
                "a = {a}: {} vs {error}",
                found.error
            );
        }
    }

    #[test]
    fn error_equioscillates_and_bounds_the_whole_interval() {
        for (degree, a) in [
            (7, 0.0842827516),
            (15, 0.00178),
            (27, 0.2589),
            (63, 0.1),
            (99, 1e-4),
        ] {
            let found = minimax_sign(degree, a).unwrap();
            assert_eq!(found.polynomial.degree(), degree);
            let ratio = (1.0 / a).powf(1.0 / 20_000.0);
            let (mut alternations, mut last) = (0, 0.0);
            let mut x = a;
            while x <= 1.0 {
                let error = found.polynomial.eval(x) - 1.0;
                assert!(
                    error.abs() <= found.error * (1.0 + 1e-8) + 1e-13,
                    "at {x}: {error}"
                );
                if error.abs() > 0.9 * found.error && error.signum() != last {
                    (alternations, last) = (alternations + 1, error.signum());
                }
                x *= ratio;
            }
            assert!(
                alternations >= degree.div_ceil(2),
                "degree {degree}: {alternations}"
            );
        }
    }

    #[test]
    fn known_errors() {
        // The reference computation used 50 digits.
        for (degree, a, error) in [
            (5, 0.342_085_942_506_125_8, 0.080_281_317_723_969),
            (13, 0.186_906_321_3, 0.037_991_09),
            (15, 0.025_120_035_2, 0.550_906_40),
        ] {
            let found = minimax_sign(degree, a).unwrap().error;
            assert!(
                (found - error).abs() < 2e-8,
                "degree {degree}: {found} vs {error}"
            );
        }
    }

    #[test]
    fn bad_requests_are_errors() {
        for (degree, a) in [
            (4, 0.1),
            (0, 0.1),
            (129, 0.1),
            (7, 0.0),
            (7, 1.0),
            (7, f64::NAN),
        ] {
            assert!(minimax_sign(degree, a).is_err(), "degree {degree}, a = {a}");
        }
    }

    #[test]
    fn errors_near_rounding_settle() {
        let found = minimax_sign(63, 0.6).unwrap();
        assert!(found.error < 1e-12);
    }
}
