//! Values of the graph in other shapes and orders: reshapes that split axes, selections along axes,
//! broadcasting, and matrices along one axis.

use heddle_ir::ValueId;
use heddle_ir::nn::{Conv, Gemm, LinearOp, Op, Pad, Rearrange, Separable, Slice, Window};

use super::Graph;
use crate::onnx::call::Traced;
use crate::onnx::dims;
use crate::onnx::tensor::{check_rank, element_count};
use crate::onnx::view::{Run, View, grouped, merged};

/// What becomes of an axis: for every position of the result the operand's, or nothing for zeros.
pub(in crate::onnx) type Picks = Vec<Option<usize>>;

/// A matrix along one axis, with one row for every result.
pub(in crate::onnx) struct AxisMatrix {
    /// The name of the weight.
    pub(in crate::onnx) name: String,
    /// Number of rows.
    pub(in crate::onnx) results: usize,
    /// Row-major entries.
    pub(in crate::onnx) data: Vec<f32>,
}

impl Graph {
    /// The same value in another shape.
    pub(in crate::onnx) fn regrouped(
        &mut self,
        x: &Traced,
        dims: &[usize],
        name: &str,
    ) -> Result<Traced, String> {
        // Behind a flattening the axes are still known, so that it can be undone.
        let (id, view) = match self.inner.node(x.id).op {
            Op::Linear(LinearOp::Flatten) if x.view.is_whole() => {
                let operand = self.inner.operands(x.id)[0];
                (operand, x.view.unflattened(self.ty(operand)))
            }
            _ => (x.id, x.view.clone()),
        };
        check_rank(dims.len())?;
        if element_count(dims)? != element_count(view.dims())? {
            return Err(format!("cannot reshape {:?} to {dims:?}", view.dims()));
        }
        let ty = self.ty(id);
        let seen = view.reshaped(ty, dims).ok();
        if let Some(view) = seen.or_else(|| view.regrouped(ty, dims)) {
            return self.as_vector(Traced { id, view }, name);
        }
        // In order all elements are one run, which can be cut anywhere.
        let id = self.in_order(&Traced { id, view }, name)?;
        let view = View::standard(self.ty(id))
            .regrouped(self.ty(id), dims)
            .ok_or_else(|| format!("cannot reshape {:?} to {dims:?}", x.view.dims()))?;
        Ok(Traced { id, view })
    }

    /// `x`, made a vector of the graph if it has become one of the model.
    pub(in crate::onnx) fn as_vector(&mut self, x: Traced, name: &str) -> Result<Traced, String> {
        if !(x.view.is_vector() && x.view.is_natural()) {
            return Ok(x);
        }
        let dims = x.view.dims().to_vec();
        let id = self.flat(x.id, name)?;
        let view = View::standard(self.ty(id)).reshaped(self.ty(id), &dims)?;
        Ok(Traced { id, view })
    }

    /// All elements as a vector of the graph, in the order of the ONNX tensor.
    pub(in crate::onnx) fn in_order(&mut self, x: &Traced, name: &str) -> Result<ValueId, String> {
        if self.is_in_order(x) {
            return self.flat(x.id, name);
        }
        let runs = x.view.runs(self.ty(x.id)).concat();
        let axes = self.tables(&merged(&runs))?;
        let elements = self.ty(x.id).elements();
        self.rearrange(x.id, axes, vec![elements], name)
    }

    /// Whether the ONNX tensor has the elements in the graph's own order.
    pub(in crate::onnx) fn is_in_order(&self, x: &Traced) -> bool {
        let runs = merged(&x.view.runs(self.ty(x.id)).concat());
        matches!(runs[..], [] | [Run { step: 1, .. }])
    }

