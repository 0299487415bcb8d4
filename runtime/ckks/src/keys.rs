//! Secret, public and key-switching keys and their generation.
//!
//! A key-switching key from `t` to `s` holds, per digit `j` of its layout, `b_j = -a_j s + e_j + P g_j t` modulo the
//! chain up to its level and its special primes; `P` is the product of those primes and `g_j` is 1 modulo the limbs
//! of the digit and 0 modulo all others (Han and Ki, CT-RSA 2020). The `a_j` are uniform and come from a public
//! seed; secrets and errors come from the operating system's randomness alone.
//!
//! The key of a Galois element `g` goes from `s` to `g^-1(s)`: the automorphism is applied after the switch, to two
//! polynomials instead of all digits.
//!
//! *Constant time.* Drawing, packing, reading and expanding a secret and making keys from it take a time that depends on
//! the parameters and the uses of the keys alone. That a packed secret is refused takes as long as that it is taken,
//! which of its coefficients is wrong stays hidden.
//!
//! *Memory.* The secret lies packed on locked pages of its own; whatever is computed from it or from an error is wiped
//! when dropped. The expanded secret of a [`KeyGenerator`], of some megabytes, is wiped but not locked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use heddle_params::keys::{KeyKind, KeyUse};
use heddle_params::{GaloisElement, KeySwitchLayout, Secret};
use rand::RngCore;
use zeroize::Zeroizing;

use crate::buffer::LockedBuffer;
use crate::context::{Basis, Context};
use crate::error::Error;
use crate::packed::PackedPoly;
use crate::poly::{Eval, RnsPoly, for_each_limb};
use crate::rns::special_product;
use crate::sample::{MOST_ERROR, gaussian_poly, os_rng, secret, sparse_ternary};
use crate::seed::{Seed, SeedExpander, StreamId, StreamKind};

/// The client's secret: `N` ternary coefficients. Its pages are locked in memory where the system allows it, and wiped
/// when it is dropped.
pub struct SecretKey {
    /// Each coefficient plus one, in two bits, thirty-two to a word, the lowest bits first.
    words: LockedBuffer,
    n: usize,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretKey({} coefficients)", self.n)
    }
}

impl SecretKey {
    /// Draws a secret of the distribution that the parameters name.
    ///
    /// # Errors
    /// [`Error::Randomness`] when the operating system gives none.
    pub fn generate(context: &Context) -> Result<Self, Error> {
        let coefficients = secret(&mut os_rng()?, context.n(), context.parameters().secret());
        let mut words = LockedBuffer::zeroed(context.n().div_ceil(32));
        for (word, coefficients) in words.iter_mut().zip(coefficients.chunks(32)) {
            for (i, &c) in coefficients.iter().enumerate() {
                *word |= ((c + 1) as u64) << (2 * i);
            }
        }
        Ok(Self {
            words,
            n: context.n(),
        })
    }

    /// The secret of [`Self::to_packed`].
    ///
    /// # Errors
    /// [`Error::Wire`] unless there are `N/4` bytes of ternary coefficients, as many of them not zero as the parameters
    /// say where they name a weight.
    pub fn from_packed(context: &Context, packed: &[u8]) -> Result<Self, Error> {
        let failure = |detail| Error::Wire {
            what: "secret key",
            detail,
        };
        let n = context.n();
        if packed.len() != n / 4 {
            let detail = format!("expected {} bytes, found {}", n / 4, packed.len());
            return Err(failure(detail));
        }
        let mut words = LockedBuffer::zeroed(n.div_ceil(32));
        for (word, bytes) in words.iter_mut().zip(packed.chunks(8)) {
            for (i, &byte) in bytes.iter().enumerate() {
                *word |= u64::from(byte) << (8 * i);
            }
        }
        // Of the two bits of -1, 0 and 1 none, the lower and the upper is set. All are looked at, whatever they are.
        let (mut wrong, mut zeros) = (0, 0);
        for &word in words.iter() {
            let (low, high) = (word & LOW_BITS, (word >> 1) & LOW_BITS);
            wrong |= low & high;
            zeros += low.count_ones() as usize;
        }
        if wrong != 0 {
            return Err(failure("a coefficient is not -1, 0 or 1".into()));
        }
        let weighs = match context.parameters().secret() {
            Secret::DenseTernary => true,
            Secret::SparseTernary(weight) => n - zeros == (weight as usize).min(n),
        };
        if !weighs {
            let detail = "its weight is not that of the parameters".into();
            return Err(failure(detail));
        }
        Ok(Self { words, n })
    }

