//! How an ONNX tensor shows a value of the tensor graph.
//!
//! The graph holds feature maps as `[C, H, W]` and vectors as `[F]`, without a batch axis. ONNX
//! models transpose, reshape, squeeze and flatten them freely, most of all those that come from
//! channels-last frameworks. None of that moves data here: every ONNX axis names the graph's axes
//! that it runs over, slowest first, and only what an operator needs is made real.
//!
//! A reshape may also split the graph's axes. Then every ONNX axis names runs of evenly spaced
//! elements instead ([`Run`]), and the view is not [whole](View::is_whole). Operators that need
//! whole axes get a value that has them: `Graph::settled` makes it.

use heddle_ir::nn::TensorType;

/// An ONNX tensor's shape, and the graph's axes behind each of its axes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    /// The ONNX tensor's extents, batch included.
    dims: Vec<usize>,
    /// For every ONNX axis the axes of the graph's value that it runs over. Axes of extent 1 are
    /// left out, so that they may appear and vanish anywhere.
    axes: Vec<Vec<usize>>,
    /// Where axes of the graph are split: for every ONNX axis the elements that it runs over.
    split: Option<Vec<Vec<Run>>>,
}

/// Evenly spaced elements of a value of the graph, which counts them in row-major order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// How many there are; at least 2.
    pub(super) extent: usize,
    /// The distance between two neighbours.
    pub(super) step: usize,
}

impl View {
    /// The usual view: `[1, C, H, W]` or `[1, F]`.
    pub(super) fn standard(ty: &TensorType) -> Self {
        Self::of(&[1], ty, &(0..ty.shape.len()).collect::<Vec<usize>>())
    }

    /// The view `[1, C, T]` of a feature map whose only spatial extent lies along its axis `along`.
    pub(super) fn signal(ty: &TensorType, along: usize) -> Self {
        Self::of(&[1], ty, &[0, along])
    }

    fn of(batch: &[usize], ty: &TensorType, order: &[usize]) -> Self {
        let dims = batch
            .iter()
            .copied()
            .chain(order.iter().map(|axis| ty.shape[*axis]))
            .collect();
        let shown = order.iter().map(|axis| {
            if ty.shape[*axis] == 1 {
                Vec::new()
            } else {
                vec![*axis]
            }
        });
        Self {
            dims,
            axes: batch.iter().map(|_| Vec::new()).chain(shown).collect(),
            split: None,
        }
    }

    /// The view in which every ONNX axis runs over whole axes of the graph.
    pub(super) fn of_axes(dims: Vec<usize>, axes: Vec<Vec<usize>>) -> Self {
        Self {
            dims,
            axes,
            split: None,
        }
    }

    /// The view of a value of type `ty` in which every ONNX axis runs over such elements.
    pub(super) fn of_runs(ty: &TensorType, dims: Vec<usize>, runs: Vec<Vec<Run>>) -> Self {
        let runs: Vec<Vec<Run>> = runs.iter().map(|group| merged(group)).collect();
        let axes: Option<Vec<Vec<usize>>> =
            runs.iter().map(|group| whole_axes(ty, group)).collect();
        match axes {
            Some(axes) => Self::of_axes(dims, axes),
            None => Self {
                axes: vec![Vec::new(); dims.len()],
                dims,
                split: Some(runs),
            },
        }
    }

    /// Whether every ONNX axis runs over whole axes of the graph. If not, [`axes`](Self::axes) and
    /// [`order`](Self::order) say nothing.
    pub(super) fn is_whole(&self) -> bool {
        self.split.is_none()
    }

    /// For every ONNX axis the elements that it runs over, slowest first.
    pub(super) fn runs(&self, ty: &TensorType) -> Vec<Vec<Run>> {
        if let Some(split) = &self.split {
            return split.clone();
        }
        let run = |axis: &usize| Run {
            extent: ty.shape.get(*axis).copied().unwrap_or(1),
            step: ty.shape.iter().skip(axis + 1).product(),
        };
        let groups = self.axes.iter();
        groups
            .map(|group| group.iter().map(run).collect())
            .collect()
    }

    /// The ONNX tensor's shape.
    pub(super) fn dims(&self) -> &[usize] {
        &self.dims
    }

    /// The graph's axes behind one ONNX axis.
    pub(super) fn axes(&self, axis: usize) -> &[usize] {
        &self.axes[axis]
    }

    /// The graph's axes, slowest first, as the ONNX tensor runs through them.
    pub(super) fn order(&self) -> Vec<usize> {
        self.axes.concat()
    }

