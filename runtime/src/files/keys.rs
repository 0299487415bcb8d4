//! Secret keys, public keys and evaluation keys.
//!
//! A file of evaluation keys holds one seed, from which the public uniform halves of all keys
//! follow, and the other half of every key that the plan needs, in ascending order. Keys are
//! streamed: one at a time is in memory while they are written, and they are read in the form in
//! which they are kept.
//!
//! A file of a secret key holds the secret and the part of a public key from which the id follows. A
//! file of a public key holds that key.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use heddle_ckks::ring::{Seed, SeedExpander};
use heddle_ckks::{EvaluationKeys, KeySwitchKey};
#[cfg(feature = "client")]
use heddle_ckks::{PublicKey, SecretKey};
use heddle_ir::file::{Access, BlockReader, Existing, Kind, Staged};
#[cfg(feature = "client")]
use heddle_ir::printable;
use heddle_params::keys::KeyUse;
use rayon::prelude::*;
#[cfg(feature = "client")]
use zeroize::Zeroizing;

use super::{Artifact, content, parse, stage};
use crate::Error;
#[cfg(feature = "client")]
use crate::client::{Client, ImageKey};
use crate::message::ServerKeys;
use crate::observer::{Activity, Observed, Observer};
use crate::protocol::{KeyId, Protocol};

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

/// The header of a file of a secret or public key.
#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyHeader {
    /// What the key belongs to.
    #[prost(message, required, tag = "1")]
    pub artifact: Artifact,
}

/// Takes keys as they are made.
pub type KeySink<'a> = dyn FnMut(KeySwitchKey) -> Result<(), Error> + 'a;

