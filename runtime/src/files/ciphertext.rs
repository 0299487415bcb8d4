//! Ciphertexts: the encrypted image from client to server, the encrypted logits back.

use std::path::Path;
use std::sync::Arc;

use heddle_ckks::Context;
use heddle_ckks::ciphertext::Ciphertext;
use heddle_ckks::encrypt::SeededCiphertext;
use heddle_ir::ckks::CiphertextType;
use heddle_ir::file::{Access, BlockReader, Kind};
use heddle_ir::plan::Plan;

use super::{Artifact, content, parse, rest, write_file};
use crate::Error;
use crate::packing;

/// By how much a ciphertext's scale may differ from the plan's.
const SCALE_TOLERANCE: f64 = 1.0 / (1u64 << 30) as f64;

const HELP: &str = "encrypt the image for this plan with `heddle encrypt`";

/// The header of a ciphertext file.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CiphertextHeader {
    /// What the ciphertext belongs to.
    #[prost(message, required, tag = "1")]
    pub artifact: Artifact,
    /// Rescales that remain.
    #[prost(uint32, tag = "2")]
    pub level: u32,
    /// log2 of the period of the slots.
    #[prost(uint32, tag = "3")]
    pub log_slots: u32,
    /// log2 of the scale.
    #[prost(double, tag = "4")]
    pub log_scale: f64,
    /// Whether the uniform part is stored as its seed.
    #[prost(bool, tag = "5")]
    pub seeded: bool,
}

/// Writes a ciphertext.
///
/// # Errors
/// If the file cannot be written.
pub fn write(
    path: &Path,
    plan: &Plan,
    context: &Context,
    ciphertext: &Ciphertext,
) -> Result<(), Error> {
    let header = CiphertextHeader {
        artifact: Artifact::of(plan),
        level: ciphertext.level() as u32,
        log_slots: ciphertext.log_slots(),
        log_scale: ciphertext.scale().log2(),
        seeded: false,
    };
    let mut body = Vec::new();
    ciphertext.write(context, &mut body)?;
    write_file(path, Access::Default, Kind::Ciphertext, &header, |out| {
        Ok(out.bytes(&body)?)
    })
}

/// Writes a fresh encryption of the plan's input, its uniform part as a seed.
///
/// # Errors
/// If the file cannot be written.
#[cfg(feature = "client")]
pub fn write_seeded(
    path: &Path,
    plan: &Plan,
    context: &Context,
    ciphertext: &SeededCiphertext,
) -> Result<(), Error> {
    let ty = packing::input_type(plan)?;
    let header = CiphertextHeader {
        artifact: Artifact::of(plan),
        level: ciphertext.level() as u32,
        log_slots: ty.log_slots,
        log_scale: ty.log_scale,
        seeded: true,
    };
    let mut body = Vec::new();
    ciphertext.write(context, &mut body)?;
    write_file(path, Access::Default, Kind::Ciphertext, &header, |out| {
        Ok(out.bytes(&body)?)
    })
}

/// Reads the encrypted input of a plan.
///
/// # Errors
/// If the file is no ciphertext, is damaged, or does not have the plan's input type.
pub fn read_input(path: &Path, plan: &Plan, context: &Arc<Context>) -> Result<Ciphertext, Error> {
    read(path, plan, context, &packing::input_type(plan)?, HELP)
}

/// Reads the encrypted logits of a plan.
///
/// # Errors
/// If the file is no ciphertext, is damaged, or does not have the plan's output type.
pub fn read_output(path: &Path, plan: &Plan, context: &Arc<Context>) -> Result<Ciphertext, Error> {
    let help = "give the encrypted logits that `heddle run` wrote";
    read(path, plan, context, &packing::output_type(plan)?, help)
}

fn read(
    path: &Path,
    plan: &Plan,
    context: &Arc<Context>,
    ty: &CiphertextType,
    help: &str,
) -> Result<Ciphertext, Error> {
    let (reader, header) = BlockReader::open::<CiphertextHeader>(path, Kind::Ciphertext)?;
    header.artifact.check(path, plan, HELP)?;
    let ciphertext = parse(path, &rest(reader)?, |bytes| {
        if header.seeded {
            Ok(SeededCiphertext::read(context, bytes)?.expand(context))
        } else {
            Ciphertext::read(context, bytes)
        }
    })?;
    if ciphertext.level() != ty.level {
        let message = format!(
            "the ciphertext is at level {}, but level {} is expected here",
            ciphertext.level(),
            ty.level
        );
        return Err(content(path, message, help));
    }
    let same_scale = (ciphertext.scale() / ty.scale() - 1.0).abs() <= SCALE_TOLERANCE;
    if ciphertext.log_slots() != ty.log_slots || !same_scale {
        let message = format!(
            "the ciphertext holds 2^{} slots at scale 2^{:.3}, but 2^{} at 2^{:.3} are expected here",
            ciphertext.log_slots(),
            ciphertext.scale().log2(),
            ty.log_slots,
            ty.log_scale
        );
        return Err(content(path, message, help));
    }
    Ok(ciphertext)
}
