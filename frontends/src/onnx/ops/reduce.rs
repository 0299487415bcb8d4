//! Sums, means, maxima and minima along axes.

use heddle_ir::ValueId;
use heddle_ir::nn::{Activation, AveragePool, LinearOp, Op, PaddingInMean, Window};

use crate::onnx::build::{AxisMatrix, Graph};
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::dims;
use crate::onnx::tensor::element_count;
use crate::onnx::view::{KeepDims, View};

pub(super) fn reduce_mean(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    match Reduction::of(call, x, 18)? {
        Some(reduction) => mean(graph, call.name, x, &reduction),
        None => super::identity::identity(graph, call),
    }
}

pub(super) fn reduce_sum(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    match Reduction::of(call, x, 13)? {
        Some(reduction) => sum(graph, call.name, x, &reduction),
        None => super::identity::identity(graph, call),
    }
}

pub(super) fn reduce_sum_square(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let reduction = Reduction::of(call, x, 18)?;
    let id = graph.emit(Op::activation(Activation::Square), &[x.id], call.name)?;
    let view = x.view.clone();
    let squares = Traced { id, view };
    match reduction {
        Some(reduction) => sum(graph, call.name, &squares, &reduction),
        None => Ok(Value::Traced(squares)),
    }
}

pub(super) fn reduce_max(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    match Reduction::of(call, x, 18)? {
        Some(reduction) => maximum(graph, call.name, x, &reduction).map(Value::Traced),
        None => super::identity::identity(graph, call),
    }
}

/// `-max(-x)`.
pub(super) fn reduce_min(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let Some(reduction) = Reduction::of(call, x, 18)? else {
        return super::identity::identity(graph, call);
    };
    let id = graph.affine(x.id, -1.0, 0.0, call.name)?;
    let view = x.view.clone();
    let largest = maximum(graph, call.name, &Traced { id, view }, &reduction)?;
    graph.scaled(&largest, -1.0, call.name)
}

/// Which axes of an ONNX tensor are reduced.
struct Reduction {
    reduced: Vec<bool>,
    keep: KeepDims,
}

impl Reduction {
    /// Reads axes, which are an input from operator set `since` on, and flags; `None` if nothing is
    /// reduced at all.
    fn of(call: &Call<'_>, x: &Traced, since: i64) -> Result<Option<Self>, String> {
        let axes = call.axes_since(since, 1)?;
        let no_axes_is_identity = call.attributes.flag("noop_with_empty_axes", false)?;
        let keep = match call.attributes.flag("keepdims", true)? {
            true => KeepDims::Yes,
            false => KeepDims::No,
        };
        let rank = x.view.dims().len();
        let reduced = match axes {
            Some(axes) if !axes.is_empty() => dims::axis_set(&axes, rank)?,
            _ if no_axes_is_identity => return Ok(None),
            _ => vec![true; rank],
        };
        Ok(Some(Self { reduced, keep }))
    }

    /// Which of the graph's axes are reduced, if the view is made of whole ones.
    fn over(&self, view: &View) -> Option<[bool; 3]> {
        if !view.is_whole() {
            return None;
        }
        let mut over = [false; 3];
        for (axis, _) in self
            .reduced
            .iter()
            .enumerate()
            .filter(|(_, reduced)| **reduced)
        {
            for inner in view.axes(axis) {
                over[*inner] = true;
            }
        }
        Some(over)
    }

    /// How many elements each result is made of.
    fn count(&self, view: &View) -> usize {
        let extents = view.dims().iter().zip(&self.reduced);
        extents
            .map(|(extent, reduced)| if *reduced { *extent } else { 1 })
            .product()
    }

    /// The value as a map `[K, 1, R]`, with the reduced axes along its width, and the shape of the
    /// ONNX result.
    fn behind(
        &self,
        graph: &mut Graph,
        name: &str,
        x: &Traced,
    ) -> Result<(ValueId, Vec<usize>), String> {
        let shape = x.view.dims();
        let rank = shape.len();
        let (last, first): (Vec<usize>, Vec<usize>) =
            (0..rank).partition(|axis| self.reduced[*axis]);
        let permuted = x.view.permuted(&[first.clone(), last].concat());
        let kept: Vec<usize> = first.iter().map(|axis| shape[*axis]).collect();
        let seen = Traced {
            id: x.id,
            view: permuted,
        };
        let map = [1, element_count(&kept)?, 1, self.count(&x.view)];
        let result = match self.keep {
            KeepDims::No => kept,
            KeepDims::Yes => {
                let extents = shape.iter().zip(&self.reduced);
                extents
                    .map(|(extent, reduced)| if *reduced { 1 } else { *extent })
                    .collect()
            }
        };
        let map = graph.regrouped(&seen, &map, name)?;
        Ok((graph.as_map(&map, name)?, result))
    }

