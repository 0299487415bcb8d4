//! What executes the plan for `heddle infer` and `heddle eval`.

use std::path::Path;
use std::time::Instant;

use clap::ValueEnum;
use heddle_frontends::onnx;
use heddle_ir::eval::ckks::RangeStatistic;
use heddle_ir::nn::Model;
use heddle_ir::plan::Plan;
use heddle_ir::printable;
use heddle_params::Accept;
use rayon::prelude::*;

use super::answers::{Answer, Question};
use super::client::tensor_of;
use super::say;
use crate::Error;
use crate::backend::clear::ClearBackend;
use crate::backend::noisy::NoisyMachine;
use crate::client::{Client, KeyLimit, Share};
use crate::executor::execute;
use crate::image::{ImageSet, Picture};
use crate::memory::Memory;
use crate::packing::{pack, unpack};
use crate::progress::Show;
use crate::protocol::Protocol;
use crate::server::Server;
use crate::trace::Split;

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

    /// Images that are taken at once: enough for all threads, few enough that progress shows and memory stays small.
    pub(super) fn batch(self) -> usize {
        match self {
            Self::Ckks => 1,
            Self::Clear | Self::Noisy => 64,
        }
    }
}

/// A plan ready to be executed.
pub(super) enum Runner<'a> {
    Clear(&'a Plan, Box<ClearBackend>),
    Noisy(&'a Plan, Box<NoisyMachine>),
    Ckks(Box<Encrypted<'a>>),
}

/// A client and a server in one process.
pub(super) struct Encrypted<'a> {
    plan: &'a Plan,
    client: Client,
    server: Server<'a>,
    show: Show,
    spent: Split,
    images: usize,
}

impl<'a> Runner<'a> {
    /// Expands the plan, whose parameters were accepted, or, for an encrypted execution, makes keys and encodes the weights. `first` is an image that is
    /// checked before minutes are spent on keys.
    ///
    /// # Errors
    /// If the plan does not hold, memory does not suffice, or the first image does not fit.
    pub(super) fn load(
        kind: BackendKind,
        (plan, accept): (&'a Plan, Accept),
        memory: Memory,
        first: Option<Picture>,
        show: Show,
    ) -> Result<Self, Error> {
        if let Some(first) = first {
            pack(
                &plan.input,
                &first.name,
                &tensor_of(&plan.input, &plan.preprocess, &first)?,
            )?;
        }
        match kind {
            BackendKind::Clear => Ok(Self::Clear(plan, Box::new(ClearBackend::load(plan)?))),
            BackendKind::Noisy => Ok(Self::Noisy(plan, Box::new(NoisyMachine::load(plan)?))),
            BackendKind::Ckks => {
                let protocol = Protocol::of(plan, accept)?;
                let client = Client::generate(&protocol)?;
                let keys = client.server_keys(KeyLimit::default(), Show::Stderr)?;
                let server = Server::load(plan, &protocol, keys, memory, Show::Stderr)?;
                Ok(Self::Ckks(Box::new(Encrypted {
                    plan,
                    client,
                    server,
                    show,
                    spent: Split::default(),
                    images: 0,
                })))
            }
        }
    }

    /// The answers to the images `range` of `sources`, and the slots' ranges before every non-linear function; an
    /// encrypted execution cannot see these. Errors of the noisy backend are drawn by the image's index.
    ///
    /// # Errors
    /// If an image cannot be read or does not fit, or an operation fails.
    pub(super) fn run(
        &mut self,
        sources: &ImageSet,
        range: std::ops::Range<usize>,
        reference: Option<&Model>,
    ) -> Result<(Vec<Answer>, Vec<RangeStatistic>), Error> {
        let plan = self.plan();
        // One picture at a time: of a folder of large ones, their tensors alone are kept.
        let images: Vec<Question> = range
            .clone()
            .filter_map(|index| sources.get(index))
            .map(|picture| Question::new(plan, &picture?))
            .collect::<Result<_, Error>>()?;
        let packed: Vec<Vec<f64>> = images
            .iter()
            .map(|image| pack(&plan.input, &image.name, &image.tensor))
            .collect::<Result<_, _>>()?;
        let started = Instant::now();
        let (logits, ranges) = match self {
            Self::Clear(_, backend) => {
                let batch = backend.machine().run_batch(&packed)?;
                let logits = batch
                    .outputs
                    .iter()
                    .map(|slots| unpack(&plan.output, slots));
                (logits.collect::<Result<Vec<_>, _>>()?, batch.ranges)
            }
            Self::Noisy(_, machine) => noisy(plan, machine, packed, range.start as u64)?,
            Self::Ckks(encrypted) => {
                let mut logits = Vec::with_capacity(images.len());
                for image in &images {
                    logits.push(encrypted.run(&image.name, &image.tensor)?);
                }
                (logits, Vec::new())
            }
        };
        let key = match self {
            Self::Ckks(encrypted) => Some(encrypted.client.id().to_string()),
            Self::Clear(..) | Self::Noisy(..) => None,
        };
        let seconds = started.elapsed().as_secs_f64() / images.len().max(1) as f64;
        let answers = images
            .par_iter()
            .zip(logits)
            .map(|(image, logits)| {
                let key = key.clone();
                Answer::new(image, logits, reference, plan.output_kind, seconds, key)
            })
            .collect::<Result<_, Error>>()?;
        Ok((answers, ranges))
    }

    /// The time by kind of layer of an encrypted image so far; `None` on plain numbers.
    pub(super) fn split(&self) -> Option<Split> {
        let Self::Ckks(encrypted) = self else {
            return None;
        };
        let count = encrypted.images.max(1) as f64;
        Some(Split {
            linear: encrypted.spent.linear / count,
            activation: encrypted.spent.activation / count,
            bootstrap: encrypted.spent.bootstrap / count,
        })
    }

    fn plan(&self) -> &'a Plan {
        match self {
            Self::Clear(plan, _) | Self::Noisy(plan, _) => plan,
            Self::Ckks(encrypted) => encrypted.plan,
        }
    }
}

impl Encrypted<'_> {
    /// Encrypts, executes and decrypts.
    fn run(&mut self, name: &str, tensor: &[f32]) -> Result<Vec<f64>, Error> {
        let image = self.client.encrypt(name, tensor)?;
        let (output, trace) = self.server.run(image, self.show)?;
        self.spent.linear += trace.split.linear;
        self.spent.activation += trace.split.activation;
        self.spent.bootstrap += trace.split.bootstrap;
        self.images += 1;
        self.client.decrypt(&output, Share::Private)
    }
}

