//! The plan: a compiled network as one file, all that client and server need but keys.
//!
//! The file is a stream of blocks ([`crate::file`]): a protobuf header, the schedule in its text
//! form, and the elements of every weight that the schedule refers to, once, as 32-bit floats.
//! Equal plans are equal byte for byte. A [`ClientPlan`] is what a client needs of it; it holds the
//! digest of these bytes, and keys and ciphertexts are bound to the digest of the client plan.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::path::Path;

use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::keys::KeyUse;
use heddle_params::{Accept, Insecure, Parameters, ParametersLiteral};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ckks::{Op, Schedule};
use crate::error::Error;
use crate::file::{Access, BlockReader, BlockWriter, Kind, write_atomically};
use crate::nn::{AxisOrder, LinearOp};
use crate::preprocess::Preprocess;
use crate::printable;
use crate::slot::SlotType;
use crate::text;
use crate::verify;
use crate::weights::{Tensor, Weights};

mod client;
mod wire;

pub use client::{ClientPlan, Port};
use wire::{Header, WireAxisOrder, WireOutcome, WireTensor};

/// Most elements of all weights together.
const MAX_ELEMENTS: usize = 1 << 29;

/// Largest range of an input or output; far above what networks have.
const MAX_RANGE: f64 = 1e12;

/// Most bytes of a schedule's text. Parsed, it takes at most ten times as many.
const MAX_SCHEDULE: u64 = 16 << 20;

/// The range of one activation's operand, or of the logits.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeRecord {
    /// The name of the node.
    pub name: String,
    /// Elements stay within ±bound; slots hold element/bound.
    pub bound: f64,
    /// The largest |element| among the calibration samples; `None` without samples.
    pub observed: Option<f64>,
    /// How the activation is evaluated; `None` for the logits.
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
    pub fn head_room(&self) -> Option<f64> {
        self.observed.map(|observed| self.bound / observed)
    }
}

/// What the numbers are that a plan ends in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// One logit a class.
    #[default]
    Logits,
    /// One probability a class: the logits' softmax.
    Probabilities,
}

