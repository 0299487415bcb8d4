//! What the builders of operators work with: the graph under construction.

use std::collections::{BTreeMap, HashMap};

use heddle_ir::nn::{ChannelAffine, ElementAffine, Gemm, LinearOp, Op, TensorType};
use heddle_ir::{Tensor, ValueId, WeightId, Weights, verify};

use super::budget::Budget;
use super::call::{Call, Traced, Value};
use super::tensor::Const;
use super::view::View;

mod rearrange;

pub(super) use rearrange::{AxisMatrix, Picks, offset_in};

impl Call<'_> {
    /// An input seen as `[1, C, H, W]`; its elements are moved if its axes come in another order.
    pub(super) fn feature_map(&self, graph: &mut Graph, index: usize) -> Result<ValueId, String> {
        let x = self.traced(index)?;
        match x.view.dims() {
            [1, _, _, _] => graph.as_map(x, self.name),
            dims => Err(format!(
                "expects [batch, channels, height, width], found {dims:?}"
            )),
        }
    }

    /// An input whose second axis is the channels, and how it is seen.
    pub(super) fn channels_second(
        &self,
        graph: &mut Graph,
        index: usize,
    ) -> Result<(ValueId, View), String> {
        let x = self.traced(index)?;
        let Some(second) = x.view.dims().get(1).copied() else {
            return Err(format!(
                "expects the channels on axis 1, found {:?}",
                x.view.dims()
            ));
        };
        let is_second = |graph: &Graph, x: &Traced| {
            graph.chw(x.id)[0] == second && (second == 1 || x.view.axes(1) == [0])
        };
        if x.view.is_whole() && is_second(graph, x) {
            return Ok((x.id, x.view.clone()));
        }
        let moved = graph.reordered(x, self.name)?;
        if moved.view.is_whole() && is_second(graph, &moved) {
            return Ok((moved.id, moved.view));
        }
        Err(format!(
            "expects the channels on axis 1, found {:?}",
            x.view.dims()
        ))
    }
}

/// Bytes that an operation of the graph takes, its name apart.
const NODE: usize = 512;

/// The tensor graph under construction.
#[derive(Default)]
pub(super) struct Graph {
    pub(super) inner: heddle_ir::Graph<Op, TensorType>,
    pub(super) weights: Weights,
    /// Stored weights by name, so that one used twice is stored once.
    by_name: HashMap<String, WeightId>,
    /// For every weight the number that all its elements are, if they are one.
    uniform: Vec<Option<f32>>,
    /// What may still be made.
    pub(super) budget: Budget,
    /// For every `tanh(√(2/π)·(u + 0.044715·u³))` the value u, for GELUs that are written with it.
    pub(super) gelu_tanh: BTreeMap<ValueId, ValueId>,
}

impl Graph {
    pub(super) fn ty(&self, id: ValueId) -> &TensorType {
        self.inner.ty(id)
    }

    /// Channels, height and width of a value.
    pub(super) fn chw(&self, id: ValueId) -> [usize; 3] {
        self.ty(id).chw()
    }

    pub(super) fn name(&self, id: ValueId) -> &str {
        &self.inner.node(id).name
    }

    /// Appends an operation whose type follows from its operands.
    pub(super) fn emit(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: &str,
    ) -> Result<ValueId, String> {
        let types: Vec<&TensorType> = operands.iter().map(|operand| self.ty(*operand)).collect();
        let ty = verify::nn::infer(&op, &types, &self.weights)?;
        self.budget.take(NODE + name.len())?;
        Ok(self.inner.add(op, operands, ty, name))
    }

    /// Appends an operation whose result is seen as `[1, C, H, W]` or `[1, F]`.
    pub(super) fn standard(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: &str,
    ) -> Result<Value, String> {
        let id = self.emit(op, operands, name)?;
        let view = View::standard(self.ty(id));
        Ok(Value::Traced(Traced { id, view }))
    }

    /// Appends an operation whose result is seen as its operand is.
    pub(super) fn traced(
        &mut self,
        op: Op,
        operands: &[ValueId],
        view: View,
        name: &str,
    ) -> Result<Value, String> {
        let id = self.emit(op, operands, name)?;
        Ok(Value::Traced(Traced { id, view }))
    }