    /// `x` with whole axes of the graph behind each of its own.
    ///
    /// # Errors
    /// If more than three axes have more than one element.
    pub(in crate::onnx) fn settled(&mut self, x: &Traced, name: &str) -> Result<Traced, String> {
        if x.view.is_whole() {
            return Ok(x.clone());
        }
        if graph_shape(x.view.dims()).is_none() {
            return Err(format!(
                "takes a value of shape {:?}; values with at most three axes of more than one \
                 element are supported here",
                x.view.dims()
            ));
        }
        self.reordered(x, name)
    }

    /// `x` as a value of the graph whose axes come in the order of the ONNX tensor.
    pub(in crate::onnx) fn reordered(&mut self, x: &Traced, name: &str) -> Result<Traced, String> {
        self.moved(x, &vec![None; x.view.dims().len()], name)
    }

    /// `x` as `[1, C, H, W]` in the graph's own order; its four axes stay as they are.
    pub(in crate::onnx) fn as_map(&mut self, x: &Traced, name: &str) -> Result<ValueId, String> {
        let ty = self.ty(x.id);
        if ty.shape.len() == 3 && x.view == View::standard(ty) {
            return Ok(x.id);
        }
        match self.reordered(x, name)? {
            Traced { id, .. } if self.ty(id).shape.len() == 3 => Ok(id),
            _ => Err(format!(
                "expects [1, channels, height, width], found {:?}",
                x.view.dims()
            )),
        }
    }

    /// Picks positions along some axes; `None` leaves an axis as it is. The caller has charged the
    /// picks to the budget.
    pub(in crate::onnx) fn picked(
        &mut self,
        x: &Traced,
        picks: &[Option<Picks>],
        name: &str,
    ) -> Result<Traced, String> {
        let is_same = picks.iter().zip(x.view.dims()).all(|(picks, extent)| {
            let mut all = 0..*extent;
            picks.as_ref().is_none_or(|picks| {
                picks.len() == *extent && picks.iter().all(|pick| *pick == all.next())
            })
        });
        if is_same {
            return Ok(x.clone());
        }
        match self.picked_in_place(x, picks, name)? {
            Some(picked) => Ok(picked),
            None => self.moved(x, picks, name),
        }
    }

    /// [`picked`](Self::picked) where every axis is one of the graph's, or can become one.
    fn picked_in_place(
        &mut self,
        x: &Traced,
        picks: &[Option<Picks>],
        name: &str,
    ) -> Result<Option<Traced>, String> {
        if !x.view.is_whole() {
            return Ok(None);
        }
        let from = self.chw(x.id);
        let mut along: [Option<&Picks>; 3] = [None; 3];
        let mut groups: Vec<Vec<usize>> = Vec::with_capacity(picks.len());
        let mut used = used_axes(&x.view);
        for (axis, picks) in picks.iter().enumerate() {
            let group = x.view.axes(axis);
            let inner = match (picks, group) {
                (None, _) => None,
                (Some(_), [inner]) => Some(*inner),
                (Some(picks), []) if picks[..] == [Some(0)] => None,
                (Some(_), []) => match free_axis(&x.view, axis, &from, &used) {
                    Some(inner) => Some(inner),
                    None => return Ok(None),
                },
                (Some(_), _) => return Ok(None),
            };
            match inner {
                Some(inner) => {
                    used[inner] = true;
                    along[inner] = picks.as_ref();
                    groups.push(vec![inner]);
                }
                None => groups.push(group.to_vec()),
            }
        }
        let to = [0, 1, 2].map(|axis| along[axis].map_or(from[axis], Vec::len));
        let is_vector = self.ty(x.id).shape.len() == 1;
        let stays = !is_vector || to[1..] == [1, 1];
        let kept = [0, 1, 2].map(|axis| kept(along[axis], from[axis]));
        let padding = [0, 1, 2].map(|axis| padding(along[axis], from[axis]));
        let op: LinearOp = match (kept, padding) {
            ([Some(c), Some(h), Some(w)], _) if stays => Slice {
                start: [c, h, w].map(|[start, _, _]| start),
                end: [c, h, w].map(|[_, end, _]| end),
                step: [c, h, w].map(|[_, _, step]| step),
            }
            .into(),
            (_, [Some(c), Some(h), Some(w)]) if stays => Pad {
                before: [c, h, w].map(|[before, _]| before),
                after: [c, h, w].map(|[_, after]| after),
            }
            .into(),
            _ => {
                let mut axes = Vec::with_capacity(3);
                for axis in 0..3 {
                    let run = Run {
                        extent: from[axis],
                        step: from[axis + 1..].iter().product(),
                    };
                    axes.push(match along[axis] {
                        Some(picks) => self.table(&[run], picks)?,
                        None => self.whole_table(run)?,
                    });
                }
                let shape = if is_vector && stays { &to[..1] } else { &to };
                Rearrange::whole(axes, from, shape).into()
            }
        };
        let id = self.emit(Op::Linear(op), &[x.id], name)?;
        let dims = picked_dims(x.view.dims(), picks);
        for group in &mut groups {
            group.retain(|axis| to[*axis] != 1);
        }
        let view = View::of_axes(dims, groups);
        Ok(Some(Traced { id, view }))
    }

