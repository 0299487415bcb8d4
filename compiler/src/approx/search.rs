//! The degrees of a sign composition for a ReLU precision: least depth, or fewest products at a
//! depth.
//!
//! A composition for precision α ends in a stage whose error is 2^(1−α), so its best interval is
//! found from behind: each stage must map its interval into that of the next. What a stage needs of
//! the one before depends on the stages behind it alone, so that compositions with the same end
//! share their computation.

use std::collections::BTreeMap;

use super::remez::minimax_sign;
use super::sign::{fit, inner_error};
use crate::error::Error;

/// Multiplicative depth and non-scalar products of an odd polynomial by degree, for the odd
/// baby-step giant-step evaluation in least depth: `(degree, depth, products)`. Lee, Lee, No and
/// Kim, Minimax approximation of sign function by composite polynomial for homomorphic comparison,
/// IEEE TDSC 2022, table 2.
pub const ODD_POLYNOMIALS: [(usize, usize, usize); 15] = [
    (3, 2, 2),
    (5, 3, 3),
    (7, 3, 5),
    (9, 4, 5),
    (11, 4, 6),
    (13, 4, 7),
    (15, 4, 8),
    (17, 5, 8),
    (19, 5, 8),
    (21, 5, 9),
    (23, 5, 9),
    (25, 5, 10),
    (27, 5, 10),
    (29, 5, 11),
    (31, 5, 12),
];

/// Most levels that a composition may take.
const MAX_DEPTH: usize = 16;

/// Halvings of the bracket around a stage's log2 a.
const BISECTIONS: usize = 30;

/// A composition that reaches a precision.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Degrees in the order in which the stages apply.
    pub degrees: Vec<usize>,
    /// Levels of the sign function; ReLU takes one more.
    pub depth: usize,
    /// Non-scalar products of the sign function; ReLU takes one more.
    pub products: usize,
}

/// The degrees of the composition of exactly `depth` levels that reaches ReLU precision `alpha`
/// without a margin with the fewest non-scalar products, and of those the most precise; `None` when
/// no composition of this depth reaches it. Stages are in ascending order of degree.
///
/// # Errors
/// If a minimax polynomial cannot be computed.
pub fn fewest_products(alpha: u32, depth: usize) -> Result<Option<Found>, Error> {
    Search::new(alpha).at_depth(depth)
}

/// The composition of least depth that reaches ReLU precision `alpha`, as [`fewest_products`] finds
/// it there.
///
/// # Errors
/// If no composition of up to 16 levels reaches it, or a minimax polynomial cannot be computed.
pub fn least_depth(alpha: u32) -> Result<Found, Error> {
    let mut search = Search::new(alpha);
    for depth in 2..=MAX_DEPTH {
        if let Some(found) = search.at_depth(depth)? {
            return Ok(found);
        }
    }
    Err(Error::Approximation(format!(
        "no composition of up to {MAX_DEPTH} levels reaches a ReLU precision of {alpha} bits"
    )))
}

fn products(degrees: &[usize]) -> usize {
    let of = |degree: &usize| {
        let row = ODD_POLYNOMIALS.iter().find(|(known, ..)| known == degree);
        row.map_or(0, |(_, _, products)| *products)
    };
    degrees.iter().map(of).sum()
}

/// Every ascending sequence of degrees of at least `least` whose depths add up to `depth`.
fn ascending(depth: usize, least: usize, begun: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
    if depth == 0 {
        all.push(begun.clone());
        return;
    }
    for (degree, levels, _) in ODD_POLYNOMIALS {
        if degree >= least && levels <= depth {
            begun.push(degree);
            ascending(depth - levels, degree, begun, all);
            begun.pop();
        }
    }
}

/// The highest degree of the same depth.
fn strongest(degree: usize) -> usize {
    (degree + 1).next_power_of_two() - 1
}

struct Search {
    /// The error of the last stage.
    error: f64,
    /// By degrees of the last stages: where the interval of the first of them begins.
    starts: BTreeMap<Vec<usize>, f64>,
}

impl Search {
    fn new(alpha: u32) -> Self {
        Self {
            error: (1.0 - f64::from(alpha)).exp2(),
            starts: BTreeMap::new(),
        }
    }

    fn at_depth(&mut self, depth: usize) -> Result<Option<Found>, Error> {
        let mut candidates = Vec::new();
        ascending(depth, 0, &mut Vec::new(), &mut candidates);
        candidates.sort_by_key(|candidate| products(candidate));
        // If a composition misses the precision, one with degrees no higher misses it too. So the
        // highest degrees of each depth are tried first.
        let mut too_weak: Vec<Vec<usize>> = Vec::new();
        let is_strongest = |degrees: &&Vec<usize>| degrees.iter().all(|d| *d == strongest(*d));
        for degrees in candidates.iter().filter(is_strongest) {
            if self.reached_from(degrees)?.is_none() {
                too_weak.push(degrees.clone());
            }
        }
        let mut best: Option<(f64, Found)> = None;
        for degrees in candidates {
            let products = products(&degrees);
            let is_worse = |(_, best): &(f64, Found)| best.products < products;
            if best.as_ref().is_some_and(is_worse) {
                break;
            }
            let is_weaker = |stronger: &Vec<usize>| {
                stronger.len() == degrees.len()
                    && degrees.iter().zip(stronger).all(|(low, high)| low <= high)
            };
            if too_weak.iter().any(is_weaker) {
                continue;
            }
            match self.reached_from(&degrees)? {
                None => too_weak.push(degrees),
                Some(start) if best.as_ref().is_none_or(|(least, _)| start < *least) => {
                    let found = Found {
                        degrees,
                        depth,
                        products,
                    };
                    best = Some((start, found));
                }
                Some(_) => {}
            }
        }
        Ok(best.map(|(_, found)| found))
    }

