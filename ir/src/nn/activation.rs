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
    /// `x^degree`.
    Monomial {
        /// The exponent, from 1 to [`MAX_POWER`].
        degree: u32,
    },
    /// `|x|`.
    Abs,
    /// `gamma·x` where x is positive, `gamma·alpha·(e^(x/width) − 1)` elsewhere: ELU, SELU, CELU.
    Elu {
        /// What the negative half saturates at, negated and before `gamma`.
        alpha: f64,
        /// The factor of both halves.
        gamma: f64,
        /// How far the negative half reaches, positive.
        width: f64,
    },
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x/(1 + |x|)`.
    Softsign,
    /// `x·tanh(ln(1 + e^x))`.
    Mish,
    /// The error function.
    Erf,
    /// `x` where that is above the threshold, 0 elsewhere. It jumps, unless the threshold is 0.
    ThresholdedRelu {
        /// The threshold.
        threshold: f64,
    },
    /// `x + bias` below −threshold, `x − bias` above the threshold, 0 between. It jumps, unless
    /// both parameters are the same.
    Shrink {
        /// The threshold, not negative.
        threshold: f64,
        /// How far the outer pieces move towards 0.
        bias: f64,
    },
    /// `e^(x + offset)`.
    Exp {
        /// What is added to the operand.
        offset: f64,
    },
    /// `ln(x + offset)`, for operands above `−offset`.
    Log {
        /// What is added to the operand.
        offset: f64,
    },
    /// `(x + offset)^exponent`, for operands above `−offset`.
    Power {
        /// What is added to the operand.
        offset: f64,
        /// The exponent, any number.
        exponent: f64,
    },
}

/// The largest degree of [`Activation::Monomial`]: that of the largest polynomials.
pub const MAX_POWER: u32 = 1023;

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
            Self::Monomial { degree } => x.powi(degree.min(MAX_POWER) as i32),
            Self::Abs => x.abs(),
            Self::Elu {
                alpha,
                gamma,
                width,
            } => {
                if x > 0.0 {
                    gamma * x
                } else {
                    gamma * alpha * (x / width).exp_m1()
                }
            }
            Self::Softplus => softplus(x),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Mish => x * softplus(x).tanh(),
            Self::Erf => libm::erf(x),
            Self::ThresholdedRelu { threshold } => {
                if x > threshold {
                    x
                } else {
                    0.0
                }
            }
            Self::Shrink { threshold, bias } => {
                if x < -threshold {
                    x + bias
                } else if x > threshold {
                    x - bias
                } else {
                    0.0
                }
            }
            Self::Exp { offset } => (x + offset).exp(),
            Self::Log { offset } => (x + offset).ln(),
            Self::Power { offset, exponent } => (x + offset).powf(exponent),
        }
    }

    /// What the function adds to its operand first, where that is all that a shift of the operand
    /// changes: of exponentials, logarithms and powers.
    pub fn offset(self) -> Option<f64> {
        match self {
            Self::Exp { offset } | Self::Log { offset } | Self::Power { offset, .. } => {
                Some(offset)
            }
            _ => None,
        }
    }

    /// The function of operands that are smaller by `shift`; itself, unless it has an
    /// [`offset`](Self::offset).
    pub fn shifted(self, shift: f64) -> Self {
        match self {
            Self::Exp { offset } => Self::Exp {
                offset: offset + shift,
            },
            Self::Log { offset } => Self::Log {
                offset: offset + shift,
            },
            Self::Power { offset, exponent } => Self::Power {
                offset: offset + shift,
                exponent,
            },
            other => other,
        }
    }

    /// The number that all operands must stay above, where there is one: the function has no
    /// polynomials on a range that reaches it.
    pub fn pole(self) -> Option<f64> {
        match self {
            // Not −offset, which of 0 would be −0 in messages.
            Self::Log { offset } | Self::Power { offset, .. } => Some(0.0 - offset),
            _ => None,
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
            Self::Monomial { degree } => match degree {
                1..=MAX_POWER => Ok(()),
                _ => Err(format!("the power {degree} is not one of 1 to {MAX_POWER}")),
            },
            Self::Elu {
                alpha,
                gamma,
                width,
            } => {
                finite("alpha", alpha)?;
                finite("gamma", gamma)?;
                finite("width", width)?;
                match width > 0.0 {
                    true => Ok(()),
                    false => Err(format!("the width {width} is not positive")),
                }
            }
            Self::ThresholdedRelu { threshold } => finite("threshold", threshold),
            Self::Shrink { threshold, bias } => {
                finite("threshold", threshold)?;
                finite("bias", bias)?;
                match threshold >= 0.0 {
                    true => Ok(()),
                    false => Err(format!("the threshold {threshold} is negative")),
                }
            }
            Self::Exp { offset } | Self::Log { offset } => finite("offset", offset),
            Self::Power { offset, exponent } => {
                finite("offset", offset)?;
                finite("exponent", exponent)
            }
            Self::Relu
            | Self::Sigmoid
            | Self::Tanh
            | Self::Silu
            | Self::HardSwish
            | Self::Gelu { .. }
            | Self::Square
            | Self::Checkpoint => Ok(()),
            Self::Abs | Self::Softplus | Self::Softsign | Self::Mish | Self::Erf => Ok(()),
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
            Self::Monomial { degree } => write!(f, "power({degree})"),
            Self::Abs => write!(f, "abs"),
            Self::Elu {
                alpha,
                gamma,
                width,
            } => {
                let [alpha, gamma, width] = [alpha, gamma, width].map(short);
                match (gamma == 1.0, width == 1.0) {
                    (true, true) => write!(f, "elu({alpha})"),
                    (true, false) if alpha == width => write!(f, "celu({alpha})"),
                    (false, true) => write!(f, "selu({alpha}, {gamma})"),
                    _ => write!(f, "elu({alpha}, {gamma}, {width})"),
                }
            }
            Self::Softplus => write!(f, "softplus"),
            Self::Softsign => write!(f, "softsign"),
            Self::Mish => write!(f, "mish"),
            Self::Erf => write!(f, "erf"),
            Self::ThresholdedRelu { threshold } => {
                write!(f, "thresholded_relu({})", short(threshold))
            }
            Self::Shrink { threshold, bias } => {
                write!(f, "shrink({}, {})", short(threshold), short(bias))
            }
            Self::Exp { offset } => write!(f, "exp(x + {})", short(offset)),
            Self::Log { offset } => write!(f, "log(x + {})", short(offset)),
            Self::Power { offset, exponent } => {
                write!(f, "(x + {})^{}", short(offset), short(exponent))
            }
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

fn softplus(x: f64) -> f64 {
    // The exponential of what is not positive does not overflow.
    x.max(0.0) + (-x.abs()).exp().ln_1p()
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
mod tests;