    /// [`picked`](Self::picked) into a value of the graph that has the ONNX tensor's order.
    fn moved(&mut self, x: &Traced, picks: &[Option<Picks>], name: &str) -> Result<Traced, String> {
        let mut axes = Vec::new();
        for (runs, picks) in x.view.runs(self.ty(x.id)).iter().zip(picks) {
            match picks {
                None => axes.extend(self.tables(&merged(runs))?),
                Some(picks) => axes.push(self.table(runs, picks)?),
            }
        }
        let dims = picked_dims(x.view.dims(), picks);
        self.placed(x.id, axes, dims, name)
    }

    /// A rearrangement that is seen as an ONNX tensor of shape `dims`; the axes run through its
    /// elements in order.
    pub(in crate::onnx) fn placed(
        &mut self,
        x: ValueId,
        axes: Vec<Vec<Option<u32>>>,
        dims: Vec<usize>,
        name: &str,
    ) -> Result<Traced, String> {
        check_rank(dims.len())?;
        let elements = element_count(&dims)?;
        let (shape, groups) = match graph_shape(&dims) {
            Some((shape, groups)) => (shape, Some(groups)),
            None => (vec![elements], None),
        };
        let id = self.rearrange(x, axes, shape, name)?;
        let view = match groups {
            Some(groups) => View::of_axes(dims, groups),
            None => {
                let all = Run {
                    extent: elements,
                    step: 1,
                };
                let runs = grouped(&[all], &dims).ok_or("a tensor without elements")?;
                View::of_runs(self.ty(id), dims, runs)
            }
        };
        Ok(Traced { id, view })
    }

    /// Appends a rearrangement to a value of the given shape, unless it changes nothing.
    fn rearrange(
        &mut self,
        x: ValueId,
        mut axes: Vec<Vec<Option<u32>>>,
        shape: Vec<usize>,
        name: &str,
    ) -> Result<ValueId, String> {
        axes.retain(|axis| axis[..] != [Some(0)]);
        let is_same = match &axes[..] {
            [] => true,
            [axis] => axis.iter().zip(0..).all(|(offset, at)| *offset == Some(at)),
            _ => false,
        };
        let elements: usize = axes.iter().map(Vec::len).product();
        if is_same && elements == self.ty(x).elements() {
            if self.ty(x).shape == shape {
                return Ok(x);
            }
            if shape.len() == 1 {
                return self.flat(x, name);
            }
        }
        let op = Rearrange::whole(axes, self.chw(x), shape);
        self.emit(Op::Linear(op.into()), &[x], name)
    }

    /// Charges a table of as many offsets.
    fn charge_table(&mut self, positions: usize) -> Result<(), String> {
        self.budget.work(positions)?;
        self.budget
            .take(positions.saturating_mul(size_of::<Option<u32>>()))
    }

