//! What a client does. The holder of the secret key makes keys, encrypts and decrypts; the holder
//! of a public key encrypts.

use std::fmt;
use std::sync::Arc;

use heddle_ckks::{
    Decryptor, Encoder, Encryptor, EvaluationKeys, KeyGenerator, KeySwitchKey, Plaintext,
    PublicKey, SecretEncryptor, SecretKey,
};
use zeroize::Zeroizing;

use crate::Error;
use crate::message::{
    EncryptedAnswer, EncryptedImage, FreshCiphertext, ServerKeys, mismatch, same_key,
};
use crate::observer::{Activity, Observed, Observer};
use crate::packing::{class_of, pack, unpack};
use crate::protocol::{KeyId, Protocol};

mod disclosure;

pub use disclosure::{DISCLOSED_BITS, Disclosure};

/// Most bytes that evaluation keys may take.
///
/// The maker of a plan decides which keys it needs: a hostile plan could fill the client's disk or
/// memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyLimit(pub u64);

impl Default for KeyLimit {
    /// 8 GiB.
    fn default() -> Self {
        Self(8 << 30)
    }
}

/// A public encryption key with its id: it encrypts images and decrypts nothing.
#[derive(Clone)]
pub struct ImageKey {
    protocol: Arc<Protocol>,
    public: Arc<PublicKey>,
    id: KeyId,
}

impl fmt::Debug for ImageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ImageKey").field(&self.id).finish()
    }
}

impl ImageKey {
    /// The image key of a public key.
    ///
    /// # Errors
    /// If the key does not reach the level of the plan's input.
    pub fn new(protocol: &Arc<Protocol>, public: PublicKey) -> Result<Self, Error> {
        let level = protocol.plan().input.level();
        if public.level() != level {
            return Err(Error::Input {
                what: "the public key".into(),
                message: format!(
                    "it is for level {}, but images are encrypted at level {level}\nhelp: make keys for this plan \
                     with `heddle keygen`",
                    public.level()
                ),
            });
        }
        Ok(Self {
            id: KeyId::of(protocol, &public)?,
            protocol: Arc::clone(protocol),
            public: Arc::new(public),
        })
    }

    /// The secret key that it was made with.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The key itself.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Encrypts a preprocessed, row-major `C, H, W` tensor; `name` says in errors which.
    ///
    /// # Errors
    /// If the tensor does not fit the plan.
    pub fn encrypt(&self, name: &str, tensor: &[f32]) -> Result<EncryptedImage, Error> {
        let plaintexts = encode(&self.protocol, name, tensor)?;
        let level = self.protocol.plan().input.level();
        let encryptor = Encryptor::new(self.protocol.context(), Arc::clone(&self.public));
        let encrypt = |plaintext: &Plaintext| {
            let ciphertext = encryptor.encrypt(plaintext, level)?;
            Ok(FreshCiphertext::Whole(ciphertext))
        };
        Ok(EncryptedImage {
            key: self.id,
            ciphertexts: plaintexts
                .iter()
                .map(encrypt)
                .collect::<Result<_, Error>>()?,
        })
    }
}

/// A plaintext for each piece of the input.
fn encode(protocol: &Protocol, name: &str, tensor: &[f32]) -> Result<Vec<Plaintext>, Error> {
    let input = &protocol.plan().input;
    let pieces = Zeroizing::new(pack(&input.packing, name, tensor)?);
    let encoder = Encoder::new(protocol.context().log_n() - 1);
    let pieces = pieces.iter().zip(&input.ciphertexts);
    pieces
        .map(|(slots, ty)| Ok(Plaintext::encode_real(&encoder, slots, ty.scale())?))
        .collect()
}

/// A holder of a secret key for one plan.
pub struct Client {
    protocol: Arc<Protocol>,
    secret: SecretKey,
    /// The id is the digest of this key. It is at the level of the plan's input where the secret
    /// key is fresh, at level 0 where that was read from a file.
    public: PublicKey,
    id: KeyId,
}

impl fmt::Debug for Client {
    /// Nothing of the secret is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.id).finish()
    }
}