    /// The coefficients plus one, each in two bits, four to a byte, the lowest bits first.
    pub fn to_packed(&self) -> Zeroizing<Vec<u8>> {
        let mut packed = Zeroizing::new(vec![0; self.n / 4]);
        for (bytes, word) in packed.chunks_mut(8).zip(self.words.iter()) {
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = (word >> (8 * i)) as u8;
            }
        }
        packed
    }

    /// Whether the system keeps the secret out of the swap space.
    pub fn is_locked(&self) -> bool {
        self.words.is_locked()
    }

    /// The secret over a basis.
    pub(crate) fn expand(&self, context: &Arc<Context>, basis: Basis) -> SecretPoly {
        let mut coefficients = Zeroizing::new(vec![0; self.n]);
        for (coefficients, word) in coefficients.chunks_mut(32).zip(self.words.iter()) {
            for (i, coefficient) in coefficients.iter_mut().enumerate() {
                *coefficient = (word >> (2 * i) & 3) as i8 - 1;
            }
        }
        SecretPoly::from_i8(context, basis, &coefficients)
    }
}

/// The lower of each two bits.
const LOW_BITS: u64 = u64::MAX / 3;

/// The values of a polynomial that is declared secret, and so wiped when dropped.
pub(crate) struct SecretPoly(RnsPoly<Eval>);

impl SecretPoly {
    pub(crate) fn from_i8(context: &Arc<Context>, basis: Basis, coefficients: &[i8]) -> Self {
        Self(RnsPoly::secret_from_i8(context, basis, coefficients).into_eval())
    }

    pub(crate) fn poly(&self) -> &RnsPoly<Eval> {
        &self.0
    }

    /// `error - a s`, the constant part of an encryption of zero under this secret.
    pub(crate) fn encrypt_zero(self, a: &RnsPoly<Eval>, mut error: RnsPoly<Eval>) -> RnsPoly<Eval> {
        let mut negated = self;
        negated.0.neg_assign();
        error.mul_add(a, &negated.0);
        error.into_public()
    }
}

/// A public encryption key `(-a s + e, a)` at one level, `a` seeded; it serves that level and those
/// below.
#[derive(Clone)]
pub struct PublicKey {
    pub(crate) b: RnsPoly<Eval>,
    pub(crate) a: RnsPoly<Eval>,
    pub(crate) seed: Seed,
}

impl PublicKey {
    /// The key at `level` that goes with a secret.
    ///
    /// # Errors
    /// [`Error::Randomness`] when the operating system gives none; a level that does not exist.
    pub fn generate(
        context: &Arc<Context>,
        secret: &SecretKey,
        level: usize,
    ) -> Result<Self, Error> {
        let basis = context.q_basis(level)?;
        let seed = fresh_seed()?;
        let a = Self::uniform(context, basis, seed);
        let b = secret
            .expand(context, basis)
            .encrypt_zero(&a, fresh_error(context, basis)?);
        Ok(Self { b, a, seed })
    }

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

    /// Whether this is a key of the secret: whether `b + a s` is as small as an error.
    pub fn belongs_to(&self, secret: &SecretKey) -> bool {
        let context = self.b.context();
        let lowest = self.drop_to(0);
        let mut error = lowest.b.into_secret();
        let secret = secret.expand(context, error.basis());
        error.mul_add(&lowest.a, secret.poly());
        let error = error.into_coeff();
        let modulus = context.limb_modulus(error.basis(), 0).value();
        // All coefficients are looked at, whichever is too large.
        let small = |&x: &u64| x.min(modulus - x) <= MOST_ERROR;
        error.limb(0).iter().fold(true, |all, x| all & small(x))
    }

    pub(crate) fn uniform(context: &Arc<Context>, basis: Basis, seed: Seed) -> RnsPoly<Eval> {
        let expander = SeedExpander::new(context.kernel(), seed);
        uniform(
            context,
            basis,
            &expander,
            StreamId::of(StreamKind::PublicKey),
        )
    }
}

/// The uniform polynomial of an id, each limb from the stream of its modulus.
pub(crate) fn uniform(
    context: &Arc<Context>,
    basis: Basis,
    expander: &SeedExpander,
    id: StreamId,
) -> RnsPoly<Eval> {
    RnsPoly::from_limbs(context, basis, |index, modulus, limb| {
        expander.fill(id.at_modulus(index), modulus, limb);
    })
}

/// A fresh error polynomial, declared secret until it is part of an encryption.
pub(crate) fn fresh_error(context: &Arc<Context>, basis: Basis) -> Result<RnsPoly<Eval>, Error> {
    Ok(gaussian_poly(&mut os_rng()?, context, basis).into_eval())
}

/// A seed from the operating system.
pub(crate) fn fresh_seed() -> Result<Seed, Error> {
    let mut seed = Seed::default();
    os_rng()?.fill_bytes(&mut seed);
    Ok(seed)
}