/// Writes evaluation keys to a file that gets its name when the caller commits it. `generate` hands
/// over the keys that the plan needs, in order.
///
/// # Errors
/// If `generate` fails or hands over other keys, or the file cannot be written.
pub fn stage_evaluation(
    path: &Path,
    existing: Existing,
    protocol: &Protocol,
    key: KeyId,
    generate: impl FnOnce(&mut KeySink<'_>) -> Result<(), Error>,
) -> Result<Staged, Error> {
    let (uses, context) = (protocol.keys(), protocol.context());
    let header = EvaluationKeysHeader {
        artifact: Artifact::of(protocol, key),
        keys: uses.len() as u32,
    };
    stage(
        path,
        (Access::Default, existing),
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

/// How many keys are checked at a time, while as many more are read.
const BATCH: usize = 2;

/// Reads the evaluation keys of a plan.
///
/// # Errors
/// If the file is no key file, is damaged, or was made for another plan.
pub fn read_evaluation(
    path: &Path,
    protocol: &Protocol,
    observer: &dyn Observer,
) -> Result<ServerKeys, Error> {
    let (mut reader, header) =
        BlockReader::open::<EvaluationKeysHeader>(path, Kind::EvaluationKeys)?;
    let key = header.artifact.check(path, protocol, HELP)?;
    let (uses, context) = (protocol.keys(), protocol.context());
    if header.keys as usize != uses.len() {
        let message = format!(
            "it holds {} keys, but the plan needs {}",
            header.keys,
            uses.len()
        );
        return Err(content(path, message, HELP));
    }
    let mut keys = EvaluationKeys::new();
    let observed = Observed::begin(observer, Activity::ReadingKeys, uses.len());
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
            observed.advance();
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
    Ok(ServerKeys { key, keys })
}

/// Writes a client's secret key to a file that only its owner may read. It replaces no file, and
/// gets its name when the caller commits it.
///
/// # Errors
/// If the file cannot be written.
#[cfg(feature = "client")]
pub fn stage_secret(path: &Path, client: &Client) -> Result<Staged, Error> {
    let protocol = client.protocol();
    let header = KeyHeader {
        artifact: Artifact::of(protocol, client.id()),
    };
    let mut public = Vec::new();
    client.identity().write(protocol.context(), &mut public)?;
    let packed = client.secret().to_packed();
    let how = (Access::Owner, Existing::Refuse);
    stage(path, how, Kind::SecretKey, &header, |out| {
        out.block(&packed)?;
        Ok(out.bytes(&public)?)
    })
}

/// Reads a client's secret key.
///
/// # Errors
/// If the file is no secret key, is damaged, was made for another plan, or does not hold together.
#[cfg(feature = "client")]
pub fn read_secret(path: &Path, protocol: &Arc<Protocol>) -> Result<Client, Error> {
    let context = protocol.context();
    let mut bytes = Zeroizing::new(Vec::new());
    let (mut reader, header) = open_secret(path, &mut bytes)?;
    let id = header.artifact.check(path, protocol, HELP)?;
    let mut packed = Zeroizing::new(Vec::with_capacity(context.n() / 4));
    reader.bytes_into(context.n() / 4, &mut packed)?;
    let secret = SecretKey::from_packed(context, &packed)?;
    let public = reader.bytes(PublicKey::body_bytes(context, 0)?)?;
    reader.finish()?;
    let public = parse(path, &public, |bytes| PublicKey::read(context, 0, bytes))?;
    let client = Client::new(protocol, secret, public)?;
    check_id(path, id, client.id())?;
    Ok(client)
}

/// Writes a public encryption key to a file that gets its name when the caller commits it.
///
/// # Errors
/// If the file cannot be written.
#[cfg(feature = "client")]
pub fn stage_public(
    path: &Path,
    existing: Existing,
    protocol: &Protocol,
    key: &ImageKey,
) -> Result<Staged, Error> {
    let header = KeyHeader {
        artifact: Artifact::of(protocol, key.id()),
    };
    let mut body = Vec::new();
    key.public().write(protocol.context(), &mut body)?;
    let how = (Access::Default, existing);
    stage(path, how, Kind::PublicKey, &header, |out| {
        Ok(out.bytes(&body)?)
    })
}

/// Reads a public encryption key.
///
/// # Errors
/// If the file is no public key, is damaged, or was made for another plan.
#[cfg(feature = "client")]
pub fn read_public(path: &Path, protocol: &Arc<Protocol>) -> Result<ImageKey, Error> {
    let (reader, header) = BlockReader::open::<KeyHeader>(path, Kind::PublicKey)?;
    let id = header.artifact.check(path, protocol, HELP)?;
    let (context, level) = (protocol.context(), protocol.plan().input.level());
    let body = super::rest(reader, PublicKey::body_bytes(context, level)?)?;
    let public = parse(path, &body, |bytes| PublicKey::read(context, level, bytes))?;
    let key = ImageKey::new(protocol, public)?;
    check_id(path, id, key.id())?;
    Ok(key)
}

/// The id in a header must be the digest of what the file holds.
#[cfg(feature = "client")]
fn check_id(path: &Path, stated: KeyId, found: KeyId) -> Result<(), Error> {
    if stated == found {
        return Ok(());
    }
    let message = format!("is damaged: it says that it is key {stated}, but holds key {found}");
    Err(content(path, message, HELP))
}

/// Most bytes of a file of a secret key.
#[cfg(feature = "client")]
const MAX_SECRET: u64 = 2 << 20;

/// Reads a file of a secret key as a whole into `bytes`. The owner of `bytes` wipes them; no
/// reader's buffer keeps a copy.
#[cfg(feature = "client")]
fn open_secret<'a>(
    path: &Path,
    bytes: &'a mut Zeroizing<Vec<u8>>,
) -> Result<(BlockReader<&'a [u8]>, KeyHeader), Error> {
    use std::io::Read;
    let io = |source| Error::Io {
        file: printable::path(path),
        source,
    };
    let mut file = heddle_ir::file::open_regular(path).map_err(io)?;
    let len = file.metadata().map_err(io)?.len();
    // A file that is larger than a secret key is cut here, and refused by the checks that follow.
    bytes.resize(len.min(MAX_SECRET) as usize, 0);
    file.read_exact(bytes).map_err(io)?;
    Ok(BlockReader::new(
        &bytes[..],
        printable::path(path),
        Kind::SecretKey,
    )?)
}