    /// The axes in another order.
    pub(super) fn permuted(&self, permutation: &[usize]) -> Self {
        Self {
            dims: permutation.iter().map(|axis| self.dims[*axis]).collect(),
            axes: permutation
                .iter()
                .map(|axis| self.axes[*axis].clone())
                .collect(),
            split: self
                .split
                .as_ref()
                .map(|runs| permutation.iter().map(|axis| runs[*axis].clone()).collect()),
        }
    }

    /// The view of a value of type `ty` with its axes grouped anew.
    ///
    /// # Errors
    /// If an extent of `dims` is not the product of whole axes.
    pub(super) fn reshaped(&self, ty: &TensorType, dims: &[usize]) -> Result<Self, String> {
        let misfit = || {
            format!(
                "reshaping {:?} to {dims:?} splits channels, height or width",
                self.dims
            )
        };
        if !self.is_whole() {
            return Err(misfit());
        }
        let mut order = self.order().into_iter();
        let mut axes = Vec::with_capacity(dims.len());
        for extent in dims {
            let mut group = Vec::new();
            let mut product = 1;
            while product < *extent {
                let axis = order.next().ok_or_else(misfit)?;
                product *= ty.shape[axis];
                group.push(axis);
            }
            if product != *extent {
                return Err(misfit());
            }
            axes.push(group);
        }
        if order.next().is_some() {
            return Err(misfit());
        }
        Ok(Self::of_axes(dims.to_vec(), axes))
    }

    /// As [`reshaped`](Self::reshaped), where axes of the graph may be split; `None` if an extent
    /// of `dims` begins or ends between two elements of a run, or `dims` has another number of
    /// elements.
    pub(super) fn regrouped(&self, ty: &TensorType, dims: &[usize]) -> Option<Self> {
        let groups = grouped(&merged(&self.runs(ty).concat()), dims)?;
        Some(Self::of_runs(ty, dims.to_vec(), groups))
    }

    /// The view after some axes were reduced to extent 1, or taken away.
    pub(super) fn reduced(&self, reduced: &[bool], keep: KeepDims) -> Self {
        let mut view = Self::of_axes(Vec::new(), Vec::new());
        for (axis, reduced) in reduced.iter().enumerate() {
            match (*reduced, keep) {
                (true, KeepDims::No) => {}
                (true, KeepDims::Yes) => {
                    view.dims.push(1);
                    view.axes.push(Vec::new());
                }
                (false, _) => {
                    view.dims.push(self.dims[axis]);
                    view.axes.push(self.axes[axis].clone());
                }
            }
        }
        view
    }

    /// The same grouping for a value whose extents have changed to those of `ty`.
    pub(super) fn resized(&self, ty: &TensorType) -> Self {
        let mut axes = self.axes.clone();
        let dims = axes
            .iter()
            .map(|group| group.iter().map(|axis| ty.shape[*axis]).product())
            .collect();
        for group in &mut axes {
            group.retain(|axis| ty.shape[*axis] != 1);
        }
        Self::of_axes(dims, axes)
    }

    /// The same grouping for a value that has grown to `ty` along its axis `inner`, which the ONNX
    /// axis `axis` runs over, even if its extent was 1 and the axis not worth a mention before.
    pub(super) fn grown(&self, axis: usize, inner: usize, ty: &TensorType) -> Self {
        let mut view = self.clone();
        view.axes[axis] = vec![inner];
        view.resized(ty)
    }

    /// The view of the operand of a flattening whose result this view shows.
    pub(super) fn unflattened(&self, ty: &TensorType) -> Self {
        let all: Vec<usize> = (0..ty.shape.len())
            .filter(|axis| ty.shape[*axis] != 1)
            .collect();
        let axes = self
            .axes
            .iter()
            .map(|group| {
                if group.is_empty() {
                    Vec::new()
                } else {
                    all.clone()
                }
            })
            .collect();
        Self::of_axes(self.dims.clone(), axes)
    }

    /// Whether the ONNX tensor is a matrix with one row, or a vector.
    pub(super) fn is_vector(&self) -> bool {
        match &self.axes[..] {
            [_] => true,
            [batch, _] => batch.is_empty() && self.dims[0] == 1,
            _ => false,
        }
    }

    /// Whether the axes come in the graph's own order.
    pub(super) fn is_natural(&self) -> bool {
        self.is_whole() && self.order().is_sorted()
    }
}

/// The same elements in as few runs as possible.
pub(super) fn merged(runs: &[Run]) -> Vec<Run> {
    let mut merged: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs.iter().filter(|run| run.extent != 1) {
        match merged.last_mut() {
            Some(outer) if outer.step == run.extent * run.step => {
                outer.extent *= run.extent;
                outer.step = run.step;
            }
            _ => merged.push(*run),
        }
    }
    merged
}

