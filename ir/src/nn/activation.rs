//! Slotwise non-linear functions.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};
use std::fmt;

use serde::{Deserialize, Serialize};

/// An activation of a calibrated graph, by its place among the activations there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ActivationId(pub u32);

impl ActivationId {
    /// The id as an index into a dense table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Something for every activation of a calibrated graph.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationMap<T>(Vec<T>);

impl<T> ActivationMap<T> {
    /// What belongs to an activation.
    pub fn get(&self, id: ActivationId) -> Option<&T> {
        self.0.get(id.index())
    }

    /// All entries, by ascending id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ActivationId, &T)> + DoubleEndedIterator {
        let entries = self.0.iter().enumerate();
        entries.map(|(index, entry)| (ActivationId(index as u32), entry))
    }

    /// The entries, by ascending id.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &T> + DoubleEndedIterator {
        self.0.iter()
    }

    /// Number of activations.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no activations.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Collects one entry per activation, by ascending id.
impl<T> FromIterator<T> for ActivationMap<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl<T> std::ops::Index<ActivationId> for ActivationMap<T> {
    type Output = T;

    /// # Panics
    /// If there is no such activation.
    fn index(&self, id: ActivationId) -> &T {
        &self.0[id.index()]
    }
}

/// A slotwise non-linear function.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x` where that is positive, `slope·x` elsewhere.
    LeakyRelu {
        /// The slope of the negative half.
        slope: f64,
    },
    /// `min(max(x, low), high)`.
    Clip {
        /// The least result; absent for none.
        low: Option<f64>,
        /// The greatest result, not below `low`; absent for none.
        high: Option<f64>,
    },
    /// `1/(1 + e^−x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `x/(1 + e^−x)`, also called Swish.
    Silu,
    /// `max(0, min(1, alpha·x + beta))`.
    HardSigmoid {
        /// The slope.
        alpha: f64,
        /// The result at 0, before clipping.
        beta: f64,
    },
    /// `x·max(0, min(1, x/6 + 1/2))`.
    HardSwish,
    /// `x·Φ(x)` with the normal distribution Φ.
    Gelu {
        /// How Φ is written.
        form: GeluForm,
    },
    /// `x²`.
    Square,
    /// `x` itself, with a calibrated range: a place where a value can be refreshed.
    Checkpoint,
}

/// How GELU's normal distribution is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GeluForm {
    /// `Φ(x) = (1 + erf(x/√2))/2`.
    Erf,
    /// `Φ(x) ≈ (1 + tanh(√(2/π)·(x + 0.044715·x³)))/2`.
    Tanh,
}

