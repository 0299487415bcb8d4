//! What polynomials are evaluated with: ciphertexts, or plain numbers with the errors of
//! ciphertexts.

use crate::Error;

/// The operations that the evaluation of a polynomial is made of. A value has a level and a scale,
/// as a ciphertext has.
pub trait Arithmetic {
    /// What it works on.
    type Value: Clone;

    /// The prime that a rescale from `level` divides by.
    fn prime(&self, level: usize) -> f64;

    /// The level of a value.
    fn level(&self, x: &Self::Value) -> usize;

    /// The scale of a value.
    fn scale(&self, x: &Self::Value) -> f64;

    /// The same residues under another scale, so that the value changes by the quotient of the
    /// scales.
    fn with_scale(&self, x: Self::Value, scale: f64) -> Self::Value;

    /// A constant with the slots of another value.
    ///
    /// # Errors
    /// [`Error::ValueRange`] when it does not fit the scale.
    fn constant(
        &self,
        like: &Self::Value,
        value: f64,
        level: usize,
        scale: f64,
    ) -> Result<Self::Value, Error>;

    /// `x + by`, level and scale unchanged.
    ///
    /// # Errors
    /// [`Error::ValueRange`] when the constant does not fit the scale.
    fn shifted(&self, x: &Self::Value, by: f64) -> Result<Self::Value, Error>;

    /// The sum at `level ≥ 1`, which no operand may be below, rescaled to `level − 1`. `scale` is
    /// that of the result.
    ///
    /// # Errors
    /// A missing relinearisation key.
    fn sum(
        &self,
        sum: &Sum<'_, Self::Value>,
        level: usize,
        scale: f64,
    ) -> Result<Self::Value, Error>;
}

/// `factor·Σ a·b + Σ k·t + constant` on the integers that values are at their scales, before it is
/// rescaled.
#[derive(Debug)]
pub struct Sum<'a, V> {
    /// Pairs of factors.
    pub products: Vec<(&'a V, &'a V)>,
    /// A small factor of all products.
    pub factor: u64,
    /// Values and the integers that multiply them.
    pub terms: Vec<(&'a V, i128)>,
    /// A constant polynomial.
    pub constant: i128,
}

/// `round(value)` as an integer factor.
///
/// # Errors
/// [`Error::ValueRange`] when it is not finite or beyond 2^120.
pub(crate) fn integer(value: f64) -> Result<i128, Error> {
    let rounded = value.round();
    if rounded.abs() < 2f64.powi(120) {
        Ok(rounded as i128)
    } else {
        Err(Error::ValueRange {
            op: "encode constant",
            index: 0,
            value,
        })
    }
}
