//! Raw bytes of polynomials, ciphertexts and keys.
//!
//! Bodies only: the objects' parameters, checksums and versions belong to the file formats around them. Integers
//! and floats are little-endian. A limb is its residues packed to the bits of its modulus, lowest bit first;
//! `N` residues of `b` bits take exactly `N b / 8` bytes. Readers check every residue and every field.

use std::io::{Read, Write};
use std::sync::Arc;

use heddle_params::bootstrap::KeyUse;
use zeroize::Zeroizing;

use crate::ciphertext::Ciphertext;
use crate::context::{Basis, Context};
use crate::encrypt::SeededCiphertext;
use crate::error::Error;
use crate::keys::{KeySwitchKey, PublicKey, SecretKey};
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

/// Appends `values`, each below `2^bits`, packed; their number is a multiple of eight.
fn pack(values: &[u64], bits: u32, out: &mut Vec<u8>) {
    let (mut pending, mut held) = (0u128, 0u32);
    for &value in values {
        pending |= u128::from(value) << held;
        held += bits;
        while held >= 64 {
            out.extend_from_slice(&(pending as u64).to_le_bytes());
            pending >>= 64;
            held -= 64;
        }
    }
    out.extend_from_slice(&(pending as u64).to_le_bytes()[..held as usize / 8]);
}

/// The inverse of [`pack`].
fn unpack(bytes: &[u8], bits: u32, values: &mut [u64]) {
    let (mut pending, mut held) = (0u128, 0u32);
    let mut words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    let mask = (1u64 << bits) - 1;
    for value in values {
        if held < bits {
            pending |= u128::from(words.next().unwrap_or(0)) << held;
            held += 64;
        }
        *value = pending as u64 & mask;
        pending >>= bits;
        held -= bits;
    }
}

/// Bytes of a polynomial over a basis.
pub fn poly_bytes(context: &Context, basis: Basis) -> usize {
    (0..basis.limbs())
        .map(|i| context.n() * context.limb_modulus(basis, i).bits() as usize / 8)
        .sum()
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
    let basis = poly.basis();
    let mut bytes = Vec::new();
    for i in 0..basis.limbs() {
        bytes.clear();
        pack(
            poly.limb(i),
            context.limb_modulus(basis, i).bits(),
            &mut bytes,
        );
        put(out, "polynomial", &bytes)?;
    }
    Ok(())
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
    let mut poly = RnsPoly::zero(context, basis);
    let mut bytes = Vec::new();
    for i in 0..basis.limbs() {
        let modulus = context.limb_modulus(basis, i);
        bytes.resize(context.n() * modulus.bits() as usize / 8, 0);
        input
            .read_exact(&mut bytes)
            .map_err(|e| failure("polynomial", e))?;
        let limb = poly.limb_mut(i);
        unpack(&bytes, modulus.bits(), limb);
        if limb.iter().any(|&x| x >= modulus.value()) {
            return Err(failure(
                "polynomial",
                format!("a residue of limb {i} is not below its modulus"),
            ));
        }
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
    /// Writes the coefficients, four to a byte.
    ///
    /// # Errors
    /// [`Error::Wire`] when `out` fails.
    pub fn write(&self, out: &mut impl Write) -> Result<(), Error> {
        let bytes: Zeroizing<Vec<u8>> = Zeroizing::new(
            self.coefficients()
                .chunks(4)
                .map(|four| {
                    four.iter()
                        .rev()
                        .fold(0, |byte, &c| byte << 2 | (c + 1) as u8)
                })
                .collect(),
        );
        put(out, "secret key", &bytes)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Wire`] when the input ends early or holds a coefficient that is not ternary.
    pub fn read(context: &Arc<Context>, input: &mut impl Read) -> Result<Self, Error> {
        let mut bytes = Zeroizing::new(vec![0; context.n() / 4]);
        input
            .read_exact(&mut bytes)
            .map_err(|e| failure("secret key", e))?;
        let coefficients = bytes
            .iter()
            .flat_map(|byte| [0, 2, 4, 6].map(|shift| (byte >> shift & 3) as i8 - 1))
            .collect();
        Self::from_coefficients(context, coefficients)
    }
}

impl PublicKey {
    /// Writes the seed and the constant part.
    ///
    /// # Errors
    /// [`Error::Wire`] when `out` fails.
    pub fn write(&self, context: &Context, out: &mut impl Write) -> Result<(), Error> {
        put(out, "public key", &self.seed)?;
        write_poly(context, &self.b, out)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`Error::Wire`] when the input ends early or a residue is out of range.
    pub fn read(context: &Arc<Context>, input: &mut impl Read) -> Result<Self, Error> {
        let basis = Basis::q(context.max_level());
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
            .try_for_each(|half| write_poly(context, half, out))
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
            .map(|_| read_poly(context, basis, input))
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
    use heddle_params::bootstrap::KeyKind;

    #[test]
    fn packing_is_dense_and_reversible() {
        for bits in [1, 7, 40, 41, 49, 50] {
            let mask = (1u64 << bits) - 1;
            let values: Vec<u64> = (0..64u64)
                .map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask)
                .collect();
            let mut bytes = Vec::new();
            pack(&values, bits, &mut bytes);
            assert_eq!(bytes.len(), 8 * bits as usize);
            let mut back = vec![0; 64];
            unpack(&bytes, bits, &mut back);
            assert_eq!(values, back);
        }
    }

    #[test]
    fn objects_survive_and_damage_is_found() {
        let context = Context::new(heddle_params::named::toy(6).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let mut bytes = Vec::new();
        secret.write(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 16);
        assert_eq!(
            SecretKey::read(&context, &mut &bytes[..])
                .unwrap()
                .coefficients(),
            secret.coefficients()
        );
        bytes[3] = 0xff;
        assert!(matches!(
            SecretKey::read(&context, &mut &bytes[..]),
            Err(Error::Wire { .. })
        ));

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
    fn keys_survive_and_residues_are_checked() {
        let context = Context::new(heddle_params::named::toy(5).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let public = PublicKey::generate(&context, &secret).unwrap();
        let mut bytes = Vec::new();
        public.write(&context, &mut bytes).unwrap();
        let back = PublicKey::read(&context, &mut &bytes[..]).unwrap();
        assert!(back.a == public.a && back.b == public.b);

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
        assert!(read(&bytes).unwrap().b == key.b);
        assert!(read(&bytes[..bytes.len() - 1]).is_err());
        bytes[..8].fill(0xff);
        assert!(matches!(read(&bytes), Err(Error::Wire { .. })));
    }
}
