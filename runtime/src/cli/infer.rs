//! `heddle infer`: client and server in one process.

use std::path::PathBuf;
use std::time::Instant;

use clap::ValueEnum;
use heddle_frontends::onnx;
use heddle_ir::eval::ckks::RangeStatistic;
use heddle_ir::nn::Model;
use heddle_ir::plan::Plan;
use rayon::prelude::*;
use serde::Serialize;

use super::client::{name_of, tensor_of, warn_insecure};
use super::machine::peak_rss_bytes;
use super::{MemoryLimit, PlanFile, Threads, json, print, say};
use crate::Error;
use crate::backend::clear::ClearBackend;
use crate::client::{Client, Share};
use crate::files;
use crate::image::{self, Picture, Sources};
use crate::packing::{class_of, pack, unpack};
use crate::progress::{Progress, Show};
use crate::server::Server;
use crate::trace::Split;

/// What executes the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BackendKind {
    /// Encrypted, with keys made for this run.
    Ckks,
    /// The same schedule on plain numbers.
    Clear,
}

/// Do all steps of client and server in one process, on many images.
#[derive(Debug, clap::Args)]
pub(super) struct Infer {
    #[command(flatten)]
    plan: PlanFile,
    /// Pictures, tensors, batches (`batch.bin`, `batch.bin#17`, `batch.bin#0..10`) or folders.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Compare with this model, evaluated as imported, in plain.
    #[arg(long, value_name = "MODEL.onnx")]
    reference: Option<PathBuf>,
    /// What executes the plan.
    #[arg(long, value_enum, default_value_t = BackendKind::Ckks)]
    backend: BackendKind,
    /// Take the first N images only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    memory: MemoryLimit,
    #[command(flatten)]
    threads: Threads,
}

/// One image's answer.
#[derive(Clone, Debug, Serialize)]
struct Answer {
    image: String,
    class: usize,
    logits: Vec<f64>,
    reference_class: Option<usize>,
    reference_logits: Option<Vec<f64>>,
    seconds: f64,
    #[serde(skip)]
    label: Option<usize>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    images: Vec<Answer>,
    agreement: Option<f64>,
    seconds_per_image: f64,
    security_bits: f64,
    peak_rss_bytes: Option<u64>,
}

impl Answer {
    /// The largest difference between the logits and the reference's.
    fn difference(&self) -> Option<f64> {
        let reference = self.reference_logits.as_ref()?;
        Some(
            self.logits
                .iter()
                .zip(reference)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max),
        )
    }

    fn agrees(&self) -> Option<bool> {
        self.reference_class.map(|class| class == self.class)
    }

    /// `−log2` of the largest difference over the largest reference logit.
    fn bits(&self) -> Option<f64> {
        let largest = self
            .reference_logits
            .as_ref()?
            .iter()
            .map(|x| x.abs())
            .fold(0.0, f64::max);
        Some(bits(self.difference()?, largest))
    }
}

/// Bits of precision of a value of the given size; 53, those of a double, are the most.
fn bits(difference: f64, size: f64) -> f64 {
    let ratio = difference / size.max(f64::MIN_POSITIVE);
    (-ratio.log2()).clamp(0.0, 53.0)
}

impl Infer {
    pub(super) fn execute(self) -> Result<(), Error> {
        self.threads.apply();
        let plan = Plan::read_file(&self.plan.plan)?;
        let security = files::plan::parameters(&plan)?.security();
        warn_insecure(&plan);
        let mut sources: Option<Sources> = None;
        for spec in &self.images {
            let more = image::sources(spec)?;
            match &mut sources {
                Some(sources) => sources.extend(more),
                None => sources = Some(more),
            }
        }
        let mut sources = sources.ok_or_else(|| Error::Input {
            what: "IMAGE".into(),
            message: "no image was named".into(),
        })?;
        sources.truncate(self.limit.unwrap_or(usize::MAX));
        let reference = self.reference(&plan)?;
        let answers = match self.backend {
            BackendKind::Clear => clear(&plan, &sources, reference.as_ref())?,
            BackendKind::Ckks => self.encrypted(&plan, &sources, reference.as_ref())?,
        };
        let seconds: f64 = answers.iter().map(|answer| answer.seconds).sum();
        let agreeing = answers
            .iter()
            .filter(|answer| answer.agrees() == Some(true))
            .count();
        let count = answers.len().max(1) as f64;
        let report = Report {
            agreement: reference.map(|_| agreeing as f64 / count),
            seconds_per_image: seconds / count,
            security_bits: security.bits,
            peak_rss_bytes: peak_rss_bytes(),
            images: answers,
        };
        if self.json {
            print(&json(&report)?)
        } else {
            print(&self.summary(&plan, &report))
        }
    }

