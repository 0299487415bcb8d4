//! `heddle infer`: client and server in one process.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use heddle_frontends::image::{self, ImageSet};
use heddle_ir::eval::ckks::RangeStatistic;
use heddle_ir::plan::Plan;
use heddle_runtime::runner::merge_ranges;
use heddle_runtime::trace::ClassSeconds;
use heddle_terminal::{Progress, note, print, say};
use serde::Serialize;

use super::answers::{Answer, all_answered, largest};
use super::json::print_json;
use super::machine::peak_rss_bytes;
use super::progress::Bars;
use super::runner::{Answered, BackendKind, ReferenceModel, answer, reference};
use super::{Limits, PlanFile};

/// Refused images of which the reason is printed.
const LISTED: usize = 20;

/// Run client and server in one process, on many images.
#[derive(Debug, clap::Args)]
pub(super) struct Infer {
    #[command(flatten)]
    plan: PlanFile,
    /// Pictures, tensors, batches (`batch.bin`, `batch.bin#17`, `batch.bin#0..10`) or folders.
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    #[command(flatten)]
    model: ReferenceModel,
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
    limits: Limits,
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

impl Infer {
    pub(super) fn execute(self) -> Result<()> {
        self.limits.threads.apply();
        let plan = Arc::new(self.plan.open()?);
        let security = plan.checked_parameters()?.security();
        let images = self.named_images(&plan)?;
        let reference = reference(&plan, &self.model)?;
        let first = images.get(0).transpose()?;
        let memory = self.limits.memory();
        let runner =
            (self.backend).load((&plan, self.plan.accept()), memory, (first, images.len()))?;
        let mut answers = Vec::with_capacity(images.len());
        let mut ranges = Vec::new();
        let (mut spent, mut refusals) = (ClassSeconds::default(), 0);
        // An encrypted image shows its own progress.
        let progress = match self.backend {
            BackendKind::Ckks => None,
            BackendKind::Clear | BackendKind::Noisy => {
                Some(Progress::new("running the plan", images.len()))
            }
        };
        let (bars, batch) = (Bars::default(), self.backend.batch());
        for start in (0..images.len()).step_by(batch) {
            let end = images.len().min(start + batch);
            let Answered {
                answers: more,
                ranges: reached,
                seconds,
            } = answer(&runner, &images, start..end, reference.as_ref(), &bars)?;
            merge_ranges(&mut ranges, reached);
            spent += seconds;
            for answer in &more {
                progress.iter().for_each(Progress::advance);
                if !self.json {
                    print(&answer.line(&plan))?;
                }
                // The error at the end says it of an only image.
                if let Some(error) = answer.error.as_deref().filter(|_| images.len() > 1) {
                    refusals += 1;
                    if refusals <= LISTED {
                        note(error.lines().next().unwrap_or_default());
                    }
                }
            }
            answers.extend(more);
        }
        drop(progress);
        ranges.iter().for_each(warn_overflow);
        let count = answers.len().max(1) as f64;
        if self.backend == BackendKind::Ckks {
            say(&format!(
                "per image: linear {:.2} s, activations {:.2} s, bootstraps {:.2} s",
                spent.linear / count,
                spent.activation / count,
                spent.bootstrap / count
            ));
        }
        let seconds: f64 = answers.iter().map(|answer| answer.seconds).sum();
        let agreeing = answers
            .iter()
            .filter(|answer| answer.agrees() == Some(true))
            .count();
        let report = Report {
            agreement: reference.map(|_| agreeing as f64 / count),
            seconds_per_image: seconds / count,
            security_bits: security.bits,
            peak_rss_bytes: peak_rss_bytes(),
            images: answers,
        };
        match self.json {
            true => print_json(&report)?,
            false => print(&self.summary(&report))?,
        }
        all_answered(&report.images)
    }

    /// The images of all arguments, at most as many as `--limit` says.
    fn named_images(&self, plan: &Plan) -> Result<ImageSet> {
        let mut images: Option<ImageSet> = None;
        for spec in &self.images {
            let more = image::image_set_for(spec, plan.input.shape)?;
            match &mut images {
                Some(images) => images.extend(more),
                None => images = Some(more),
            }
        }
        let mut images = images.ok_or_else(|| anyhow!("IMAGE: no image was named"))?;
        images.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(images)
    }

    /// The lines below the images.
    fn summary(&self, report: &Report) -> String {
        let mut lines = Vec::new();
        let labelled: Vec<&Answer> = report
            .images
            .iter()
            .filter(|answer| answer.label.is_some())
            .collect();
        if !labelled.is_empty() {
            let right = labelled
                .iter()
                .filter(|answer| answer.is_right() == Some(true))
                .count();
            lines.push(format!(
                "accuracy: {right} of {} labelled images",
                labelled.len()
            ));
        }
        if let Some(agreement) = report.agreement {
            let mut line = format!("agreement with the reference: {:.2} %", 100.0 * agreement);
            let bits = report.images.iter().filter_map(Answer::bits);
            if let Some(bits) = bits.reduce(f64::min) {
                let largest = largest(report.images.iter().filter_map(Answer::difference));
                line += &format!(
                    ", largest difference {largest:.6}, at least {bits:.1} bits of precision"
                );
            }
            lines.push(line);
        }
        let memory = report.peak_rss_bytes.map_or_else(String::new, |bytes| {
            format!(", {:.2} GiB of memory", bytes as f64 / (1u64 << 30) as f64)
        });
        let security = match self.backend {
            BackendKind::Ckks => format!("{:.1} bits of security", report.security_bits),
            BackendKind::Clear | BackendKind::Noisy => format!(
                "not encrypted (the plan has {:.1} bits of security)",
                report.security_bits
            ),
        };
        lines.push(format!(
            "{:.2} s per image, {security}{memory}",
            report.seconds_per_image
        ));
        lines.join("\n")
    }
}

/// Prints a note where slots left the range of a non-linear function.
fn warn_overflow(range: &RangeStatistic) {
    if range.overflows > 0 {
        let function = range.function.as_ref().unwrap_or(&range.name);
        let largest = match range.worst.is_finite() {
            true => format!("the largest {:.2} times", range.worst),
            false => "one of them is no number".into(),
        };
        note(&format!(
            "{} slots after `{}` exceed its range, {largest}: compile with `--calibrate` on more images or a larger \
             `--range '{function}=B'`",
            range.overflows, range.name
        ));
    }
}
