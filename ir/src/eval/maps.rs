//! Linear maps made ready for plain numbers.
//!
//! A term with a structure is evaluated from its weights, without a matrix. Others are matrices as
//! long as these fit into a budget; behind that, their rows are made anew at each use.

use rayon::prelude::*;

use crate::error::Error;
use crate::linear::form::{TermForm, share};
use crate::linear::products::ProductConvolution;
use crate::linear::{AffineMatrix, LinearMap, ProductPhase};
use crate::weights::Weights;

/// Bytes that the matrices of an interpreter may take, by an estimate from above.
const MATRIX_BYTES: usize = 128 << 20;

/// Bytes of a matrix for each entry while it is made.
const ENTRY_BYTES: usize = 32;

/// What is left of the bytes for matrices.
pub(super) struct MatrixBudget(usize);

impl MatrixBudget {
    pub(super) fn new() -> Self {
        Self(MATRIX_BYTES)
    }

    fn take(&mut self, map: &LinearMap, term: usize, weights: &Weights) -> bool {
        let (output, input) = (map.output, map.terms[term].input);
        let ops = map.terms[term].ops.iter();
        let entries = ops.fold(1usize, |all, op| {
            all.saturating_mul(op.as_operation().row_entries(weights))
        });
        let entries = entries.min(input.channels * input.height * input.width);
        let rows = output.channels * output.height * output.width;
        let bytes = entries.saturating_mul(rows).saturating_mul(ENTRY_BYTES);
        let fits = bytes <= self.0;
        if fits {
            self.0 -= bytes;
        }
        fits
    }
}

/// How the terms of a map are evaluated, in the order of the terms: whether those without a
/// structure may have matrices.
#[derive(Clone, Debug)]
pub(super) struct MatricesAllowed(Vec<bool>);

impl MatricesAllowed {
    /// Takes what the terms need from the budget.
    pub(super) fn of(map: &LinearMap, weights: &Weights, budget: &mut MatrixBudget) -> Self {
        let terms = 0..map.terms.len();
        Self(
            terms
                .map(|term| {
                    TermForm::of(map, term, weights).is_none() && budget.take(map, term, weights)
                })
                .collect(),
        )
    }
}

/// A linear map or the convolution that it is, whichever its operations use, and its bias.
#[derive(Clone, Debug)]
pub(super) struct ExpandedMap {
    map: LinearMap,
    terms: Vec<Term>,
    pub(super) products: Option<ProductConvolution>,
    pub(super) bias: Option<Vec<f64>>,
}

#[derive(Clone, Debug)]
enum Term {
    Form(Box<TermForm>),
    /// From the operand's slots to those of the shares.
    Matrix(AffineMatrix),
    /// Its rows are made at each use.
    Rows,
}

impl ExpandedMap {
    /// A map by the shares of its sums.
    pub(super) fn new(
        map: &LinearMap,
        weights: &Weights,
        matrices: &MatricesAllowed,
    ) -> Result<Self, Error> {
        let terms = (0..map.terms.len()).into_par_iter();
        let terms = terms.map(|term| {
            if let Some(form) = TermForm::of(map, term, weights) {
                return Ok(Term::Form(Box::new(form)));
            }
            if matrices.0.get(term) == Some(&true) {
                return map.share_matrix(term, weights).map(Term::Matrix);
            }
            // What does not fit shows here, not at a use.
            map.each_entry(term, weights, |_, _, _| ())?;
            Ok(Term::Rows)
        });
        Ok(Self {
            terms: terms.collect::<Result<_, Error>>()?,
            products: None,
            bias: map.bias(weights)?,
            map: map.clone(),
        })
    }

    /// A map that is a convolution by products, multiplexed parallel in ciphertexts of `slots`
    /// slots, or SISO.
    pub(super) fn by_products(
        map: &LinearMap,
        phase: ProductPhase,
        slots: usize,
        weights: &Weights,
    ) -> Result<Self, Error> {
        Ok(Self {
            terms: Vec::new(),
            products: Some(ProductConvolution::new(map, phase, slots, weights)?),
            bias: map.bias(weights)?,
            map: map.clone(),
        })
    }

    /// One period of the shares of the sums of `L` interleaved images, the bias left out; `weights`
    /// are those that the map was expanded with. Operands have a period or more.
    pub(super) fn apply_lanes<const L: usize>(
        &self,
        weights: &Weights,
        operands: &[&[[f64; L]]],
    ) -> Vec<[f64; L]> {
        let periods = (0..self.terms.len()).map(|term| self.map.term_period(term));
        let longest = periods.max().unwrap_or(self.map.output.period());
        let mut sum = vec![[0.0; L]; longest];
        for (term, operand) in operands.iter().enumerate().take(self.terms.len()) {
            let period = self.map.term_period(term);
            if period == longest {
                self.add_term(term, weights, operand, &mut sum);
                continue;
            }
            let mut shares = vec![[0.0; L]; period];
            self.add_term(term, weights, operand, &mut shares);
            for (sum, share) in sum.iter_mut().zip(shares.iter().cycle()) {
                sum.iter_mut()
                    .zip(share)
                    .for_each(|(sum, share)| *sum += share);
            }
        }
        sum
    }

    fn add_term<const L: usize>(
        &self,
        term: usize,
        weights: &Weights,
        operand: &[[f64; L]],
        sums: &mut [[f64; L]],
    ) {
        let operand = &operand[..self.map.terms[term].input.period()];
        let factor = self.map.share_factor(term);
        match &self.terms[term] {
            Term::Form(form) => form.apply_add_lanes(weights, factor, operand, sums),
            Term::Matrix(matrix) => matrix.apply_add_lanes(operand, sums),
            Term::Rows => {
                let (result, shares) = (self.map.output.period(), sums.len());
                let add = |row: usize, column: usize, value: f64| {
                    let sum = &mut sums[share(row, column, result, shares)];
                    let (value, operand) = (factor * value, &operand[column]);
                    for lane in 0..L {
                        sum[lane] += value * operand[lane];
                    }
                };
                // It went well when the map was expanded.
                let done = self.map.each_entry(term, weights, add);
                debug_assert!(done.is_ok(), "the weights are those of the expansion");
            }
        }
    }
}
