//! Batch-norm folding: a batch normalisation behind a convolution or matrix product becomes part of
//! its weights; any other becomes one multiplier and one offset per channel.
//!
//! New weights are computed in double precision and rounded once. Ranges that follow from
//! batch-norm statistics must be taken before this pass. Activations keep their ids.

use heddle_ir::nn::{
    BatchNorm, ChannelAffine, Conv, Gemm, LinearOp, Model, Op, TensorType, referenced_weights,
};
use heddle_ir::{Graph, Tensor, ValueId, WeightId, Weights};

use crate::error::Error;
use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "fold-batch-norm";

/// Folds every [`LinearOp::BatchNorm`] and [`LinearOp::ChannelAffine`] into the operation in front
/// of it where that has no other user; drops weights that nothing refers to any more.
///
/// # Errors
/// [`Error::BatchNorm`] if a variance plus epsilon is not positive and finite.
pub fn run(model: Model) -> Result<(Model, Changed), Error> {
    let is_affine = |op: &Op| {
        matches!(
            op,
            Op::Linear(LinearOp::BatchNorm(_) | LinearOp::ChannelAffine(_))
        )
    };
    if !model
        .graph
        .values()
        .any(|value| is_affine(&model.graph.node(value).op))
    {
        return Ok((model, Changed::No));
    }
    let mut folder = Folder {
        model: &model,
        graph: Graph::new(),
        weights: model.weights.clone(),
        renumbered: Vec::with_capacity(model.graph.len()),
    };
    for value in model.graph.values() {
        let folded = folder.value(value)?;
        folder.renumbered.push(folded);
    }
    let Folder {
        mut graph,
        weights,
        renumbered,
        ..
    } = folder;
    let outputs = model.graph.outputs().iter();
    graph.set_outputs(outputs.map(|output| renumbered[output.index()]).collect());
    let weights = referenced_weights(&mut graph, &weights);
    let changed = if graph == model.graph && weights == model.weights {
        Changed::No
    } else {
        Changed::Yes
    };
    Ok((
        Model {
            graph,
            weights,
            ..model
        },
        changed,
    ))
}

/// `scale[c]·x + shift[c]`.
struct Affine {
    scale: Vec<f64>,
    shift: Vec<f64>,
}

struct Folder<'a> {
    model: &'a Model,
    graph: Graph<Op, TensorType>,
    weights: Weights,
    /// By value of the model.
    renumbered: Vec<ValueId>,
}

