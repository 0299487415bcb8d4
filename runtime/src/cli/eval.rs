//! `heddle eval`: accuracy, agreement, precision and head-room over a labelled batch.

use std::path::PathBuf;

use heddle_ir::eval::ckks::RangeStatistic;
use heddle_ir::file::{Content, Existing, Outputs, Overwrite, read_regular};
use heddle_ir::plan::OutputKind;
use heddle_ir::printable;
use heddle_ir::printable::cell;
use serde::Serialize;

use super::answers::{Answer, Share, largest};
use super::machine::peak_rss_bytes;
use super::record::{Record, Run, Seen};
use super::runner::{BackendKind, Runner, merge, reference};
use super::{MemoryLimit, PlanFile, Threads, print, print_json, say};
use crate::Error;
use crate::files;
use crate::image::{self, ImageSet};
use crate::progress::{Progress, Show};
use crate::protocol::hex;

/// A plain network whose two best logits are closer than this has hardly decided.
const CLOSE: f64 = 0.1;
/// Slots above this come close to the end of what a non-linear function takes.
const LITTLE_ROOM: f64 = 0.8;

/// Measure accuracy, agreement with the plain network, precision and head-room on a labelled batch.
#[derive(Debug, clap::Args)]
pub(super) struct Eval {
    #[command(flatten)]
    plan: PlanFile,
    /// A labelled batch (`test.bin`, `test.bin#0..1000`), a folder or a picture.
    #[arg(long, value_name = "IMAGES")]
    data: String,
    /// Compare with this model, evaluated as imported, in plain.
    #[arg(long, value_name = "MODEL.onnx")]
    reference: Option<PathBuf>,
    /// What executes the plan.
    #[arg(long, value_enum, default_value_t = BackendKind::Clear)]
    backend: BackendKind,
    /// Take the first N images only.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Record answers in this file as they come, and take those from it that an interrupted run left.
    #[arg(long, value_name = "FILE.json")]
    resume: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    memory: MemoryLimit,
    #[command(flatten)]
    threads: Threads,
}

/// A record is told from other files by its first key.
const RECORD: Content = Content::Json { first_key: "run" };

/// Most bytes of a record.
const MAX_RECORD: u64 = 48 << 20;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    run: Run,
    images: usize,
    /// The class is the label.
    accuracy: Option<Share>,
    /// The reference's class is the label.
    reference_accuracy: Option<Share>,
    /// The class is the reference's.
    agreement: Option<Share>,
    /// Images on which the classes differ, with the reference's margin between its two best logits.
    disagreements: Vec<Disagreement>,
    largest_logit_difference: Option<f64>,
    mean_logit_difference: Option<f64>,
    /// Of the image with the least: −log2 of the largest difference over the largest logit.
    worst_bits: Option<f64>,
    /// Of the mean over the images of that quotient.
    mean_bits: Option<f64>,
    overflows: u64,
    ranges: Vec<Seen>,
    seconds_per_image: f64,
    security_bits: f64,
    peak_rss_bytes: Option<u64>,
    /// What is compared.
    outcome: OutputKind,
}

#[derive(Debug, Serialize)]
struct Disagreement {
    image: String,
    class: usize,
    reference_class: usize,
    margin: f64,
}

