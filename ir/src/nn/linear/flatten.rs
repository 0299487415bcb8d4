//! Row-major reshape to a vector.

use std::ops::Range;

use super::{Chw, LinearOp, LinearOperation, Moments, OnChannels, ShowRow};
use crate::error::Error;
use crate::nn::TensorType;
use crate::weights::Weights;

/// Row-major reshape to `[C·H·W]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten;

impl LinearOperation for Flatten {
    fn shape(&self, operand: &TensorType, _weights: &Weights) -> Result<TensorType, String> {
        Ok(TensorType::new([operand.elements()]))
    }

    fn rows(&self, operand: Chw, _weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        let elements = operand.iter().product();
        (0..elements).for_each(|element| show(&[(element, 1.0)], 0.0));
        Ok([elements, 1, 1])
    }

    fn evaluate(&self, x: &[f32], _from: Chw, _to: Chw, _weights: &Weights) -> Vec<f32> {
        x.to_vec()
    }

    fn moments(
        &self,
        operand: Option<&Moments>,
        [_, height, width]: Chw,
        _weights: &Weights,
    ) -> Option<Moments> {
        let repeated = |values: &[f64]| {
            values
                .iter()
                .flat_map(|v| std::iter::repeat_n(*v, height * width))
                .collect()
        };
        Some(operand?.rearranged(repeated))
    }

    fn on_channels(&self, run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        OnChannels::Applied(LinearOp::Flatten, run.clone())
    }
}
