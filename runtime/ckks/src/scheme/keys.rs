//! Public keys: for encryption and for key switching. Nothing here is secret.
//!
//! A key-switching key from `t` to `s` holds, per digit `j` of its layout,
//! `b_j = -a_j s + e_j + P g_j t` modulo the chain up to its level and its special primes; `P` is
//! the product of those primes and `g_j` is 1 modulo the limbs of the digit and 0 modulo all others
//! (Han and Ki, CT-RSA 2020). The `a_j` are uniform and come from a public seed.
//!
//! The key of a Galois element `g` goes from `s` to `g^-1(s)`: the automorphism is applied after
//! the switch, to two polynomials instead of all digits.

use std::collections::BTreeMap;
use std::sync::Arc;

use heddle_params::KeySwitchLayout;
use heddle_params::keys::{KeyKind, KeyUse};

use crate::Error;
use crate::ring::context::{Basis, Context};
use crate::ring::packed::PackedPoly;
use crate::ring::poly::{Eval, RnsPoly};
use crate::ring::seed::{Seed, SeedExpander, StreamId, StreamKind};

/// A public encryption key `(-a s + e, a)` at one level, `a` seeded; it serves that level and those
/// below.
#[derive(Clone)]
pub struct PublicKey {
    pub(crate) b: RnsPoly<Eval>,
    pub(crate) a: RnsPoly<Eval>,
    pub(crate) seed: Seed,
}

/// Without the residues.
impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicKey")
            .field("level", &self.level())
            .finish_non_exhaustive()
    }
}

impl PublicKey {
    /// The highest level that it serves.
    pub fn level(&self) -> usize {
        self.b.level()
    }

    /// The same key for the levels up to `level` alone.
    ///
    /// # Panics
    /// When `level` is above the key's.
    pub fn drop_to(&self, level: usize) -> Self {
        Self {
            b: self.b.drop_to(level),
            a: self.a.drop_to(level),
            seed: self.seed,
        }
    }

    /// The uniform half of a seed.
    pub(crate) fn uniform(context: &Arc<Context>, basis: Basis, seed: Seed) -> RnsPoly<Eval> {
        let expander = SeedExpander::new(context.kernel(), seed);
        expander.poly(context, basis, StreamId::of(StreamKind::PublicKey))
    }
}

/// A key-switching key: the seed of its uniform halves and the others, one polynomial per digit.
#[derive(Clone)]
pub struct KeySwitchKey {
    pub(crate) context: Arc<Context>,
    pub(crate) key_use: KeyUse,
    pub(crate) layout: KeySwitchLayout,
    pub(crate) expander: Arc<SeedExpander>,
    pub(crate) b: Vec<PackedPoly>,
}

/// Without the residues.
impl std::fmt::Debug for KeySwitchKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySwitchKey")
            .field("key_use", &self.key_use)
            .finish_non_exhaustive()
    }
}

impl KeySwitchKey {
    /// What the key does and the level it reaches.
    pub fn key_use(&self) -> KeyUse {
        self.key_use
    }

    /// Its digits, level and special primes.
    pub fn layout(&self) -> &KeySwitchLayout {
        &self.layout
    }

    /// The chain it lives over.
    pub(crate) fn basis(&self) -> Basis {
        Basis::new(self.layout.level, self.layout.specials)
    }

    /// The layout of a key for a use.
    ///
    /// # Errors
    /// When the level does not exist, or the Galois element belongs to another ring.
    pub fn layout_for(context: &Context, key_use: KeyUse) -> Result<KeySwitchLayout, Error> {
        let params = context.parameters();
        if let KeyKind::Galois(galois) = key_use.kind
            && galois.log_n() != params.log_n()
        {
            return Err(Error::Operand {
                op: "key-switching key",
                detail: format!(
                    "{galois} is an automorphism of a ring of degree 2^{}, this ring has 2^{}",
                    galois.log_n(),
                    params.log_n()
                ),
            });
        }
        Ok(match key_use.kind {
            KeyKind::Galois(_) | KeyKind::Relin => params.key_switch_layout(key_use.level)?,
            KeyKind::Decapsulate => params.single_limb_layout(key_use.level)?,
            // The ephemeral secret is sparse: its security allows q0 p0 and no more.
            KeyKind::Encapsulate => {
                if key_use.level != 0 {
                    return Err(Error::LevelMismatch {
                        op: "encapsulate",
                        left: 0,
                        right: key_use.level,
                    });
                }
                KeySwitchLayout {
                    level: 0,
                    digits: std::iter::once(0..1).collect(),
                    specials: 1,
                }
            }
        })
    }

    /// The key of given `b` halves.
    ///
    /// # Errors
    /// [`Error::Wire`] when they do not fit the layout of the use.
    pub(crate) fn from_halves(
        context: &Arc<Context>,
        key_use: KeyUse,
        expander: Arc<SeedExpander>,
        b: Vec<PackedPoly>,
    ) -> Result<Self, Error> {
        let layout = Self::layout_for(context, key_use)?;
        let basis = Basis::new(layout.level, layout.specials);
        if b.len() != layout.digits.len() || b.iter().any(|b| b.basis() != basis) {
            let detail = format!("its polynomials do not fit level {}", layout.level);
            return Err(Error::Wire {
                what: "key-switching key",
                detail,
            });
        }
        Ok(Self {
            context: Arc::clone(context),
            key_use,
            layout,
            expander,
            b,
        })
    }

    /// Bytes of memory that the polynomials take.
    pub fn bytes(&self) -> usize {
        self.b.iter().map(PackedPoly::bytes).sum()
    }
}

/// The evaluation keys of a server, by use. Holds nothing secret.
#[derive(Clone, Default)]
pub struct EvaluationKeys {
    keys: BTreeMap<KeyKind, BTreeMap<usize, Arc<KeySwitchKey>>>,
}

impl std::fmt::Debug for EvaluationKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.iter().map(|key| key.key_use))
            .finish()
    }
}

impl EvaluationKeys {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key, in place of one for the same use.
    pub fn insert(&mut self, key: KeySwitchKey) {
        let KeyUse { kind, level } = key.key_use;
        self.keys
            .entry(kind)
            .or_default()
            .insert(level, Arc::new(key));
    }

    /// The key of a kind whose level is `level`, or the next one above.
    ///
    /// # Errors
    /// [`Error::MissingKey`] or [`Error::MissingGaloisKey`] when there is none.
    pub fn get(&self, kind: KeyKind, level: usize) -> Result<&Arc<KeySwitchKey>, Error> {
        self.keys
            .get(&kind)
            .and_then(|levels| levels.range(level..).next())
            .map(|(_, key)| key)
            .ok_or_else(|| missing(KeyUse { kind, level }))
    }

    /// All keys, ordered by use.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<KeySwitchKey>> {
        self.keys.values().flat_map(BTreeMap::values)
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes of memory that all keys take.
    pub fn bytes(&self) -> usize {
        self.iter().map(|key| key.bytes()).sum()
    }
}

/// The error for a missing key.
pub(crate) fn missing(key_use: KeyUse) -> Error {
    let level = key_use.level;
    let kind = match key_use.kind {
        KeyKind::Galois(galois) => return Error::MissingGaloisKey { galois, level },
        KeyKind::Relin => "relinearisation",
        KeyKind::Encapsulate => "encapsulation",
        KeyKind::Decapsulate => "decapsulation",
    };
    Error::MissingKey {
        kind: kind.into(),
        level,
    }
}
