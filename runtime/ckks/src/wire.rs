//! Raw bytes of polynomials, ciphertexts and keys.
//!
//! Bodies only: the objects' parameters, checksums and versions belong to the file formats around them. Integers
//! and floats are little-endian. A limb is its residues packed to the bits of its modulus, lowest bit first;
//! `N` residues of `b` bits take exactly `N b / 8` bytes. Readers check every residue and every field.

use std::io::{Read, Write};
use std::sync::Arc;

use heddle_params::keys::KeyUse;
use zeroize::Zeroizing;

use crate::buffer::Buffer;
use crate::ciphertext::Ciphertext;
use crate::context::{Basis, Context};
use crate::encrypt::SeededCiphertext;
use crate::error::Error;
use crate::keys::{KeySwitchKey, PublicKey, SecretKey};
use crate::modulus::Modulus;
use crate::packed::{PackedPoly, limb_bytes};
use crate::poly::{Eval, RnsPoly};
use crate::seed::{Seed, SeedExpander};

fn failure(what: &'static str, detail: impl ToString) -> Error {
    Error::Wire {
        what,
        detail: detail.to_string(),
    }
}

fn put(out: &mut impl Write, what: &'static str, bytes: &[u8]) -> Result<(), Error> {
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
    let mut residues = Buffer::stale(context.n());
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
/// [`Error::Wire`] when `out` fails.
pub fn write_poly(
    context: &Context,
    poly: &RnsPoly<Eval>,
    out: &mut impl Write,
) -> Result<(), Error> {
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

impl Ciphertext {
    /// Writes level, slots, scale and both parts.
    ///
    /// # Errors
    /// [`Error::Wire`] when `out` fails.
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

/// Bytes of level, slots and scale.
const CIPHERTEXT_HEADER: usize = 16;

/// Bytes of a written ciphertext at a level; `seeded` says whether its uniform part is a seed.
///
/// # Errors
/// When the level does not exist.
pub fn ciphertext_bytes(context: &Context, level: usize, seeded: bool) -> Result<usize, Error> {
    let part = poly_bytes(context, context.q_basis(level)?);
    let uniform = if seeded { size_of::<Seed>() } else { part };
    Ok(CIPHERTEXT_HEADER + part + uniform)
}

impl SeededCiphertext {
    /// Writes level, slots, scale, seed and the constant part.
    ///
    /// # Errors
    /// [`Error::Wire`] when `out` fails.
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

impl SecretKey {
    /// Writes [`Self::to_packed`] at once. A writer that buffers keeps a copy: wipe its buffer, or give it none.
    ///
    /// # Errors
    /// [`Error::Wire`] when `out` fails.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Error> {
        put(out, "secret key", &self.to_packed())
    }

    /// Reads what [`Self::write`] wrote, in one piece. A reader that buffers keeps a copy of what it read ahead.
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
    /// [`Error::Wire`] when `out` fails.
    pub fn write(&self, context: &Context, out: &mut impl Write) -> Result<(), Error> {
        put(out, "public key", &self.seed)?;
        write_poly(context, &self.b, out)
    }

    /// Reads what [`Self::write`] wrote of a key at `level`.
    ///
    /// # Errors
    /// [`Error::Wire`] when the input ends early or a residue is out of range; a level that does not
    /// exist.
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
    /// The public seed of the uniform halves. All keys of one generation share it; files hold it once.
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
    /// [`Error::Wire`] when `out` fails.
    pub fn write(&self, context: &Context, out: &mut impl Write) -> Result<(), Error> {
        self.b
            .iter()
            .try_for_each(|half| write_packed(context, half, out))
    }

    /// Reads the key of a use that [`Self::write`] wrote, below the seed of its file.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ciphertext::Plaintext;
    use crate::encode::Encoder;
    use crate::encrypt::SecretEncryptor;
    use crate::keys::KeyGenerator;
    use heddle_params::keys::KeyKind;

    #[test]
    fn objects_survive_and_damage_is_found() {
        let context = Context::new(heddle_params::named::toy(6).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let mut bytes = Vec::new();
        secret.write(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 16);
        let read = |bytes: &[u8]| SecretKey::read(&context, &mut &*bytes);
        assert_eq!(read(&bytes).unwrap().to_packed(), secret.to_packed());
        assert_eq!(*secret.to_packed(), bytes);
        let mut wrong = bytes.clone();
        wrong[3] = 0xff;
        for damaged in [&bytes[..15], &wrong] {
            assert!(matches!(read(damaged), Err(Error::Wire { .. })));
        }
        assert!(SecretKey::from_packed(&context, &[bytes, vec![0x55]].concat()).is_err());
        assert_eq!(format!("{secret:?}"), "SecretKey(64 coefficients)");

        let plaintext =
            Plaintext::encode_real(&Encoder::new(5), &[0.25; 8], 2f64.powi(40)).unwrap();
        let seeded = SecretEncryptor::new(&context, &secret)
            .encrypt(&plaintext, 3)
            .unwrap();
        let mut bytes = Vec::new();
        seeded.write(&context, &mut bytes).unwrap();
        let expanded = SeededCiphertext::read(&context, &mut &bytes[..])
            .unwrap()
            .expand(&context);
        assert!(SeededCiphertext::read(&context, &mut &bytes[..bytes.len() - 1]).is_err());
        let mut bytes = Vec::new();
        expanded.write(&context, &mut bytes).unwrap();
        let back = Ciphertext::read(&context, &mut &bytes[..]).unwrap();
        let original = seeded.expand(&context);
        assert!(back.c0 == original.c0 && back.c1 == original.c1);
        assert_eq!((back.scale, back.log_slots), (original.scale, 3));
        for (at, value) in [(0, 29), (4, 6), (15, 0xff)] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            assert!(
                Ciphertext::read(&context, &mut &damaged[..]).is_err(),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_sparse_secret_has_its_weight() {
        let literal = heddle_params::ParametersLiteral {
            secret: heddle_params::Secret::SparseTernary(8),
            ..heddle_params::named::n16_qp1714_dense().literal().clone()
        };
        let parameters = heddle_params::named::over_small_ring(literal, 6).unwrap();
        let context = Context::new(parameters).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let mut packed = secret.to_packed().to_vec();
        assert!(SecretKey::from_packed(&context, &packed).is_ok());
        let zero = packed.iter().position(|byte| byte & 3 == 1).unwrap();
        packed[zero] += 1;
        assert!(matches!(
            SecretKey::from_packed(&context, &packed),
            Err(Error::Wire { .. })
        ));
    }

    #[test]
    fn keys_survive_and_residues_are_checked() {
        let context = Context::new(heddle_params::named::toy(5).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let public = PublicKey::generate(&context, &secret, 7).unwrap();
        let mut bytes = Vec::new();
        public.write(&context, &mut bytes).unwrap();
        let back = PublicKey::read(&context, 7, &mut &bytes[..]).unwrap();
        assert!(back.a == public.a && back.b == public.b);
        assert!(PublicKey::read(&context, 29, &mut &bytes[..]).is_err());
        assert!(back.belongs_to(&secret) && back.drop_to(0).belongs_to(&secret));
        let other = SecretKey::generate(&context).unwrap();
        assert!(!back.belongs_to(&other));

        let key_use = KeyUse {
            kind: KeyKind::Relin,
            level: 20,
        };
        let keys = KeyGenerator::new(&context, &secret)
            .unwrap()
            .generate(&[key_use])
            .unwrap();
        let key = keys.get(KeyKind::Relin, 17).unwrap();
        let mut bytes = Vec::new();
        key.write(&context, &mut bytes).unwrap();
        assert_eq!(
            bytes.len(),
            KeySwitchKey::body_bytes(&context, key_use).unwrap()
        );
        let expander = Arc::new(SeedExpander::new(context.kernel(), *key.seed()));
        let read = |bytes: &[u8]| KeySwitchKey::read(&context, key_use, &expander, &mut &*bytes);
        let back = read(&bytes).unwrap();
        for (back, half) in back.b.iter().zip(&key.b) {
            assert!(back.unpack(&context) == half.unpack(&context));
        }
        assert!(read(&bytes[..bytes.len() - 1]).is_err());
        bytes[..8].fill(0xff);
        assert!(matches!(read(&bytes), Err(Error::Wire { .. })));
    }
}
