//! The record that `heddle eval --resume` writes and takes answers from.

use heddle_ir::eval::ckks::RangeStatistic;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::answers::Answer;
use super::eval::Report;
use super::json;
use crate::Error;
use crate::protocol::hex;

/// What an interrupted run leaves: its answers, bound to what they depend on.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What the answers depend on.
    pub(super) run: Run,
    /// Of the first images of the data, in order.
    pub(super) answers: Vec<Recorded>,
    pub(super) ranges: Vec<Seen>,
    /// SHA-256 of all of the above: edits show.
    digest: String,
}

/// An answer with what it is the answer to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Recorded {
    #[serde(flatten)]
    answer: Answer,
    /// SHA-256 of the image's pixels.
    pixels: String,
    /// The key that the image was encrypted with; absent on plain numbers.
    #[serde(default)]
    key: Option<String>,
}

impl Recorded {
    pub(super) fn of(answer: &Answer) -> Self {
        Self {
            answer: answer.clone(),
            pixels: answer.pixels.clone(),
            key: answer.key.clone(),
        }
    }

    pub(super) fn answer(self) -> Answer {
        Answer {
            pixels: self.pixels,
            key: self.key,
            ..self.answer
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
    ) -> Result<Self, Error> {
        Self {
            run: run.clone(),
            answers: answers.iter().map(Recorded::of).collect(),
            ranges: ranges.iter().map(Seen::of).collect(),
            digest: String::new(),
        }
        .sealed()
    }

    /// Reads a record, edited or not.
    ///
    /// # Errors
    /// What of it is no record.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(text)
    }

    /// The record as text.
    ///
    /// # Errors
    /// None in practice: our types serialise.
    pub fn to_json(&self) -> Result<String, Error> {
        json(self)
    }

    /// The record with the digest that belongs to it.
    ///
    /// # Errors
    /// None in practice: our types serialise.
    pub fn sealed(mut self) -> Result<Self, Error> {
        self.digest = self.content_digest()?;
        Ok(self)
    }

    /// Whether nobody has edited the record since it was written.
    ///
    /// # Errors
    /// None in practice: our types serialise.
    pub fn is_sealed(&self) -> Result<bool, Error> {
        Ok(self.digest == self.content_digest()?)
    }

    /// SHA-256 of everything but the digest.
    fn content_digest(&self) -> Result<String, Error> {
        let content = json(&(&self.run, &self.answers, &self.ranges))?;
        Ok(hex(&Sha256::digest(content)))
    }

    /// The figures of the answers, as `heddle eval` prints them.
    pub fn figures(self) -> String {
        let answers: Vec<Answer> = self.answers.into_iter().map(Recorded::answer).collect();
        let ranges: Vec<RangeStatistic> = self.ranges.into_iter().map(Seen::statistic).collect();
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
pub(super) struct Seen {
    pub(super) value: u32,
    pub(super) name: String,
    /// The activation that takes it.
    #[serde(default)]
    pub(super) function: Option<String>,
    /// The largest slot, which the approximation takes up to 1; `None` where one was not a number.
    pub(super) worst: Option<f64>,
    /// Slots above 1.
    pub(super) overflows: u64,
}

impl Seen {
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
