//! The figures of `heddle eval`.

use heddle_ir::eval::ckks::RangeStatistic;
use heddle_ir::plan::OutputKind;
use heddle_ir::printable::cell;
use serde::Serialize;

use crate::answers::{Answer, Fraction, Refusal, largest};
use crate::record::{Reached, Run};

/// Where the plain network's two best logits are closer than this, an image counts as close.
const CLOSE: f64 = 0.1;
/// Slots above this come close to 1, the most that a non-linear function takes.
const LARGE_SLOT: f64 = 0.8;

/// Images without an answer that are listed at most.
const LISTED: usize = 20;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    run: Run,
    images: usize,
    /// The class is the label.
    accuracy: Option<Fraction>,
    /// The reference's class is the label.
    reference_accuracy: Option<Fraction>,
    /// The class is the reference's.
    agreement: Option<Fraction>,
    /// Images that have no answer, for they or their answers are out of the plan's range.
    out_of_range: Vec<Refused>,
    /// Images on which the classes differ, with the lead of the reference's best logit over its
    /// second best.
    disagreements: Vec<Disagreement>,
    largest_logit_difference: Option<f64>,
    mean_logit_difference: Option<f64>,
    /// −log2 of the largest difference over the largest logit, of the worst image.
    worst_bits: Option<f64>,
    /// −log2 of the mean of that quotient over the images.
    mean_bits: Option<f64>,
    overflows: u64,
    ranges: Vec<Reached>,
    seconds_per_image: f64,
    pub(super) security_bits: f64,
    pub(super) peak_rss_bytes: Option<u64>,
    /// What is compared.
    pub(super) outcome: OutputKind,
}

#[derive(Debug, Serialize)]
struct Disagreement {
    image: String,
    class: usize,
    reference_class: usize,
    #[serde(rename = "margin")]
    lead: f64,
}

#[derive(Debug, Serialize)]
struct Refused {
    image: String,
    refused: Refusal,
}

