//! `heddle infer`: client and server in one process.

use std::path::PathBuf;

use serde::Serialize;

use super::answers::{Answer, largest};
use super::machine::peak_rss_bytes;
use super::runner::{BackendKind, Runner, merge, reference};
use super::{MemoryLimit, PlanFile, Threads, print, print_json, say};
use crate::Error;
use crate::image::{self, ImageSet};
use crate::progress::{Progress, Show};

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
    pub(super) fn execute(self) -> Result<(), Error> {
        self.threads.apply();
        let plan = self.plan.open()?;
        let security = plan.checked_parameters()?.security();
        let mut sources: Option<ImageSet> = None;
        for spec in &self.images {
            let more = image::image_set(spec)?;
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
        let reference = reference(&plan, self.reference.as_deref())?;
        let first = sources.get(0).transpose()?;
        let mut runner = Runner::load(
            self.backend,
            (&plan, self.plan.accept()),
            self.memory.memory(),
            first,
            Show::Stderr,
        )?;
        let mut answers = Vec::with_capacity(sources.len());
        let mut ranges = Vec::new();
        // An encrypted image shows its own progress.
        let show = match self.backend {
            BackendKind::Ckks => Show::Nothing,
            BackendKind::Clear | BackendKind::Noisy => Show::Stderr,
        };
        let progress = Progress::new("running the plan", sources.len(), show);
        for start in (0..sources.len()).step_by(self.backend.batch()) {
            let end = sources.len().min(start + self.backend.batch());
            let (more, seen) = runner.run(&sources, start..end, reference.as_ref())?;
            merge(&mut ranges, seen);
            more.iter().for_each(|_| progress.step());
            if !self.json {
                for answer in &more {
                    print(&answer.line(&plan))?;
                }
            }
            answers.extend(more);
        }
        drop(progress);
        for range in ranges.iter().filter(|range| range.overflows > 0) {
            let function = range.function.as_ref().unwrap_or(&range.name);
            say(&format!(
                "note: {} slots after `{}` exceed its range, the largest {:.2} times: compile with `--calibrate` on \
                 more images or a larger `--range '{function}=B'`",
                range.overflows, range.name, range.worst
            ));
        }
        if let Some(split) = runner.split() {
            say(&format!(
                "per image: linear {:.2} s, activations {:.2} s, bootstraps {:.2} s",
                split.linear, split.activation, split.bootstrap
            ));
        }
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
            print_json(&report)
        } else {
            print(&self.summary(&report))
        }
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
                .filter(|answer| answer.label == Some(answer.class))
                .count();
            lines.push(format!(
                "accuracy: {right} of {} labelled images",
                labelled.len()
            ));
        }
        if let Some(agreement) = report.agreement {
            let largest = largest(report.images.iter().filter_map(Answer::difference));
            let bits = report
                .images
                .iter()
                .filter_map(Answer::bits)
                .fold(f64::INFINITY, f64::min);
            lines.push(format!(
                "agreement with the reference: {:.2} %, largest difference {largest:.6}, at least {bits:.1} bits of precision",
                100.0 * agreement
            ));
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
            "{:.2} s an image, {security}{memory}",
            report.seconds_per_image
        ));
        lines.join("\n")
    }
}
