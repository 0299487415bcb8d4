//! Batch normalisation.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{
    Chw, Gain, LinearOperation, Moments, OnChannels, ShowRow, Structure, channel_rows, data,
    per_channel, vector, with_weights_of,
};
use crate::error::Error;
use crate::nn::TensorType;
use crate::nn::shapes::{check_vector, existing};
use crate::weights::{WeightId, Weights};

/// `scale[c]·(x − mean[c])/√(variance[c] + epsilon) + bias[c]`, four tensors of `[C]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BatchNorm {
    /// Multiplier γ.
    pub scale: WeightId,
    /// Offset β.
    pub bias: WeightId,
    /// Running mean.
    pub mean: WeightId,
    /// Running variance.
    pub variance: WeightId,
    /// Added to the variance.
    pub epsilon: f64,
}

impl LinearOperation for BatchNorm {
    fn shape(&self, operand: &TensorType, weights: &Weights) -> Result<TensorType, String> {
        let channels = operand.chw()[0];
        for (id, role) in [
            (self.scale, "scale"),
            (self.bias, "bias"),
            (self.mean, "mean"),
            (self.variance, "variance"),
        ] {
            check_vector(weights, Some(id), channels, role)?;
        }
        let epsilon = self.epsilon;
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            return Err(format!("epsilon {epsilon} is not a small positive number"));
        }
        let smallest = existing(weights, self.variance)?
            .data
            .iter()
            .copied()
            .fold(f32::INFINITY, f32::min);
        if f64::from(smallest) + epsilon <= 0.0 {
            return Err(format!("variance {smallest} plus epsilon is not positive"));
        }
        Ok(operand.clone())
    }

    fn rows(&self, shape: Chw, weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        let read = |id| vector(weights, id, shape[0]);
        let (scale, bias) = (read(self.scale)?, read(self.bias)?);
        let (mean, variance) = (read(self.mean)?, read(self.variance)?);
        let affine = |c: usize| {
            let slope = f64::from(scale[c]) / (f64::from(variance[c]) + self.epsilon).sqrt();
            (slope, f64::from(bias[c]) - slope * f64::from(mean[c]))
        };
        Ok(channel_rows(shape, affine, show))
    }

    fn structure(&self, shape: Chw, weights: &Weights) -> Option<Structure> {
        let scale = vector(weights, self.scale, shape[0]).ok()?;
        let variance = vector(weights, self.variance, shape[0]).ok()?;
        Structure::scaled(shape, |c| {
            f64::from(scale[c]) / (f64::from(variance[c]) + self.epsilon).sqrt()
        })
    }

    fn evaluate(&self, x: &[f32], from: Chw, _to: Chw, weights: &Weights) -> Vec<f32> {
        per_channel(x, from[0], |channel| {
            let (factor, shift) = self.factor_and_shift(channel, weights);
            (factor as f32, shift as f32)
        })
    }

    /// What the statistics say, whatever the operand is.
    fn moments(
        &self,
        _operand: Option<&Moments>,
        _from: Chw,
        weights: &Weights,
    ) -> Option<Moments> {
        let data = |id| data(weights, id).iter().copied().map(f64::from);
        Some(Moments {
            mean: data(self.bias).collect(),
            deviation: data(self.scale).map(f64::abs).collect(),
        })
    }

    fn gains(&self, channels: usize, weights: &Weights) -> Vec<Gain> {
        let of_channel = |channel| {
            let (factor, shift) = self.factor_and_shift(channel, weights);
            Gain {
                gain: factor.abs(),
                shift: shift.abs(),
            }
        };
        (0..channels).map(of_channel).collect()
    }

    fn has_offset(&self) -> bool {
        true
    }

    /// The offset is part of the statistics.
    fn drop_offset(&mut self) -> bool {
        false
    }

    fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        vec![
            &mut self.scale,
            &mut self.bias,
            &mut self.mean,
            &mut self.variance,
        ]
    }

    fn on_channels(&self, run: &Range<usize>, weights: &mut Weights) -> OnChannels {
        with_weights_of(self, run, weights)
    }
}

impl BatchNorm {
    /// What a channel is multiplied by, and what is added then.
    fn factor_and_shift(&self, channel: usize, weights: &Weights) -> (f64, f64) {
        let of = |id: WeightId| f64::from(data(weights, id)[channel]);
        let factor = of(self.scale) / (of(self.variance) + self.epsilon).sqrt();
        (factor, of(self.bias) - of(self.mean) * factor)
    }
}
