//! A multiplier and an offset per element.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::channel_affine::affine_gains;
use super::moments::reach;
use super::{
    Chw, Gain, LinearOperation, Moments, OnChannels, ShowRow, Structure, data, element, misfit,
    per_channel_moments, tensor, with_weights_of,
};
use crate::error::Error;
use crate::nn::TensorType;
use crate::nn::shapes::existing;
use crate::weights::{WeightId, Weights};

/// `scale·x + shift` element by element; either tensor may be absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ElementAffine {
    /// Multiplier, of the operand's shape.
    pub scale: Option<WeightId>,
    /// Offset, of the operand's shape.
    pub shift: Option<WeightId>,
}

impl LinearOperation for ElementAffine {
    fn shape(&self, operand: &TensorType, weights: &Weights) -> Result<TensorType, String> {
        for (id, role) in [(self.scale, "scale"), (self.shift, "shift")] {
            let Some(id) = id else { continue };
            let found = existing(weights, id)?;
            // A vector may stand as `F×1×1`.
            if TensorType::new(found.shape.clone()).chw() != operand.chw() {
                return Err(format!(
                    "{role} `{}` has shape {:?}, the operand is {operand}",
                    found.name, found.shape
                ));
            }
        }
        Ok(operand.clone())
    }

    fn rows(&self, shape: Chw, weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        let elements = shape.iter().product();
        let read = |id: Option<WeightId>| {
            id.map(|id| {
                let found = tensor(weights, id)?;
                match found.data.len() == elements {
                    true => Ok(found.data.as_slice()),
                    false => Err(misfit(found, format!("{shape:?}"))),
                }
            })
            .transpose()
        };
        let (scale, shift) = (read(self.scale)?, read(self.shift)?);
        for element in 0..elements {
            let scale = scale.map_or(1.0, |scale| scale[element].into());
            let shift = shift.map_or(0.0, |shift| shift[element].into());
            show(&[(element, scale)], shift);
        }
        Ok(shape)
    }

    /// A factor of its own for every element is left to the matrix.
    fn structure(&self, shape: Chw, _weights: &Weights) -> Option<Structure> {
        match self.scale {
            None => Structure::identity(shape),
            Some(_) => None,
        }
    }

    fn evaluate(&self, x: &[f32], _from: Chw, _to: Chw, weights: &Weights) -> Vec<f32> {
        let [scale, shift] = [self.scale, self.shift].map(|id| id.map(|id| data(weights, id)));
        let factor = |element: usize| scale.map_or(1.0, |scale| scale[element]);
        let offset = |element: usize| shift.map_or(0.0, |shift| shift[element]);
        let elements = x.iter().enumerate();
        elements
            .map(|(element, x)| factor(element) * x + offset(element))
            .collect()
    }

    /// Every position counts as the one that reaches furthest.
    fn moments(&self, operand: Option<&Moments>, from: Chw, weights: &Weights) -> Option<Moments> {
        let operand = operand?;
        let elements = from.iter().product::<usize>() / operand.mean.len().max(1);
        Some(per_channel_moments(operand, |channel, mean, deviation| {
            let positions = channel * elements..(channel + 1) * elements;
            let moments = positions.map(|index| {
                let scale = element(weights, self.scale, index, 1.0);
                let shift = element(weights, self.shift, index, 0.0);
                (scale * mean + shift, scale.abs() * deviation)
            });
            moments
                .max_by(|a, b| reach(a.0, a.1).total_cmp(&reach(b.0, b.1)))
                .unwrap_or_default()
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
