//! Generation of keys from a secret.
//!
//! Secrets and errors come from the operating system's randomness alone, the uniform halves of keys
//! from a public seed.
//!
//! *Constant time.* Making keys takes a time that depends on the parameters and the uses of the
//! keys alone.
//!
//! *Memory.* Whatever is computed from the secret or from an error is wiped when dropped. The
//! expanded secret of a [`KeyGenerator`], of some megabytes, is wiped but not locked.

use std::collections::BTreeSet;
use std::sync::Arc;

use heddle_params::GaloisElement;
use heddle_params::keys::{KeyKind, KeyUse};

use crate::Error;
use crate::ring::context::{Basis, Context};
use crate::ring::packed::PackedPoly;
use crate::ring::poly::for_each_limb;
use crate::ring::rns::special_product;
use crate::ring::sample::{MOST_ERROR, fresh_error, fresh_seed, os_rng, sparse_ternary};
use crate::ring::seed::{SeedExpander, StreamId};
use crate::scheme::keys::{EvaluationKeys, KeySwitchKey, PublicKey, missing};
use crate::secret::key::{SecretKey, SecretPoly};

impl PublicKey {
    /// The key at `level` that goes with a secret.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] when the secret belongs to another ring, [`Error::Parameters`]
    /// when the level does not exist, [`Error::Randomness`] when the operating system gives none.
    pub fn generate(
        context: &Arc<Context>,
        secret: &SecretKey,
        level: usize,
    ) -> Result<Self, Error> {
        secret.check_ring("public key", context)?;
        let basis = context.q_basis(level)?;
        let seed = fresh_seed()?;
        let a = Self::uniform(context, basis, seed);
        let b = secret
            .expand(context, basis)
            .encrypt_zero(&a, fresh_error(context, basis)?);
        Ok(Self { b, a, seed })
    }

    /// Whether this is a key of the secret: whether `b + a s` is as small as an error.
    #[must_use]
    pub fn belongs_to(&self, secret: &SecretKey) -> bool {
        let context = self.b.context();
        if secret.check_ring("public key", context).is_err() {
            return false;
        }
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
}

/// Makes evaluation keys from a secret. Holds the ephemeral sparse secret of bootstrapping, drawn
/// anew for each generator: the encapsulation and decapsulation keys that belong together come from
/// one generator.
pub struct KeyGenerator {
    context: Arc<Context>,
    secret: SecretPoly,
    ephemeral: Option<SecretPoly>,
}

/// Without the secret.
impl std::fmt::Debug for KeyGenerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyGenerator").finish_non_exhaustive()
    }
}

impl KeyGenerator {
    /// The generator of a secret's keys.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] when the secret belongs to another ring, [`Error::Randomness`]
    /// when the operating system gives none.
    pub fn new(context: &Arc<Context>, secret: &SecretKey) -> Result<Self, Error> {
        secret.check_ring("key generation", context)?;
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

    /// Generates the keys of all uses under one fresh seed.
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

    /// Generates the keys of all uses under one fresh seed, and hands each over as it is made, in
    /// ascending order and without repetition. A seed is used for one generation only: two keys
    /// from one stream would reveal the difference of their errors.
    ///
    /// # Errors
    /// A level that does not exist, an encapsulation key of parameters without one, or what `sink`
    /// returns.
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
            let a = expander.poly(context, basis, StreamId::of_key(key_use, j));
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
            context: Arc::clone(context),
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
