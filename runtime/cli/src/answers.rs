//! The answer to one image, what it is compared with, and the figures of many answers.

use anyhow::{Result, bail};
use heddle_frontends::image::{Picture, Pixels};
use heddle_ir::nn::Model;
use heddle_ir::plan::{OutputKind, Plan};
use heddle_runtime::Error;
use heddle_runtime::packing::{InputTensor, class_of};
use heddle_runtime::protocol::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::client::{name_of, tensor_of};

/// Why an image has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Refusal {
    /// An element of the image is out of the plan's range.
    Image,
    /// A number of the answer is, or is no number.
    Answer,
}

impl Refusal {
    /// What the error says of one image; `None` for one that concerns the whole run.
    fn of(error: &Error) -> Option<Self> {
        match error {
            Error::InputRange { .. } => Some(Self::Image),
            Error::OutOfRange { .. } => Some(Self::Answer),
            _ => None,
        }
    }

    /// The reason in a few words.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Image => "the image is out of the plan's range",
            Self::Answer => "the answer is out of the plan's range",
        }
    }
}

/// The answer to one image. Where the plan ends in probabilities, the logits are probabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) image: String,
    /// `None` where the answer was refused.
    pub(super) class: Option<usize>,
    /// Empty where the answer was refused.
    pub(super) logits: Vec<f64>,
    /// Why there is no answer; absent where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Refusal>,
    /// The error behind a refusal, with what to do.
    #[serde(skip)]
    pub(super) error: Option<String>,
    pub(super) reference_class: Option<usize>,
    pub(super) reference_logits: Option<Vec<f64>>,
    pub(super) seconds: f64,
    #[serde(default)]
    pub(super) label: Option<usize>,
    /// The key that the image was encrypted with; `None` on plain numbers.
    #[serde(skip)]
    pub(super) key: Option<String>,
    /// SHA-256 of the image's pixels.
    #[serde(skip)]
    pub(super) pixels: String,
}

/// A picture, preprocessed for the plan; its pixels are dropped.
pub(super) struct Question {
    label: Option<u8>,
    /// SHA-256 of the pixels.
    pixels: String,
    pub(super) tensor: InputTensor,
}

impl Question {
    /// # Errors
    /// If the picture does not fit the plan.
    pub(super) fn new(plan: &Plan, picture: &Picture) -> Result<Self> {
        Ok(Self {
            label: picture.label,
            pixels: pixels_of(picture),
            tensor: tensor_of(&plan.input, &plan.preprocess, picture)?,
        })
    }
}

