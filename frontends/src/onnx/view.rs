//! How an ONNX tensor shows a value of the tensor graph.
//!
//! The graph holds feature maps as `[C, H, W]` and vectors as `[F]`, without a batch axis. ONNX
//! models transpose, reshape, squeeze and flatten them freely, most of all those that come from
//! channels-last frameworks. None of that moves data here: every ONNX axis names the graph's axes
//! that it runs over, slowest first, and only what an operator needs is made real.

use heddle_ir::nn::TensorType;

/// An ONNX tensor's shape, and the graph's axes behind each of its axes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    /// The ONNX tensor's extents, batch included.
    dims: Vec<usize>,
    /// For every ONNX axis the axes of the graph's value that it runs over. Axes of extent 1 are
    /// left out, so that they may appear and vanish anywhere.
    axes: Vec<Vec<usize>>,
}

impl View {
    /// The usual view: `[1, C, H, W]` or `[1, F]`.
    pub(super) fn standard(ty: &TensorType) -> Self {
        Self::of(&[1], ty, &(0..ty.shape.len()).collect::<Vec<usize>>())
    }

    /// An ONNX tensor of the extents `dims`, with the graph's axes of more than 1 behind each.
    pub(super) fn new(dims: Vec<usize>, axes: Vec<Vec<usize>>) -> Self {
        Self { dims, axes }
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
        }
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
        }
    }

    /// The view of a value of type `ty` with its axes grouped anew.
    ///
    /// # Errors
    /// If an extent of `dims` is not the product of whole axes.
    pub(super) fn reshaped(&self, ty: &TensorType, dims: &[usize]) -> Result<Self, String> {
        let misfit = || {
            format!(
                "reshaping {:?} to {dims:?} splits channels, height or width; axes can be merged \
                 and extents of 1 inserted or removed",
                self.dims
            )
        };
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
        Ok(Self {
            dims: dims.to_vec(),
            axes,
        })
    }

    /// The view after some axes were reduced to extent 1, or taken away.
    pub(super) fn reduced(&self, reduced: &[bool], keep: KeepDims) -> Self {
        let mut view = Self {
            dims: Vec::new(),
            axes: Vec::new(),
        };
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
        Self { dims, axes }
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
        Self {
            dims: self.dims.clone(),
            axes,
        }
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
        self.order().is_sorted()
    }
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
}