    /// The least `a` for which the stages map [a, 1] to within the error of 1.
    fn start(&mut self, degrees: &[usize]) -> Result<f64, Error> {
        let Some((first, behind)) = degrees.split_first() else {
            return Ok(1.0);
        };
        if let Some(known) = self.starts.get(degrees) {
            return Ok(*known);
        }
        let error = if behind.is_empty() {
            self.error
        } else {
            // Scaled into [−1, 1], results of error e lie above (1 − e)/(1 + e).
            let next = self.start(behind)?;
            (1.0 - next) / (1.0 + next)
        };
        let (mut low, mut high) = (-20.0_f64, -1e-6_f64);
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (low + high);
            if minimax_sign(*first, middle.exp2())?.error > error {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.starts.insert(degrees.to_vec(), high.exp2());
        Ok(high.exp2())
    }

    /// Where the composition's interval begins, if ReLU's error stays within half of the sign's
    /// below it, too.
    fn reached_from(&mut self, degrees: &[usize]) -> Result<Option<f64>, Error> {
        let start = self.start(degrees)?;
        let fitted = fit(degrees, 0.0, start)?;
        let reaches =
            fitted.is_some_and(|(stages, _)| inner_error(&stages, start) <= 0.5 * self.error);
        Ok(reaches.then_some(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approx::sign::{LEAST_DEPTH, composite, relu_error};

    /// α, depth, degrees, products and log2 of ReLU's error, computed independently with 50 digits:
    /// the least depth for every α.
    type Row = (u32, usize, &'static [usize], usize, f64);
    const LEAST: [Row; 8] = [
        (7, 6, &[7, 7], 10, -7.0595),
        (8, 7, &[7, 15], 13, -8.0473),
        (9, 8, &[15, 15], 16, -9.0153),
        (10, 10, &[7, 7, 13], 17, -10.1299),
        (11, 11, &[7, 7, 27], 20, -11.1415),
        (12, 12, &[7, 15, 27], 23, -12.1510),
        (13, 13, &[15, 15, 27], 26, -13.1641),
        (14, 14, &[15, 27, 29], 29, -14.0567),
    ];
    /// One level more than the least. For α = 8 and 9 the independent table has {3, 7, 7} with 12
    /// and {7, 7, 7} with 15 products, where a composition with one product less does better.
    const ONE_LEVEL_MORE: [Row; 7] = [
        (8, 8, &[3, 3, 13], 11, -8.0088),
        (9, 9, &[3, 7, 13], 14, -9.0647),
        (10, 11, &[3, 5, 7, 7], 15, -10.0799),
        (11, 12, &[5, 7, 7, 7], 18, -11.1557),
        (12, 13, &[5, 7, 7, 13], 20, -12.0282),
        (13, 14, &[7, 7, 11, 13], 23, -13.0754),
        (14, 15, &[7, 13, 13, 13], 26, -14.1253),
    ];

    #[track_caller]
    fn assert_row(found: &Found, (alpha, depth, degrees, products, error): Row) {
        assert_eq!(found.degrees, degrees, "α = {alpha}");
        assert_eq!(
            (found.depth, found.products),
            (depth, products),
            "{found:?}"
        );
        let reached = relu_error(&composite(alpha, degrees, 0.0).unwrap()).log2();
        // The table searched for its interval in coarser steps.
        assert!((reached - error).abs() < 3e-3, "{degrees:?}: 2^{reached}");
    }

    #[test]
    fn the_least_depths_are_the_reference() {
        for (row, known) in LEAST.into_iter().zip(LEAST_DEPTH) {
            assert_row(&least_depth(row.0).unwrap(), row);
            assert_eq!((row.0, row.2), known);
        }
    }

    #[test]
    fn one_level_more_saves_products() {
        for row in ONE_LEVEL_MORE {
            let found = fewest_products(row.0, row.1).unwrap().unwrap();
            assert_row(&found, row);
        }
    }

    #[test]
    fn compositions_of_the_reference_that_are_bettered_reach_their_precision_too() {
        for (alpha, degrees, count, error) in
            [(8, [3, 7, 7], 12, -8.2337), (9, [7, 7, 7], 15, -9.2820)]
        {
            assert_eq!(products(&degrees), count);
            let reached = relu_error(&composite(alpha, &degrees, 0.0).unwrap()).log2();
            assert!((reached - error).abs() < 3e-3, "{degrees:?}: 2^{reached}");
        }
    }

    #[test]
    fn too_few_levels_reach_nothing() {
        assert_eq!(fewest_products(13, 12).unwrap(), None);
        assert_eq!(fewest_products(10, 9).unwrap(), None);
        assert!(least_depth(40).is_err());
    }
}