/// Logits of images, in parallel, with errors seeded by their indices from `first` on.
fn noisy(
    plan: &Plan,
    machine: &NoisyMachine,
    packed: Vec<Vec<f64>>,
    first: u64,
) -> Result<(Vec<Vec<f64>>, Vec<RangeStatistic>), Error> {
    let scale = plan.client_plan()?.input.ciphertext.scale();
    let results: Vec<_> = packed
        .into_par_iter()
        .enumerate()
        .map(|(index, slots)| {
            let backend = machine.execution(first + index as u64);
            let input = backend.encrypted(slots, scale);
            let outputs = execute(&plan.schedule, &backend, input, &mut |_, _| ())?;
            let logits = outputs
                .first()
                .map_or(Ok(Vec::new()), |slots| unpack(&plan.output, slots))?;
            Ok((logits, backend.into_ranges()))
        })
        .collect::<Result<_, Error>>()?;
    let mut logits = Vec::with_capacity(results.len());
    let mut ranges = Vec::new();
    for (one, seen) in results {
        logits.push(one);
        merge(&mut ranges, seen);
    }
    Ok((logits, ranges))
}

/// Adds the ranges of a batch to those of the batches before it.
pub(super) fn merge(ranges: &mut Vec<RangeStatistic>, more: Vec<RangeStatistic>) {
    if ranges.is_empty() {
        *ranges = more;
    } else {
        for (all, more) in ranges.iter_mut().zip(&more) {
            all.merge(more);
        }
    }
}

/// Imports the model that answers are compared with.
///
/// # Errors
/// If it cannot be imported or has other inputs or outputs than the plan.
pub(super) fn reference(plan: &Plan, path: Option<&Path>) -> Result<Option<Model>, Error> {
    let Some(path) = path else {
        return Ok(None);
    };
    let model = onnx::import(path, &onnx::ImportOptions::default())?;
    let elements = |value| model.graph.ty(value).elements();
    let (input, output) = (&plan.input.layout, &plan.output.layout);
    let fits = elements(model.input()) == input.channels * input.height * input.width
        && elements(model.output()) == output.channels * output.height * output.width;
    if !fits {
        return Err(Error::Input {
            what: format!("`{}`", printable::path(path)),
            message: "its input or output has another size than the plan's\nhelp: give the model that the plan \
                      was compiled from"
                .into(),
        });
    }
    if model.digest != plan.model_digest {
        say(&format!(
            "note: the plan was not compiled from `{}` as it is now",
            printable::path(path)
        ));
    }
    Ok(Some(model))
}
