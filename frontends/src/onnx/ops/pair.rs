//! Two values of one shape: elementwise operations broadcast their operands.
//!
//! ONNX aligns shapes at the last axis and repeats what has extent 1. Both operands come to the
//! graph's shape of the one that is not repeated; where both are, to a shape made of the axes of
//! both. What has to be repeated or moved for that is one linear operation.

use heddle_ir::ValueId;
use heddle_ir::nn::{LinearOp, Op, Rearrange};

use crate::onnx::build::Graph;
use crate::onnx::call::Traced;
use crate::onnx::dims;
use crate::onnx::view::View;

/// Two values of one type, both seen by one view.
pub(super) struct Pair {
    pub(super) left: ValueId,
    pub(super) right: ValueId,
    pub(super) view: View,
}

/// The graph's shape of a result and how it is seen.
struct Frame {
    shape: Vec<usize>,
    view: View,
}

impl Graph {
    /// Both values, broadcast to each other as ONNX says. New operations are named `name`.
    ///
    /// # Errors
    /// If the shapes do not broadcast, or the result has more axes than the graph's values.
    pub(super) fn pair(&mut self, x: &Traced, y: &Traced, name: &str) -> Result<Pair, String> {
        if x.view == y.view && self.ty(x.id) == self.ty(y.id) {
            return Ok(Pair {
                left: x.id,
                right: y.id,
                view: x.view.clone(),
            });
        }
        let dims = dims::broadcast(x.view.dims(), y.view.dims())?;
        let frame = self.frame(x, y, dims)?;
        Ok(Pair {
            left: self.spread(x, &frame, name)?,
            right: self.spread(y, &frame, name)?,
            view: frame.view,
        })
    }

    /// A shape that holds the elements of `dims`, which both values broadcast to.
    fn frame(&self, x: &Traced, y: &Traced, dims: Vec<usize>) -> Result<Frame, String> {
        let behind = |value: &Traced, axis: usize| -> Option<Vec<usize>> {
            let own = (axis + value.view.dims().len()).checked_sub(dims.len())?;
            (value.view.dims()[own] > 1).then(|| value.view.axes(own).to_vec())
        };
        for whole in [x, y] {
            let is_whole = |axis: usize| dims[axis] == 1 || behind(whole, axis).is_some();
            if (0..dims.len()).all(is_whole) {
                let axes = (0..dims.len()).map(|axis| behind(whole, axis).unwrap_or_default());
                let view = View::new(dims.clone(), axes.collect());
                let shape = self.ty(whole.id).shape.clone();
                return Ok(Frame { shape, view });
            }
        }
        // Every axis keeps its place among channels, height and width where there is room for it.
        let long: Vec<usize> = (0..dims.len()).filter(|axis| dims[*axis] > 1).collect();
        let wanted: Vec<Option<usize>> = long
            .iter()
            .map(
                |axis| match behind(x, *axis).or_else(|| behind(y, *axis))?[..] {
                    [inner] => Some(inner),
                    _ => None,
                },
            )
            .collect();
        if long.len() > 3 {
            return Err(format!(
                "broadcasts {:?} and {:?}, whose result has more than three axes",
                x.view.dims(),
                y.view.dims()
            ));
        }
        let are_apart = (0..3).all(|inner| {
            let uses = wanted.iter().filter(|wanted| **wanted == Some(inner));
            uses.count() <= 1
        }) && wanted.iter().all(Option::is_some);
        let (mut shape, mut axes) = (vec![1; 3], vec![Vec::new(); dims.len()]);
        for (place, (axis, wanted)) in long.into_iter().zip(wanted).enumerate() {
            let inner = wanted.filter(|_| are_apart).unwrap_or(place);
            shape[inner] = dims[axis];
            axes[axis] = vec![inner];
        }
        let view = View::new(dims, axes);
        Ok(Frame { shape, view })
    }

    /// The value in the frame's shape: itself, or its elements repeated and moved.
    fn spread(&mut self, x: &Traced, frame: &Frame, name: &str) -> Result<ValueId, String> {
        let from = self.chw(x.id);
        let dims = frame.view.dims();
        let mut tables: Vec<Vec<Option<u32>>> = Vec::with_capacity(frame.shape.len());
        for extent in &frame.shape {
            self.budget
                .take(size_of::<Option<u32>>().saturating_mul(*extent))?;
            tables.push(vec![Some(0); *extent]);
        }
        for (axis, extent) in dims.iter().enumerate() {
            let own = (axis + x.view.dims().len()).checked_sub(dims.len());
            let Some(own) = own.filter(|own| x.view.dims()[*own] > 1) else {
                continue;
            };
            self.budget.work(*extent)?;
            let offset = |index: usize| offset(index, x.view.axes(own), from);
            let group = frame.view.axes(axis);
            let mut step = 1;
            for inner in group.iter().rev() {
                for (position, entry) in tables[*inner].iter_mut().enumerate() {
                    *entry = Some(offset(position * step));
                }
                step *= frame.shape[*inner];
            }
            // The offsets along a merged axis must be sums of those along its parts.
            let sum_of_parts = |index: usize| -> u32 {
                let mut rest = index;
                let parts = group.iter().rev().map(|inner| {
                    let position = rest % frame.shape[*inner];
                    rest /= frame.shape[*inner];
                    tables[*inner][position].unwrap_or(0)
                });
                parts.sum()
            };
            if group.len() > 1 && (0..*extent).any(|index| offset(index) != sum_of_parts(index)) {
                return Err(format!(
                    "axis {axis} merges channels, height and width in another order than the other \
                     operand's"
                ));
            }
        }
        if is_in_order(&tables, &frame.shape) && self.ty(x.id).shape == frame.shape {
            return Ok(x.id);
        }
        let op = LinearOp::Rearrange(Rearrange::whole(tables, from, frame.shape.clone()));
        self.emit(Op::Linear(op), &[x.id], name)
    }
}

/// Where position `index` along an ONNX axis that runs over the graph's axes `group` of a value of
/// shape `chw` lies in that value. The importer's values have fewer than 2^32 elements.
fn offset(index: usize, group: &[usize], chw: [usize; 3]) -> u32 {
    let (mut rest, mut sum) = (index, 0);
    for inner in group.iter().rev() {
        let step: usize = chw[inner + 1..].iter().product();
        sum += (rest % chw[*inner]) * step;
        rest /= chw[*inner];
    }
    sum as u32
}

/// Whether the tables count through all elements of a shape in order.
fn is_in_order(tables: &[Vec<Option<u32>>], shape: &[usize]) -> bool {
    tables.iter().enumerate().all(|(axis, table)| {
        let step: usize = shape[axis + 1..].iter().product();
        let counted = (0..).step_by(step.max(1)).map(|at: usize| Some(at as u32));
        table.iter().copied().eq(counted.take(table.len()))
    })
}
