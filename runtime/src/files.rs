//! The files of clients and servers: plans, keys and ciphertexts.
//!
//! All share the framing of [`heddle_ir::file`]: kind, version, a header, checksummed blocks, an end mark. Keys and
//! ciphertexts name the digest of the plan that they were made for, and are refused by any other. A file appears under
//! its name only when it is complete.

pub mod ciphertext;
pub mod keys;
pub mod plan;

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use heddle_ir::file::{self, Access, BlockReader, BlockWriter, Kind, Staged};
use heddle_ir::plan::Plan;

use crate::Error;

/// What a key or ciphertext belongs to; part of every header.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Artifact {
    /// The plan's digest.
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
}

impl Artifact {
    /// What belongs to a plan.
    pub fn of(plan: &Plan) -> Self {
        Self {
            plan_digest: plan.digest().to_vec(),
            plan_name: plan.name.clone(),
            parameters: serde_json::to_string(&plan.parameters).unwrap_or_default(),
            insecure: plan.insecure,
        }
    }

    /// Refuses a file that was made for another plan.
    fn check(&self, path: &Path, plan: &Plan, help: &'static str) -> Result<(), Error> {
        let expected = plan.digest();
        if self.plan_digest == expected {
            return Ok(());
        }
        Err(Error::OtherPlan {
            file: path.display().to_string(),
            found: short(&self.plan_digest),
            expected: short(&expected),
            help,
        })
    }
}

/// The first eight hexadecimal digits of a digest.
pub fn short(digest: &[u8]) -> String {
    digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(crate) fn content(path: &Path, message: impl Into<String>, help: impl Into<String>) -> Error {
    Error::Content {
        file: path.display().to_string(),
        message: message.into(),
        help: help.into(),
    }
}

/// Most bytes of a ciphertext or secret key.
const MAX_BODY: usize = 1 << 30;

type Writer<'a> = BlockWriter<&'a mut Staged>;
type Reader = BlockReader<BufReader<File>>;

/// Writes a file of blocks, atomically.
fn write_file(
    path: &Path,
    access: Access,
    kind: Kind,
    header: &impl prost::Message,
    body: impl FnOnce(&mut Writer<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    file::write_atomically(path, access, |out| {
        let mut writer = BlockWriter::new(out, path.display().to_string(), kind, header)?;
        body(&mut writer)?;
        writer.finish()?;
        Ok(())
    })
}

/// Everything that is left of a small file.
fn rest(mut reader: Reader) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(block) = reader.next_block()? {
        if body.len() + block.len() > MAX_BODY {
            return Err(reader.damaged("it is far too long").into());
        }
        body.extend_from_slice(&block);
    }
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

/// Writes a text file, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_text(path: &Path, text: &str) -> Result<(), Error> {
    file::write_atomically(path, Access::Default, |out| {
        writeln!(out, "{text}").map_err(|source| Error::Io {
            file: path.display().to_string(),
            source,
        })
    })
}