/// A key-switching key: the seed of its uniform halves and the others, one polynomial per digit.
#[derive(Clone)]
pub struct KeySwitchKey {
    pub(crate) key_use: KeyUse,
    pub(crate) layout: KeySwitchLayout,
    pub(crate) expander: Arc<SeedExpander>,
    pub(crate) b: Vec<PackedPoly>,
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

fn missing(key_use: KeyUse) -> Error {
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

/// Makes evaluation keys from a secret. Holds the ephemeral sparse secret of bootstrapping, drawn anew for each
/// generator: the encapsulation and decapsulation keys that belong together come from one generator.
pub struct KeyGenerator {
    context: Arc<Context>,
    secret: SecretPoly,
    ephemeral: Option<SecretPoly>,
}

impl KeyGenerator {
    /// The generator of a secret's keys.
    ///
    /// # Errors
    /// [`Error::Randomness`] when the operating system gives none.
    pub fn new(context: &Arc<Context>, secret: &SecretKey) -> Result<Self, Error> {
        let params = context.parameters();
        let full = Basis::new(params.max_level(), params.p().len());
        let ephemeral = match params.literal().encapsulation_weight {
            Some(weight) => {
                let coefficients = sparse_ternary(&mut os_rng()?, params.n(), weight as usize);
                Some(SecretPoly::from_i8(context, full, &coefficients))
            }
            None => None,
        };
        Ok(Self {
            context: Arc::clone(context),
            secret: secret.expand(context, full),
            ephemeral,
        })
    }

    /// Generates the keys of all uses, below one fresh seed.
    ///
    /// # Errors
    /// As [`Self::generate_each`].
    pub fn generate(&self, uses: &[KeyUse]) -> Result<EvaluationKeys, Error> {
        let mut keys = EvaluationKeys::new();
        self.generate_each(uses, |key| {
            keys.insert(key);
            Ok::<_, Error>(())
        })?;
        Ok(keys)
    }

    /// Generates the keys of all uses, below one fresh seed, and hands each over as it is made, in ascending order
    /// and without repetition. A seed never serves twice, for then two keys would show the difference of their
    /// errors.
    ///
    /// # Errors
    /// A level that does not exist, an encapsulation key of parameters without one, or what `sink` returns.
    pub fn generate_each<E: From<Error>>(
        &self,
        uses: &[KeyUse],
        mut sink: impl FnMut(KeySwitchKey) -> Result<(), E>,
    ) -> Result<(), E> {
        let expander = Arc::new(SeedExpander::new(self.context.kernel(), fresh_seed()?));
        for key_use in uses.iter().copied().collect::<BTreeSet<_>>() {
            sink(self.generate_one(key_use, &expander)?)?;
        }
        Ok(())
    }

    fn generate_one(
        &self,
        key_use: KeyUse,
        expander: &Arc<SeedExpander>,
    ) -> Result<KeySwitchKey, Error> {
        let context = &self.context;
        let layout = KeySwitchKey::layout_for(context, key_use)?;
        let basis = Basis::new(layout.level, layout.specials);
        let ephemeral = || {
            self.ephemeral
                .as_ref()
                .map(SecretPoly::poly)
                .ok_or_else(|| missing(key_use))
        };
        let secret = self.secret.poly();
        // Images and copies of the secret are wiped like it.
        let (from, to) = match key_use.kind {
            KeyKind::Galois(galois) => (
                None,
                Some(SecretPoly(secret.automorphism(galois.inverse()))),
            ),
            KeyKind::Relin => {
                let mut square = secret.clone();
                square.mul_assign(secret);
                (Some(SecretPoly(square)), None)
            }
            KeyKind::Encapsulate | KeyKind::Decapsulate => (None, None),
        };
        let (from, to) = match key_use.kind {
            KeyKind::Galois(_) | KeyKind::Relin => (
                from.as_ref().map_or(secret, SecretPoly::poly),
                to.as_ref().map_or(secret, SecretPoly::poly),
            ),
            KeyKind::Encapsulate => (secret, ephemeral()?),
            KeyKind::Decapsulate => (ephemeral()?, secret),
        };
        let special = special_product(context, layout.level, layout.specials);
        let kernel = context.kernel();
        let mut b = Vec::with_capacity(layout.digits.len());
        for (j, digit) in layout.digits.iter().enumerate() {
            let a = uniform(context, basis, expander, StreamId::of_key(key_use, j));
            // The error is overwritten in place, so that no copy of it is left in memory.
            let mut half = fresh_error(context, basis)?;
            for_each_limb(half.data_mut(), context.n(), |limb, values| {
                let index = context.modulus_index(basis, limb);
                let modulus = context.modulus(index);
                kernel.mul_sub(modulus, values, a.limb(limb), to.limb_of(index));
                // A polynomial below q_0 that was raised is its own digit modulo every limb.
                let whole = key_use.kind == KeyKind::Decapsulate && index <= layout.level;
                if whole || digit.contains(&index) {
                    let factor = modulus.shoup(special[index]);
                    kernel.mul_scalar_add(modulus, values, from.limb_of(index), factor);
                }
            });
            b.push(PackedPoly::new(&half.into_public()));
        }
        Ok(KeySwitchKey {
            key_use,
            layout,
            expander: Arc::clone(expander),
            b,
        })
    }

    /// The Galois element's key uses of a list of rotations at one level.
    pub fn rotation_uses(&self, rotations: &[i64], level: usize) -> Vec<KeyUse> {
        let n = self.context.n();
        rotations
            .iter()
            .map(|&k| KeyUse {
                kind: KeyKind::Galois(GaloisElement::rotation(k, n)),
                level,
            })
            .collect()
    }
}