impl Outcome {
    /// One of the numbers, in words.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Logits => "logit",
            Self::Probabilities => "probability",
        }
    }

    /// All of the numbers, in words.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
        }
    }

    /// What a plain network's logits are to be compared as.
    pub fn of_logits(self, logits: Vec<f64>) -> Vec<f64> {
        match self {
            Self::Logits => logits,
            Self::Probabilities => {
                let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = logits.iter().map(|z| (z - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                weights.into_iter().map(|weight| weight / sum).collect()
            }
        }
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
    pub input: SlotType,
    /// Where the results lie, and their range.
    pub output: SlotType,
    /// What the results are.
    pub outcome: Outcome,
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
        let literal = self.parameters.clone();
        Ok(if self.insecure {
            Parameters::insecure(literal, Insecure::acknowledged())?
        } else {
            Parameters::new(literal)?
        })
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
    /// If the schedule does not have one input and one output, or as [`digest`](Self::digest).
    pub fn client_plan(&self) -> Result<ClientPlan, Error> {
        let [input, output] = self.ports()?;
        Ok(ClientPlan {
            name: self.name.clone(),
            plan_digest: self.digest()?,
            parameters: self.parameters.clone(),
            insecure: self.insecure,
            bootstrap: self.bootstrap.clone(),
            needs: self.schedule.key_needs(),
            input,
            output,
            outcome: self.outcome,
            preprocess: self.preprocess.clone(),
            labels: self.labels.clone(),
        })
    }

    /// The input and the output.
    fn ports(&self) -> Result<[Port; 2], Error> {
        let graph = &self.schedule.graph;
        let input = graph
            .values()
            .find(|value| matches!(graph.node(*value).op, Op::Input));
        let (Some(input), [output]) = (input, graph.outputs()) else {
            return Err(Error::Inconsistent(
                "the schedule does not have one input and one output".to_owned(),
            ));
        };
        let port = |packing: &SlotType, value| Port {
            packing: packing.clone(),
            ciphertext: *graph.ty(value),
        };
        Ok([port(&self.input, input), port(&self.output, *output)])
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

    /// Escapes every text of the plan that a terminal would not show as one line, and cuts those that
    /// are absurdly long.
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
        if parameters.is_insecure() != self.insecure {
            return fail("is marked insecure, but its parameters are not".to_owned());
        }
        for (id, tensor) in self.weights.iter() {
            if tensor.data.iter().any(|element| !element.is_finite()) {
                return fail(format!(
                    "weight {id} `{}` holds NaN or an infinity",
                    tensor.name
                ));
            }
        }
        let machine = verify::ckks::Machine {
            parameters: &parameters,
            bootstrap: &self.bootstrap,
        };
        let violations = verify::ckks::verify(&self.schedule, machine, Some(&self.weights));
        verify::require("ckks", &violations)?;
        for (what, ty) in [("input", &self.input), ("output", &self.output)] {
            if let Err(message) = check_packing(ty) {
                return fail(format!("{what}: {message}"));
            }
        }
        let graph = &self.schedule.graph;
        let fits = |slots: usize, ty: &SlotType| slots >= ty.layout.period();
        let input = graph
            .values()
            .find(|value| matches!(graph.node(*value).op, Op::Input));
        if !input.is_some_and(|input| fits(graph.ty(input).slots(), &self.input)) {
            return fail(format!("the schedule's input does not hold {}", self.input));
        }
        let map = graph
            .outputs()
            .first()
            .and_then(|output| verify::ckks::output_map(&self.schedule, *output));
        if map.is_none_or(|map| map.output != self.output.layout) {
            return fail(format!("the schedule's output is not {}", self.output));
        }
        let [input, output] = self.ports()?;
        if let Err(message) = client::check_room(&parameters, &input, &output) {
            return fail(message);
        }
        check_preprocess(&self.preprocess)?;
        check_labels(&self.labels, &self.output)
    }

    /// Writes the plan as a file's bytes; weights that the schedule does not refer to are left
    /// out. `file` names it in errors.
    ///
    /// # Errors
    /// If writing fails or the header would exceed 64 MiB.
    pub fn write<W: Write>(&self, writer: W, file: &str) -> Result<W, Error> {
        let (schedule, weights) = with_referenced_weights(&self.schedule, &self.weights);
        let schedule = text::print_ckks(&schedule);
        let header = Header {
            name: self.name.clone(),
            model_digest: self.model_digest.to_vec(),
            parameters: (&self.parameters).into(),
            insecure: self.insecure,
            bootstrap: (&self.bootstrap).into(),
            input: (&self.input).into(),
            output: (&self.output).into(),
            outcome: WireOutcome::from(self.outcome).into(),
            input_order: WireAxisOrder::from(self.input_order).into(),
            preprocess: (&self.preprocess).into(),
            labels: self.labels.clone(),
            ranges: self.ranges.iter().map(Into::into).collect(),
            notes: self.notes.clone(),
            schedule_bytes: schedule.len() as u64,
            weights: weights
                .iter()
                .map(|(_, tensor)| WireTensor::from(tensor))
                .collect(),
        };
        let mut writer = BlockWriter::new(writer, file, Kind::Plan, &header)?;
        writer.bytes(schedule.as_bytes())?;
        for (_, tensor) in weights.iter() {
            let bytes: Vec<u8> = tensor
                .data
                .iter()
                .flat_map(|element| element.to_le_bytes())
                .collect();
            writer.bytes(&bytes)?;
        }
        writer.finish()
    }

    /// Writes the plan to `path`, whole or not at all.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_file(&self, path: &Path) -> Result<(), Error> {
        let file = printable::path(path);
        write_atomically(path, Access::Default, |writer| {
            self.write(writer, &file).map(|_| ())
        })
    }

    /// Reads and checks a plan; `file` names it in errors. Weights are read when all else has
    /// passed its checks.
    ///
    /// # Errors
    /// [`Error::File`] if it is not a plan, is damaged or does not hold together;
    /// [`Error::Refused`] if its parameters are weaker than what is accepted; [`Error::Io`] if
    /// reading fails.
    pub fn read<R: Read>(reader: R, file: &str, accept: Accept) -> Result<Self, Error> {
        let (reader, header) = BlockReader::new(reader, file, Kind::Plan)?;
        Self::decode(reader, header, accept)
    }

    /// Reads and checks the plan at `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_file(path: &Path, accept: Accept) -> Result<Self, Error> {
        let (reader, header) = BlockReader::open(path, Kind::Plan)?;
        Self::decode(reader, header, accept)
    }

    fn decode<R: Read>(
        mut reader: BlockReader<R>,
        header: Header,
        accept: Accept,
    ) -> Result<Self, Error> {
        let parameters = header.parameters.into();
        check_accepted(&parameters, reader.file(), accept)?;
        if header.schedule_bytes > MAX_SCHEDULE {
            return Err(reader.damaged("its schedule claims an absurd length"));
        }
        let schedule = reader.bytes(header.schedule_bytes as usize)?;
        let schedule =
            String::from_utf8(schedule).map_err(|_| reader.damaged("its schedule is not text"))?;
        let schedule = text::parse_ckks(&schedule)
            .map_err(|error| reader.damaged(&format!("its schedule does not parse: {error}")))?;
        // Shapes alone, until the rest is known to hold together.
        let mut weights = Weights::default();
        let mut left = MAX_ELEMENTS;
        for tensor in header.weights {
            let Some((shape, elements)) = tensor.extents(left) else {
                let name = printable::line(&tensor.name);
                return Err(reader.damaged(&format!("weight `{name}` is too large")));
            };
            left -= elements;
            weights.push(Tensor::without_elements(tensor.name, shape));
        }
        let model_digest = header.model_digest.try_into();
        let model_digest =
            model_digest.map_err(|_| reader.damaged("its model digest is not 32 bytes"))?;
        let input_order = WireAxisOrder::try_from(header.input_order)
            .map_err(|_| reader.damaged("its axis order is unknown"))?;
        let outcome = WireOutcome::try_from(header.outcome)
            .map_err(|_| reader.damaged("what its results are is unknown"))?;
        let preprocess = header
            .preprocess
            .decode()
            .ok_or_else(|| reader.damaged("its order of channels is unknown"))?;
        let mut plan = Self {
            name: header.name,
            model_digest,
            parameters,
            insecure: header.insecure,
            bootstrap: header.bootstrap.into(),
            schedule,
            weights,
            input: header.input.into(),
            output: header.output.into(),
            outcome: outcome.into(),
            input_order: input_order.into(),
            preprocess,
            labels: header.labels,
            ranges: header.ranges.into_iter().map(Into::into).collect(),
            notes: header.notes,
        };
        plan.check()
            .map_err(|error| reader.damaged(&error.to_string()))?;
        for tensor in plan.weights.tensors_mut() {
            let bytes = reader.bytes(4 * tensor.shape.iter().product::<usize>())?;
            let (elements, _) = bytes.as_chunks();
            tensor.data = elements
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
        }
        reader.finish_ref()?;
        // Elements of batch norms and the like have rules of their own.
        plan.check()
            .map_err(|error| reader.damaged(&error.to_string()))?;
        Ok(plan)
    }
}

