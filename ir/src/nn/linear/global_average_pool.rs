//! Mean over height and width.

use std::ops::Range;

use super::{
    AveragePool, Chw, LinearOp, LinearOperation, OnChannels, PaddingInMean, ShowRow, Structure,
};
use crate::error::Error;
use crate::nn::shapes::check_feature_map;
use crate::nn::{TensorType, Window};
use crate::weights::Weights;

/// Mean over height and width: `[C, H, W]` to `[C, 1, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAveragePool;

impl LinearOperation for GlobalAveragePool {
    fn shape(&self, operand: &TensorType, _weights: &Weights) -> Result<TensorType, String> {
        check_feature_map(operand)?;
        Ok(TensorType::new([operand.chw()[0], 1, 1]))
    }

    fn rows(&self, operand: Chw, weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        pool(operand).rows(operand, weights, show)
    }

    fn structure(&self, operand: Chw, weights: &Weights) -> Option<Structure> {
        pool(operand).structure(operand, weights)
    }

    fn evaluate(&self, x: &[f32], [_, h, w]: Chw, _to: Chw, _weights: &Weights) -> Vec<f32> {
        let mean = |plane: &[f32]| {
            let sum = plane.iter().map(|x| f64::from(*x)).sum::<f64>();
            (sum / plane.len() as f64) as f32
        };
        x.chunks_exact(h * w).map(mean).collect()
    }

    fn is_whole_mean(&self, _operand: Chw) -> bool {
        true
    }

    fn on_channels(&self, run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        OnChannels::Applied(LinearOp::GlobalAveragePool, run.clone())
    }
}

/// The same mean as a pool with one window.
fn pool([_, height, width]: Chw) -> AveragePool {
    AveragePool {
        window: Window::plain([height, width]),
        padding: PaddingInMean::Counted,
    }
}
