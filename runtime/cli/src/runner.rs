//! What executes the plan for `heddle infer` and `heddle eval`.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::ValueEnum;
use heddle_frontends::image::{ImageSet, Picture};
use heddle_frontends::onnx::{self, FixedInput, ImportOptions, InputShape};
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

/// The model that answers are compared with, and how it was compiled.
#[derive(Debug, clap::Args)]
pub(super) struct ReferenceModel {
    /// Compare with this model, evaluated on plain numbers.
    #[arg(long, value_name = "MODEL.onnx")]
    pub(super) reference: Option<PathBuf>,
    /// The value of the model that was compiled, as with `heddlec`.
    #[arg(long, value_name = "NAME", requires = "reference")]
    output_name: Option<String>,
    /// An input of the model that is a constant, as with `heddlec`.
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = fixed_input, requires = "reference")]
    input: Vec<(String, PathBuf)>,
    /// The shape of an input of the model, as with `heddlec`.
    #[arg(long, value_name = "[NAME=]SHAPE", requires = "reference")]
    input_shape: Vec<InputShape>,
}

impl ReferenceModel {
    /// The files that are read.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let inputs = self.input.iter().map(|(_, path)| path);
        self.reference.iter().chain(inputs).cloned().collect()
    }
}

/// `NAME=FILE`.
fn fixed_input(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Err("write the input's name, `=` and an `.npy` file".into()),
    }
}

/// Imports the model that answers are compared with.
///
/// # Errors
/// If it cannot be imported or has other inputs or outputs than the plan.
pub(super) fn reference(plan: &Plan, given: &ReferenceModel) -> Result<Option<Model>> {
    let Some(path) = &given.reference else {
        return Ok(None);
    };
    let fixed = given.input.iter();
    let fixed = fixed.map(|(name, path)| FixedInput::read(name, path));
    let options = ImportOptions {
        output: given.output_name.clone(),
        fixed_inputs: fixed.collect::<Result<_, _>>()?,
        input_shapes: given.input_shape.clone(),
        input_order: Some(plan.input_order),
        ..ImportOptions::default()
    };
    let model = onnx::import(path, &options)?;
    let elements = |shape: [usize; 3]| shape.iter().product::<usize>();
    let output = &plan.output.layout;
    let fits = elements(model.image_shape()) == plan.input.elements()
        && model.graph.ty(model.output()).elements()
            == output.channels * output.height * output.width;
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
