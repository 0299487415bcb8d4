//! Matrix product.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::conv::{elements_per_output, row_gains};
use super::{
    Axis, AxisEntry, Chw, Filter, Gain, LinearOperation, Moments, OnChannels, ShowRow, Structure,
    data, element, misfit, optional_vector, tensor,
};
use crate::error::Error;
use crate::nn::TensorType;
use crate::nn::shapes::{check_vector, existing};
use crate::weights::{Tensor, WeightId, Weights};

/// `W·x + b`; weight `[out, in]`, bias `[out]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gemm {
    /// Matrix.
    pub weight: WeightId,
    /// Bias tensor.
    pub bias: Option<WeightId>,
}

impl LinearOperation for Gemm {
    fn shape(&self, operand: &TensorType, weights: &Weights) -> Result<TensorType, String> {
        let [out, inner] = existing(weights, self.weight)?.shape[..] else {
            return Err("a dense layer's weight needs two axes".into());
        };
        if operand.shape != [inner] {
            return Err(format!(
                "the weight takes {inner} features, the operand is {operand}"
            ));
        }
        check_vector(weights, self.bias, out, "bias")?;
        Ok(TensorType::new([out]))
    }

    fn rows(&self, operand: Chw, weights: &Weights, show: ShowRow<'_>) -> Result<Chw, Error> {
        let inputs = operand.iter().product::<usize>();
        let outputs = self.checked_outputs(operand, weights)?;
        let weight = tensor(weights, self.weight)?;
        let bias = optional_vector(weights, self.bias, outputs)?;
        let mut entries = Vec::with_capacity(inputs);
        for output in 0..outputs {
            let row = &weight.data[output * inputs..][..inputs];
            entries.clear();
            entries.extend(row.iter().map(|entry| f64::from(*entry)).enumerate());
            show(&entries, bias.map_or(0.0, |bias| f64::from(bias[output])));
        }
        Ok([outputs, 1, 1])
    }

    fn offset(&self, operand: Chw, weights: &Weights) -> Result<(Vec<f64>, Chw), Error> {
        let outputs = self.checked_outputs(operand, weights)?;
        let bias = optional_vector(weights, self.bias, outputs)?;
        let of_output = |output| bias.map_or(0.0, |bias| f64::from(bias[output]));
        Ok(((0..outputs).map(of_output).collect(), [outputs, 1, 1]))
    }

    /// A convolution whose filter covers the operand.
    fn structure(&self, operand: Chw, weights: &Weights) -> Option<Structure> {
        let outputs = self.checked_outputs(operand, weights).ok()?;
        let all = |extent: usize| {
            let entry = |index: u32| AxisEntry {
                operand: index,
                tap: index,
                weight: 1.0,
            };
            Axis::new([(0..extent as u32).map(entry)])
        };
        let [channels, height, width] = operand;
        let filter = Filter {
            weight: self.weight,
            per_group: channels,
            outputs_per_group: outputs.max(1),
            taps: [height, width],
        };
        let axes = [all(height)?, all(width)?];
        Structure::filtered(filter, [outputs, channels], axes, weights)
    }

    fn evaluate(&self, x: &[f32], _from: Chw, _to: Chw, weights: &Weights) -> Vec<f32> {
        let rows = data(weights, self.weight).chunks_exact(x.len()).enumerate();
        rows.map(|(row, weight)| {
            let products = weight
                .iter()
                .zip(x)
                .map(|(w, x)| f64::from(*w) * f64::from(*x));
            (products.sum::<f64>() + element(weights, self.bias, row, 0.0)) as f32
        })
        .collect()
    }

    /// As if the features were independent.
    fn moments(&self, operand: Option<&Moments>, _from: Chw, weights: &Weights) -> Option<Moments> {
        let Moments { mean, deviation } = operand?;
        let rows = data(weights, self.weight).chunks(mean.len().max(1));
        let (mean, deviation) = rows
            .enumerate()
            .map(|(row, weight)| {
                let shift = element(weights, self.bias, row, 0.0);
                let terms = weight.iter().zip(mean.iter().zip(deviation));
                let (mean, variance) = terms.fold((shift, 0.0), |(mean, var), (w, (m, d))| {
                    let w = f64::from(*w);
                    (mean + w * m, var + (w * d).powi(2))
                });
                (mean, variance.sqrt())
            })
            .unzip();
        Some(Moments { mean, deviation })
    }

    fn gains(&self, channels: usize, weights: &Weights) -> Vec<Gain> {
        row_gains(self.weight, self.bias, channels, weights)
    }

    fn row_entries(&self, weights: &Weights) -> usize {
        elements_per_output(self.weight, weights)
    }

    fn has_offset(&self) -> bool {
        self.bias.is_some()
    }

    fn drop_offset(&mut self) -> bool {
        self.bias = None;
        true
    }

    fn weights_mut(&mut self) -> Vec<&mut WeightId> {
        std::iter::once(&mut self.weight)
            .chain(&mut self.bias)
            .collect()
    }

    fn on_channels(&self, _run: &Range<usize>, _weights: &mut Weights) -> OnChannels {
        OnChannels::Mixed
    }
}

impl Gemm {
    /// The number of results, if the matrix fits the operand.
    fn checked_outputs(&self, operand: Chw, weights: &Weights) -> Result<usize, Error> {
        let inputs = operand.iter().product::<usize>();
        let weight = tensor(weights, self.weight)?;
        match weight.shape[..] {
            [outputs, columns] if columns == inputs => Ok(outputs),
            _ => Err(misfit(weight, format!("[outputs, {inputs}]"))),
        }
    }

    /// The columns `features` of the matrix, run by run; its name is the whole matrix's.
    pub fn columns(&self, features: &[Range<usize>], weights: &Weights) -> Tensor {
        let matrix = weights.get(self.weight);
        let [outputs, columns] = [matrix.shape[0], matrix.shape[1]];
        let count = features.iter().map(Range::len).sum();
        let rows = matrix.data.chunks_exact(columns);
        let data: Vec<f32> = rows
            .flat_map(|row| features.iter().flat_map(|run| &row[run.clone()]))
            .copied()
            .collect();
        Tensor::new(&matrix.name, vec![outputs, count], data)
    }
}