impl Report {
    pub(crate) fn new(run: Run, answers: &[Answer], ranges: &[RangeStatistic]) -> Self {
        let count = |condition: &dyn Fn(&Answer) -> Option<bool>| {
            let known: Vec<bool> = answers.iter().filter_map(condition).collect();
            Fraction::new(known.iter().filter(|holds| **holds).count(), known.len())
        };
        let differences: Vec<f64> = answers.iter().filter_map(Answer::difference).collect();
        let mean = |values: &[f64]| -> Option<f64> {
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let bits: Vec<f64> = answers.iter().filter_map(Answer::bits).collect();
        let ratios: Vec<f64> = bits.iter().map(|bits| (-bits).exp2()).collect();
        let out_of_range = answers.iter().filter_map(|answer| {
            Some(Refused {
                image: answer.image.clone(),
                refused: answer.refused?,
            })
        });
        let disagreements = answers.iter().filter_map(|answer| {
            let (reference_class, class) = (answer.reference_class?, answer.class?);
            (reference_class != class).then(|| Disagreement {
                image: answer.image.clone(),
                class,
                reference_class,
                lead: answer.lead().unwrap_or_default(),
            })
        });
        Self {
            run,
            images: answers.len(),
            accuracy: count(&Answer::is_right),
            reference_accuracy: count(&|a| Some(a.label? == a.reference_class?)),
            agreement: count(&Answer::agrees),
            out_of_range: out_of_range.collect(),
            disagreements: disagreements.collect(),
            largest_logit_difference: (!differences.is_empty())
                .then(|| largest(differences.iter().copied())),
            mean_logit_difference: mean(&differences),
            worst_bits: bits.iter().copied().reduce(f64::min),
            mean_bits: mean(&ratios).map(|ratio| -ratio.log2()),
            overflows: ranges.iter().map(|range| range.overflows).sum(),
            ranges: ranges.iter().map(Reached::of).collect(),
            seconds_per_image: mean(&answers.iter().map(|a| a.seconds).collect::<Vec<_>>())
                .unwrap_or_default(),
            security_bits: 0.0,
            outcome: OutputKind::default(),
            peak_rss_bytes: None,
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let backend = &self.run.backend;
        writeln!(f, "{} images on the {backend} backend", self.images)?;
        for (what, fraction) in [
            ("accuracy", self.accuracy),
            ("accuracy of the plain network", self.reference_accuracy),
            ("agreement with it", self.agreement),
        ] {
            if let Some(fraction) = fraction {
                writeln!(f, "{what}: {fraction}")?;
            }
        }
        if !self.out_of_range.is_empty() {
            writeln!(
                f,
                "no answer: {} of {} images; they count as wrong",
                self.out_of_range.len(),
                self.images
            )?;
        }
        for case in self.out_of_range.iter().take(LISTED) {
            writeln!(f, "  `{}`: {}", case.image, case.refused.reason())?;
        }
        if let Some(more) = self.out_of_range.len().checked_sub(LISTED + 1) {
            writeln!(f, "  and {} more", more + 1)?;
        }
        for case in &self.disagreements {
            writeln!(
                f,
                "  `{}`: class {} instead of {}, whose {} leads by {:.4}{}",
                case.image,
                case.class,
                case.reference_class,
                self.outcome.noun(),
                case.lead,
                if case.lead < CLOSE { " (close)" } else { "" }
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
                "max {noun} error per image: mean {mean:.6}, worst {largest:.6}; precision relative to the \
                 largest {noun}: mean {bits:.1} bits, worst {worst:.1}"
            )?;
        }
        if !self.ranges.is_empty() {
            writeln!(
                f,
                "\nlargest slot before each non-linear function, which takes up to 1"
            )?;
            let width = self
                .ranges
                .iter()
                .map(|range| cell(&range.name).chars().count())
                .max();
            let width = width.unwrap_or_default();
            // A feature map that takes several ciphertexts has one line.
            for pieces in self.ranges.chunk_by(|left, right| left.name == right.name) {
                let all: Option<Vec<f64>> = pieces.iter().map(|piece| piece.worst).collect();
                let worst = all.map(|all| all.into_iter().fold(0.0, f64::max));
                let overflows: u64 = pieces.iter().map(|piece| piece.overflows).sum();
                let over = match overflows {
                    0 if worst.is_some_and(|worst| worst > LARGE_SLOT) => "  small margin".into(),
                    0 => String::new(),
                    count => format!("  {count} above 1"),
                };
                let worst = worst.map_or("no number".into(), |w| format!("{w:.4}"));
                let count = match pieces.len() {
                    1 => String::new(),
                    count => format!("  in {count} ciphertexts"),
                };
                let help = match &pieces[0].function {
                    Some(function) if !over.is_empty() => format!(", `--range '{function}=B'`"),
                    _ => String::new(),
                };
                writeln!(
                    f,
                    "  {:<width$}  {worst}{over}{help}{count}",
                    cell(&pieces[0].name)
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
        write!(f, "{:.3} s per image", self.seconds_per_image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(label: usize, logits: [f64; 2], reference: [f64; 2]) -> Answer {
        let class = |x: [f64; 2]| usize::from(x[1] > x[0]);
        Answer {
            image: format!("{label}"),
            class: Some(class(logits)),
            logits: logits.to_vec(),
            refused: None,
            error: None,
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
        let count = |known: Option<Fraction>| known.map(|known| (known.count, known.of));
        assert_eq!(count(report.accuracy), Some((2, 3)));
        assert_eq!(count(report.reference_accuracy), Some((3, 3)));
        assert_eq!(count(report.agreement), Some((2, 3)));
        assert_eq!(report.largest_logit_difference, Some(1.0));
        assert_eq!(report.mean_logit_difference, Some(2.0 / 3.0));
        assert_eq!(report.disagreements.len(), 1);
        assert!((report.disagreements[0].lead - 0.05).abs() < 1e-12);
        assert_eq!((report.overflows, report.seconds_per_image), (2, 2.0));
        let text = report.to_string();
        assert!(!text.contains("no answer"), "{text}");
        assert!(
            text.contains("(close)") && text.contains("2 above 1, `--range 'relu=B'`"),
            "{text}"
        );
    }

    #[test]
    fn refused_answers_count_as_wrong_and_are_listed() {
        let mut answers = vec![answer(0, [3.0, 1.0], [4.0, 1.0]); 25];
        for refused in &mut answers[1..] {
            refused.class = None;
            refused.logits.clear();
            refused.refused = Some(Refusal::Answer);
        }
        answers[24].refused = Some(Refusal::Image);
        let report = Report::new(Run::default(), &answers, &[]);
        let count = |known: Option<Fraction>| known.map(|known| (known.count, known.of));
        assert_eq!(count(report.accuracy), Some((1, 25)));
        assert_eq!(count(report.agreement), Some((1, 25)));
        assert_eq!(report.largest_logit_difference, Some(1.0));
        assert!(report.disagreements.is_empty());
        let text = report.to_string();
        for part in [
            "no answer: 24 of 25 images",
            "`0`: the answer is out of",
            "and 4 more",
        ] {
            assert!(text.contains(part), "{text}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["out_of_range"][23]["refused"], "image");
    }
}
