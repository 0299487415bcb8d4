//! The evaluation keys that a computation needs: which there are, and how the set follows from the
//! operations.
//!
//! The client makes keys for a server that it does not trust, and every key is an encryption of
//! something derived from the secret. So nobody is told a list of keys: both sides derive the list
//! by [`required`] from the [`KeyNeed`]s of the schedule.
//!
//! A key serves its own level and all lower ones, but at a lower level a smaller key would do.
//! Needs of one kind are grouped by the number of digits at their level; the highest level of each
//! group gets a key.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::bootstrap::{self, BootstrapParameters, BootstrapVariant};
use crate::{Error, GaloisElement, Parameters};

pub use crate::evaluation_key::{KeyKind, KeyUse};

/// What an operation needs keys for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum KeyNeed {
    /// A left rotation by `by` slots, from 1 to less than all slots of a ciphertext, at `level`.
    Rotation {
        /// Distance in slots.
        by: usize,
        /// Level of the operand.
        level: usize,
    },
    /// A product of two ciphertexts at `level`.
    Product {
        /// Level of the operands.
        level: usize,
    },
    /// A bootstrap of `2^log_slots` slots.
    Bootstrap {
        /// log2 of the slots.
        log_slots: u32,
        /// What the refreshed slots may hold.
        variant: BootstrapVariant,
    },
}

impl KeyNeed {
    /// Checks that the parameters have what is asked for.
    ///
    /// # Errors
    /// A rotation by nothing or by all slots or more, a level that does not exist, more slots than
    /// the ring has.
    fn check(self, params: &Parameters) -> Result<(), Error> {
        let fail = |detail: String| {
            Err(Error::Structure {
                what: "keys",
                detail,
            })
        };
        let (slots, max) = (params.n() / 2, params.max_level());
        match self {
            Self::Rotation { by, .. } if by == 0 || by >= slots => {
                fail(format!("a rotation by {by}; it must be 1 to {}", slots - 1))
            }
            Self::Rotation { level, .. } | Self::Product { level } if level > max => {
                Err(Error::Level { level, max })
            }
            Self::Bootstrap { log_slots, .. } if log_slots >= params.log_n() => fail(format!(
                "a bootstrap of 2^{log_slots} slots; a ciphertext has {slots}"
            )),
            _ => Ok(()),
        }
    }
}

/// Exactly the keys that the needs call for, ascending and without repetition.
///
/// # Errors
/// When a need does not fit the parameters, or the bootstraps do not fit the chain.
pub fn required(
    params: &Parameters,
    bootstrap: &BootstrapParameters,
    needs: impl IntoIterator<Item = KeyNeed>,
) -> Result<Vec<KeyUse>, Error> {
    // Level of the key by kind and number of digits.
    let mut keys: BTreeMap<(KeyKind, usize), usize> = BTreeMap::new();
    let mut digits_of_level: BTreeMap<usize, usize> = BTreeMap::new();
    let mut add = |used: KeyUse| -> Result<(), Error> {
        let digits = match used.kind {
            KeyKind::Galois(_) | KeyKind::Relin => match digits_of_level.get(&used.level) {
                Some(digits) => *digits,
                None => {
                    let digits = params.key_switch_layout(used.level)?.digits.len();
                    digits_of_level.insert(used.level, digits);
                    digits
                }
            },
            KeyKind::Encapsulate | KeyKind::Decapsulate => 1,
        };
        let level = keys.entry((used.kind, digits)).or_insert(used.level);
        *level = used.level.max(*level);
        Ok(())
    };
    let needs: BTreeSet<KeyNeed> = needs.into_iter().collect();
    for need in needs {
        need.check(params)?;
        match need {
            KeyNeed::Rotation { by, level } => {
                let kind = KeyKind::Galois(GaloisElement::rotation(by as i64, params.n()));
                add(KeyUse { kind, level })?;
            }
            KeyNeed::Product { level } => add(KeyUse {
                kind: KeyKind::Relin,
                level,
            })?,
            KeyNeed::Bootstrap { log_slots, variant } => {
                for used in bootstrap::required_keys(params, bootstrap, log_slots, variant)? {
                    add(used)?;
                }
            }
        }
    }
    let mut keys: Vec<KeyUse> = keys
        .into_iter()
        .map(|((kind, _), level)| KeyUse { kind, level })
        .collect();
    keys.sort_unstable();
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named;

    fn rotation(by: usize, level: usize) -> KeyNeed {
        KeyNeed::Rotation { by, level }
    }

    #[test]
    fn a_key_serves_all_levels_of_one_number_of_digits() {
        let params = named::n16_qp1714_dense();
        let digits = |level| params.key_switch_layout(level).unwrap().digits.len();
        let needs = [
            rotation(3, 2),
            rotation(3, 4),
            rotation(3, 28),
            rotation(7, 1),
        ];
        let keys = required(&params, &BootstrapParameters::default(), needs).unwrap();
        assert!(digits(2) == digits(4) && digits(4) < digits(28));
        let galois = |by| KeyKind::Galois(GaloisElement::rotation(by, params.n()));
        let mut expected = [(3, 4), (3, 28), (7, 1)].map(|(by, level)| KeyUse {
            kind: galois(by),
            level,
        });
        expected.sort_unstable();
        assert_eq!(keys, expected);
        // Every need has a key at its level or above, and every key is needed.
        for need in needs {
            let KeyNeed::Rotation { by, level } = need else {
                unreachable!("only rotations")
            };
            assert!(
                keys.iter()
                    .any(|key| key.kind == galois(by as i64) && key.level >= level)
            );
        }
    }

    #[test]
    fn needs_that_do_not_fit_are_refused() {
        let params = named::toy(8).unwrap();
        let bootstrap = BootstrapParameters::default();
        let variant = BootstrapVariant::Real;
        for need in [
            rotation(0, 1),
            rotation(128, 1),
            rotation(usize::MAX, 1),
            rotation(1, 29),
            KeyNeed::Product { level: 1 << 20 },
            KeyNeed::Bootstrap {
                log_slots: 8,
                variant,
            },
        ] {
            assert!(required(&params, &bootstrap, [need]).is_err(), "{need:?}");
        }
        let fits = [rotation(127, 28), KeyNeed::Product { level: 28 }];
        assert_eq!(required(&params, &bootstrap, fits).unwrap().len(), 2);
    }
}