    /// The offsets of all positions of a run.
    fn whole_table(&mut self, run: Run) -> Result<Vec<Option<u32>>, String> {
        self.charge_table(run.extent)?;
        (0..run.extent)
            .map(|position| offset_in(&[run], position).map(Some))
            .collect()
    }

    /// A table for every run.
    pub(in crate::onnx) fn tables(
        &mut self,
        runs: &[Run],
    ) -> Result<Vec<Vec<Option<u32>>>, String> {
        runs.iter().map(|run| self.whole_table(*run)).collect()
    }

    /// The offsets of positions that runs count through together.
    fn table(&mut self, runs: &[Run], picks: &Picks) -> Result<Vec<Option<u32>>, String> {
        self.charge_table(picks.len())?;
        let of = |pick: &Option<usize>| pick.map(|pick| offset_in(runs, pick)).transpose();
        picks.iter().map(of).collect()
    }

    /// `x` repeated along axes of extent 1, and along axes in front, so that it has the shape
    /// `dims`.
    ///
    /// # Errors
    /// If it does not broadcast to that, or the budget does not allow for it.
    pub(in crate::onnx) fn broadcast(
        &mut self,
        x: &Traced,
        dims: &[usize],
        name: &str,
    ) -> Result<Traced, String> {
        if x.view.dims() == dims {
            return Ok(x.clone());
        }
        let misfit = || format!("{:?} does not broadcast to {dims:?}", x.view.dims());
        let front = dims.len().checked_sub(x.view.dims().len());
        let mut all = vec![1; front.ok_or_else(misfit)?];
        all.extend(x.view.dims());
        let x = match all.len() == x.view.dims().len() {
            true => x.clone(),
            false => self.regrouped(x, &all, name)?,
        };
        let mut picks = Vec::with_capacity(dims.len());
        for (extent, wanted) in all.iter().zip(dims) {
            picks.push(match (*extent, *wanted) {
                (extent, wanted) if extent == wanted => None,
                (1, wanted) => {
                    self.room(wanted)?;
                    Some(vec![Some(0); wanted])
                }
                _ => return Err(misfit()),
            });
        }
        self.picked(&x, &picks, name)
    }

    /// Two values broadcast to one shape, in one axis order and of one type, so that an operation
    /// can take them element by element.
    ///
    /// # Errors
    /// If their shapes do not broadcast, or the budget does not allow for it.
    pub(in crate::onnx) fn alike(
        &mut self,
        x: &Traced,
        y: &Traced,
        name: &str,
    ) -> Result<[Traced; 2], String> {
        if x.view == y.view && self.ty(x.id) == self.ty(y.id) {
            return Ok([x.clone(), y.clone()]);
        }
        let dims = dims::broadcast(x.view.dims(), y.view.dims())?;
        // A vector of the graph and a map of one pixel.
        if x.view == y.view
            && [x, y]
                .iter()
                .any(|value| self.ty(value.id).shape.len() == 1)
        {
            let (x_id, y_id) = (self.flat(x.id, name)?, self.flat(y.id, name)?);
            let seen = |id, view: &View| Traced {
                id,
                view: view.clone(),
            };
            if self.ty(x_id) == self.ty(y_id) {
                return Ok([seen(x_id, &x.view), seen(y_id, &y.view)]);
            }
        }
        let leads = |value: &Traced| value.view.dims() == dims && value.view.is_whole();
        if !leads(x) && leads(y) {
            let [y, x] = self.following(y, x, name)?;
            return Ok([x, y]);
        }
        let leader = self.broadcast(x, &dims, name)?;
        self.following(&leader, y, name)
    }

