//! The plan: a compiled network as one file, all that client and server need but keys.
//!
//! The file is a stream of blocks ([`crate::file`]): a protobuf header, the schedule in its text
//! form, and the elements of every weight that the schedule refers to, once, as 32-bit floats.
//! Equal plans are equal byte for byte. A [`ClientPlan`] is what a client needs of it; it holds the
//! digest of these bytes, and keys and ciphertexts are bound to the digest of the client plan.

use std::borrow::Cow;
use std::io::{self, Write};

use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::keys::KeyUse;
use heddle_params::{Parameters, ParametersLiteral};
use sha2::{Digest, Sha256};

use crate::ckks::{Schedule, Target};
use crate::error::Error;
use crate::nn::AxisOrder;
use crate::preprocess::Preprocess;
use crate::printable;
use crate::slot::SlotType;
use crate::verify;
use crate::weights::Weights;

mod checks;
mod client;
mod file;
mod input;
mod output_kind;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

use checks::{MAX_TEXT, check_packing, check_text};
pub use client::{ClientPlan, Port};
pub use input::{InputPacking, InputPiece, InputPort};
pub use output_kind::OutputKind;

/// The range of one activation's operand, of one operand of a product, or of the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeRecord {
    /// The name of the node; for a product's operand with its place.
    pub name: String,
    /// Elements stay within ±bound; slots hold element/bound.
    pub bound: f64,
    /// The largest |element| among the calibration samples; `None` without samples.
    pub observed: Option<f64>,
    /// How the activation is evaluated; `None` for a product and for the logits.
    pub activation: Option<ActivationRecord>,
}

/// How one activation is evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationRecord {
    /// The function, as it displays.
    pub function: String,
    /// `−log2` of the approximation's largest error over the range, in units of the result's bound.
    pub precision_bits: f64,
    /// Levels that it consumes.
    pub depth: usize,
}

impl RangeRecord {
    /// How many times larger the bound is than what calibration saw; `None` without samples.
    pub fn margin(&self) -> Option<f64> {
        self.observed.map(|observed| self.bound / observed)
    }
}

/// A compiled network.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// SHA-256 of the model file that was compiled.
    pub model_digest: [u8; 32],
    /// The ring and the primes.
    pub parameters: ParametersLiteral,
    /// Whether the parameters give less than 128 bits of security.
    pub insecure: bool,
    /// How ciphertexts are refreshed.
    pub bootstrap: BootstrapParameters,
    /// What is executed.
    pub schedule: Schedule,
    /// The tensors that the schedule's linear maps refer to.
    pub weights: Weights,
    /// Where the image's elements lie, and their range.
    pub input: InputPacking,
    /// Where the results lie, and their range.
    pub output: SlotType,
    /// What the results are.
    pub output_kind: OutputKind,
    /// The axis order that the model's file takes an image in.
    pub input_order: AxisOrder,
    /// From pixels to the image's elements.
    pub preprocess: Preprocess,
    /// The names of the classes in the order of the logits; may be empty.
    pub labels: Vec<String>,
    /// The calibrated ranges: the activations in order, then the logits.
    pub ranges: Vec<RangeRecord>,
    /// What import and compiler have to say, one sentence each.
    pub notes: Vec<String>,
}

impl Plan {
    /// The parameters with their primes; a set below 128 bits only where the plan says so.
    ///
    /// # Errors
    /// If the set is malformed, or weaker than it claims.
    pub fn checked_parameters(&self) -> Result<Parameters, Error> {
        checks::parameters(&self.parameters, self.insecure)
    }

    /// SHA-256 of the plan as a file, to which the client plan is bound.
    ///
    /// # Errors
    /// If the header is longer than a file allows.
    pub fn digest(&self) -> Result<[u8; 32], Error> {
        let hasher = self.write(HashWriter(Sha256::new()), "plan")?;
        Ok(hasher.0.finalize().into())
    }

    /// What a client needs of the plan: no weights, no names of nodes, no ranges but those of input
    /// and output.
    ///
    /// # Errors
    /// If the schedule does not have an input for every piece of the image and one output, or as
    /// [`digest`](Self::digest).
    pub fn client_plan(&self) -> Result<ClientPlan, Error> {
        let (input, output) = self.ports()?;
        Ok(ClientPlan {
            name: self.name.clone(),
            plan_digest: self.digest()?,
            parameters: self.parameters.clone(),
            insecure: self.insecure,
            bootstrap: self.bootstrap.clone(),
            needs: self.schedule.key_needs(),
            input,
            output,
            output_kind: self.output_kind,
            preprocess: self.preprocess.clone(),
            labels: self.labels.clone(),
        })
    }