impl Folder<'_> {
    /// The value of the new graph that stands for `value` of the model.
    fn value(&mut self, value: ValueId) -> Result<ValueId, Error> {
        let graph = &self.model.graph;
        let node = graph.node(value);
        let before = graph.operands(value);
        let operands = graph.renumbered_operands(value, &self.renumbered);
        let mut op = node.op.clone();
        if let Some(affine) = self.affine(value)? {
            let is_single_use =
                graph.users(before[0]) == [value] && !graph.outputs().contains(&before[0]);
            if is_single_use && let Some(folded) = self.fold(operands[0], &affine) {
                self.graph.node_mut(operands[0]).op = Op::Linear(folded);
                return Ok(operands[0]);
            }
            if matches!(op, Op::Linear(LinearOp::BatchNorm(_))) {
                op = Op::Linear(self.channel_affine(&affine, &node.name));
            }
        }
        Ok(self
            .graph
            .add(op, &operands, node.ty.clone(), node.name.clone()))
    }

    /// What `value` of the model does to its channels, if that is all it does.
    fn affine(&self, value: ValueId) -> Result<Option<Affine>, Error> {
        let node = self.model.graph.node(value);
        let data = |id: &WeightId| {
            self.model
                .weights
                .get(*id)
                .data
                .iter()
                .copied()
                .map(f64::from)
        };
        match &node.op {
            Op::Linear(LinearOp::BatchNorm(BatchNorm {
                scale,
                bias,
                mean,
                variance,
                epsilon,
            })) => {
                let divisors = data(variance)
                    .enumerate()
                    .map(|(channel, variance)| {
                        let value = variance + epsilon;
                        if value > 0.0 && value.is_finite() {
                            Ok(value.sqrt())
                        } else {
                            Err(Error::BatchNorm {
                                node: node.name.clone(),
                                channel,
                                value,
                            })
                        }
                    })
                    .collect::<Result<Vec<f64>, Error>>()?;
                let scale: Vec<f64> = data(scale).zip(divisors).map(|(g, d)| g / d).collect();
                let shift = data(bias)
                    .zip(data(mean))
                    .zip(&scale)
                    .map(|((b, m), s)| b - m * s);
                let shift = shift.collect();
                Ok(Some(Affine { scale, shift }))
            }
            Op::Linear(LinearOp::ChannelAffine(ChannelAffine { scale, shift })) => {
                let channels = node.ty.chw()[0];
                let or = |id: &Option<WeightId>, default| {
                    id.as_ref()
                        .map_or_else(|| vec![default; channels], |id| data(id).collect())
                };
                Ok(Some(Affine {
                    scale: or(scale, 1.0),
                    shift: or(shift, 0.0),
                }))
            }
            _ => Ok(None),
        }
    }

    /// The operation that defines `value`, followed by `affine`, as one operation.
    fn fold(&mut self, value: ValueId, affine: &Affine) -> Option<LinearOp> {
        let Op::Linear(op) = self.graph.node(value).op.clone() else {
            return None;
        };
        match op {
            LinearOp::Conv(Conv {
                weight,
                bias,
                window,
                groups,
            }) => {
                let (weight, bias) = self.scale_rows(weight, bias, affine);
                Some(LinearOp::Conv(Conv {
                    weight,
                    bias,
                    window,
                    groups,
                }))
            }
            LinearOp::Gemm(Gemm { weight, bias }) => {
                let (weight, bias) = self.scale_rows(weight, bias, affine);
                Some(LinearOp::Gemm(Gemm { weight, bias }))
            }
            LinearOp::ChannelAffine(ChannelAffine { scale, shift }) => {
                let channels = affine.scale.len();
                let data = |id: Option<WeightId>, default: f64| match id {
                    Some(id) => self
                        .weights
                        .get(id)
                        .data
                        .iter()
                        .copied()
                        .map(f64::from)
                        .collect(),
                    None => vec![default; channels],
                };
                let scales = data(scale, 1.0).into_iter().zip(&affine.scale);
                let shifts = data(shift, 0.0)
                    .into_iter()
                    .zip(&affine.scale)
                    .zip(&affine.shift);
                let both = Affine {
                    scale: scales.map(|(inner, outer)| inner * outer).collect(),
                    shift: shifts
                        .map(|((inner, scale), shift)| inner * scale + shift)
                        .collect(),
                };
                let name = self.graph.node(value).name.clone();
                Some(self.channel_affine(&both, &name))
            }
            _ => None,
        }
    }

    /// Weight and bias with every output row scaled and shifted.
    fn scale_rows(
        &mut self,
        weight: WeightId,
        bias: Option<WeightId>,
        affine: &Affine,
    ) -> (WeightId, Option<WeightId>) {
        let rows = affine.scale.len();
        let tensor = self.weights.get(weight);
        let row_length = (tensor.data.len() / rows.max(1)).max(1);
        let data = tensor
            .data
            .chunks(row_length)
            .zip(&affine.scale)
            .flat_map(|(row, scale)| row.iter().map(move |w| (f64::from(*w) * scale) as f32))
            .collect();
        let folded = Tensor::new(
            format!("{}.folded", tensor.name),
            tensor.shape.clone(),
            data,
        );
        let bias_name = bias.map_or_else(
            || format!("{}.folded_bias", tensor.name),
            |id| format!("{}.folded", self.weights.get(id).name),
        );
        let old = bias.map(|id| self.weights.get(id).data.clone());
        let shifts = (0..rows).map(|row| {
            let old = old.as_ref().map_or(0.0, |old| f64::from(old[row]));
            (old * affine.scale[row] + affine.shift[row]) as f32
        });
        let shifts = Tensor::new(bias_name, vec![rows], shifts.collect());
        (self.weights.push(folded), Some(self.weights.push(shifts)))
    }

    fn channel_affine(&mut self, affine: &Affine, name: &str) -> LinearOp {
        let mut push = |what: &str, values: &[f64]| {
            let data = values.iter().map(|value| *value as f32).collect();
            self.weights.push(Tensor::new(
                format!("{name}.{what}"),
                vec![values.len()],
                data,
            ))
        };
        let scale = Some(push("scale", &affine.scale));
        let shift = Some(push("shift", &affine.shift));
        LinearOp::ChannelAffine(ChannelAffine { scale, shift })
    }
}
