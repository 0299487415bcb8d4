//! Digits that are raised to the chain but still in coefficients.

use std::ops::Range;
use std::sync::Arc;

use heddle_params::KeySwitchLayout;
use rayon::prelude::*;

use crate::ring::context::{Basis, Context};
use crate::ring::poly::{Coeff, Eval, RnsPoly};
use crate::ring::rns::convert_limbs;
use crate::tables::conversion::ConversionTable;

/// A polynomial raised digit by digit whose limbs are still to be transformed, which happens when a
/// limb is used, so that it is in cache.
pub(crate) struct Raised<'a> {
    digits: Vec<RnsPoly<Coeff>>,
    /// The polynomial's values, where they are known: they stand for the limbs that a digit is made
    /// of, which are not filled in then.
    values: Option<&'a RnsPoly<Eval>>,
    layout: KeySwitchLayout,
}

/// Coefficients handed to one task of [`divide_and_raise`]: all limbs of all digits stay in the
/// second-level cache.
const COLUMN: usize = 1024;

impl<'a> Raised<'a> {
    /// Cuts a polynomial into the digits of a layout for its level, see [`super::truncate`].
    pub(crate) fn new(poly: &'a RnsPoly<Eval>, layout: KeySwitchLayout) -> Self {
        let context = poly.context();
        let coefficients = poly.to_coeff();
        let basis = Basis::new(layout.level, layout.specials);
        let raise = |digit: &Range<usize>| {
            let mut raised = RnsPoly::<Coeff>::stale(context, basis);
            let limbs = raised.data_mut().chunks_exact_mut(context.n());
            let outputs = limbs
                .enumerate()
                .filter(|(limb, _)| !digit.contains(limb))
                .map(|(_, values)| values);
            let inputs: Vec<&[u64]> = digit.clone().map(|i| coefficients.limb(i)).collect();
            let table = raising(context, basis, digit);
            convert_limbs(context, &table, &inputs, outputs.collect());
            raised
        };
        let digits = layout.digits.iter().map(raise).collect();
        Self {
            digits,
            values: Some(poly),
            layout,
        }
    }

    /// Words of scratch for [`Self::transform_limb`].
    pub(crate) fn scratch_words(&self) -> usize {
        self.digits.iter().map(RnsPoly::n).sum()
    }

    /// The values of all digits in one limb.
    pub(crate) fn transform_limb<'s>(
        &'s self,
        limb: usize,
        scratch: &'s mut [u64],
    ) -> Vec<&'s [u64]> {
        let context = self.digits[0].context();
        let basis = Basis::new(self.layout.level, self.layout.specials);
        let table = context.table(context.modulus_index(basis, limb));
        let scratch = scratch.chunks_exact_mut(context.n());
        let digits = self.digits.iter().zip(&self.layout.digits).zip(scratch);
        digits
            .map(|((digit, own), scratch)| match self.values {
                Some(values) if own.contains(&limb) => values.limb(limb),
                _ => {
                    let kernel = context.kernel();
                    kernel.ntt_forward_from(table, scratch, digit.limb(limb));
                    &*scratch
                }
            })
            .collect()
    }
}

/// The conversion from a digit to the other limbs of a basis.
fn raising(context: &Arc<Context>, basis: Basis, digit: &Range<usize>) -> Arc<ConversionTable> {
    let targets = (0..basis.limbs())
        .filter(|limb| !digit.contains(limb))
        .map(|limb| context.modulus_index(basis, limb));
    context.conversion((digit.clone(), 0..0), targets.collect())
}

/// [`mod_down`] and the digits of the quotient, in one pass over the coefficients.
pub(crate) fn divide_and_raise(poly: RnsPoly<Eval>, layout: KeySwitchLayout) -> Raised<'static> {
    let poly = poly.into_coeff();
    let (context, from) = (poly.context(), poly.basis());
    let (n, kernel, limbs) = (context.n(), context.kernel(), from.q_limbs());
    let specials = context.special_index(0)..context.special_index(from.specials());
    let division = context.conversion((0..0, specials), (0..limbs).collect());
    let basis = Basis::new(layout.level, layout.specials);
    let raisings: Vec<_> = layout
        .digits
        .iter()
        .map(|digit| raising(context, basis, digit))
        .collect();
    let mut digits: Vec<_> = layout
        .digits
        .iter()
        .map(|_| RnsPoly::<Coeff>::stale(context, basis))
        .collect();

    /// What one task writes: the limbs that the digits are made of, in order, and each digit's
    /// others.
    struct Column<'a> {
        quotient: Vec<&'a mut [u64]>,
        raised: Vec<Vec<&'a mut [u64]>>,
    }
    let len = COLUMN.min(n);
    let mut columns: Vec<Column<'_>> = (0..n / len)
        .map(|_| Column {
            quotient: Vec::with_capacity(limbs),
            raised: layout.digits.iter().map(|_| Vec::new()).collect(),
        })
        .collect();
    for (j, (digit, own)) in digits.iter_mut().zip(&layout.digits).enumerate() {
        for (limb, values) in digit.data_mut().chunks_exact_mut(n).enumerate() {
            for (column, part) in columns.iter_mut().zip(values.chunks_exact_mut(len)) {
                if own.contains(&limb) {
                    column.quotient.push(part);
                } else {
                    column.raised[j].push(part);
                }
            }
        }
    }
    columns
        .into_par_iter()
        .enumerate()
        .for_each(|(c, mut column)| {
            let part = |limb: usize| &poly.limb(limb)[c * len..][..len];
            let dropped: Vec<&[u64]> = (limbs..from.limbs()).map(part).collect();
            kernel.convert(&division, &dropped, &mut column.quotient);
            for (limb, quotient) in column.quotient.iter_mut().enumerate() {
                let target = &division.targets[limb];
                kernel.sub_mul_scalar(
                    &target.modulus,
                    quotient,
                    part(limb),
                    target.negated_inverse(),
                );
            }
            for ((own, raised), table) in
                layout.digits.iter().zip(&mut column.raised).zip(&raisings)
            {
                let quotient = &column.quotient[own.clone()];
                let inputs: Vec<&[u64]> = quotient.iter().map(|part| &**part).collect();
                kernel.convert(table, &inputs, raised);
            }
        });
    Raised {
        digits,
        values: None,
        layout,
    }
}
