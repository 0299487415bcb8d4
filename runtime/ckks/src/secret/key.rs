//! The secret key.
//!
//! *Constant time.* Drawing, packing, reading and expanding a secret take a time that depends on
//! the parameters alone. Refusing a packed secret takes as long as accepting it; which coefficient
//! is wrong stays hidden.
//!
//! *Memory.* The secret lies packed on locked pages of its own; what is computed from it is wiped
//! when dropped.

use std::io::{Read, Write};
use std::sync::Arc;

use heddle_params::Secret;
use zeroize::Zeroizing;

use crate::Error;
use crate::buffer::LockedBuffer;
use crate::ring::context::{Basis, Context};
use crate::ring::poly::{Eval, RnsPoly};
use crate::ring::sample::{os_rng, secret};
use crate::scheme::wire::{failure, put};

/// The client's secret: `N` ternary coefficients. Its pages are locked in memory where the system
/// allows it, and wiped when it is dropped.
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
    /// [`Error::Wire`] unless there are `N/4` bytes of ternary coefficients, as many of them not
    /// zero as the parameters say where they name a weight.
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
        // The two bits of -1, 0 and 1 are 00, 01 and 10. Every word is looked at, whatever it
        // holds.
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

    /// Refuses a context of another ring degree.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`].
    pub(super) fn check_ring(&self, op: &'static str, context: &Context) -> Result<(), Error> {
        match self.n == context.n() {
            true => Ok(()),
            false => Err(Error::ContextMismatch { op }),
        }
    }

    /// The secret over a basis of its own ring.
    pub(crate) fn expand(&self, context: &Arc<Context>, basis: Basis) -> SecretPoly {
        let mut coefficients = Zeroizing::new(vec![0; self.n]);
        for (coefficients, word) in coefficients.chunks_mut(32).zip(self.words.iter()) {
            for (i, coefficient) in coefficients.iter_mut().enumerate() {
                *coefficient = (word >> (2 * i) & 3) as i8 - 1;
            }
        }
        SecretPoly::from_i8(context, basis, &coefficients)
    }

    /// Writes [`Self::to_packed`] at once. A writer that buffers keeps a copy: wipe its buffer, or
    /// give it none.
    ///
    /// # Errors
    /// [`Error::Wire`] when `out` fails.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Error> {
        put(out, "secret key", &self.to_packed())
    }

    /// Reads what [`Self::write`] wrote, in one piece. A reader that buffers keeps a copy of what
    /// it read ahead.
    ///
    /// # Errors
    /// [`Error::Wire`] when the input ends early or holds what [`Self::from_packed`] refuses.
    pub fn read(context: &Arc<Context>, input: &mut impl Read) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new(vec![0; context.n() / 4]);
        input
            .read_exact(&mut bytes)
            .map_err(|e| failure("secret key", e))?;
        Self::from_packed(context, &bytes)
    }
}

/// The lower of each two bits.
const LOW_BITS: u64 = u64::MAX / 3;

/// The values of a polynomial that is declared secret, and so wiped when dropped.
pub(crate) struct SecretPoly(pub(super) RnsPoly<Eval>);

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
