//! `heddle eval`: accuracy, agreement, precision and margins over a labelled batch.

mod report;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use heddle_frontends::image::{self, ImageSet};
use heddle_ir::eval::ckks::RangeStatistic;
use heddle_ir::file::{Content, Existing, Outputs, Overwrite, read_regular};
use heddle_ir::printable;
use heddle_runtime::files;
use heddle_runtime::protocol::hex;
use heddle_runtime::runner::merge_ranges;
use heddle_terminal::{Progress, print, say};

use super::answers::{Answer, all_answered};
use super::json::print_json;
use super::machine::peak_rss_bytes;
use super::record::{Reached, Record, Run};
use super::runner::{BackendKind, ReferenceModel, answer, reference};
use super::{Limits, PlanFile};

pub(super) use report::Report;

/// Measure accuracy, agreement with the plain network, precision and margins on a labelled batch.
#[derive(Debug, clap::Args)]
pub(super) struct Eval {
    #[command(flatten)]
    plan: PlanFile,
    /// A labelled batch (`test.bin`, `test.bin#0..1000`), a folder or a picture.
    #[arg(long, value_name = "IMAGES")]
    data: String,
    #[command(flatten)]
    model: ReferenceModel,
    /// What executes the plan.
    #[arg(long, value_enum, default_value_t = BackendKind::Clear)]
    backend: BackendKind,
    /// Take the first N images only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Record answers in this file as they come; continue from the answers that an interrupted run
    /// left in it.
    #[arg(long, value_name = "FILE.json")]
    resume: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limits: Limits,
}

/// The first key of a record tells it from other files.
const RECORD: Content = Content::Json { first_key: "run" };

/// Most bytes of a record.
const MAX_RECORD: u64 = 48 << 20;

impl Eval {
    pub(super) fn execute(self) -> Result<()> {
        self.limits.threads.apply();
        let mut inputs = vec![self.plan.path.clone(), image::path_of(&self.data)];
        inputs.extend(self.model.files());
        // A record is read and written again.
        let existing = match &self.resume {
            Some(path) => Outputs::new(inputs).check(path, RECORD, Overwrite::Allow)?,
            None => Existing::Replace,
        };
        let plan = Arc::new(self.plan.open()?);
        let security = plan.checked_parameters()?.security();
        let mut images = image::image_set_for(&self.data, plan.input.shape)?;
        images.truncate(self.limit.unwrap_or(usize::MAX));
        let reference = reference(&plan, &self.model)?;
        let run = Run {
            plan: hex(&plan.digest()?),
            data: self.data.clone(),
            reference: reference.as_ref().map(|model| hex(&model.digest)),
            backend: self.backend.name().into(),
        };
        let (mut answers, mut ranges) = self.resumed(&run, &images)?;
        answers.truncate(images.len());
        let done = answers.len();
        if done > 0 {
            say(&format!("{done} of {} images are on record", images.len()));
        }
        if done < images.len() {
            let first = images.get(done).transpose()?;
            let memory = self.limits.memory();
            let runner =
                (self.backend).load((&plan, self.plan.accept()), memory, (first, images.len()))?;
            let progress = Progress::new("images", images.len() - done);
            let batch = self.backend.batch();
            for start in (done..images.len()).step_by(batch) {
                let end = images.len().min(start + batch);
                let more = answer(&runner, &images, start..end, reference.as_ref(), &())?;
                more.answers.iter().for_each(|_| progress.advance());
                merge_ranges(&mut ranges, more.ranges);
                answers.extend(more.answers);
                if let Some(path) = &self.resume {
                    let record = Record::new(&run, &answers, &ranges)?.to_json()?;
                    files::write_text(path, existing, &record)?;
                }
            }
        }
        let mut report = Report::new(run, &answers, &ranges);
        report.security_bits = security.bits;
        report.outcome = plan.output_kind;
        report.peak_rss_bytes = peak_rss_bytes();
        match self.json {
            true => print_json(&report)?,
            false => print(&report.to_string())?,
        }
        all_answered(&answers)
    }

    /// What an earlier run left in the file of `--resume`; nothing if there is no such file.
    /// Classes and labels are derived again.
    fn resumed(&self, run: &Run, images: &ImageSet) -> Result<(Vec<Answer>, Vec<RangeStatistic>)> {
        let Some(path) = self.resume.as_deref().filter(|path| path.exists()) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let file = printable::path(path);
        let refuse = |message: String| {
            anyhow!(
                "`{file}`: {message}\nhelp: name another file, or remove this one to begin anew"
            )
        };
        let text = read_regular(path, MAX_RECORD).map_err(|error| anyhow!("`{file}`: {error}"))?;
        let record = Record::parse(&text)
            .map_err(|error| refuse(format!("is no record of `heddle eval`: {error}")))?;
        if record.run != *run {
            return Err(refuse(
                "holds answers of another plan, data, reference or backend".into(),
            ));
        }
        if !record.is_sealed()? {
            return Err(refuse("was edited: its digest is another".into()));
        }
        let mut answers = Vec::with_capacity(record.answers.len());
        for (index, recorded) in record.answers.into_iter().enumerate() {
            let Some(picture) = images.get(index).transpose()? else {
                // The limit is lower than that of the earlier run.
                break;
            };
            let answer = recorded.answer().derived(&picture);
            answers.push(answer.ok_or_else(|| {
                refuse(format!(
                    "image {index} was another than `{}` is now",
                    picture.name
                ))
            })?);
        }
        let ranges = record.ranges.into_iter().map(Reached::statistic).collect();
        Ok((answers, ranges))
    }
}