    /// `leader`, and `y` broadcast to it.
    fn following(
        &mut self,
        leader: &Traced,
        y: &Traced,
        name: &str,
    ) -> Result<[Traced; 2], String> {
        let dims = leader.view.dims().to_vec();
        if let Some(axes) = self.axes_along(leader, y)? {
            let shape = self.ty(leader.id).shape.clone();
            let op = Rearrange::whole(axes, self.chw(y.id), shape);
            let id = self.emit(Op::Linear(op.into()), &[y.id], name)?;
            let view = leader.view.clone();
            return Ok([leader.clone(), Traced { id, view }]);
        }
        // Both in the order of the ONNX tensor.
        let y = self.broadcast(y, &dims, name)?;
        let same = vec![None; dims.len()];
        Ok([
            self.moved(leader, &same, name)?,
            self.moved(&y, &same, name)?,
        ])
    }

    /// For each of the graph's axes of `leader` the offsets in `y`, which is broadcast to it; `None`
    /// if they do not depend on one axis each.
    fn axes_along(
        &mut self,
        leader: &Traced,
        y: &Traced,
    ) -> Result<Option<Vec<Vec<Option<u32>>>>, String> {
        if !leader.view.is_whole() {
            return Ok(None);
        }
        let extents = self.chw(leader.id);
        let runs = y.view.runs(self.ty(y.id));
        let front = leader.view.dims().len() - y.view.dims().len();
        let mut axes = [vec![Some(0)], vec![Some(0)], vec![Some(0)]];
        for axis in 0..leader.view.dims().len() {
            let inner = leader.view.axes(axis);
            let own = axis.checked_sub(front).map_or(&[][..], |axis| &runs[axis]);
            if own.is_empty() {
                for inner in inner {
                    self.charge_table(extents[*inner])?;
                    axes[*inner] = vec![Some(0); extents[*inner]];
                }
                continue;
            }
            let wanted: Vec<usize> = inner.iter().map(|inner| extents[*inner]).collect();
            let Some(groups) = grouped(&merged(own), &wanted) else {
                return Ok(None);
            };
            for (inner, group) in inner.iter().zip(groups) {
                let all: Picks = (0..extents[*inner]).map(Some).collect();
                axes[*inner] = self.table(&group, &all)?;
            }
        }
        Ok(Some(axes.into()))
    }

    /// Adds one number to every element; `numbers` are in the order of the ONNX tensor.
    pub(in crate::onnx) fn shifted(
        &mut self,
        x: &Traced,
        numbers: Vec<f32>,
        stem: &str,
        name: &str,
    ) -> Result<Traced, String> {
        let runs = x.view.runs(self.ty(x.id)).concat();
        self.room(numbers.len())?;
        let mut ordered = vec![0.0; self.ty(x.id).elements()];
        for (position, number) in numbers.iter().enumerate() {
            let at = offset_in(&runs, position)? as usize;
            *ordered.get_mut(at).ok_or("more numbers than elements")? = *number;
        }
        let id = self.scale_and_shift(x.id, [None, Some(ordered)], stem, name)?;
        let view = x.view.clone();
        Ok(Traced { id, view })
    }

    /// A matrix along one axis, the same at all positions of the other axes.
    ///
    /// # Errors
    /// If the budget does not allow for it, or the matrix does not have a column for every element.
    pub(in crate::onnx) fn mapped(
        &mut self,
        x: &Traced,
        axis: usize,
        matrix: AxisMatrix,
        name: &str,
    ) -> Result<Traced, String> {
        let dims = x.view.dims().to_vec();
        let extent = dims[axis];
        if matrix.results.checked_mul(extent) != Some(matrix.data.len()) || matrix.results == 0 {
            return Err(format!(
                "a matrix of {} entries along axis {axis} of {dims:?}",
                matrix.data.len()
            ));
        }
        let is_vector = self.ty(x.id).shape.len() == 1;
        let inner = match x.view.axes(axis) {
            _ if !x.view.is_whole() => None,
            [inner] => Some(*inner),
            [] => free_axis(&x.view, axis, &self.chw(x.id), &used_axes(&x.view)),
            _ => None,
        };
        if let Some(inner) = inner.filter(|inner| !is_vector || *inner == 0) {
            let id = self.along(x.id, inner, extent, matrix, name)?;
            let view = x.view.grown(axis, inner, self.ty(id));
            return Ok(Traced { id, view });
        }
        let before = element_count(&dims[..axis])?;
        let behind = element_count(&dims[axis + 1..])?;
        let middle = self.regrouped(x, &[1, before, extent, behind], name)?;
        let middle = self.as_map(&middle, name)?;
        let results = matrix.results;
        let id = self.along(middle, 1, extent, matrix, name)?;
        let view = View::standard(self.ty(id));
        let mut dims = dims;
        dims[axis] = results;
        self.regrouped(&Traced { id, view }, &dims, name)
    }

