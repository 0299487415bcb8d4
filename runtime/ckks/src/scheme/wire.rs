//! Raw bytes of polynomials, ciphertexts and keys.
//!
//! Bodies only: the objects' parameters, checksums and versions belong to the file formats around
//! them. Integers and floats are little-endian. A limb is its residues packed to the bits of its
//! modulus, lowest bit first; `N` residues of `b` bits take exactly `N b / 8` bytes. Readers check
//! every residue and every field.

use std::io::{Read, Write};
use std::sync::Arc;

use heddle_params::keys::KeyUse;

use crate::Error;
use crate::ring::context::{Basis, Context};
use crate::ring::packed::{PackedPoly, limb_bytes};
use crate::ring::poly::{Eval, RnsPoly};
use crate::ring::seed::{Seed, SeedExpander};
use crate::scheme::ciphertext::{Ciphertext, SeededCiphertext};
use crate::scheme::keys::{KeySwitchKey, PublicKey};
use crate::tables::modulus::Modulus;

pub(crate) fn failure(what: &'static str, detail: impl ToString) -> Error {
    Error::Wire {
        what,
        detail: detail.to_string(),
    }
}

pub(crate) fn put(out: &mut impl Write, what: &'static str, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes).map_err(|e| failure(what, e))
}

fn get<const N: usize>(input: &mut impl Read, what: &'static str) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map_err(|e| failure(what, e))?;
    Ok(bytes)
}

/// Bytes of a polynomial over a basis.
pub fn poly_bytes(context: &Context, basis: Basis) -> usize {
    (0..basis.limbs())
        .map(|i| limb_bytes(context.n(), context.limb_modulus(basis, i).bits()))
        .sum()
}

/// Words that are turned to bytes or back at a time.
const BATCH: usize = 1024;

/// Writes a packed limb.
fn put_limb(out: &mut impl Write, words: &[u64], mut bytes: usize) -> Result<(), Error> {
    let mut batch = [0; 8 * BATCH];
    for words in words.chunks(BATCH) {
        for (place, word) in batch.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let len = bytes.min(8 * words.len());
        put(out, "polynomial", &batch[..len])?;
        bytes -= len;
    }
    Ok(())
}

/// Reads a packed limb and checks that every residue is below the modulus.
fn get_limb(
    context: &Context,
    modulus: &Modulus,
    limb: usize,
    input: &mut impl Read,
    words: &mut [u64],
) -> Result<(), Error> {
    let mut batch = [0; 8 * BATCH];
    let mut bytes = limb_bytes(context.n(), modulus.bits());
    for words in words.chunks_mut(BATCH) {
        let len = bytes.min(8 * words.len());
        input
            .read_exact(&mut batch[..len])
            .map_err(|e| failure("polynomial", e))?;
        batch[len..].fill(0);
        for (word, place) in words.iter_mut().zip(batch.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*place);
        }
        bytes -= len;
    }
    let mut residues = context.pool().stale(context.n());
    context
        .kernel()
        .unpack(modulus.bits(), &mut residues, words);
    if residues.iter().any(|&x| x >= modulus.value()) {
        return Err(failure(
            "polynomial",
            format!("a residue of limb {limb} is not below its modulus"),
        ));
    }
    Ok(())
}

/// Writes the limbs of a polynomial.
///
/// # Errors
/// [`Error::ContextMismatch`] when it belongs to another parameter set, [`Error::Wire`] when `out`
/// fails.
pub fn write_poly(
    context: &Context,
    poly: &RnsPoly<Eval>,
    out: &mut impl Write,
) -> Result<(), Error> {
    context.check_same("write", poly.context())?;
    write_packed(context, &PackedPoly::new(poly), out)
}

fn write_packed(context: &Context, poly: &PackedPoly, out: &mut impl Write) -> Result<(), Error> {
    let basis = poly.basis();
    (0..basis.limbs()).try_for_each(|i| {
        let bits = context.limb_modulus(basis, i).bits();
        put_limb(out, poly.limb(i), limb_bytes(context.n(), bits))
    })
}

/// Reads a polynomial over a basis.
///
/// # Errors
/// [`Error::Wire`] when `input` fails or ends early, or a residue is not below its modulus.
pub fn read_poly(
    context: &Arc<Context>,
    basis: Basis,
    input: &mut impl Read,
) -> Result<RnsPoly<Eval>, Error> {
    Ok(read_packed(context, basis, input)?.unpack(context))
}

fn read_packed(
    context: &Context,
    basis: Basis,
    input: &mut impl Read,
) -> Result<PackedPoly, Error> {
    let mut poly = PackedPoly::stale(context, basis);
    for (i, words) in poly.limbs_mut().into_iter().enumerate() {
        get_limb(context, context.limb_modulus(basis, i), i, input, words)?;
    }
    Ok(poly)
}

/// The fields that ciphertexts begin with: level, log2 of the slots, scale.
fn write_header(
    level: usize,
    log_slots: u32,
    scale: f64,
    out: &mut impl Write,
) -> Result<(), Error> {
    let what = "ciphertext";
    put(out, what, &(level as u32).to_le_bytes())?;
    put(out, what, &log_slots.to_le_bytes())?;
    put(out, what, &scale.to_le_bytes())
}

fn read_header(context: &Context, input: &mut impl Read) -> Result<(Basis, u32, f64), Error> {
    let what = "ciphertext";
    let level = u32::from_le_bytes(get(input, what)?) as usize;
    let log_slots = u32::from_le_bytes(get(input, what)?);
    let scale = f64::from_le_bytes(get(input, what)?);
    let params = context.parameters();
    if level > params.max_level() {
        return Err(failure(
            what,
            format!("level {level} is above the highest, {}", params.max_level()),
        ));
    }
    if log_slots >= params.log_n() {
        return Err(failure(
            what,
            format!(
                "2^{log_slots} slots exceed the ring's 2^{}",
                params.log_n() - 1
            ),
        ));
    }
    if !(scale.is_finite() && scale > 0.0) {
        return Err(failure(
            what,
            format!("the scale {scale} is not a positive number"),
        ));
    }
    Ok((Basis::q(level), log_slots, scale))
}