    /// Appends an operation that changes extents, but not which axis is which.
    pub(super) fn resized(&mut self, op: Op, x: &Traced, name: &str) -> Result<Value, String> {
        let id = self.emit(op, &[x.id], name)?;
        let view = x.view.resized(self.ty(id));
        Ok(Value::Traced(Traced { id, view }))
    }

    /// The same value in another shape.
    pub(super) fn reshaped(
        &mut self,
        x: &Traced,
        dims: &[usize],
        name: &str,
    ) -> Result<Value, String> {
        self.regrouped(x, dims, name).map(Value::Traced)
    }

    /// `x`, made a vector of the graph if it has become one of the model.
    pub(super) fn flattened(&mut self, x: Traced, name: &str) -> Result<Value, String> {
        self.as_vector(x, name).map(Value::Traced)
    }

    /// The value as a vector in the graph's own order.
    pub(super) fn flat(&mut self, id: ValueId, name: &str) -> Result<ValueId, String> {
        if self.ty(id).shape.len() == 1 {
            return Ok(id);
        }
        self.emit(Op::Linear(LinearOp::Flatten), &[id], name)
    }

    /// Stores a constant as it is.
    pub(super) fn weight(&mut self, constant: &Const) -> Result<WeightId, String> {
        self.push_weight(
            &constant.name,
            constant.shape.clone(),
            constant.to_weights()?,
        )
    }

    /// Stores a constant of `extent` elements as a vector.
    pub(super) fn vector_weight(
        &mut self,
        constant: &Const,
        extent: usize,
    ) -> Result<WeightId, String> {
        if constant.len() != extent {
            return Err(format!(
                "`{}` has shape {:?}, expected {extent} elements",
                constant.name, constant.shape
            ));
        }
        self.push_weight(&constant.name, vec![extent], constant.to_weights()?)
    }

    /// Stores a tensor, unless the same one is stored already.
    pub(super) fn push_weight(
        &mut self,
        name: &str,
        shape: Vec<usize>,
        data: Vec<f32>,
    ) -> Result<WeightId, String> {
        if let Some(bad) = data.iter().find(|x| !x.is_finite()) {
            return Err(format!(
                "weights made from `{name}` hold {bad}; they must be finite"
            ));
        }
        self.budget.work(data.len())?;
        let tensor = Tensor::new(name, shape, data);
        if let Some(known) = self.by_name.get(name)
            && *self.weights.get(*known) == tensor
        {
            return Ok(*known);
        }
        let bytes = size_of_val(&tensor.data[..]);
        self.budget.take(NODE + 2 * name.len() + bytes)?;
        let uniform = tensor.data.first().copied();
        self.uniform
            .push(uniform.filter(|first| tensor.data.iter().all(|element| element == first)));
        let id = self.weights.push(tensor);
        self.by_name.insert(name.to_string(), id);
        Ok(id)
    }

    /// The number that all elements of a weight are.
    pub(super) fn uniform(&self, id: WeightId) -> Option<f64> {
        self.uniform[id.0 as usize].map(f64::from)
    }

    /// Makes sure that `elements` weights can be made, before they are.
    pub(super) fn room(&mut self, elements: usize) -> Result<(), String> {
        self.budget.work(elements)?;
        self.budget.room(elements.saturating_mul(size_of::<f32>()))
    }

    /// The same number for every channel of a value.
    pub(super) fn of_channels(&mut self, x: ValueId, number: f32) -> Result<Vec<f32>, String> {
        let channels = self.chw(x)[0];
        self.room(channels)?;
        Ok(vec![number; channels])
    }

    /// A constant that is broadcast to `x`, as one number per channel.
    pub(super) fn per_channel(&mut self, x: &Traced, constant: &Const) -> Result<Vec<f32>, String> {
        let coefficients = self.coefficients(x, constant)?;
        if coefficients.len() == self.chw(x.id)[0] {
            return Ok(coefficients);
        }
        Err(format!(
            "the constant `{}` varies over height or width; one number per channel is supported",
            constant.name
        ))
    }