/// The runs cut into groups of `extents` elements each; `None` where that is not possible.
pub(super) fn grouped(runs: &[Run], extents: &[usize]) -> Option<Vec<Vec<Run>>> {
    let mut left: Vec<Run> = runs.iter().rev().copied().collect();
    let mut groups = Vec::with_capacity(extents.len());
    for extent in extents {
        let (mut group, mut rest) = (Vec::new(), *extent);
        while rest > 1 {
            let run = left.pop()?;
            if rest.is_multiple_of(run.extent) {
                rest /= run.extent;
                group.push(run);
            } else if run.extent.is_multiple_of(rest) {
                let inner = run.extent / rest;
                group.push(Run {
                    extent: rest,
                    step: run.step * inner,
                });
                left.push(Run {
                    extent: inner,
                    step: run.step,
                });
                rest = 1;
            } else {
                return None;
            }
        }
        if rest == 0 {
            return None;
        }
        groups.push(group);
    }
    left.is_empty().then_some(groups)
}

/// The graph's axes that a group of runs without neighbours to merge goes over, if they are whole.
fn whole_axes(ty: &TensorType, runs: &[Run]) -> Option<Vec<usize>> {
    let mut axes = Vec::new();
    for run in runs {
        // From the fastest axis to slower ones, until the run's extent is reached.
        let (mut step, mut covered, mut found) = (1, 1, Vec::new());
        for (axis, extent) in ty.shape.iter().enumerate().rev() {
            if *extent != 1 && step >= run.step && covered < run.extent {
                if step != run.step * covered {
                    return None;
                }
                found.insert(0, axis);
                covered *= extent;
            }
            step *= extent;
        }
        if covered != run.extent {
            return None;
        }
        axes.extend(found);
    }
    Some(axes)
}

/// Whether a reduction keeps its axes with extent 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepDims {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image with its channels last.
    fn channels_last(ty: &TensorType) -> View {
        View::of(&[1], ty, &[1, 2, 0])
    }

    #[test]
    fn a_transpose_there_and_back_is_the_standard_view() {
        let ty = TensorType::new([3, 4, 5]);
        let standard = View::standard(&ty);
        let last = standard.permuted(&[0, 2, 3, 1]);
        assert_eq!(last, channels_last(&ty));
        assert_eq!(last.permuted(&[0, 3, 1, 2]), standard);
    }

    #[test]
    fn one_channel_may_sit_anywhere() {
        let ty = TensorType::new([1, 4, 5]);
        let last = channels_last(&ty);
        assert_eq!(
            last.reshaped(&ty, &[1, 1, 4, 5]).unwrap(),
            View::standard(&ty)
        );
    }

    #[test]
    fn flattening_remembers_the_order() {
        let ty = TensorType::new([3, 4, 5]);
        let natural = View::standard(&ty).reshaped(&ty, &[1, 60]).unwrap();
        assert!(natural.is_vector() && natural.is_natural());
        let last = channels_last(&ty).reshaped(&ty, &[1, 60]).unwrap();
        assert!(last.is_vector() && !last.is_natural());
        assert_eq!(last.axes(1), [1, 2, 0]);
        assert!(last.reshaped(&ty, &[1, 30, 2]).is_err());
        assert!(last.reshaped(&ty, &[1, 20, 3]).unwrap().axes(2) == [0]);
    }

    #[test]
    fn split_axes_that_come_together_again_are_whole() {
        let ty = TensorType::new([6, 4, 5]);
        let split = View::standard(&ty)
            .regrouped(&ty, &[1, 2, 3, 4, 5])
            .unwrap();
        assert!(!split.is_whole() && !split.is_natural());
        let back = split.permuted(&[0, 2, 1, 3, 4]).permuted(&[0, 2, 1, 3, 4]);
        assert_eq!(
            back.regrouped(&ty, &[1, 6, 4, 5]).unwrap(),
            View::standard(&ty)
        );
        let shuffled = split.permuted(&[0, 2, 1, 3, 4]);
        assert!(!shuffled.regrouped(&ty, &[1, 6, 4, 5]).unwrap().is_whole());
        // A run of 6 cannot be cut after 4.
        assert_eq!(shuffled.regrouped(&ty, &[1, 4, 30]), None);
        let merged = View::standard(&ty).regrouped(&ty, &[1, 8, 15]).unwrap();
        assert_eq!(merged.regrouped(&ty, &[1, 120]).unwrap().order(), [0, 1, 2]);
    }
}
