//! Ciphertexts and plaintexts.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::Error;
use crate::ring::context::{Basis, Context};
use crate::ring::poly::{CompactPoly, Eval, RnsPoly};
use crate::ring::seed::{Seed, SeedExpander, StreamId, StreamKind};
use crate::scheme::encode::{Complex64, Encoder};

/// A CKKS ciphertext `(c0, c1)`: `c0 + c1 s` is the scaled message plus noise.
///
/// The slots repeat with period `2^log_slots`.
#[derive(Clone)]
#[must_use]
pub struct Ciphertext {
    pub(crate) c0: RnsPoly<Eval>,
    pub(crate) c1: RnsPoly<Eval>,
    pub(crate) scale: f64,
    pub(crate) log_slots: u32,
}

impl std::fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ciphertext")
            .field("level", &self.level())
            .field("log_slots", &self.log_slots)
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

impl Ciphertext {
    /// A ciphertext of two polynomials over the same chain.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`] when they belong to different parameter sets, [`Error::Operand`]
    /// when their bases differ or contain special primes.
    pub fn from_parts(
        c0: RnsPoly<Eval>,
        c1: RnsPoly<Eval>,
        scale: f64,
        log_slots: u32,
    ) -> Result<Self, Error> {
        c0.context().check_same("ciphertext", c1.context())?;
        if c0.basis() != c1.basis() || c0.basis().specials() != 0 {
            let detail = "the two parts must be over the same chain, without special primes".into();
            return Err(Error::Operand {
                op: "ciphertext",
                detail,
            });
        }
        Ok(Self {
            c0,
            c1,
            scale,
            log_slots,
        })
    }

    /// The constant part.
    pub fn c0(&self) -> &RnsPoly<Eval> {
        &self.c0
    }

    /// The part that multiplies the secret.
    pub fn c1(&self) -> &RnsPoly<Eval> {
        &self.c1
    }

    /// Rescales that remain; limbs are one more.
    pub fn level(&self) -> usize {
        self.c0.level()
    }

    /// The factor between slots and the encrypted polynomial.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// log2 of the period of the slots.
    pub fn log_slots(&self) -> u32 {
        self.log_slots
    }

    /// The tables of its parameters.
    pub(crate) fn context(&self) -> &Arc<Context> {
        self.c0.context()
    }

    /// Declares another scale, which multiplies the slots by `old / new` without any computation.
    pub fn set_scale(&mut self, scale: f64) {
        self.scale = scale;
    }

    /// Declares another period. The caller knows that the slots have it.
    pub fn set_log_slots(&mut self, log_slots: u32) {
        self.log_slots = log_slots;
    }
}

/// A freshly encrypted ciphertext whose uniform part is kept as its seed: half the size of the
/// ciphertext.
#[derive(Clone)]
#[must_use]
pub struct SeededCiphertext {
    pub(crate) c0: RnsPoly<Eval>,
    pub(crate) seed: Seed,
    pub(crate) scale: f64,
    pub(crate) log_slots: u32,
}

impl std::fmt::Debug for SeededCiphertext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeededCiphertext")
            .field("level", &self.level())
            .field("log_slots", &self.log_slots)
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

impl SeededCiphertext {
    /// Regenerates the uniform part.
    pub fn expand(self) -> Ciphertext {
        let c1 = Self::uniform(self.c0.context(), self.c0.basis(), self.seed);
        Ciphertext {
            c0: self.c0,
            c1,
            scale: self.scale,
            log_slots: self.log_slots,
        }
    }

    /// The level.
    pub fn level(&self) -> usize {
        self.c0.level()
    }

    /// The uniform part of a seed.
    pub(crate) fn uniform(context: &Arc<Context>, basis: Basis, seed: Seed) -> RnsPoly<Eval> {
        let expander = SeedExpander::new(context.kernel(), seed);
        expander.poly(context, basis, StreamId::of(StreamKind::Ciphertext))
    }
}

/// A slot vector encoded as compact integer coefficients (see [`Encoder`]), at no
/// particular level: the limbs are computed when it is used. Wiped when dropped.
#[derive(Clone, PartialEq)]
#[must_use]
pub struct Plaintext {
    pub(crate) coefficients: Zeroizing<Vec<i64>>,
    pub(crate) scale: f64,
    pub(crate) log_slots: u32,
}

/// Without the coefficients, which may be a client's message.
impl std::fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plaintext")
            .field("scale", &self.scale)
            .field("log_slots", &self.log_slots)
            .finish_non_exhaustive()
    }
}

impl Plaintext {
    /// Encodes complex slots, a power of two of them, at a scale.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode(encoder: &Encoder, slots: &[Complex64], scale: f64) -> Result<Self, Error> {
        let coefficients = Zeroizing::new(encoder.encode(slots, scale)?);
        Ok(Self {
            coefficients,
            scale,
            log_slots: slots.len().trailing_zeros(),
        })
    }

    /// Encodes real slots, a power of two of them, at a scale.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_real(encoder: &Encoder, slots: &[f64], scale: f64) -> Result<Self, Error> {
        let coefficients = Zeroizing::new(encoder.encode_real(slots, scale)?);
        Ok(Self {
            coefficients,
            scale,
            log_slots: slots.len().trailing_zeros(),
        })
    }

    /// The `2^(log_slots + 1)` compact coefficients.
    pub fn coefficients(&self) -> &[i64] {
        &self.coefficients
    }

    /// The factor between slots and coefficients.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// log2 of the period of the slots.
    pub fn log_slots(&self) -> u32 {
        self.log_slots
    }

    /// The limbs of a public plaintext over a basis.
    ///
    /// # Errors
    /// [`Error::SlotCount`] when it has more slots than the ring.
    pub(crate) fn compact(
        &self,
        context: &Arc<Context>,
        basis: Basis,
    ) -> Result<CompactPoly, Error> {
        self.check_slots(context)?;
        Ok(CompactPoly::from_i64(context, basis, &self.coefficients))
    }

    /// The limbs of a message over a basis, which are wiped when dropped.
    ///
    /// # Errors
    /// [`Error::SlotCount`] when it has more slots than the ring.
    #[cfg(feature = "secret")]
    pub(crate) fn message(
        &self,
        context: &Arc<Context>,
        basis: Basis,
    ) -> Result<CompactPoly, Error> {
        self.check_slots(context)?;
        Ok(CompactPoly::secret_from_i64(
            context,
            basis,
            &self.coefficients,
        ))
    }

    fn check_slots(&self, context: &Context) -> Result<(), Error> {
        let (found, expected) = (self.coefficients.len() / 2, context.n() / 2);
        if found > expected {
            return Err(Error::SlotCount {
                op: "plaintext",
                found,
                expected,
            });
        }
        Ok(())
    }
}