    /// A constant that is broadcast to `x`: one number per channel, or one per element in the
    /// order of the graph's value where it varies over height or width.
    pub(super) fn coefficients(
        &mut self,
        x: &Traced,
        constant: &Const,
    ) -> Result<Vec<f32>, String> {
        let steps = self.steps(x, constant)?;
        let elements = constant.to_weights()?;
        let [channels, height, width] = match (self.chw(x.id), steps) {
            ([channels, _, _], [_, 0, 0]) => [channels, 1, 1],
            (all, _) => all,
        };
        self.room(channels * height * width)?;
        let mut coefficients = Vec::with_capacity(channels * height * width);
        for channel in 0..channels {
            for row in 0..height {
                for column in 0..width {
                    let at = channel * steps[0] + row * steps[1] + column * steps[2];
                    coefficients.push(elements[at]);
                }
            }
        }
        let plane = height * width;
        let is_even = |plane: &[f32]| plane.iter().all(|element| *element == plane[0]);
        if plane > 1 && coefficients.chunks_exact(plane).all(is_even) {
            coefficients = coefficients.into_iter().step_by(plane).collect();
        }
        Ok(coefficients)
    }

    /// How far apart the elements of a constant lie that is broadcast to `x`, along its channels,
    /// height and width.
    fn steps(&self, x: &Traced, constant: &Const) -> Result<[usize; 3], String> {
        let dims = x.view.dims();
        let misfit = || {
            format!(
                "the constant `{}` of shape {:?} does not broadcast to {dims:?}",
                constant.name, constant.shape
            )
        };
        if !x.view.is_whole() && constant.len() != 1 {
            return Err(misfit());
        }
        let offset = dims
            .len()
            .checked_sub(constant.shape.len())
            .ok_or_else(misfit)?;
        let extents = self.chw(x.id);
        let (mut steps, mut step) = ([0; 3], 1);
        for (axis, extent) in constant.shape.iter().enumerate().rev() {
            let axis = axis + offset;
            if *extent == 1 {
                continue;
            }
            if *extent != dims[axis] {
                return Err(misfit());
            }
            for inner in x.view.axes(axis).iter().rev() {
                steps[*inner] = step;
                step *= extents[*inner];
            }
        }
        Ok(steps)
    }

    /// Appends `scale·x + shift`, both as [`coefficients`](Self::coefficients) gives them. The
    /// weights are named `stem.scale` and `stem.shift`.
    pub(super) fn scale_and_shift(
        &mut self,
        x: ValueId,
        [scale, shift]: [Option<Vec<f32>>; 2],
        stem: &str,
        name: &str,
    ) -> Result<ValueId, String> {
        let channels = self.chw(x)[0];
        let shape = self.ty(x).shape.clone();
        let of_elements = [&scale, &shift]
            .into_iter()
            .flatten()
            .any(|coefficients| coefficients.len() != channels);
        if of_elements {
            self.room(2 * shape.iter().product::<usize>())?;
        }
        let mut stored = |coefficients: Option<Vec<f32>>, suffix: &str| {
            let Some(mut data) = coefficients else {
                return Ok(None);
            };
            let mut extents = vec![channels];
            if of_elements {
                extents.clone_from(&shape);
                let each = extents.iter().product::<usize>() / data.len();
                data = data
                    .iter()
                    .flat_map(|element| std::iter::repeat_n(*element, each))
                    .collect();
            }
            self.push_weight(&format!("{stem}{suffix}"), extents, data)
                .map(Some)
        };
        let (scale, shift) = (stored(scale, ".scale")?, stored(shift, ".shift")?);
        let op = match of_elements {
            true => LinearOp::ElementAffine(ElementAffine { scale, shift }),
            false => LinearOp::ChannelAffine(ChannelAffine { scale, shift }),
        };
        self.emit(Op::Linear(op), &[x], name)
    }

    /// Weight and operand of the matrix product that defines `id`, if it has no bias yet.
    pub(super) fn unbiased_gemm(&self, id: ValueId) -> Option<(WeightId, ValueId)> {
        match self.inner.node(id).op {
            Op::Linear(LinearOp::Gemm(Gemm { weight, bias: None })) => {
                Some((weight, self.inner.operands(id)[0]))
            }
            _ => None,
        }
    }
}