/// Bytes of level, slots and scale.
const CIPHERTEXT_HEADER: usize = 16;

impl Ciphertext {
    /// Bytes that [`Self::write`] writes of a ciphertext at `level`.
    ///
    /// # Errors
    /// When the level does not exist.
    pub fn body_bytes(context: &Context, level: usize) -> Result<usize, Error> {
        Ok(CIPHERTEXT_HEADER + 2 * poly_bytes(context, context.q_basis(level)?))
    }

    /// Writes level, slots, scale and both parts.
    ///
    /// # Errors
    /// As [`write_poly`].
    pub fn write(&self, context: &Context, out: &mut impl Write) -> Result<(), Error> {
        write_header(self.level(), self.log_slots, self.scale, out)?;
        write_poly(context, &self.c0, out)?;
        write_poly(context, &self.c1, out)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Wire`] for any field out of range and when the input ends early.
    pub fn read(context: &Arc<Context>, input: &mut impl Read) -> Result<Self, Error> {
        let (basis, log_slots, scale) = read_header(context, input)?;
        let c0 = read_poly(context, basis, input)?;
        let c1 = read_poly(context, basis, input)?;
        Ok(Self {
            c0,
            c1,
            scale,
            log_slots,
        })
    }
}

impl SeededCiphertext {
    /// Bytes that [`Self::write`] writes of a ciphertext at `level`.
    ///
    /// # Errors
    /// When the level does not exist.
    pub fn body_bytes(context: &Context, level: usize) -> Result<usize, Error> {
        let part = poly_bytes(context, context.q_basis(level)?);
        Ok(CIPHERTEXT_HEADER + size_of::<Seed>() + part)
    }

    /// Writes level, slots, scale, seed and the constant part.
    ///
    /// # Errors
    /// As [`write_poly`].
    pub fn write(&self, context: &Context, out: &mut impl Write) -> Result<(), Error> {
        write_header(self.level(), self.log_slots, self.scale, out)?;
        put(out, "ciphertext", &self.seed)?;
        write_poly(context, &self.c0, out)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Wire`] for any field out of range and when the input ends early.
    pub fn read(context: &Arc<Context>, input: &mut impl Read) -> Result<Self, Error> {
        let (basis, log_slots, scale) = read_header(context, input)?;
        let seed = get(input, "ciphertext")?;
        let c0 = read_poly(context, basis, input)?;
        Ok(Self {
            c0,
            seed,
            scale,
            log_slots,
        })
    }
}

impl PublicKey {
    /// Bytes that [`Self::write`] writes of a key at `level`.
    ///
    /// # Errors
    /// When the level does not exist.
    pub fn body_bytes(context: &Context, level: usize) -> Result<usize, Error> {
        Ok(size_of::<Seed>() + poly_bytes(context, context.q_basis(level)?))
    }

    /// Writes the seed and the constant part.
    ///
    /// # Errors
    /// As [`write_poly`].
    pub fn write(&self, context: &Context, out: &mut impl Write) -> Result<(), Error> {
        put(out, "public key", &self.seed)?;
        write_poly(context, &self.b, out)
    }

    /// Reads what [`Self::write`] wrote of a key at `level`.
    ///
    /// # Errors
    /// [`Error::Wire`] when the input ends early or a residue is out of range; a level that does
    /// not exist.
    pub fn read(
        context: &Arc<Context>,
        level: usize,
        input: &mut impl Read,
    ) -> Result<Self, Error> {
        let basis = context.q_basis(level)?;
        let seed = get(input, "public key")?;
        let b = read_poly(context, basis, input)?;
        Ok(Self {
            a: Self::uniform(context, basis, seed),
            b,
            seed,
        })
    }
}

impl KeySwitchKey {
    /// The public seed of the uniform halves. All keys of one generation share it; files hold it
    /// once.
    pub fn seed(&self) -> &Seed {
        self.expander.seed()
    }

    /// Bytes that [`Self::write`] writes for a use.
    ///
    /// # Errors
    /// When the level does not exist.
    pub fn body_bytes(context: &Context, key_use: KeyUse) -> Result<usize, Error> {
        let layout = Self::layout_for(context, key_use)?;
        Ok(layout.digits.len() * poly_bytes(context, Basis::new(layout.level, layout.specials)))
    }

    /// Writes the halves that no seed gives.
    ///
    /// # Errors
    /// As [`write_poly`].
    pub fn write(&self, context: &Context, out: &mut impl Write) -> Result<(), Error> {
        context.check_same("write", &self.context)?;
        self.b
            .iter()
            .try_for_each(|half| write_packed(context, half, out))
    }

    /// Reads the key of a use that [`Self::write`] wrote, under the seed of its file.
    ///
    /// # Errors
    /// [`Error::Wire`] when the input ends early or a residue is out of range.
    pub fn read(
        context: &Arc<Context>,
        key_use: KeyUse,
        expander: &Arc<SeedExpander>,
        input: &mut impl Read,
    ) -> Result<Self, Error> {
        let layout = Self::layout_for(context, key_use)?;
        let basis = Basis::new(layout.level, layout.specials);
        let b = layout
            .digits
            .iter()
            .map(|_| read_packed(context, basis, input))
            .collect::<Result<_, _>>()?;
        Self::from_halves(context, key_use, Arc::clone(expander), b)
    }
}

#[cfg(all(test, feature = "secret"))]
mod tests;