impl Activation {
    /// The function on plain numbers.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::LeakyRelu { slope } => {
                if x > 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Self::Clip { low, high } => {
                let raised = low.map_or(x, |low| x.max(low));
                high.map_or(raised, |high| raised.min(high))
            }
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Silu => x * sigmoid(x),
            Self::HardSigmoid { alpha, beta } => hard_sigmoid(x, alpha, beta),
            Self::HardSwish => x * hard_sigmoid(x, 1.0 / 6.0, 0.5),
            Self::Gelu { form } => x * normal_distribution(x, form),
            Self::Square => x * x,
            Self::Checkpoint => x,
        }
    }

    /// Whether the parameters are finite numbers that make sense.
    ///
    /// # Errors
    /// A sentence that says which does not.
    pub fn check(self) -> Result<(), String> {
        let finite = |what: &str, parameter: f64| {
            if parameter.is_finite() {
                Ok(())
            } else {
                Err(format!("{what} {parameter} is not a finite number"))
            }
        };
        match self {
            Self::LeakyRelu { slope } => finite("slope", slope),
            Self::Clip { low, high } => {
                low.map_or(Ok(()), |low| finite("lower bound", low))?;
                high.map_or(Ok(()), |high| finite("upper bound", high))?;
                match (low, high) {
                    (Some(low), Some(high)) if low > high => Err(format!(
                        "the lower bound {low} is above the upper bound {high}"
                    )),
                    _ => Ok(()),
                }
            }
            Self::HardSigmoid { alpha, beta } => {
                finite("alpha", alpha)?;
                finite("beta", beta)
            }
            Self::Relu
            | Self::Sigmoid
            | Self::Tanh
            | Self::Silu
            | Self::HardSwish
            | Self::Gelu { .. }
            | Self::Square
            | Self::Checkpoint => Ok(()),
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Models hold 32-bit floats; their shortest decimals are what the user wrote.
        let short = |parameter: f64| parameter as f32;
        match *self {
            Self::Relu => write!(f, "relu"),
            Self::LeakyRelu { slope } => write!(f, "leaky_relu({})", short(slope)),
            Self::Clip { low, high } => {
                let low = low.map_or("−∞".to_owned(), |low| short(low).to_string());
                let high = high.map_or("∞".to_owned(), |high| short(high).to_string());
                write!(f, "clip({low}, {high})")
            }
            Self::Sigmoid => write!(f, "sigmoid"),
            Self::Tanh => write!(f, "tanh"),
            Self::Silu => write!(f, "silu"),
            Self::HardSigmoid { alpha, beta } => {
                write!(f, "hard_sigmoid({}, {})", short(alpha), short(beta))
            }
            Self::HardSwish => write!(f, "hard_swish"),
            Self::Gelu {
                form: GeluForm::Erf,
            } => write!(f, "gelu"),
            Self::Gelu {
                form: GeluForm::Tanh,
            } => write!(f, "gelu(tanh)"),
            Self::Square => write!(f, "square"),
            Self::Checkpoint => write!(f, "checkpoint"),
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    // Neither branch overflows.
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        x.exp() / (1.0 + x.exp())
    }
}

fn hard_sigmoid(x: f64, alpha: f64, beta: f64) -> f64 {
    (alpha * x + beta).clamp(0.0, 1.0)
}

fn normal_distribution(x: f64, form: GeluForm) -> f64 {
    match form {
        // The complement keeps its digits where the distribution is close to 0.
        GeluForm::Erf => 0.5 * libm::erfc(-x * FRAC_1_SQRT_2),
        GeluForm::Tanh => 0.5 * (1.0 + (FRAC_2_PI.sqrt() * (x + 0.044_715 * x * x * x)).tanh()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIP: Activation = Activation::Clip {
        low: Some(-1.0),
        high: Some(6.0),
    };
    const GELU: Activation = Activation::Gelu {
        form: GeluForm::Erf,
    };
    const GELU_TANH: Activation = Activation::Gelu {
        form: GeluForm::Tanh,
    };

    #[test]
    fn functions_have_their_known_values() {
        let hard_sigmoid = Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        };
        let leaky = Activation::LeakyRelu { slope: 0.25 };
        let cases = [
            (Activation::Relu, -2.0, 0.0),
            (Activation::Relu, 2.0, 2.0),
            (leaky, -2.0, -0.5),
            (leaky, 2.0, 2.0),
            (CLIP, -2.0, -1.0),
            (CLIP, 2.0, 2.0),
            (CLIP, 7.0, 6.0),
            (Activation::Sigmoid, 2.0, 0.880_797_077_977_882_4),
            (Activation::Sigmoid, -800.0, 0.0),
            (Activation::Tanh, 0.5, 0.462_117_157_260_009_76),
            (Activation::Silu, -1.0, -0.268_941_421_369_995_1),
            (Activation::Silu, 800.0, 800.0),
            (hard_sigmoid, 1.0, 0.7),
            (hard_sigmoid, -3.0, 0.0),
            (hard_sigmoid, 3.0, 1.0),
            (Activation::HardSwish, 1.5, 1.125),
            (Activation::HardSwish, -1.5, -0.375),
            (Activation::HardSwish, 4.0, 4.0),
            (GELU, 1.0, 0.841_344_746_068_542_9),
            (GELU, -2.0, -0.045_500_263_896_358_42),
            (GELU_TANH, 1.0, 0.841_191_990_608_276_8),
            (Activation::Square, -3.0, 9.0),
            (Activation::Checkpoint, -3.0, -3.0),
        ];
        for (function, x, expected) in cases {
            let found = function.apply(x);
            assert!(
                (found - expected).abs() < 1e-14,
                "{function}({x}) = {found}, not {expected}"
            );
        }
    }

    #[test]
    fn parameters_display_as_the_model_has_them() {
        let slope = f64::from(0.1_f32);
        assert_eq!(
            Activation::LeakyRelu { slope }.to_string(),
            "leaky_relu(0.1)"
        );
        assert_eq!(CLIP.to_string(), "clip(-1, 6)");
        let below = Activation::Clip {
            low: None,
            high: Some(6.0),
        };
        assert_eq!(below.to_string(), "clip(−∞, 6)");
    }

    #[test]
    fn parameters_are_checked() {
        assert!(CLIP.check().is_ok() && Activation::Relu.check().is_ok());
        let wrong = [
            Activation::LeakyRelu { slope: f64::NAN },
            Activation::Clip {
                low: Some(1.0),
                high: Some(0.0),
            },
            Activation::Clip {
                low: None,
                high: Some(f64::INFINITY),
            },
            Activation::HardSigmoid {
                alpha: 1.0,
                beta: f64::NEG_INFINITY,
            },
        ];
        for function in wrong {
            assert!(function.check().is_err(), "{function}");
        }
    }
}