    /// The input and the output.
    fn ports(&self) -> Result<(InputPort, Port), Error> {
        let graph = &self.schedule.graph;
        let ciphertexts: Vec<_> = (self.schedule.inputs())
            .map(|input| *graph.ty(input))
            .collect();
        let (inputs, pieces) = (ciphertexts.len(), self.input.pieces.len());
        let [output] = graph.outputs() else {
            let outputs = graph.outputs().len();
            return Err(Error::Inconsistent(format!(
                "the schedule has {outputs} outputs, expected one"
            )));
        };
        if inputs == 0 || inputs != pieces {
            return Err(Error::Inconsistent(format!(
                "the schedule has {inputs} inputs for {pieces} pieces of the image"
            )));
        }
        let input = InputPort {
            packing: self.input.clone(),
            ciphertexts,
        };
        let output = Port {
            packing: self.output.clone(),
            ciphertext: *graph.ty(*output),
        };
        Ok((input, output))
    }

    /// The evaluation keys that an execution uses, ascending and without repetition.
    ///
    /// # Errors
    /// If the parameters are refused or an operation does not fit them.
    pub fn required_keys(&self) -> Result<Vec<KeyUse>, Error> {
        let parameters = self.checked_parameters()?;
        Ok(self.schedule.required_keys(&parameters, &self.bootstrap)?)
    }

    /// Refuses texts that a terminal would not show as one line, or that are absurdly long.
    fn check_texts(&self) -> Result<(), Error> {
        let graph = &self.schedule.graph;
        let nodes = graph
            .values()
            .map(|value| ("node", &graph.node(value).name));
        let weights = self
            .weights
            .iter()
            .map(|(_, tensor)| ("weight", &tensor.name));
        let ranges = self.ranges.iter().flat_map(|range| {
            let function = range
                .activation
                .as_ref()
                .map(|activation| &activation.function);
            [Some(&range.name), function]
                .into_iter()
                .flatten()
                .map(|text| ("range", text))
        });
        let labels = self.labels.iter().map(|label| ("label", label));
        let notes = self.notes.iter().map(|note| ("note", note));
        [("name", &self.name)]
            .into_iter()
            .chain(nodes)
            .chain(weights)
            .chain(ranges)
            .chain(labels)
            .chain(notes)
            .try_for_each(|(what, text)| check_text(what, text))
    }

    /// Escapes every text of the plan that a terminal would not show as one line, and cuts those
    /// that are absurdly long.
    pub fn make_printable(&mut self) {
        let fix = |text: &mut String| {
            printable::make_line(text);
            if let Cow::Owned(clipped) = printable::clip(text, MAX_TEXT) {
                *text = clipped;
            }
        };
        fix(&mut self.name);
        for value in self.schedule.graph.values() {
            fix(&mut self.schedule.graph.node_mut(value).name);
        }
        self.weights.names_mut().for_each(fix);
        for range in &mut self.ranges {
            fix(&mut range.name);
            if let Some(activation) = &mut range.activation {
                fix(&mut activation.function);
            }
        }
        self.labels.iter_mut().chain(&mut self.notes).for_each(fix);
    }

    /// Checks everything that a reader of a foreign plan relies on: parameters, schedule, layouts,
    /// weights, preprocessing. That transforms reach every diagonal is left to whoever expands
    /// them.
    ///
    /// # Errors
    /// The first part that does not hold together, with all of its violations.
    pub fn check(&self) -> Result<(), Error> {
        let parameters = self.checked_parameters()?;
        let fail = |what: String| Err(Error::Inconsistent(what));
        self.check_texts()?;
        checks::check_mark(&parameters, self.insecure)?;
        for (id, tensor) in self.weights.iter() {
            if tensor.data.iter().any(|element| !element.is_finite()) {
                return fail(format!(
                    "weight {id} `{}` holds NaN or an infinity",
                    tensor.name
                ));
            }
        }
        let target = Target {
            parameters: &parameters,
            bootstrap: &self.bootstrap,
        };
        let violations = verify::ckks::verify(&self.schedule, target, Some(&self.weights));
        verify::require("ckks", &violations)?;
        if let Err(message) = check_packing(&self.output) {
            return fail(format!("output: {message}"));
        }
        let (input, output) = self.ports()?;
        if let Err(message) = input.check() {
            return fail(format!("input: {message}"));
        }
        let graph = &self.schedule.graph;
        let map = graph
            .outputs()
            .first()
            .and_then(|output| verify::ckks::output_map(&self.schedule, *output));
        if map.is_none_or(|map| map.output != self.output.layout) {
            return fail(format!("the schedule's output is not {}", self.output));
        }
        checks::check_ends(
            &parameters,
            (&input, &output),
            &self.preprocess,
            &self.labels,
        )
    }
}

/// Hashes what is written.
struct HashWriter(Sha256);

impl Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
