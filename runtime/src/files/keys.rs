//! Secret keys and evaluation keys.
//!
//! A file of evaluation keys holds the seed of the public uniform halves once and, for every use that the plan's
//! schedule lists, in that order, the halves that no seed gives. Keys are streamed: one at a time is in memory while
//! they are written, and reading expands each as it arrives.

use std::path::Path;
use std::sync::Arc;

use heddle_ckks::Context;
#[cfg(feature = "client")]
use heddle_ckks::keys::SecretKey;
use heddle_ckks::keys::{EvaluationKeys, KeySwitchKey};
use heddle_ckks::seed::{Seed, SeedExpander};
use heddle_ir::file::{Access, BlockReader, Kind};
use heddle_ir::plan::Plan;
#[cfg(feature = "client")]
use zeroize::Zeroizing;

use super::{Artifact, content, parse, write_file};
use crate::Error;
use crate::progress::{Progress, Show};

const HELP: &str = "make keys for this plan with `heddle keygen`";

/// The header of a file of evaluation keys.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EvaluationKeysHeader {
    /// What the keys belong to.
    #[prost(message, required, tag = "1")]
    pub artifact: Artifact,
    /// Number of keys.
    #[prost(uint32, tag = "2")]
    pub keys: u32,
}

/// The header of a secret-key file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SecretKeyHeader {
    /// What the key belongs to.
    #[prost(message, required, tag = "1")]
    pub artifact: Artifact,
}

/// Takes keys as they are made.
pub type KeySink<'a> = dyn FnMut(KeySwitchKey) -> Result<(), Error> + 'a;

/// Writes the evaluation keys that `generate` hands over: those of the plan's schedule, in order.
///
/// # Errors
/// If `generate` fails or hands over other keys, or the file cannot be written.
pub fn write_evaluation(
    path: &Path,
    plan: &Plan,
    context: &Context,
    generate: impl FnOnce(&mut KeySink<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let uses = &plan.schedule.keys;
    let header = EvaluationKeysHeader {
        artifact: Artifact::of(plan),
        keys: uses.len() as u32,
    };
    write_file(
        path,
        Access::Default,
        Kind::EvaluationKeys,
        &header,
        |out| {
            let mut written = 0;
            let mut body = Vec::new();
            generate(&mut |key| {
                if uses.get(written) != Some(&key.key_use()) {
                    return Err(content(path, "the keys are not those of the plan", HELP));
                }
                if written == 0 {
                    out.block(key.seed())?;
                }
                body.clear();
                key.write(context, &mut body)?;
                out.bytes(&body)?;
                written += 1;
                Ok(())
            })?;
            if written == uses.len() {
                Ok(())
            } else {
                Err(content(path, "keys of the plan are missing", HELP))
            }
        },
    )
}

/// Reads the evaluation keys of a plan.
///
/// # Errors
/// If the file is no key file, is damaged, or was made for another plan.
pub fn read_evaluation(
    path: &Path,
    plan: &Plan,
    context: &Arc<Context>,
    show: Show,
) -> Result<EvaluationKeys, Error> {
    let (mut reader, header) =
        BlockReader::open::<EvaluationKeysHeader>(path, Kind::EvaluationKeys)?;
    header.artifact.check(path, plan, HELP)?;
    let uses = &plan.schedule.keys;
    if header.keys as usize != uses.len() {
        let message = format!(
            "it holds {} keys, but the plan uses {}",
            header.keys,
            uses.len()
        );
        return Err(content(path, message, HELP));
    }
    let mut keys = EvaluationKeys::new();
    let mut expander = None;
    let progress = Progress::new("reading evaluation keys", uses.len(), show);
    for key_use in uses {
        let expander = match &expander {
            Some(expander) => Arc::clone(expander),
            None => {
                let seed = reader.block()?;
                let seed = Seed::try_from(seed)
                    .map_err(|_| reader.damaged("its seed does not have 16 bytes"))?;
                let kernel = context.kernel();
                Arc::clone(expander.insert(Arc::new(SeedExpander::new(kernel, seed))))
            }
        };
        let body = reader.bytes(KeySwitchKey::body_bytes(context, *key_use)?)?;
        let key = parse(path, &body, |bytes| {
            KeySwitchKey::read(context, *key_use, &expander, bytes)
        })?;
        keys.insert(key);
        progress.step();
    }
    reader.finish()?;
    Ok(keys)
}

/// Writes a secret key into a file that only its owner may read.
///
/// # Errors
/// If the file cannot be written.
#[cfg(feature = "client")]
pub fn write_secret(path: &Path, plan: &Plan, secret: &SecretKey) -> Result<(), Error> {
    let header = SecretKeyHeader {
        artifact: Artifact::of(plan),
    };
    let mut body = Zeroizing::new(Vec::new());
    secret.write(&mut *body)?;
    write_file(path, Access::Owner, Kind::SecretKey, &header, |out| {
        Ok(out.bytes(&body)?)
    })
}

/// Reads a secret key.
///
/// # Errors
/// If the file is no secret key, is damaged, or was made for another plan.
#[cfg(feature = "client")]
pub fn read_secret(path: &Path, plan: &Plan, context: &Arc<Context>) -> Result<SecretKey, Error> {
    let (reader, header) = BlockReader::open::<SecretKeyHeader>(path, Kind::SecretKey)?;
    header.artifact.check(path, plan, HELP)?;
    let body = Zeroizing::new(super::rest(reader)?);
    parse(path, &body, |bytes| SecretKey::read(context, bytes))
}