    /// A matrix along an axis of the graph.
    fn along(
        &mut self,
        x: ValueId,
        inner: usize,
        extent: usize,
        AxisMatrix {
            name: weight,
            results,
            data,
        }: AxisMatrix,
        name: &str,
    ) -> Result<ValueId, String> {
        let is_vector = self.ty(x).shape.len() == 1;
        let shape = match (inner, is_vector) {
            (0, false) => vec![results, extent, 1, 1],
            _ => vec![results, extent],
        };
        let matrix = self.push_weight(&weight, shape, data)?;
        let separable = |rows, columns| Separable {
            rows,
            columns,
            stride: [1, 1],
        };
        let op: LinearOp = match (inner, is_vector) {
            (0, true) => Gemm {
                weight: matrix,
                bias: None,
            }
            .into(),
            (0, false) => Conv {
                weight: matrix,
                bias: None,
                window: Window::plain([1, 1]),
                groups: 1,
            }
            .into(),
            (1, _) => separable(Some(matrix), None).into(),
            _ => separable(None, Some(matrix)).into(),
        };
        self.emit(Op::Linear(op), &[x], name)
    }
}

/// The shape of a value of the graph with one axis for every ONNX axis of more than one element, in
/// the same order, and which these are; `None` if there are more than three.
fn graph_shape(dims: &[usize]) -> Option<(Vec<usize>, Vec<Vec<usize>>)> {
    let large: Vec<usize> = (0..dims.len()).filter(|axis| dims[*axis] != 1).collect();
    let places: &[usize] = match (dims.len(), &large[..]) {
        (4, large) if large.first() != Some(&0) => &[0, 1, 2],
        (_, []) => &[],
        (_, [_]) => &[0],
        // As a signal of several channels.
        (_, [_, _]) => &[0, 2],
        (_, [_, _, _]) => &[0, 1, 2],
        _ => return None,
    };
    let chosen: Vec<usize> = match dims.len() {
        4 if places.len() == 3 && dims[0] == 1 => vec![1, 2, 3],
        _ => large,
    };
    let mut shape = match dims.len() {
        ..3 if places.len() < 2 => vec![1],
        _ => vec![1; 3],
    };
    let mut groups = vec![Vec::new(); dims.len()];
    for (axis, place) in chosen.iter().zip(places) {
        shape[*place] = dims[*axis];
        if dims[*axis] != 1 {
            groups[*axis] = vec![*place];
        }
    }
    Some((shape, groups))
}

/// Which of the graph's axes a view of whole axes shows.
fn used_axes(view: &View) -> [bool; 3] {
    let mut used = [false; 3];
    for axis in view.order() {
        used[axis] = true;
    }
    used
}

/// An axis of the graph of extent 1 that can stand for an ONNX axis of extent 1: the one that it
/// usually is, if possible.
fn free_axis(view: &View, axis: usize, extents: &[usize; 3], used: &[bool; 3]) -> Option<usize> {
    let usual = (axis + 3).checked_sub(view.dims().len());
    let is_free = |inner: &usize| *inner < 3 && extents[*inner] == 1 && !used[*inner];
    usual.filter(is_free).or_else(|| (0..3).find(is_free))
}

