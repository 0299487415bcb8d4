//! The choices of EvalMod: how a bootstrap reduces modulo `q_0`. [`crate::sine_fit`] has the
//! functions that each choice evaluates.

use crate::chebyshev;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How EvalMod removes multiples of `q_0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvalMod {
    /// A cosine that is an even polynomial about ¼, the fewest products; the sine stands for the
    /// reduction.
    #[default]
    Cosine,
    /// A cosine with all powers by multi-interval Remez exchange, then an inverse sine of odd
    /// degree (Lee, Lee, Kim and No, EUROCRYPT 2021; used in arXiv 2106.07229): precise for
    /// messages close to `q_0`.
    Arcsine {
        /// Degree of the inverse sine: 3, 5 or 7.
        degree: u32,
    },
}

impl EvalMod {
    /// Every choice, the default first.
    pub const ALL: [Self; 4] = [
        Self::Cosine,
        Self::Arcsine { degree: 3 },
        Self::Arcsine { degree: 5 },
        Self::Arcsine { degree: 7 },
    ];

    /// Levels that the inverse sine uses after the double angles; 0 without one.
    pub fn arcsine_depth(self) -> usize {
        match self {
            Self::Cosine => 0,
            Self::Arcsine { degree } => chebyshev::depth(degree as usize),
        }
    }
}

impl fmt::Display for EvalMod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosine => f.write_str("cosine"),
            Self::Arcsine { degree } => write!(f, "arcsine:{degree}"),
        }
    }
}

impl FromStr for EvalMod {
    type Err = String;

    /// `cosine`, `arcsine` for degree 3, or `arcsine:3`, `arcsine:5`, `arcsine:7`.
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL
            .into_iter()
            .find(|choice| choice.to_string() == text);
        match (known, text) {
            (Some(choice), _) => Ok(choice),
            (None, "arcsine") => Ok(Self::Arcsine { degree: 3 }),
            (None, _) => {
                let names: Vec<String> = Self::ALL.iter().map(ToString::to_string).collect();
                Err(format!("`{text}` is none of {}", names.join(", ")))
            }
        }
    }
}
