//! What plans and client plans check alike.

use std::io::Read;

use heddle_params::{Accept, Insecure, Parameters, ParametersLiteral};

use super::wire::WireParameters;
use super::{InputPort, Port};
use crate::ckks::CiphertextType;
use crate::error::Error;
use crate::file::BlockReader;
use crate::preprocess::Preprocess;
use crate::printable;
use crate::slot::SlotType;
use crate::verify;

/// Largest range of an input or output; far above what networks have.
const MAX_RANGE: f64 = 1e12;

/// Most characters of a name, label or note.
pub(super) const MAX_TEXT: usize = 400;

/// Bits between scale and modulus that an input has at least, so that a message fits.
const INPUT_MARGIN: f64 = 2.0;

/// Bits between scale and modulus that an output has at least. Eight bits are what a prime of 50
/// bits leaves to a scale of 42; primes are a little off their nominal size.
const OUTPUT_MARGIN: f64 = 7.9;

/// Most bytes of an encrypted image, seeds written out.
const MAX_IMAGE: u64 = 8 << 30;

/// Least log2 of an input's scale: below it, encryption's own error would drown the image.
const LEAST_SCALE: f64 = 20.0;

/// log2 of the largest probability with which a random ciphertext may pass for an answer in range.
const ACCEPTANCE: f64 = -16.0;

/// The parameters with their primes; a set below 128 bits only where the plan says so.
pub(super) fn parameters(literal: &ParametersLiteral, insecure: bool) -> Result<Parameters, Error> {
    let accept = match insecure {
        true => Accept::Any(Insecure::acknowledged()),
        false => Accept::Secure,
    };
    Ok(Parameters::accepted(literal.clone(), accept)?)
}

/// Refuses a plan that says of secure parameters that they are not.
pub(super) fn check_mark(parameters: &Parameters, insecure: bool) -> Result<(), Error> {
    if parameters.is_insecure() == insecure {
        return Ok(());
    }
    let message = "is marked insecure, but its parameters are not";
    Err(Error::Inconsistent(message.to_owned()))
}

/// Checks what a client relies on beyond the types of input and output: scales, preprocessing,
/// labels.
pub(super) fn check_ends(
    parameters: &Parameters,
    (input, output): (&InputPort, &Port),
    preprocess: &Preprocess,
    labels: &[String],
) -> Result<(), Error> {
    check_margins(parameters, input, output).map_err(Error::Inconsistent)?;
    check_size(parameters, input).map_err(Error::Inconsistent)?;
    preprocess
        .check()
        .map_err(|message| Error::Inconsistent(format!("preprocessing: {message}")))?;
    check_labels(labels, &output.packing)
}

/// Whether the input's scale carries an image, and whether the output's leaves so large a margin to
/// the modulus that a ciphertext which is no answer is out of range: the real or imaginary half of
/// a slot is in range with probability 2^-(margin - 2) at most.
fn check_margins(parameters: &Parameters, input: &InputPort, output: &Port) -> Result<(), String> {
    let margin = |ty: &CiphertextType| {
        let limbs = &parameters.q()[..=ty.level];
        let modulus: f64 = limbs.iter().map(|prime| (*prime as f64).log2()).sum();
        modulus - ty.log_scale
    };
    let carries = |ty: &CiphertextType| ty.log_scale >= LEAST_SCALE && margin(ty) >= INPUT_MARGIN;
    if let Some(ty) = input.ciphertexts.iter().find(|ty| !carries(ty)) {
        return Err(format!("input: {ty} carries no image"));
    }
    let halves = 2.0 * output.ciphertext.slots() as f64;
    let margin = margin(&output.ciphertext);
    let accepted = -halves * (margin - 2.0);
    if margin < OUTPUT_MARGIN || accepted > ACCEPTANCE {
        return Err(format!(
            "output: {} leaves too little room to tell an answer from what is none",
            output.ciphertext
        ));
    }
    Ok(())
}

/// Whether an encrypted image takes a bearable number of bytes: the maker of a plan decides how many
/// pieces it has.
fn check_size(parameters: &Parameters, input: &InputPort) -> Result<(), String> {
    let polynomials = input.ciphertexts.iter().map(|ty| 2 * (ty.level as u64 + 1));
    let bytes = polynomials.sum::<u64>() * 8 * parameters.n() as u64;
    if bytes <= MAX_IMAGE {
        return Ok(());
    }
    Err(format!(
        "input: an encrypted image of {} MiB; at most {} MiB are allowed",
        bytes >> 20,
        MAX_IMAGE >> 20
    ))
}

/// The parameters of a header; those that are malformed or weaker than what is accepted are
/// refused, naming the file.
pub(super) fn accepted<R: Read>(
    wire: WireParameters,
    reader: &BlockReader<R>,
    accept: Accept,
) -> Result<ParametersLiteral, Error> {
    let parameters = ParametersLiteral::from(wire);
    match Parameters::accepted(parameters.clone(), accept) {
        Ok(_) => Ok(parameters),
        Err(source) => Err(Error::Refused {
            file: reader.file().to_owned(),
            source,
        }),
    }
}

/// Refuses a text that a terminal would not show as one line, or that is absurdly long.
pub(super) fn check_text(what: &str, text: &str) -> Result<(), Error> {
    let short = printable::clip(text, 60);
    let short = printable::line(&short);
    if !printable::is_line(text) {
        let message = format!("the {what} `{short}` is not one line of printable text");
        return Err(Error::Inconsistent(message));
    }
    match text.chars().count() {
        ..=MAX_TEXT => Ok(()),
        count => Err(Error::Inconsistent(format!(
            "the {what} `{short}` has {count} characters; at most {MAX_TEXT} are allowed"
        ))),
    }
}

/// A layout and a range that an input or output may have.
pub(super) fn check_packing(packing: &SlotType) -> Result<(), String> {
    verify::slot::check_type(packing)?;
    if packing.range > MAX_RANGE {
        return Err(format!("the range {} is absurd", packing.range));
    }
    Ok(())
}

/// No labels, or one for every class.
fn check_labels(labels: &[String], output: &SlotType) -> Result<(), Error> {
    let layout = output.layout;
    let classes = layout.channels * layout.height * layout.width;
    if labels.is_empty() || labels.len() == classes {
        return Ok(());
    }
    Err(Error::Inconsistent(format!(
        "{} labels for {classes} classes",
        labels.len()
    )))
}