    fn reference(&self, plan: &Plan) -> Result<Option<Model>, Error> {
        let Some(path) = &self.reference else {
            return Ok(None);
        };
        let model = onnx::import(path, &onnx::ImportOptions::default())?;
        let elements = |value| model.graph.ty(value).elements();
        let (input, output) = (&plan.input.layout, &plan.output.layout);
        let fits = elements(model.input()) == input.channels * input.height * input.width
            && elements(model.output()) == output.channels * output.height * output.width;
        if !fits {
            return Err(Error::Input {
                what: format!("`{}`", path.display()),
                message: "its input or output has another size than the plan's\nhelp: give the model that the plan \
                          was compiled from"
                    .into(),
            });
        }
        if model.digest != plan.model_digest {
            say(&format!(
                "note: the plan was not compiled from `{}` as it is now",
                path.display()
            ));
        }
        Ok(Some(model))
    }

    fn encrypted(
        &self,
        plan: &Plan,
        sources: &Sources,
        reference: Option<&Model>,
    ) -> Result<Vec<Answer>, Error> {
        // Images are checked before minutes are spent on keys.
        if let Some(first) = sources.get(0) {
            let first = first?;
            pack(plan, &first.name, &tensor_of(plan, &first)?)?;
        }
        let context = heddle_ckks::Context::new(files::plan::parameters(plan)?)?;
        let client = Client::generate(plan, &context)?;
        let keys = client.evaluation_keys(Show::Stderr)?;
        let server = Server::load(plan, &context, keys, self.memory.memory(), Show::Stderr)?;
        let mut answers = Vec::with_capacity(sources.len());
        let mut total = Split::default();
        for picture in sources.iter() {
            let picture = picture?;
            let tensor = tensor_of(plan, &picture)?;
            let ciphertext = client.encrypt(&picture.name, &tensor)?.expand(&context);
            let started = Instant::now();
            let (output, trace) = server.run(ciphertext, Show::Stderr)?;
            let seconds = started.elapsed().as_secs_f64();
            total.linear += trace.split.linear;
            total.activation += trace.split.activation;
            total.bootstrap += trace.split.bootstrap;
            let logits = client.decrypt(&output, Share::Private)?;
            let answer = answer(&picture, &tensor, logits, reference, seconds)?;
            if !self.json {
                print(&line(plan, &answer))?;
            }
            answers.push(answer);
        }
        let count = answers.len().max(1) as f64;
        say(&format!(
            "per image: linear {:.2} s, activations {:.2} s, bootstraps {:.2} s",
            total.linear / count,
            total.activation / count,
            total.bootstrap / count
        ));
        Ok(answers)
    }

    /// The lines below the images.
    fn summary(&self, plan: &Plan, report: &Report) -> String {
        let mut lines = Vec::new();
        if self.backend == BackendKind::Clear {
            lines.extend(report.images.iter().map(|answer| line(plan, answer)));
        }
        let labelled: Vec<&Answer> = report
            .images
            .iter()
            .filter(|answer| answer.label.is_some())
            .collect();
        if !labelled.is_empty() {
            let right = labelled
                .iter()
                .filter(|answer| answer.label == Some(answer.class))
                .count();
            lines.push(format!(
                "accuracy: {right} of {} labelled images",
                labelled.len()
            ));
        }
        if let Some(agreement) = report.agreement {
            let largest = report
                .images
                .iter()
                .filter_map(Answer::difference)
                .fold(0.0, f64::max);
            let bits = report
                .images
                .iter()
                .filter_map(Answer::bits)
                .fold(f64::INFINITY, f64::min);
            lines.push(format!(
                "agreement with the reference: {:.2} %, largest logit difference {largest:.6}, at least {bits:.1} bits of precision",
                100.0 * agreement
            ));
        }
        let memory = report.peak_rss_bytes.map_or_else(String::new, |bytes| {
            format!(", {:.2} GiB of memory", bytes as f64 / (1u64 << 30) as f64)
        });
        let security = match self.backend {
            BackendKind::Ckks => format!("{:.1} bits of security", report.security_bits),
            BackendKind::Clear => format!(
                "not encrypted (the plan has {:.1} bits of security)",
                report.security_bits
            ),
        };
        lines.push(format!(
            "{:.2} s an image, {security}{memory}",
            report.seconds_per_image
        ));
        lines.join("\n")
    }
}

