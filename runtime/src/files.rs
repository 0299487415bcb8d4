//! The files of clients and servers: keys and ciphertexts.
//!
//! All share the framing of [`heddle_ir::file`]: kind, version, a header, checksummed blocks, an
//! end mark. Each names the client plan that it was made for, by its digest, and the secret key that
//! it was made with, by its id; it is refused for any other. A file appears under its name only when
//! it is complete.

pub mod ciphertext;
pub mod keys;

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use heddle_ir::file::{Access, BlockReader, BlockWriter, Existing, Kind, Staged};
use heddle_ir::printable;
use heddle_params::{Accept, Parameters, ParametersLiteral};

use crate::Error;
use crate::protocol::{KeyId, Protocol, short};

/// What a key or ciphertext belongs to; part of every header.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Artifact {
    /// The digest of the client plan.
    #[prost(bytes = "vec", tag = "1")]
    pub plan_digest: Vec<u8>,
    /// The plan's name.
    #[prost(string, tag = "2")]
    pub plan_name: String,
    /// The parameters' literal as JSON.
    #[prost(string, tag = "3")]
    pub parameters: String,
    /// Whether the parameters are below 128 bits.
    #[prost(bool, tag = "4")]
    pub insecure: bool,
    /// The id of the secret key.
    #[prost(bytes = "vec", tag = "5")]
    pub key: Vec<u8>,
}

impl Artifact {
    /// The header part of a file for this plan and key.
    pub fn of(protocol: &Protocol, key: KeyId) -> Self {
        let plan = protocol.plan();
        Self {
            plan_digest: protocol.digest().to_vec(),
            plan_name: plan.name.clone(),
            parameters: serde_json::to_string(&plan.parameters).unwrap_or_default(),
            insecure: plan.insecure,
            key: key.as_bytes().to_vec(),
        }
    }

    /// Refuses a file that was made for another plan, or that contradicts the plan; returns the
    /// key's id.
    fn check(&self, path: &Path, protocol: &Protocol, help: &'static str) -> Result<KeyId, Error> {
        let expected = protocol.digest();
        if self.plan_digest != expected {
            return Err(Error::OtherPlan {
                file: printable::path(path),
                found: short(&self.plan_digest),
                expected: short(expected),
                help,
            });
        }
        let key = KeyId::from_bytes(&self.key)
            .ok_or_else(|| content(path, "is damaged: its key id is not 32 bytes", help))?;
        if *self != Self::of(protocol, key) {
            let message = "is damaged: its header contradicts the plan that it names";
            return Err(content(path, message, help));
        }
        Ok(key)
    }

    /// The parameters that the header states, for a reader without the plan.
    ///
    /// # Errors
    /// If they do not parse, are malformed or weaker than what is accepted.
    pub fn parameters(&self, path: &Path, accept: Accept) -> Result<Parameters, Error> {
        let literal: ParametersLiteral =
            serde_json::from_str(&self.parameters).map_err(|error| {
                let message = format!("its parameters do not parse ({error})");
                content(path, message, "make it again")
            })?;
        let refused = |source| heddle_ir::Error::Refused {
            file: printable::path(path),
            source,
        };
        let parameters = Parameters::accepted(literal, accept).map_err(refused)?;
        if parameters.is_insecure() != self.insecure {
            let message = "is damaged: it does not say how secure its parameters are";
            return Err(content(path, message, "make it again"));
        }
        Ok(parameters)
    }
}

pub(crate) fn content(path: &Path, message: impl Into<String>, help: impl Into<String>) -> Error {
    Error::Content {
        file: printable::path(path),
        message: message.into(),
        help: help.into(),
    }
}

type Writer<'a> = BlockWriter<&'a mut Staged>;
type Reader = BlockReader<BufReader<File>>;

/// Writes a file of blocks. It gets its name when the caller commits it.
fn stage(
    path: &Path,
    (access, existing): (Access, Existing),
    kind: Kind,
    header: &impl prost::Message,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
) -> Result<Staged, Error> {
    let mut staged = Staged::create(path, access, existing)?;
    let file = printable::path(path);
    let mut writer = BlockWriter::new(&mut staged, file, kind, header)?;
    body(&mut writer)?;
    writer.finish()?;
    Ok(staged)
}

/// The `len` bytes that are left of a file.
#[cfg(feature = "client")]
fn rest(mut reader: Reader, len: usize) -> Result<Vec<u8>, Error> {
    let body = reader.bytes(len)?;
    reader.finish()?;
    Ok(body)
}

/// Runs one of the engine's readers on all of `bytes`.
fn parse<T>(
    path: &Path,
    mut bytes: &[u8],
    read: impl FnOnce(&mut &[u8]) -> Result<T, heddle_ckks::Error>,
) -> Result<T, Error> {
    let damaged = |message: String| content(path, message, "copy the file again, or make it again");
    let parsed = read(&mut bytes).map_err(|error| match error {
        heddle_ckks::Error::Wire { what, detail } => damaged(format!("{what}: {detail}")),
        other => other.into(),
    })?;
    if bytes.is_empty() {
        Ok(parsed)
    } else {
        Err(damaged(format!("{} bytes are left over", bytes.len())))
    }
}

/// Writes a text file, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn write_text(path: &Path, existing: Existing, text: &str) -> Result<(), Error> {
    let mut staged = Staged::create(path, Access::Default, existing)?;
    writeln!(staged, "{text}").map_err(|source| Error::Io {
        file: printable::path(path),
        source,
    })?;
    Ok(staged.commit()?)
}