/// Start, end and step of picks that only leave positions out.
fn kept(picks: Option<&Picks>, extent: usize) -> Option<[usize; 3]> {
    let Some(picks) = picks else {
        return Some([0, extent, 1]);
    };
    let start = (*picks.first()?)?;
    let step = match picks.get(1) {
        Some(second) => (*second)?.checked_sub(start).filter(|step| *step > 0)?,
        None => 1,
    };
    let is_even = picks
        .iter()
        .enumerate()
        .all(|(index, pick)| *pick == Some(start + index * step));
    is_even.then_some([start, start + (picks.len() - 1) * step + 1, step])
}

/// The numbers of zeros before and after picks of every position in order.
fn padding(picks: Option<&Picks>, extent: usize) -> Option<[usize; 2]> {
    let Some(picks) = picks else {
        return Some([0, 0]);
    };
    let before = picks.iter().take_while(|pick| pick.is_none()).count();
    let after = picks.len().checked_sub(before + extent)?;
    let mut all = (0..extent).map(Some);
    let inside = picks[before..before + extent].iter();
    let is_whole = inside.copied().eq(all.by_ref());
    let is_zero = picks[before + extent..].iter().all(Option::is_none);
    (is_whole && is_zero).then_some([before, after])
}

fn picked_dims(dims: &[usize], picks: &[Option<Picks>]) -> Vec<usize> {
    let extents = dims.iter().zip(picks);
    extents
        .map(|(extent, picks)| picks.as_ref().map_or(*extent, Vec::len))
        .collect()
}

/// How far into a value the element at a position lies that runs count through together, the last
/// one fastest.
pub(in crate::onnx) fn offset_in(runs: &[Run], position: usize) -> Result<u32, String> {
    let (mut rest, mut offset) = (position, 0);
    for run in runs.iter().rev() {
        offset += rest % run.extent * run.step;
        rest /= run.extent;
    }
    u32::try_from(offset).map_err(|_| format!("a value of more than {} elements", u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_axis_of_more_than_one_element_has_a_place() {
        let shape = |dims: &[usize]| graph_shape(dims).map(|(shape, _)| shape);
        assert_eq!(shape(&[1, 5]), Some(vec![5]));
        assert_eq!(shape(&[]), Some(vec![1]));
        assert_eq!(shape(&[1, 1, 4, 5]), Some(vec![1, 4, 5]));
        assert_eq!(shape(&[1, 4, 5]), Some(vec![4, 1, 5]));
        assert_eq!(shape(&[2, 4]), Some(vec![2, 1, 4]));
        assert_eq!(shape(&[1, 4, 1, 1, 5, 6]), Some(vec![4, 5, 6]));
        assert_eq!(shape(&[2, 1, 5, 6]), Some(vec![2, 5, 6]));
        assert_eq!(shape(&[2, 3, 5, 6]), None);
    }

    #[test]
    fn picks_that_are_slices_and_pads_are_known() {
        let picks = |list: &[i64]| -> Picks {
            list.iter()
                .map(|pick| usize::try_from(*pick).ok())
                .collect()
        };
        assert_eq!(kept(Some(&picks(&[1, 3, 5])), 7), Some([1, 6, 2]));
        assert_eq!(kept(Some(&picks(&[4])), 7), Some([4, 5, 1]));
        assert_eq!(kept(Some(&picks(&[5, 3])), 7), None);
        assert_eq!(kept(Some(&picks(&[0, -1])), 7), None);
        assert_eq!(kept(Some(&picks(&[])), 7), None);
        assert_eq!(padding(Some(&picks(&[-1, 0, 1, -1, -1])), 2), Some([1, 2]));
        assert_eq!(padding(Some(&picks(&[-1, 0, 0])), 2), None);
        assert_eq!(padding(Some(&picks(&[-1])), 2), None);
    }
}
