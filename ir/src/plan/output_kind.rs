//! What the numbers are that a plan ends in.

use serde::{Deserialize, Serialize};

/// What the numbers are that a plan ends in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// One logit a class.
    #[default]
    Logits,
    /// One probability a class: the logits' softmax.
    Probabilities,
}

impl OutputKind {
    /// One of the numbers, in words.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Logits => "logit",
            Self::Probabilities => "probability",
        }
    }

    /// All of the numbers, in words.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
        }
    }

    /// What a plain network's logits are to be compared as.
    pub fn of_logits(self, logits: Vec<f64>) -> Vec<f64> {
        match self {
            Self::Logits => logits,
            Self::Probabilities => {
                let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = logits.iter().map(|z| (z - largest).exp()).collect();
                let sum: f64 = weights.iter().sum();
                weights.into_iter().map(|weight| weight / sum).collect()
            }
        }
    }
}