impl Client {
    /// A client with a fresh secret key.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn generate(protocol: &Arc<Protocol>) -> Result<Self, Error> {
        let context = protocol.context();
        let secret = SecretKey::generate(context)?;
        let level = protocol.plan().input.level();
        let public = PublicKey::generate(context, &secret, level)?;
        Ok(Self {
            protocol: Arc::clone(protocol),
            id: KeyId::of(protocol, &public)?,
            secret,
            public,
        })
    }

    /// A client with a secret key that was read from a file, and the public key that names it.
    ///
    /// # Errors
    /// If the two do not belong together.
    pub fn new(
        protocol: &Arc<Protocol>,
        secret: SecretKey,
        public: PublicKey,
    ) -> Result<Self, Error> {
        if !public.belongs_to(&secret) {
            return Err(Error::Input {
                what: "the secret key".into(),
                message: "it does not belong to the public part that is stored with it\nhelp: get the file of the \
                          secret key again from where you keep it"
                    .into(),
            });
        }
        Ok(Self {
            protocol: Arc::clone(protocol),
            id: KeyId::of(protocol, &public)?,
            secret,
            public,
        })
    }

    /// The plan's protocol.
    pub fn protocol(&self) -> &Arc<Protocol> {
        &self.protocol
    }

    /// The id of the secret key, which all that is made with it carries.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The secret key.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The part of the public key, modulo the first prime, that the id is the digest of.
    pub fn identity(&self) -> PublicKey {
        self.public.drop_to(0)
    }

    /// The public encryption key; `None` for a client whose secret key was read from a file.
    pub fn image_key(&self) -> Option<ImageKey> {
        ImageKey::new(&self.protocol, self.public.clone()).ok()
    }

    /// Number of the evaluation keys that the plan needs, and their bytes in a file.
    ///
    /// # Errors
    /// If they take more bytes than `limit`.
    pub fn key_count_and_bytes(
        protocol: &Protocol,
        limit: KeyLimit,
    ) -> Result<(usize, u64), Error> {
        let (count, needed) = (protocol.keys().len(), protocol.key_bytes()?);
        if needed > limit.0 {
            return Err(Error::KeyLimit {
                count,
                needed,
                limit: limit.0,
            });
        }
        Ok((count, needed))
    }

    /// Makes the evaluation keys that the plan needs, and hands each over as soon as it is made.
    ///
    /// # Errors
    /// What `sink` answers, keys that the parameters do not have, or [`Error::KeyLimit`].
    pub fn generate_keys(
        &self,
        limit: KeyLimit,
        observer: &dyn Observer,
        mut sink: impl FnMut(KeySwitchKey) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (count, _) = Self::key_count_and_bytes(&self.protocol, limit)?;
        let observed = Observed::begin(observer, Activity::MakingKeys, count);
        KeyGenerator::new(self.protocol.context(), &self.secret)?.generate_each(
            self.protocol.keys(),
            |key| {
                observed.advance();
                sink(key)
            },
        )
    }

    /// The evaluation keys that the plan needs, in memory.
    ///
    /// # Errors
    /// As [`generate_keys`](Self::generate_keys).
    pub fn server_keys(
        &self,
        limit: KeyLimit,
        observer: &dyn Observer,
    ) -> Result<ServerKeys, Error> {
        let mut keys = EvaluationKeys::new();
        self.generate_keys(limit, observer, |key| {
            keys.insert(key);
            Ok(())
        })?;
        Ok(ServerKeys { key: self.id, keys })
    }

    /// Encrypts a preprocessed, row-major `C, H, W` tensor; `name` says in errors which.
    ///
    /// # Errors
    /// If the tensor does not fit the plan.
    pub fn encrypt(&self, name: &str, tensor: &[f32]) -> Result<EncryptedImage, Error> {
        let plaintexts = encode(&self.protocol, name, tensor)?;
        let level = self.protocol.plan().input.level();
        let encryptor = SecretEncryptor::new(self.protocol.context(), &self.secret);
        // Each encryption draws its own seed and error.
        let encrypt = |plaintext: &Plaintext| {
            let ciphertext = encryptor.encrypt(plaintext, level)?;
            Ok(FreshCiphertext::Seeded(ciphertext))
        };
        Ok(EncryptedImage {
            key: self.id,
            ciphertexts: plaintexts
                .iter()
                .map(encrypt)
                .collect::<Result<_, Error>>()?,
        })
    }

    /// Decrypts an answer: one number for every class, logits or probabilities.
    ///
    /// An answer out of the plan's range is refused before any number of it is known: what an
    /// active server crafts, and what wrong evaluation keys give, is of the size of the modulus.
    /// The refusal itself discloses one bit to whoever learns of it.
    ///
    /// # Errors
    /// If the answer belongs to another key, does not have the plan's output type, or is out of
    /// range.
    pub fn decrypt(
        &self,
        answer: &EncryptedAnswer,
        disclosure: Disclosure,
    ) -> Result<Vec<f64>, Error> {
        same_key(("the secret key", self.id), ("the answer", answer.key))?;
        let output = &self.protocol.plan().output;
        if let Some(message) = mismatch(&answer.ciphertext, &output.ciphertext) {
            return Err(Error::Input {
                what: "the answer".into(),
                message: format!("{message}\nhelp: give what `heddle run` wrote for this plan"),
            });
        }
        // The plan's scale, to the last bit: what is derived is not read from the answer.
        let mut ciphertext = answer.ciphertext.clone();
        ciphertext.set_scale(output.ciphertext.scale());
        let decryptor = Decryptor::new(self.protocol.context(), &self.secret);
        let slots = decryptor.decrypt(&ciphertext)?;
        disclosure::check_range(&slots)?;
        let mut real = Zeroizing::new(Vec::with_capacity(slots.len()));
        real.extend(slots.iter().map(|slot| slot.re));
        let mut values = unpack(&output.packing, &real)?;
        if let Disclosure::Noisy { bits } = disclosure {
            let context = self.protocol.context();
            let key = disclosure::noise_key(&self.secret, context, &ciphertext, bits)?;
            disclosure::add_noise(&mut values, output.packing.range, bits, key);
        }
        Ok(values)
    }

    /// Decrypts an answer to the class alone: the index of the largest number.
    ///
    /// # Errors
    /// As [`decrypt`](Self::decrypt).
    pub fn classify(&self, answer: &EncryptedAnswer) -> Result<usize, Error> {
        Ok(class_of(&self.decrypt(answer, Disclosure::Private)?))
    }
}
