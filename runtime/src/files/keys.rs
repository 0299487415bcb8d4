//! Secret keys and evaluation keys.
//!
//! A file of evaluation keys holds the seed of the public uniform halves once and, for every use that the plan's
//! schedule lists, in that order, the halves that no seed gives. Keys are streamed: one at a time is in memory while
//! they are written, and they are read as they are kept.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use heddle_ckks::Context;
#[cfg(feature = "client")]
use heddle_ckks::keys::SecretKey;
use heddle_ckks::keys::{EvaluationKeys, KeySwitchKey};
use heddle_ckks::seed::{Seed, SeedExpander};
use heddle_ir::file::{Access, BlockReader, Kind};
use heddle_ir::plan::Plan;
use heddle_params::bootstrap::KeyUse;
use rayon::prelude::*;
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
            // Keys are made on all threads while one thread writes those that are ready.
            std::thread::scope(|scope| {
                let (sender, ready) = sync_channel::<KeySwitchKey>(1);
                let writer = scope.spawn(move || -> Result<(), Error> {
                    let mut body = Vec::new();
                    let mut uses = uses.iter();
                    let mut first = true;
                    for key in ready {
                        if uses.next() != Some(&key.key_use()) {
                            return Err(content(path, "the keys are not those of the plan", HELP));
                        }
                        if std::mem::take(&mut first) {
                            out.block(key.seed())?;
                        }
                        body.clear();
                        key.write(context, &mut body)?;
                        out.bytes(&body)?;
                    }
                    match uses.next() {
                        None => Ok(()),
                        Some(_) => Err(content(path, "keys of the plan are missing", HELP)),
                    }
                });
                let mut stopped = false;
                let made = generate(&mut |key| {
                    sender.send(key).map_err(|_| {
                        stopped = true;
                        content(path, "the keys cannot be written", HELP)
                    })
                });
                drop(sender);
                let written = writer.join().unwrap_or_else(|panic| resume_unwind(panic));
                // Where the writer stopped first, its error says why.
                if !stopped {
                    made?;
                }
                written
            })
        },
    )
}

/// Keys that are checked at a time; as many more are read meanwhile.
const BATCH: usize = 2;

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
    let progress = Progress::new("reading evaluation keys", uses.len(), show);
    let expander = match uses.is_empty() {
        true => None,
        false => {
            let seed = Seed::try_from(reader.block()?)
                .map_err(|_| reader.damaged("its seed does not have 16 bytes"))?;
            Some(Arc::new(SeedExpander::new(context.kernel(), seed)))
        }
    };
    // While some keys are checked, the next are read.
    let mut batches = uses.chunks(BATCH);
    let (mut bodies, mut spare) = (vec![Vec::new(); BATCH], vec![Vec::new(); BATCH]);
    let mut read = |uses: &[KeyUse], bodies: &mut [Vec<u8>]| -> Result<(), Error> {
        for (key_use, body) in uses.iter().zip(bodies) {
            reader.bytes_into(KeySwitchKey::body_bytes(context, *key_use)?, body)?;
        }
        Ok(())
    };
    let mut current = batches.next().unwrap_or_default();
    read(current, &mut bodies)?;
    while let (false, Some(expander)) = (current.is_empty(), &expander) {
        let next = batches.next().unwrap_or_default();
        let parse_one = |(key_use, body): (&KeyUse, &Vec<u8>)| {
            let key = parse(path, body, |bytes| {
                KeySwitchKey::read(context, *key_use, expander, bytes)
            })?;
            progress.step();
            Ok(key)
        };
        let parse_all = || -> Result<Vec<KeySwitchKey>, Error> {
            current.par_iter().zip(&bodies).map(parse_one).collect()
        };
        let (parsed, next_read) = rayon::join(parse_all, || read(next, &mut spare));
        parsed?.into_iter().for_each(|key| keys.insert(key));
        next_read?;
        std::mem::swap(&mut bodies, &mut spare);
        current = next;
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
