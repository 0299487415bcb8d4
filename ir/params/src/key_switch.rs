//! Layouts of hybrid key switching (Han and Ki, ePrint 2019/688): digits of the chain and special
//! primes.
//!
//! At each level the layout with the least work is chosen. A digit is a run of limbs whose product
//! stays [`MARGIN_BITS`] below the product of the special primes used, so that the noise of a key
//! switch stays below that of the rounding when it is divided away.

use crate::{Error, Parameters};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Bits by which the special primes exceed each digit, at least.
pub const MARGIN_BITS: u32 = 4;

/// How a ciphertext polynomial at one level is decomposed and switched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySwitchLayout {
    /// The level: limbs `0..=level` take part.
    pub level: usize,
    /// Runs of limbs, in order, that together cover `0..=level`.
    pub digits: Vec<Range<usize>>,
    /// How many special primes are used, the first of the chain `p`.
    pub specials: usize,
}

impl KeySwitchLayout {
    /// Limbs of a polynomial over the whole basis, `q_0 … q_level` and the special primes.
    pub fn total_limbs(&self) -> usize {
        self.level + 1 + self.specials
    }

    /// Residue polynomials that the key consists of: two per digit and limb.
    pub fn key_limbs(&self) -> usize {
        2 * self.digits.len() * self.total_limbs()
    }

    /// Estimated work, in units of one transform of a limb.
    pub fn cost(&self) -> f64 {
        /// One limb multiply-accumulate of a base conversion, held in registers.
        const CONVERT: f64 = 0.05;
        /// One limb multiply-accumulate of the inner product, its key streamed from memory.
        const ACCUMULATE: f64 = 0.12;
        let (limbs, total) = (self.level + 1, self.total_limbs());
        let digits = self.digits.len();
        let transforms = limbs + digits * total - limbs + 2 * (self.specials + limbs);
        let conversions: usize = self
            .digits
            .iter()
            .map(|d| d.len() * (total - d.len()))
            .sum::<usize>()
            + 2 * self.specials * limbs;
        transforms as f64 + CONVERT * conversions as f64 + ACCUMULATE * (2 * digits * total) as f64
    }
}

/// Cuts limbs of the given sizes into the fewest runs of at most `most` bits; `None` when one limb
/// exceeds it.
fn cut(sizes: &[u32], most: u32) -> Option<Vec<Range<usize>>> {
    let mut digits = Vec::new();
    let (mut start, mut bits) = (0, 0);
    for (i, &size) in sizes.iter().enumerate() {
        if size > most {
            return None;
        }
        if bits + size > most {
            digits.push(start..i);
            (start, bits) = (i, 0);
        }
        bits += size;
    }
    digits.push(start..sizes.len());
    Some(digits)
}

/// The cheapest layout for limbs of sizes `log_q` and special primes of sizes `log_p`.
pub(crate) fn cheapest(log_q: &[u32], log_p: &[u32]) -> Option<KeySwitchLayout> {
    let mut special_bits = 0;
    let mut best: Option<(f64, KeySwitchLayout)> = None;
    for (i, &size) in log_p.iter().enumerate() {
        special_bits += size;
        let Some(digits) = special_bits
            .checked_sub(MARGIN_BITS)
            .and_then(|most| cut(log_q, most))
        else {
            continue;
        };
        let layout = KeySwitchLayout {
            level: log_q.len() - 1,
            digits,
            specials: i + 1,
        };
        let cost = layout.cost();
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            best = Some((cost, layout));
        }
    }
    best.map(|(_, layout)| layout)
}

impl Parameters {
    /// The key-switching layout of `level`.
    ///
    /// # Errors
    /// When `level` is above [`Parameters::max_level`].
    pub fn key_switch_layout(&self, level: usize) -> Result<KeySwitchLayout, Error> {
        let literal = self.literal();
        if level > self.max_level() {
            return Err(Error::Level {
                level,
                max: self.max_level(),
            });
        }
        Ok(cheapest(&literal.log_q[..=level], &literal.log_p)
            .expect("construction checked that every limb fits a digit"))
    }

    /// The layout of a switch of a polynomial known to be below `q_0` that was raised to `level`:
    /// one digit of one limb, and as many special primes as exceed it by [`MARGIN_BITS`].
    ///
    /// # Errors
    /// When `level` is above [`Parameters::max_level`].
    pub fn single_limb_layout(&self, level: usize) -> Result<KeySwitchLayout, Error> {
        let literal = self.literal();
        if level > self.max_level() {
            return Err(Error::Level {
                level,
                max: self.max_level(),
            });
        }
        let mut bits = 0;
        let specials = literal
            .log_p
            .iter()
            .position(|size| {
                bits += size;
                bits >= literal.log_q[0] + MARGIN_BITS
            })
            .expect("construction checked that every limb fits a digit")
            + 1;
        Ok(KeySwitchLayout {
            level,
            digits: std::iter::once(0..1).collect(),
            specials,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named;

    #[test]
    fn n16_qp1714_dense_uses_three_digits_at_the_top_and_one_at_the_bottom() {
        let params = named::n16_qp1714_dense();
        let top = params.key_switch_layout(28).unwrap();
        assert_eq!((top.digits.len(), top.specials), (3, 9));
        for level in 0..=4 {
            assert_eq!(
                params.key_switch_layout(level).unwrap().digits.len(),
                1,
                "level {level}"
            );
        }
        assert_eq!(params.key_switch_layout(3).unwrap().specials, 4);
        assert_eq!(params.single_limb_layout(28).unwrap().specials, 2);
        assert!(params.key_switch_layout(29).is_err());
    }

    #[test]
    fn no_level_above_the_highest_has_a_layout() {
        let params = named::n16_qp1714_dense();
        let refused = |level| {
            let error = Error::Level { level, max: 28 };
            params.key_switch_layout(level) == Err(error.clone())
                && params.single_limb_layout(level) == Err(error)
        };
        assert!(refused(29) && refused(usize::MAX));
        assert!(params.key_switch_layout(28).is_ok() && params.single_limb_layout(28).is_ok());
    }

    #[test]
    fn digits_cover_every_level_with_the_margin() {
        let params = named::n16_qp1714_dense();
        let literal = params.literal();
        for level in 0..=params.max_level() {
            let layout = params.key_switch_layout(level).unwrap();
            let special: u32 = literal.log_p[..layout.specials].iter().sum();
            let mut next = 0;
            for digit in &layout.digits {
                assert_eq!(digit.start, next);
                next = digit.end;
                let bits: u32 = literal.log_q[digit.clone()].iter().sum();
                assert!(bits + MARGIN_BITS <= special);
            }
            assert_eq!(next, level + 1);
        }
    }
}
