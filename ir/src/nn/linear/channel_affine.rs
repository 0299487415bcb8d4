//! A multiplier and an offset per channel.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{
    Chw, Gain, LinearOperation, Moments, OnChannels, ShowRow, Structure, channel_rows, data,
    element, optional_vector, per_channel, per_channel_moments, with_weights_of,
};
use crate::error::Error;
use crate::nn::TensorType;
use crate::nn::shapes::check_vector;
use crate::weights::{WeightId, Weights};

/// `scale[c]·x + shift[c]` per channel; either tensor may be absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelAffine {
    /// Multiplier, `[C]`.
    pub scale: Option<WeightId>,
    /// Offset, `[C]`.
    pub shift: Option<WeightId>,
}

impl LinearOperation for ChannelAffine {
    fn shape(&self, operand: &TensorType, weights: &Weights) -> Result<TensorType, String> {
        let channels = operand.chw()[0];
        check_vector(weights, self.scale, channels, "scale")?;
        check_vector(weights, self.shift, channels, "shift")?;
        Ok(operand.clone())
    }

    fn rows(&self, shape: Chw, weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        let scale = optional_vector(weights, self.scale, shape[0])?;
        let shift = optional_vector(weights, self.shift, shape[0])?;
        let affine = |c: usize| {
            (
                scale.map_or(1.0, |scale| f64::from(scale[c])),
                shift.map_or(0.0, |shift| f64::from(shift[c])),
            )
        };
        Ok(channel_rows(shape, affine, show))
    }

    fn structure(&self, shape: Chw, weights: &Weights) -> Option<Structure> {
        let scale = optional_vector(weights, self.scale, shape[0]).ok()?;
        Structure::scaled(shape, |c| scale.map_or(1.0, |scale| f64::from(scale[c])))
    }

    fn evaluate(&self, x: &[f32], from: Chw, _to: Chw, weights: &Weights) -> Vec<f32> {
        per_channel(x, from[0], |channel| {
            (
                self.scale.map_or(1.0, |id| data(weights, id)[channel]),
                self.shift.map_or(0.0, |id| data(weights, id)[channel]),
            )
        })
    }

    fn moments(&self, operand: Option<&Moments>, _from: Chw, weights: &Weights) -> Option<Moments> {
        Some(per_channel_moments(operand?, |channel, mean, deviation| {
            let scale = element(weights, self.scale, channel, 1.0);
            let shift = element(weights, self.shift, channel, 0.0);
            (mean * scale + shift, deviation * scale.abs())
        }))
    }

    fn gains(&self, _channels: usize, weights: &Weights) -> Vec<Gain> {
        affine_gains(self.scale, self.shift, weights)
    }

    fn has_offset(&self) -> bool {
        self.shift.is_some()
    }

    fn drop_offset(&mut self) -> bool {
        self.shift = None;
        true
    }

    fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        self.scale.iter_mut().chain(&mut self.shift).collect()
    }

    fn on_channels(&self, run: &Range<usize>, weights: &mut Weights) -> OnChannels {
        with_weights_of(self, run, weights)
    }
}

/// Multiplier and offset entry by entry; [`Gain::ONE`] alone without either.
pub(super) fn affine_gains(
    scale: Option<WeightId>,
    shift: Option<WeightId>,
    weights: &Weights,
) -> Vec<Gain> {
    let entries = scale.or(shift).map_or(1, |id| data(weights, id).len());
    let gain = |index| Gain {
        gain: element(weights, scale, index, 1.0).abs(),
        shift: element(weights, shift, index, 0.0).abs(),
    };
    (0..entries).map(gain).collect()
}
