//! Plans as files: a header, the schedule's text, the weights.

use std::io::{Read, Write};
use std::path::Path;

use heddle_params::Accept;

use super::Plan;
use super::checks::accepted;
use super::wire::{Header, WireAxisOrder, WireOutputKind, WireTensor, decode_output_kind};
use crate::ckks::Schedule;
use crate::error::Error;
use crate::file::{Access, BlockReader, BlockWriter, Kind, Staged, write_atomically};
use crate::nn::LinearOp;
use crate::printable;
use crate::text;
use crate::weights::{Tensor, Weights};

/// Most elements of all weights together.
const MAX_ELEMENTS: usize = 1 << 29;

/// Most bytes of a schedule's text. Parsed, it takes at most ten times as many.
const MAX_SCHEDULE: u64 = 16 << 20;

impl Plan {
    /// Writes the plan as a file's bytes; weights that the schedule does not refer to are left
    /// out. `file` names it in errors.
    ///
    /// # Errors
    /// If writing fails or the header is longer than a plan allows.
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
            pieces: self.input.pieces.iter().map(Into::into).collect(),
            output: (&self.output).into(),
            output_kind: WireOutputKind::from(self.output_kind).into(),
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
        write_at(path, |writer, file| self.write(writer, file).map(drop))
    }

    /// Reads and checks a plan; `file` names it in errors. Weights are read when all else has
    /// passed its checks.
    ///
    /// # Errors
    /// [`Error::File`] if it is not a plan, is damaged or does not hold together;
    /// [`Error::Refused`] if its parameters are weaker than what is accepted; [`Error::Io`] if
    /// reading fails.
    pub fn read<R: Read>(reader: R, file: &str, accept: Accept) -> Result<Self, Error> {
        Self::decode(BlockReader::new(reader, file, Kind::Plan)?, accept)
    }

    /// Reads and checks the plan at `path`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_file(path: &Path, accept: Accept) -> Result<Self, Error> {
        Self::decode(BlockReader::open(path, Kind::Plan)?, accept)
    }

    fn decode<R: Read>(
        (mut reader, header): (BlockReader<R>, Header),
        accept: Accept,
    ) -> Result<Self, Error> {
        let parameters = accepted(header.parameters, &reader, accept)?;
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
        let output_kind = decode_output_kind(header.output_kind, &reader)?;
        let preprocess = header.preprocess.decode(&reader)?;
        let mut plan = Self {
            name: header.name,
            model_digest,
            parameters,
            insecure: header.insecure,
            bootstrap: header.bootstrap.into(),
            schedule,
            weights,
            input: header.input.with_pieces(header.pieces),
            output: header.output.into(),
            output_kind,
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

/// Writes a file at `path`, whole or not at all; `write` is also told the file's name.
pub(super) fn write_at(
    path: &Path,
    write: impl FnOnce(&mut Staged, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    let file = printable::path(path);
    write_atomically(path, Access::Default, |writer| write(writer, &file))
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