/// Refuses parameters that are malformed or weaker than what is accepted, naming the file.
pub(crate) fn check_accepted(
    parameters: &ParametersLiteral,
    file: &str,
    accept: Accept,
) -> Result<(), Error> {
    let refused = |source| Error::Refused {
        file: file.to_owned(),
        source,
    };
    let accepted = Parameters::accepted(parameters.clone(), accept);
    accepted.map(|_| ()).map_err(refused)
}

/// Most characters of a name, label or note.
const MAX_TEXT: usize = 400;

/// Refuses a text that a terminal would not show as one line, or that is absurdly long.
fn check_text(what: &str, text: &str) -> Result<(), Error> {
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
fn check_packing(packing: &SlotType) -> Result<(), String> {
    verify::slot::check_type(packing)?;
    if packing.range > MAX_RANGE {
        return Err(format!("the range {} is absurd", packing.range));
    }
    Ok(())
}

fn check_preprocess(preprocess: &Preprocess) -> Result<(), Error> {
    preprocess
        .check()
        .map_err(|message| Error::Inconsistent(format!("preprocessing: {message}")))
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

/// The schedule with the weights it refers to numbered in the order in which they are stored, and
/// those weights. References to weights that do not exist are left for the verifier to find.
fn with_referenced_weights(schedule: &Schedule, weights: &Weights) -> (Schedule, Weights) {
    let mut schedule = schedule.clone();
    let terms = schedule
        .linear_maps
        .iter_mut()
        .flat_map(|map| &mut map.terms);
    let ops = terms.flat_map(|term| &mut term.ops);
    let kept = weights.referenced(ops.flat_map(LinearOp::weights_mut).collect());
    (schedule, kept)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::graph::ValueId;
    use crate::test_support::{schedule, slot_graph, target};
    use heddle_params::eval_mod::EvalMod;

    /// The small ring of tests is insecure.
    pub(crate) fn any() -> Accept {
        Accept::Any(Insecure::acknowledged())
    }

    pub(crate) fn plan() -> Plan {
        let (schedule, weights) = schedule();
        let (packed, _) = slot_graph();
        let (parameters, bootstrap) = target();
        Plan {
            name: "small".into(),
            model_digest: [3; 32],
            parameters: parameters.literal().clone(),
            insecure: true,
            bootstrap,
            schedule,
            weights,
            input: packed.ty(ValueId(0)).clone(),
            output: packed.ty(packed.outputs()[0]).clone(),
            outcome: Outcome::Probabilities,
            input_order: AxisOrder::Hwc,
            preprocess: Preprocess::named("mnist").unwrap(),
            labels: vec!["cat".into(), "dog".into(), "frog".into()],
            ranges: vec![RangeRecord {
                name: "relu1".into(),
                bound: 3.0,
                observed: Some(2.0),
                activation: Some(ActivationRecord {
                    function: "relu".into(),
                    precision_bits: 13.16,
                    depth: 14,
                }),
            }],
            notes: vec!["cut `Softmax`".into()],
        }
    }

    fn written(plan: &Plan) -> Vec<u8> {
        plan.write(Vec::new(), "p").unwrap()
    }

    fn reread(plan: &Plan) -> Result<Plan, Error> {
        Plan::read(&*written(plan), "p.plan", any())
    }

    #[test]
    fn round_trips_and_is_bound_by_its_digest() {
        let plan = plan();
        assert_eq!(reread(&plan).unwrap(), plan);
        assert_eq!(written(&plan), written(&plan));
        assert_eq!(
            plan.digest().unwrap(),
            <[u8; 32]>::from(Sha256::digest(written(&plan)))
        );
        let mut other = plan.clone();
        other.ranges[0].bound = 3.5;
        assert_ne!(other.digest().unwrap(), plan.digest().unwrap());
        assert_eq!(plan.ranges[0].head_room(), Some(1.5));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.plan");
        plan.write_file(&path).unwrap();
        assert_eq!(Plan::read_file(&path, any()).unwrap(), plan);
    }

    #[test]
    fn every_way_to_reduce_survives_the_file() {
        for eval_mod in EvalMod::ALL {
            let mut plan = plan();
            plan.bootstrap.eval_mod = eval_mod;
            // The levels of the schedule are those of the default.
            match reread(&plan) {
                Ok(read) => assert_eq!(
                    (read.bootstrap.eval_mod, eval_mod),
                    (eval_mod, EvalMod::Cosine)
                ),
                Err(error) => assert!(error.to_string().contains("expected ct<"), "{error}"),
            }
            let wire = wire::WireBootstrap::from(&plan.bootstrap);
            assert_eq!(BootstrapParameters::from(wire), plan.bootstrap);
        }
        let softmax = Outcome::Probabilities.of_logits(vec![800.0, 800.0 + 3_f64.ln()]);
        assert!((softmax[0] - 0.25).abs() < 1e-12 && (softmax[1] - 0.75).abs() < 1e-12);
        assert_eq!(Outcome::Logits.of_logits(vec![3.0]), [3.0]);
    }

    #[test]
    fn weights_that_nobody_uses_are_left_out() {
        let plan = plan();
        let mut padded = plan.clone();
        padded.weights = Weights::default();
        padded
            .weights
            .push(Tensor::new("unused", vec![1], vec![f32::NAN]));
        for (_, tensor) in plan.weights.iter() {
            padded.weights.push(tensor.clone());
        }
        let terms = padded
            .schedule
            .linear_maps
            .iter_mut()
            .flat_map(|map| &mut map.terms);
        for id in terms
            .flat_map(|term| &mut term.ops)
            .flat_map(LinearOp::weights_mut)
        {
            id.0 += 1;
        }
        assert_eq!(written(&padded), written(&plan));
    }

    #[test]
    fn what_does_not_hold_together_is_refused() {
        let refused = |edit: fn(&mut Plan), expected: &str| {
            let mut plan = plan();
            edit(&mut plan);
            let message = reread(&plan).unwrap_err().to_string();
            assert!(message.starts_with("`p.plan` is damaged: "), "{message}");
            assert!(message.contains(expected), "{message}");
            assert!(
                message.ends_with("help: make the plan again with `heddlec`"),
                "{message}"
            );
        };
        refused(|plan| plan.insecure = false, "128 are needed");
        refused(
            |plan| plan.ranges[0].name = "n".repeat(70_000),
            "has 70000 characters",
        );
        refused(|plan| plan.labels.truncate(2), "2 labels for 3 classes");
        refused(|plan| plan.output.layout.channels = 4, "output is not");
        refused(|plan| plan.output.range = -1.0, "output: range -1");
        refused(|plan| plan.input.range = 1e300, "input: the range");
        refused(|plan| plan.input.layout.channels = 3, "input does not hold");
        refused(|plan| plan.input.layout.gap = 1 << 20, "input: ");
        refused(|plan| plan.preprocess.std[0] = 0.0, "preprocessing: ");
        refused(
            |plan| {
                let input = ValueId(0);
                plan.schedule.graph.node_mut(input).ty.log_scale = 3.0;
            },
            "carries no image",
        );
        refused(
            |plan| plan.bootstrap.double_angles = u32::MAX,
            "`double_angles`",
        );
        refused(
            |plan| plan.labels[1] = "d\x1b[2Jog".into(),
            "the label `d\\u{1b}[2Jog` is not",
        );
        refused(
            |plan| plan.notes[0] = "two\nlines".into(),
            "the note `two\\u{a}lines` is not",
        );
        refused(
            |plan| {
                plan.weights = Weights::default();
            },
            "does not exist",
        );
        refused(
            |plan| {
                let mut weights = Weights::default();
                for (_, tensor) in plan.weights.iter() {
                    let mut tensor = tensor.clone();
                    tensor.data[0] = f32::INFINITY;
                    weights.push(tensor);
                }
                plan.weights = weights;
            },
            "holds NaN or an infinity",
        );
    }

    #[test]
    fn damage_is_an_error() {
        let whole = written(&plan());
        for len in (0..whole.len()).step_by(97) {
            assert!(Plan::read(&whole[..len], "p", any()).is_err());
        }
        for at in (0..whole.len()).step_by(101) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x41;
            assert!(Plan::read(&*damaged, "p", any()).is_err());
        }
    }
}
