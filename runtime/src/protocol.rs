//! What client and server of one plan must agree on.
//!
//! The server has the plan, the client its [client plan](ClientPlan). Both derive the same from it:
//! the digest that keys and ciphertexts are bound to, the checked parameters, the evaluation keys.
//! Neither has to tell the other.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use heddle_ckks::{Context, KeySwitchKey, PublicKey};
use heddle_ir::file::{self, Kind};
use heddle_ir::plan::{ClientPlan, Plan};
use heddle_params::keys::KeyUse;
use heddle_params::{Accept, Parameters};
use sha2::{Digest, Sha256};

pub use heddle_ir::printable::hex;

use crate::Error;

/// A client plan with what follows from it.
pub struct Protocol {
    plan: ClientPlan,
    digest: [u8; 32],
    context: Arc<Context>,
    keys: Vec<KeyUse>,
}

impl fmt::Debug for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Protocol")
            .field("plan", &self.plan.name)
            .field("digest", &short(&self.digest))
            .finish_non_exhaustive()
    }
}

impl Protocol {
    /// Derives everything from a client plan.
    ///
    /// # Errors
    /// If the plan does not hold together or has weaker parameters than are accepted.
    pub fn new(plan: ClientPlan, accept: Accept) -> Result<Arc<Self>, Error> {
        let parameters = Parameters::accepted(plan.parameters.clone(), accept)?;
        plan.check()?;
        Ok(Arc::new(Self {
            digest: plan.digest()?,
            context: Context::new(parameters)?,
            keys: plan.required_keys()?,
            plan,
        }))
    }

    /// The protocol of a plan: that of its client plan.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(plan: &Plan, accept: Accept) -> Result<Arc<Self>, Error> {
        Self::new(plan.client_plan()?, accept)
    }

    /// Reads a client plan. Of a plan, only the client plan is kept.
    ///
    /// # Errors
    /// If the file is neither, does not hold together, or has weaker parameters than are accepted.
    pub fn open(path: &Path, accept: Accept) -> Result<Arc<Self>, Error> {
        match file::kind_of(path)? {
            Kind::Plan => Self::of(&Plan::read_file(path, accept)?, accept),
            _ => Self::new(ClientPlan::read_file(path, accept)?, accept),
        }
    }

    /// The client plan.
    pub fn plan(&self) -> &ClientPlan {
        &self.plan
    }

    /// SHA-256 of the client plan, to which keys and ciphertexts are bound.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The engine's tables for the plan's parameters.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// The evaluation keys, ascending and without repetition.
    pub fn keys(&self) -> &[KeyUse] {
        &self.keys
    }

    /// Bytes that the evaluation keys take in a file.
    ///
    /// # Errors
    /// If the parameters lack one of them.
    pub fn key_bytes(&self) -> Result<u64, Error> {
        let sizes = self.keys.iter();
        let sizes = sizes.map(|key| KeySwitchKey::body_bytes(&self.context, *key));
        Ok(sizes.sum::<Result<usize, _>>()? as u64)
    }
}

/// Names one secret key and all that was made with it: evaluation keys, a public key, ciphertexts.
///
/// It is a SHA-256 of public material: the digest of the client plan, and a public encryption key
/// modulo the first prime.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The id of the key that `public` was made with.
    ///
    /// # Errors
    /// None in practice: the key is written to memory.
    pub fn of(protocol: &Protocol, public: &PublicKey) -> Result<Self, Error> {
        let mut bytes = Vec::new();
        public.drop_to(0).write(protocol.context(), &mut bytes)?;
        let mut hasher = Sha256::new_with_prefix(b"heddle key id 1");
        hasher.update(protocol.digest());
        hasher.update(&bytes);
        Ok(Self(hasher.finalize().into()))
    }

    /// The id with these bytes; `None` unless there are 32 of them.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl fmt::Display for KeyId {
    /// The first eight hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&short(&self.0))
    }
}

/// The first eight hexadecimal digits of a digest.
pub fn short(digest: &[u8]) -> String {
    hex(digest.get(..4).unwrap_or(digest))
}