impl Eval {
    pub(super) fn execute(self) -> Result<(), Error> {
        self.threads.apply();
        let mut inputs = vec![self.plan.path.clone(), image::path_of(&self.data)];
        inputs.extend(self.reference.clone());
        // A record is read and written again.
        let existing = match &self.resume {
            Some(path) => Outputs::new(inputs).check(path, RECORD, Overwrite::Allow)?,
            None => Existing::Replace,
        };
        let plan = self.plan.open()?;
        let security = plan.checked_parameters()?.security();
        let mut sources = image::image_set(&self.data)?;
        sources.truncate(self.limit.unwrap_or(usize::MAX));
        let reference = reference(&plan, self.reference.as_deref())?;
        let run = Run {
            plan: hex(&plan.digest()?),
            data: self.data.clone(),
            reference: reference.as_ref().map(|model| hex(&model.digest)),
            backend: self.backend.name().into(),
        };
        let (mut answers, mut ranges) = self.resumed(&run, &sources)?;
        answers.truncate(sources.len());
        let done = answers.len();
        if done > 0 {
            say(&format!("{done} of {} images are on record", sources.len()));
        }
        if done < sources.len() {
            let first = sources.get(done).transpose()?;
            let memory = self.memory.memory();
            let mut runner = Runner::load(
                self.backend,
                (&plan, self.plan.accept()),
                memory,
                first,
                Show::Nothing,
            )?;
            let progress = Progress::new("images", sources.len() - done, Show::Stderr);
            let batch = self.backend.batch();
            for start in (done..sources.len()).step_by(batch) {
                let end = sources.len().min(start + batch);
                let (more, seen) = runner.run(&sources, start..end, reference.as_ref())?;
                more.iter().for_each(|_| progress.step());
                merge(&mut ranges, seen);
                answers.extend(more);
                if let Some(path) = &self.resume {
                    let record = Record::new(&run, &answers, &ranges)?.to_json()?;
                    files::write_text(path, existing, &record)?;
                }
            }
        }
        let report = Report {
            security_bits: security.bits,
            outcome: plan.output_kind,
            ..Report::new(run, &answers, &ranges)
        };
        match self.json {
            true => print_json(&report),
            false => print(&report.to_string()),
        }
    }

