//! What executes the plan for `heddle infer` and `heddle eval`.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::ValueEnum;
use heddle_frontends::image::{ImageSet, Picture};
use heddle_frontends::onnx;
use heddle_ir::eval::ckks::RangeStatistic;
use heddle_ir::nn::Model;
use heddle_ir::plan::Plan;
use heddle_ir::printable;
use heddle_params::Accept;
use heddle_runtime::Error;
use heddle_runtime::memory::Memory;
use heddle_runtime::observer::Observer;
use heddle_runtime::packing::{InputTensor, pack};
use heddle_runtime::runner::Runner;
use heddle_runtime::trace::ClassSeconds;
use heddle_terminal::note;
use rayon::prelude::*;

use super::answers::{Answer, Question};
use super::client::tensor_of;
use super::progress::Bars;

/// What executes the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendKind {
    /// Encrypted, with keys made for this run.
    Ckks,
    /// The same schedule on plain numbers.
    Clear,
    /// On plain numbers, with modelled errors of encryption.
    Noisy,
}

impl BackendKind {
    /// The name on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ckks => "ckks",
            Self::Clear => "clear",
            Self::Noisy => "noisy",
        }
    }

    /// Images that are taken at once: enough for all threads, few enough that progress shows and
    /// memory stays small.
    pub(super) fn batch(self) -> usize {
        match self {
            Self::Ckks => 1,
            Self::Clear | Self::Noisy => 64,
        }
    }

    /// Prepares the plan, whose parameters were accepted. An encrypted execution makes keys and
    /// encodes the weights; the first of `images` images is checked before minutes are spent on that.
    ///
    /// # Errors
    /// If the plan does not hold, memory does not suffice, or the first image has another size than
    /// the plan takes. An only image must lie within the plan's range, too.
    pub(super) fn load(
        self,
        (plan, accept): (&Arc<Plan>, Accept),
        memory: Memory,
        (first, images): (Option<Picture>, usize),
    ) -> Result<Runner> {
        if let Some(first) = first {
            let InputTensor { name, elements } = tensor_of(&plan.input, &plan.preprocess, &first)?;
            match pack(&plan.input, &name, &elements) {
                // Others may have an answer.
                Err(Error::InputRange { .. }) if images > 1 => {}
                fitting => fitting.map(|_| ())?,
            }
        }
        let plan = Arc::clone(plan);
        Ok(match self {
            Self::Clear => Runner::clear(plan)?,
            Self::Noisy => Runner::noisy(plan)?,
            Self::Ckks => Runner::encrypted(plan, accept, memory, &Bars::default())?,
        })
    }
}

/// Some answers, with what came with them.
pub(super) struct Answered {
    pub(super) answers: Vec<Answer>,
    /// What the slots before every non-linear function reached; empty for an encrypted execution.
    pub(super) ranges: Vec<RangeStatistic>,
    /// The server's seconds; zero on plain numbers.
    pub(super) seconds: ClassSeconds,
}

/// The answers to the images `range` of `images`, compared with those of the reference. One that is
/// out of range is an answer without numbers.
///
/// # Errors
/// If an image cannot be read or has another size than the plan takes, or an operation fails.
pub(super) fn answer(
    runner: &Runner,
    images: &ImageSet,
    range: Range<usize>,
    reference: Option<&Model>,
    observer: &dyn Observer,
) -> Result<Answered> {
    let plan = runner.plan();
    let first = range.start as u64;
    // Pictures are read one at a time: only their tensors are kept, however large the pictures are.
    let questions = range
        .filter_map(|index| images.get(index))
        .map(|picture| Question::new(plan, &picture?))
        .collect::<Result<Vec<Question>>>()?;
    let tensors: Vec<InputTensor> = questions.iter().map(|one| one.tensor.clone()).collect();
    let started = Instant::now();
    let batch = runner.run(&tensors, first, observer)?;
    let seconds = started.elapsed().as_secs_f64() / questions.len().max(1) as f64;
    let key = runner.key().map(|key| key.to_string());
    let answers = questions
        .par_iter()
        .zip(batch.answers)
        .map(|(question, answer)| {
            let key = key.clone();
            Answer::new(question, answer, reference, plan.output_kind, seconds, key)
        })
        .collect::<Result<_>>()?;
    Ok(Answered {
        answers,
        ranges: batch.ranges,
        seconds: batch.seconds,
    })
}

/// Imports the model that answers are compared with.
///
/// # Errors
/// If it cannot be imported or has other inputs or outputs than the plan.
pub(super) fn reference(plan: &Plan, path: Option<&Path>) -> Result<Option<Model>> {
    let Some(path) = path else {
        return Ok(None);
    };
    let model = onnx::import(path, &onnx::ImportOptions::default())?;
    let elements = |value| model.graph.ty(value).elements();
    let (input, output) = (&plan.input.layout, &plan.output.layout);
    let fits = elements(model.input()) == input.channels * input.height * input.width
        && elements(model.output()) == output.channels * output.height * output.width;
    if !fits {
        bail!(
            "`{}`: its input or output has another size than the plan's\nhelp: give the model that the plan was \
             compiled from",
            printable::path(path)
        );
    }
    if model.digest != plan.model_digest {
        note(&format!(
            "the plan was not compiled from `{}` as it is now",
            printable::path(path)
        ));
    }
    Ok(Some(model))
}