    /// The result of a reduction of [`behind`](Self::behind), seen as ONNX does.
    fn result(
        graph: &mut Graph,
        name: &str,
        id: ValueId,
        dims: &[usize],
    ) -> Result<Traced, String> {
        let view = View::standard(graph.ty(id));
        graph.regrouped(&Traced { id, view }, dims, name)
    }
}

/// The mean, times the number of elements.
fn sum(graph: &mut Graph, name: &str, x: &Traced, reduction: &Reduction) -> Result<Value, String> {
    let count = reduction.count(&x.view);
    let Value::Traced(mean) = mean(graph, name, x, reduction)? else {
        return Err("a sum of constants that was not folded".into());
    };
    match count {
        1 => Ok(Value::Traced(mean)),
        _ => graph.scaled(&mean, count as f64, name),
    }
}

fn mean(graph: &mut Graph, name: &str, x: &Traced, reduction: &Reduction) -> Result<Value, String> {
    let Some(over) = reduction.over(&x.view) else {
        let (map, dims) = reduction.behind(graph, name, x)?;
        let pooled = graph.emit(Op::Linear(LinearOp::GlobalAveragePool), &[map], name)?;
        return Reduction::result(graph, name, pooled, &dims).map(Value::Traced);
    };
    let [channels, height, width] = graph.chw(x.id);
    let pool = match over {
        [_, false, false] => None,
        [_, rows, columns] if (rows || height == 1) && (columns || width == 1) => {
            Some(LinearOp::GlobalAveragePool)
        }
        [_, rows, _] => Some(LinearOp::AveragePool(AveragePool {
            window: Window::plain(if rows { [height, 1] } else { [1, width] }),
            padding: PaddingInMean::Counted,
        })),
    };
    let mut id = match (pool, over) {
        (Some(pool), _) => graph.emit(Op::Linear(pool), &[x.id], name)?,
        (None, [false, _, _]) => graph.emit(Op::Identity, &[x.id], name)?,
        (None, _) => x.id,
    };
    if over[0] {
        graph.room(channels)?;
        let matrix = AxisMatrix {
            name: format!("{name}.mean"),
            results: 1,
            data: vec![(1.0 / channels as f64) as f32; channels],
        };
        let view = View::standard(graph.ty(id));
        id = graph.mapped(&Traced { id, view }, 1, matrix, name)?.id;
    }
    let view = x.view.reduced(&reduction.reduced, reduction.keep);
    graph.flattened(Traced { id, view }, name)
}

/// Max pools look at height and width alone, so other axes become the width of another map.
fn maximum(
    graph: &mut Graph,
    name: &str,
    x: &Traced,
    reduction: &Reduction,
) -> Result<Traced, String> {
    let [_, height, width] = graph.chw(x.id);
    let is_map = graph.ty(x.id).shape.len() == 3;
    match reduction.over(&x.view) {
        Some([false, false, false]) => {
            let id = graph.emit(Op::Identity, &[x.id], name)?;
            let view = x.view.reduced(&reduction.reduced, reduction.keep);
            graph.as_vector(Traced { id, view }, name)
        }
        Some([false, rows, columns]) if is_map => {
            let window = Window::plain([
                if rows { height } else { 1 },
                if columns { width } else { 1 },
            ]);
            let id = graph.emit(Op::MaxPool { window }, &[x.id], name)?;
            let view = x.view.reduced(&reduction.reduced, reduction.keep);
            graph.as_vector(Traced { id, view }, name)
        }
        _ => {
            let (map, dims) = reduction.behind(graph, name, x)?;
            let window = Window::plain([1, graph.chw(map)[2]]);
            let id = graph.emit(Op::MaxPool { window }, &[map], name)?;
            Reduction::result(graph, name, id, &dims)
        }
    }
}