    /// What an earlier run left in the file of `--resume`; nothing if there is no such file. Classes and labels are
    /// derived anew.
    fn resumed(
        &self,
        run: &Run,
        sources: &ImageSet,
    ) -> Result<(Vec<Answer>, Vec<RangeStatistic>), Error> {
        let Some(path) = self.resume.as_deref().filter(|path| path.exists()) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let refuse = |message: String| Error::Content {
            file: printable::path(path),
            message,
            help: "name another file, or remove this one to begin anew".into(),
        };
        let text = read_regular(path, MAX_RECORD).map_err(|source| Error::Io {
            file: printable::path(path),
            source,
        })?;
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
            let Some(picture) = sources.get(index).transpose()? else {
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
        let ranges = record.ranges.into_iter().map(Seen::statistic).collect();
        Ok((answers, ranges))
    }
}

impl Report {
    pub(super) fn new(run: Run, answers: &[Answer], ranges: &[RangeStatistic]) -> Self {
        let count = |condition: &dyn Fn(&Answer) -> Option<bool>| {
            let known: Vec<bool> = answers.iter().filter_map(condition).collect();
            Share::new(known.iter().filter(|holds| **holds).count(), known.len())
        };
        let differences: Vec<f64> = answers.iter().filter_map(Answer::difference).collect();
        let mean = |values: &[f64]| -> Option<f64> {
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let bits: Vec<f64> = answers.iter().filter_map(Answer::bits).collect();
        let ratios: Vec<f64> = bits.iter().map(|bits| (-bits).exp2()).collect();
        let disagreements = answers.iter().filter_map(|answer| {
            let reference_class = answer.reference_class?;
            (reference_class != answer.class).then(|| Disagreement {
                image: answer.image.clone(),
                class: answer.class,
                reference_class,
                margin: answer.margin().unwrap_or_default(),
            })
        });
        Self {
            run,
            images: answers.len(),
            accuracy: count(&|a| Some(a.label? == a.class)),
            reference_accuracy: count(&|a| Some(a.label? == a.reference_class?)),
            agreement: count(&Answer::agrees),
            disagreements: disagreements.collect(),
            largest_logit_difference: (!differences.is_empty())
                .then(|| largest(differences.iter().copied())),
            mean_logit_difference: mean(&differences),
            worst_bits: bits.iter().copied().reduce(f64::min),
            mean_bits: mean(&ratios).map(|ratio| -ratio.log2()),
            overflows: ranges.iter().map(|range| range.overflows).sum(),
            ranges: ranges.iter().map(Seen::of).collect(),
            seconds_per_image: mean(&answers.iter().map(|a| a.seconds).collect::<Vec<_>>())
                .unwrap_or_default(),
            security_bits: 0.0,
            outcome: OutputKind::default(),
            peak_rss_bytes: peak_rss_bytes(),
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let backend = &self.run.backend;
        writeln!(f, "{} images on the {backend} backend", self.images)?;
        for (what, share) in [
            ("accuracy", self.accuracy),
            ("accuracy of the plain network", self.reference_accuracy),
            ("agreement with it", self.agreement),
        ] {
            if let Some(share) = share {
                writeln!(f, "{what}: {share}")?;
            }
        }
        for case in &self.disagreements {
            writeln!(
                f,
                "  `{}`: class {} instead of {}, whose {} leads by {:.4}{}",
                case.image,
                case.class,
                case.reference_class,
                self.outcome.noun(),
                case.margin,
                if case.margin < CLOSE { " (close)" } else { "" }
            )?;
        }
        let noun = self.outcome.noun();
        if let (Some(largest), Some(mean), Some(worst), Some(bits)) = (
            self.largest_logit_difference,
            self.mean_logit_difference,
            self.worst_bits,
            self.mean_bits,
        ) {
            writeln!(
                f,
                "largest {noun} difference of an image: {mean:.6} in the mean, {largest:.6} at most; \
                 {bits:.1} bits of the largest {noun} in the mean, {worst:.1} at least"
            )?;
        }
        if !self.ranges.is_empty() {
            writeln!(
                f,
                "\nslots before each non-linear function, 1 being the most it takes"
            )?;
            let width = self
                .ranges
                .iter()
                .map(|range| cell(&range.name).chars().count())
                .max();
            let width = width.unwrap_or_default();
            // The parts of one feature map, where it takes several ciphertexts, are one line.
            for parts in self.ranges.chunk_by(|left, right| left.name == right.name) {
                let all: Option<Vec<f64>> = parts.iter().map(|part| part.worst).collect();
                let worst = all.map(|all| all.into_iter().fold(0.0, f64::max));
                let overflows: u64 = parts.iter().map(|part| part.overflows).sum();
                let over = match overflows {
                    0 if worst.is_some_and(|worst| worst > LITTLE_ROOM) => "  little room".into(),
                    0 => String::new(),
                    count => format!("  {count} above 1"),
                };
                let worst = worst.map_or("no number".into(), |w| format!("{w:.4}"));
                let count = match parts.len() {
                    1 => String::new(),
                    count => format!("  in {count} ciphertexts"),
                };
                let mend = match &parts[0].function {
                    Some(function) if !over.is_empty() => format!(", `--range '{function}=B'`"),
                    _ => String::new(),
                };
                writeln!(
                    f,
                    "  {:<width$}  {worst}{over}{mend}{count}",
                    cell(&parts[0].name)
                )?;
            }
            if self.overflows > 0 {
                writeln!(
                    f,
                    "compile with `--calibrate` on more images or a larger `--range`; `heddle inspect` shows the ranges"
                )?;
            }
            writeln!(f)?;
        }
        write!(f, "{:.3} s an image", self.seconds_per_image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(label: usize, logits: [f64; 2], reference: [f64; 2]) -> Answer {
        let class = |x: [f64; 2]| usize::from(x[1] > x[0]);
        Answer {
            image: format!("{label}"),
            class: class(logits),
            logits: logits.to_vec(),
            reference_class: Some(class(reference)),
            reference_logits: Some(reference.to_vec()),
            seconds: 2.0,
            label: Some(label),
            key: None,
            pixels: String::new(),
        }
    }

    #[test]
    fn figures_are_those_of_the_answers() {
        let answers = [
            answer(0, [3.0, 1.0], [4.0, 1.0]),
            answer(1, [2.0, 1.0], [1.0, 1.05]),
            answer(1, [0.0, 8.0], [0.0, 8.0]),
        ];
        let range = RangeStatistic {
            value: heddle_ir::ValueId(3),
            name: "add".into(),
            function: Some("relu".into()),
            worst: 1.5,
            overflows: 2,
        };
        let report = Report::new(Run::default(), &answers, &[range]);
        let count = |share: Option<Share>| share.map(|share| (share.count, share.of));
        assert_eq!(count(report.accuracy), Some((2, 3)));
        assert_eq!(count(report.reference_accuracy), Some((3, 3)));
        assert_eq!(count(report.agreement), Some((2, 3)));
        assert_eq!(report.largest_logit_difference, Some(1.0));
        assert_eq!(report.mean_logit_difference, Some(2.0 / 3.0));
        assert_eq!(report.disagreements.len(), 1);
        assert!((report.disagreements[0].margin - 0.05).abs() < 1e-12);
        assert_eq!((report.overflows, report.seconds_per_image), (2, 2.0));
        let text = report.to_string();
        assert!(
            text.contains("(close)") && text.contains("2 above 1, `--range 'relu=B'`"),
            "{text}"
        );
    }
}
