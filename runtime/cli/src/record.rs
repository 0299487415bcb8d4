//! The record that `heddle eval --resume` writes and reads.

use std::fmt;

use heddle_ir::eval::ckks::RangeStatistic;
use heddle_runtime::protocol::hex;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::answers::{Answer, Refusal};
use super::eval::Report;
use super::json::json;

/// What an interrupted run leaves: its answers, and what they depend on.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What the answers depend on.
    pub(super) run: Run,
    /// The answers to the first images of the data, in order.
    pub(super) answers: Vec<Recorded>,
    pub(super) ranges: Vec<Reached>,
    /// SHA-256 of all of the above, which shows edits.
    digest: String,
}

/// An answer with the image that it answers. Class and label are derived again when it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recorded {
    image: String,
    class: Option<usize>,
    #[serde(deserialize_with = "numbers")]
    logits: Vec<f64>,
    /// Why there is no answer; absent where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<Refusal>,
    reference_class: Option<usize>,
    #[serde(default, deserialize_with = "maybe_numbers")]
    reference_logits: Option<Vec<f64>>,
    seconds: f64,
    #[serde(default)]
    label: Option<usize>,
    /// SHA-256 of the image's pixels.
    pixels: String,
    /// The key that the image was encrypted with; absent on plain numbers.
    #[serde(default)]
    key: Option<String>,
}

/// Most numbers of one answer: slots of the largest ring.
const MAX_CLASSES: usize = 1 << 16;

/// Numbers of one answer, refused as soon as they are too many.
struct Numbers(Vec<f64>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Numbers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_CLASSES} numbers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut found: A) -> Result<Numbers, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = found.next_element()? {
                    if numbers.len() == MAX_CLASSES {
                        return Err(serde::de::Error::invalid_length(MAX_CLASSES + 1, &self));
                    }
                    numbers.push(number);
                }
                Ok(Numbers(numbers))
            }
        }

        deserializer.deserialize_seq(Bounded)
    }
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    Numbers::deserialize(deserializer).map(|numbers| numbers.0)
}

fn maybe_numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f64>>, D::Error> {
    Ok(Option::<Numbers>::deserialize(deserializer)?.map(|numbers| numbers.0))
}

impl Recorded {
    pub(super) fn of(answer: &Answer) -> Self {
        let answer = answer.clone();
        Self {
            image: answer.image,
            class: answer.class,
            logits: answer.logits,
            refused: answer.refused,
            reference_class: answer.reference_class,
            reference_logits: answer.reference_logits,
            seconds: answer.seconds,
            label: answer.label,
            pixels: answer.pixels,
            key: answer.key,
        }
    }

    pub(super) fn answer(self) -> Answer {
        Answer {
            image: self.image,
            class: self.class,
            logits: self.logits,
            refused: self.refused,
            error: None,
            reference_class: self.reference_class,
            reference_logits: self.reference_logits,
            seconds: self.seconds,
            label: self.label,
            key: self.key,
            pixels: self.pixels,
        }
    }
}

impl Record {
    /// # Errors
    /// None in practice: our types serialise.
    pub(super) fn new(
        run: &Run,
        answers: &[Answer],
        ranges: &[RangeStatistic],
    ) -> Result<Self, serde_json::Error> {
        Self {
            run: run.clone(),
            answers: answers.iter().map(Recorded::of).collect(),
            ranges: ranges.iter().map(Reached::of).collect(),
            digest: String::new(),
        }
        .sealed()
    }

    /// Reads a record, edited or not.
    ///
    /// # Errors
    /// If the text is no record.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The record as text.
    ///
    /// # Errors
    /// None in practice: our types serialise.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        json(self)
    }

    /// The record with the digest that belongs to it.
    ///
    /// # Errors
    /// None in practice: our types serialise.
    pub fn sealed(mut self) -> Result<Self, serde_json::Error> {
        self.digest = self.content_digest()?;
        Ok(self)
    }

    /// Whether nobody has edited the record since it was written.
    ///
    /// # Errors
    /// None in practice: our types serialise.
    pub fn is_sealed(&self) -> Result<bool, serde_json::Error> {
        Ok(self.digest == self.content_digest()?)
    }

    /// SHA-256 of everything but the digest.
    fn content_digest(&self) -> Result<String, serde_json::Error> {
        let mut hasher = Sha256::new();
        let content = (&self.run, &self.answers, &self.ranges);
        serde_json::to_writer(&mut hasher, &content)?;
        Ok(hex(&hasher.finalize()))
    }

    /// The figures of the answers, as `heddle eval` prints them.
    pub fn figures(self) -> String {
        let answers: Vec<Answer> = self.answers.into_iter().map(Recorded::answer).collect();
        let ranges: Vec<RangeStatistic> = self.ranges.into_iter().map(Reached::statistic).collect();
        Report::new(self.run, &answers, &ranges).to_string()
    }
}

/// What the answers of a run depend on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) plan: String,
    pub(super) data: String,
    pub(super) reference: Option<String>,
    pub(super) backend: String,
}

/// What the slots before one non-linear function reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Reached {
    pub(super) value: u32,
    pub(super) name: String,
    /// The activation that takes it.
    #[serde(default)]
    pub(super) function: Option<String>,
    /// The largest slot; the approximation holds up to 1. `None` where one was NaN.
    pub(super) worst: Option<f64>,
    /// Slots above 1.
    pub(super) overflows: u64,
}

impl Reached {
    pub(super) fn of(range: &RangeStatistic) -> Self {
        Self {
            value: range.value.0,
            name: range.name.clone(),
            function: range.function.clone(),
            worst: Some(range.worst).filter(|worst| worst.is_finite()),
            overflows: range.overflows,
        }
    }

    pub(super) fn statistic(self) -> RangeStatistic {
        RangeStatistic {
            value: heddle_ir::ValueId(self.value),
            name: self.name,
            function: self.function,
            worst: self.worst.unwrap_or(f64::NAN),
            overflows: self.overflows,
        }
    }
}