impl Answer {
    /// The answer to a picture, with the reference's answer. An answer that was refused as out of
    /// range is one without numbers.
    ///
    /// # Errors
    /// If the tensor does not fit the reference, or an error that concerns more than this image.
    pub(super) fn new(
        question: &Question,
        answer: Result<Vec<f64>, Error>,
        reference: Option<&Model>,
        output_kind: OutputKind,
        seconds: f64,
        key: Option<String>,
    ) -> Result<Self> {
        let (logits, error) = match answer {
            Ok(logits) => (logits, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let refused = error.as_ref().and_then(Refusal::of);
        let error = match (refused, error) {
            (None, Some(error)) => return Err(error.into()),
            (_, error) => error.map(|error| error.to_string()),
        };
        let reference_logits = match reference {
            Some(model) => {
                let logits = heddle_ir::eval::nn::run(model, &question.tensor.elements)?;
                Some(output_kind.of_logits(logits.into_iter().map(f64::from).collect()))
            }
            None => None,
        };
        Ok(Self {
            image: question.tensor.name.clone(),
            class: refused.is_none().then(|| class_of(&logits)),
            logits,
            refused,
            error,
            reference_class: reference_logits.as_deref().map(class_of),
            reference_logits,
            seconds,
            label: question.label.map(usize::from),
            key,
            pixels: question.pixels.clone(),
        })
    }

    /// The answer with class and label derived from the numbers and the picture, not taken from the
    /// record; `None` if the record is of another picture.
    pub(super) fn derived(mut self, picture: &Picture) -> Option<Self> {
        if self.pixels != pixels_of(picture) || self.image != picture.name {
            return None;
        }
        if self.refused.is_some() {
            self.logits.clear();
        }
        self.class = self.refused.is_none().then(|| class_of(&self.logits));
        self.reference_class = self.reference_logits.as_deref().map(class_of);
        self.label = picture.label.map(usize::from);
        Some(self)
    }

    /// The largest difference between the logits and the reference's; NaN where one of them is NaN,
    /// `None` without an answer.
    pub(super) fn difference(&self) -> Option<f64> {
        self.class?;
        let reference = self.reference_logits.as_ref()?;
        let differences = self.logits.iter().zip(reference);
        Some(largest(differences.map(|(a, b)| (a - b).abs())))
    }

    /// Whether the class is the reference's; a refused answer has another.
    pub(super) fn agrees(&self) -> Option<bool> {
        let reference = self.reference_class?;
        Some(self.class == Some(reference))
    }

    /// Whether the class is the image's label; a refused answer is wrong.
    pub(super) fn is_right(&self) -> Option<bool> {
        let label = self.label?;
        Some(self.class == Some(label))
    }

    /// By how much the reference's best logit leads its second best.
    pub(super) fn lead(&self) -> Option<f64> {
        let reference = self.reference_logits.as_ref()?;
        let best = class_of(reference);
        let others = reference.iter().enumerate().filter(|(i, _)| *i != best);
        let second = others.map(|(_, x)| *x).fold(f64::NEG_INFINITY, f64::max);
        Some(reference.get(best)? - second)
    }

    /// `−log2` of the largest difference over the largest reference logit.
    pub(super) fn bits(&self) -> Option<f64> {
        let largest = self
            .reference_logits
            .as_ref()?
            .iter()
            .map(|x| x.abs())
            .fold(0.0, f64::max);
        Some(bits(self.difference()?, largest))
    }

    /// The image's line, and its logits where there is a reference.
    pub(super) fn line(&self, plan: &Plan) -> String {
        let Some(class) = self.class else {
            return format!("{}: no answer", self.image);
        };
        let mut line = format!(
            "{}: {} ({:.4}), {:.2} s",
            self.image,
            name_of(&plan.labels, class),
            self.logits.get(class).copied().unwrap_or_default(),
            self.seconds
        );
        if let (Some(class), Some(difference), Some(bits)) =
            (self.reference_class, self.difference(), self.bits())
        {
            let name = name_of(&plan.labels, class);
            let list = |logits: &[f64]| {
                logits
                    .iter()
                    .map(|logit| format!("{logit:.4}"))
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            line += &format!(
                "; plaintext says {name}, largest {} difference {difference:.6} ({bits:.1} bits)",
                plan.output_kind.noun()
            );
            line += &format!(
                "\n  {:<10} {}",
                plan.output_kind.plural(),
                list(&self.logits)
            );
            if let Some(reference) = &self.reference_logits {
                line += &format!("\n  plaintext  {}", list(reference));
            }
        }
        line
    }
}

/// An error if an image has no answer; what has one was printed before.
///
/// # Errors
/// The refusal of a single image with its cause; for more than one image, their number.
pub(super) fn all_answered(answers: &[Answer]) -> Result<()> {
    let refused: Vec<&Answer> = answers.iter().filter(|one| one.refused.is_some()).collect();
    match (refused.first(), answers.len()) {
        (None, _) => Ok(()),
        (
            Some(Answer {
                error: Some(error), ..
            }),
            1,
        ) => bail!("{error}"),
        (Some(_), count) => bail!(
            "{} of {count} images have no answer, for they or their answers are out of the plan's range\n\
             help: compile with more images for `--calibrate`, a larger `--margin` or a larger `--range`",
            refused.len()
        ),
    }
}

/// SHA-256 of a picture's shape and pixels.
fn pixels_of(picture: &Picture) -> String {
    let mut hasher = Sha256::new();
    let mut shape = |kind: u8, extents: &[usize]| {
        hasher.update([kind, extents.len() as u8]);
        for extent in extents {
            hasher.update((*extent as u64).to_le_bytes());
        }
    };
    match &picture.pixels {
        Pixels::Photo(raster) | Pixels::Record(raster) => {
            shape(0, &[raster.channels, raster.height, raster.width]);
            hasher.update(&raster.data);
        }
        Pixels::Bytes {
            shape: extents,
            data,
        } => {
            shape(1, extents);
            hasher.update(data);
        }
        Pixels::Floats {
            shape: extents,
            data,
        } => {
            shape(2, extents);
            for element in data {
                hasher.update(element.to_le_bytes());
            }
        }
    }
    hex(&hasher.finalize())
}

/// The largest magnitude, 0 if there is none. NaN when one of them is NaN, unlike [`f64::max`].
pub(super) fn largest(magnitudes: impl Iterator<Item = f64>) -> f64 {
    magnitudes.fold(0.0, |largest, x| {
        if x > largest || x.is_nan() {
            x
        } else {
            largest
        }
    })
}

/// Bits of precision of a value of the given size: at most 53, those of a double, and 0 where the
/// difference is NaN.
fn bits(difference: f64, size: f64) -> f64 {
    let ratio = difference / size.max(f64::MIN_POSITIVE);
    match ratio.is_nan() {
        true => 0.0,
        false => (-ratio.log2()).clamp(0.0, 53.0),
    }
}

/// How often something happened, with the interval that holds its probability 95 times in 100
/// (Wilson, JASA 1927).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Fraction {
    pub(super) count: usize,
    pub(super) of: usize,
    #[serde(rename = "share")]
    pub(super) fraction: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Fraction {
    /// `count` of `of`; `None` of none.
    pub(super) fn new(count: usize, of: usize) -> Option<Self> {
        /// The 97.5th percentile of the normal distribution.
        const Z: f64 = 1.959_964;
        if of == 0 {
            return None;
        }
        let n = of as f64;
        let fraction = count as f64 / n;
        let scale = 1.0 / (1.0 + Z * Z / n);
        let centre = scale * (fraction + Z * Z / (2.0 * n));
        let half = scale * Z * (fraction * (1.0 - fraction) / n + Z * Z / (4.0 * n * n)).sqrt();
        Some(Self {
            count,
            of,
            fraction,
            low: (centre - half).clamp(0.0, fraction),
            high: (centre + half).clamp(fraction, 1.0),
        })
    }
}

impl std::fmt::Display for Fraction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.2} % ({} of {}; {:.2} to {:.2} %)",
            100.0 * self.fraction,
            self.count,
            self.of,
            100.0 * self.low,
            100.0 * self.high
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(logits: &[f64], reference: &[f64]) -> Answer {
        Answer {
            image: String::new(),
            class: Some(class_of(logits)),
            logits: logits.to_vec(),
            refused: None,
            error: None,
            reference_class: Some(class_of(reference)),
            reference_logits: Some(reference.to_vec()),
            seconds: 0.0,
            label: None,
            key: None,
            pixels: String::new(),
        }
    }

    #[test]
    fn precision_is_relative_to_the_largest_logit() {
        assert_eq!(bits(0.25, 8.0), 5.0);
        assert_eq!(bits(0.0, 8.0), 53.0);
        assert_eq!(bits(9.0, 8.0), 0.0);
        assert_eq!(bits(f64::NAN, 8.0), 0.0);
        assert!(largest([1.0, f64::NAN, 2.0].into_iter()).is_nan());
        assert_eq!(largest([1.0, 3.0, 2.0].into_iter()), 3.0);
        let broken = answer(&[f64::NAN, 1.0], &[2.0, 1.0]);
        assert!(broken.difference().is_some_and(f64::is_nan) && broken.bits() == Some(0.0));
        let answer = answer(&[1.0, -7.75, 3.5], &[1.0, -8.0, 3.5]);
        assert_eq!(
            (answer.difference(), answer.bits()),
            (Some(0.25), Some(5.0))
        );
        assert_eq!((answer.lead(), answer.agrees()), (Some(2.5), Some(true)));
    }

    #[test]
    fn a_refused_answer_is_wrong_and_has_no_difference() {
        let refused = Answer {
            class: None,
            logits: Vec::new(),
            refused: Some(Refusal::Answer),
            label: Some(0),
            ..answer(&[], &[2.0, 1.0])
        };
        assert_eq!(
            (refused.agrees(), refused.is_right()),
            (Some(false), Some(false))
        );
        assert_eq!((refused.difference(), refused.bits()), (None, None));
        let answered = answer(&[2.0, 1.0], &[2.0, 1.0]);
        assert!(all_answered(std::slice::from_ref(&answered)).is_ok());
        let message = all_answered(&[answered, refused]).unwrap_err().to_string();
        assert!(
            message.contains("1 of 2 images") && message.contains("--margin"),
            "{message}"
        );
    }

    #[test]
    fn intervals_are_wilsons() {
        assert_eq!(Fraction::new(0, 0), None);
        // 74 of 75, computed by hand from Wilson's formula.
        let fraction = Fraction::new(74, 75).unwrap();
        assert!(
            (fraction.low - 0.92825).abs() < 1e-4 && (fraction.high - 0.99764).abs() < 1e-4,
            "{fraction:?}"
        );
        let all = Fraction::new(20, 20).unwrap();
        assert_eq!(all.high, 1.0);
        assert!((all.low - 0.83887).abs() < 1e-4, "{all:?}");
        assert_eq!(Fraction::new(0, 20).unwrap().low, 0.0);
        let json = serde_json::to_value(all).unwrap();
        for key in ["count", "of", "share", "low", "high"] {
            assert!(json[key].is_number(), "{json}");
        }
    }
}
