//! Row-major reshape to a vector.

use std::ops::Range;

use super::{Gain, LinearOp, LinearOperation, Moments, OnChannels, ShowRow};
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

    fn rows(
        &self,
        operand: [usize; 3],
        _weights: &Weights,
        show: ShowRow<'_>,
    ) -> Result<[usize; 3], Error> {
        let elements = operand.iter().product();
        (0..elements).for_each(|element| show(&[(element, 1.0)], 0.0));
        Ok([elements, 1, 1])
    }

    fn evaluate(
        &self,
        x: &[f32],
        _from: [usize; 3],
        _to: [usize; 3],
        _weights: &Weights,
    ) -> Vec<f32> {
        x.to_vec()
    }

    fn moments(
        &self,
        operand: Option<&Moments>,
        [_, height, width]: [usize; 3],
        _weights: &Weights,
    ) -> Option<Moments> {
        let Moments { mean, deviation } = operand?;
        let repeated = |values: &[f64]| {
            values
                .iter()
                .flat_map(|v| std::iter::repeat_n(*v, height * width))
                .collect()
        };
        Some(Moments {
            mean: repeated(mean),
            deviation: repeated(deviation),
        })
    }

    fn gains(&self, _channels: usize, _weights: &Weights) -> Vec<Gain> {
        vec![Gain::ONE]
    }

    fn on_channels(&self, run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        OnChannels::Applied(LinearOp::Flatten, run.clone())
    }
}