fn answer(
    picture: &Picture,
    tensor: &[f32],
    logits: Vec<f64>,
    reference: Option<&Model>,
    seconds: f64,
) -> Result<Answer, Error> {
    let reference_logits = match reference {
        Some(model) => {
            let logits = heddle_ir::eval::nn::run(model, tensor)?;
            Some(logits.into_iter().map(f64::from).collect::<Vec<_>>())
        }
        None => None,
    };
    Ok(Answer {
        image: picture.name.clone(),
        class: class_of(&logits),
        logits,
        reference_class: reference_logits.as_deref().map(class_of),
        reference_logits,
        seconds,
        label: picture.label.map(usize::from),
    })
}

/// Images that the plain machine takes at once, so that progress shows and memory stays small.
const BATCH: usize = 64;

/// The plan on plain numbers, images in parallel.
fn clear(plan: &Plan, sources: &Sources, reference: Option<&Model>) -> Result<Vec<Answer>, Error> {
    let backend = ClearBackend::load(plan)?;
    let progress = Progress::new("running the plan", sources.len(), Show::Stderr);
    let mut answers = Vec::with_capacity(sources.len());
    let mut ranges: Vec<RangeStatistic> = Vec::new();
    for start in (0..sources.len()).step_by(BATCH) {
        let images: Vec<(Picture, Vec<f32>)> = (start..sources.len().min(start + BATCH))
            .filter_map(|index| sources.get(index))
            .map(|picture| {
                let picture = picture?;
                let tensor = tensor_of(plan, &picture)?;
                Ok((picture, tensor))
            })
            .collect::<Result<_, Error>>()?;
        let packed: Vec<Vec<f64>> = images
            .iter()
            .map(|(picture, tensor)| pack(plan, &picture.name, tensor))
            .collect::<Result<_, _>>()?;
        let started = Instant::now();
        let batch = backend.machine().run_batch(&packed)?;
        let seconds = started.elapsed().as_secs_f64() / images.len() as f64;
        if ranges.is_empty() {
            ranges = batch.ranges;
        } else {
            ranges
                .iter_mut()
                .zip(&batch.ranges)
                .for_each(|(all, more)| all.merge(more));
        }
        let more: Vec<Answer> = images
            .par_iter()
            .zip(&batch.outputs)
            .map(|((picture, tensor), slots)| {
                let answer = answer(picture, tensor, unpack(plan, slots)?, reference, seconds);
                progress.step();
                answer
            })
            .collect::<Result<_, Error>>()?;
        answers.extend(more);
    }
    for range in ranges.iter().filter(|range| range.overflows > 0) {
        say(&format!(
            "note: {} slots after `{}` exceed its range, the largest {:.2} times: compile with `--calibrate` on more \
             images or a larger `--range`",
            range.overflows, range.name, range.worst
        ));
    }
    Ok(answers)
}

/// One image's line.
fn line(plan: &Plan, answer: &Answer) -> String {
    let mut line = format!(
        "{}: {} ({:.4}), {:.2} s",
        answer.image,
        name_of(plan, answer.class),
        answer.logits.get(answer.class).copied().unwrap_or_default(),
        answer.seconds
    );
    if let (Some(class), Some(difference), Some(bits)) =
        (answer.reference_class, answer.difference(), answer.bits())
    {
        let name = name_of(plan, class);
        let list = |logits: &[f64]| {
            logits
                .iter()
                .map(|logit| format!("{logit:.4}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        line += &format!(
            "; plaintext says {name}, largest logit difference {difference:.6} ({bits:.1} bits)"
        );
        line += &format!("\n  logits     {}", list(&answer.logits));
        if let Some(reference) = &answer.reference_logits {
            line += &format!("\n  plaintext  {}", list(reference));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_relative_to_the_largest_logit() {
        assert_eq!(bits(0.25, 8.0), 5.0);
        assert_eq!(bits(0.0, 8.0), 53.0);
        assert_eq!(bits(9.0, 8.0), 0.0);
    }
}
