//! Evaluates nodes whose inputs are all constants.

mod arithmetic;
mod quantised;
mod structure;

pub(super) use structure::cast_target;

use super::call::Call;
use super::tensor::Const;

/// Evaluates one node. The result may have at most `limit` elements.
///
/// # Errors
/// A sentence that says what does not fit.
pub(super) type Evaluator = fn(&Call<'_>, limit: usize) -> Result<Const, String>;

/// Every operator that is evaluated on constants.
const EVALUATORS: &[(&str, Evaluator)] = &[
    ("Abs", arithmetic::unary),
    ("Add", arithmetic::binary),
    ("And", arithmetic::binary),
    ("Cast", structure::cast),
    ("CastLike", structure::cast),
    ("Ceil", arithmetic::unary),
    ("Concat", structure::concat),
    ("Constant", structure::constant),
    ("ConstantOfShape", structure::constant_of_shape),
    ("DequantizeLinear", quantised::dequantize),
    ("Div", arithmetic::binary),
    ("Dropout", structure::identity),
    ("Equal", arithmetic::binary),
    ("Exp", arithmetic::unary),
    ("Expand", structure::expand),
    ("Flatten", structure::flatten),
    ("Floor", arithmetic::unary),
    ("Gather", structure::gather),
    ("Greater", arithmetic::binary),
    ("GreaterOrEqual", arithmetic::binary),
    ("Identity", structure::identity),
    ("Less", arithmetic::binary),
    ("LessOrEqual", arithmetic::binary),
    ("Log", arithmetic::unary),
    ("Max", arithmetic::binary),
    ("Min", arithmetic::binary),
    ("Mod", arithmetic::binary),
    ("Mul", arithmetic::binary),
    ("Neg", arithmetic::unary),
    ("Not", arithmetic::unary),
    ("Or", arithmetic::binary),
    ("Pow", arithmetic::binary),
    ("Range", structure::range),
    ("Reciprocal", arithmetic::unary),
    ("ReduceMax", arithmetic::reduce),
    ("ReduceMean", arithmetic::reduce),
    ("ReduceMin", arithmetic::reduce),
    ("ReduceProd", arithmetic::reduce),
    ("ReduceSum", arithmetic::reduce),
    ("Reshape", structure::reshape),
    ("Round", arithmetic::unary),
    ("Slice", structure::slice),
    ("Sqrt", arithmetic::unary),
    ("Squeeze", structure::squeeze),
    ("Sub", arithmetic::binary),
    ("Tile", structure::tile),
    ("Transpose", structure::transpose),
    ("Unsqueeze", structure::unsqueeze),
    ("Where", arithmetic::select),
];

/// The operators that are evaluated on constants, in alphabetical order.
pub(super) fn operators() -> impl Iterator<Item = &'static str> {
    EVALUATORS.iter().map(|(name, _)| *name)
}

/// The evaluator of an operator of the default operator set.
pub(super) fn evaluator(op: &str) -> Option<Evaluator> {
    let index = EVALUATORS
        .binary_search_by_key(&op, |(name, _)| name)
        .ok()?;
    Some(EVALUATORS[index].1)
}

/// The number of elements of `shape`, if it is at most `limit`.
fn within(shape: &[usize], limit: usize) -> Result<usize, String> {
    super::tensor::element_count(shape)
        .ok()
        .filter(|count| *count <= limit)
        .ok_or_else(|| format!("a constant of shape {shape:?} is too large to be evaluated"))
}

/// For every element of a tensor of shape `shape` the index `start + Σ position·stride`.
fn strided(shape: &[usize], strides: &[isize], start: usize) -> Strided {
    let axes = shape.iter().zip(strides);
    Strided {
        left: shape.iter().product(),
        next: start,
        axes: axes.map(|(extent, stride)| (*extent, *stride)).collect(),
        position: vec![0; shape.len()],
    }
}

/// The indices that [`strided`] gives, one after the other: there may be millions.
struct Strided {
    left: usize,
    next: usize,
    /// Extent and stride of every axis.
    axes: Vec<(usize, isize)>,
    position: Vec<usize>,
}

impl Iterator for Strided {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let current = self.next;
        for ((extent, stride), position) in self.axes.iter().zip(&mut self.position).rev() {
            *position += 1;
            if *position < *extent {
                self.next = self.next.wrapping_add_signed(*stride);
                break;
            }
            *position = 0;
            let back = stride.wrapping_mul(*extent as isize - 1);
            self.next = self.next.wrapping_add_signed(back.wrapping_neg());
        }
        Some(current)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strided {}

/// Row-major strides.
fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1) as isize;
    }
    strides
}

/// Indices that broadcast a tensor of shape `from` to `to`.
fn broadcast_indices(from: &[usize], to: &[usize]) -> Strided {
    let skipped = to.len() - from.len();
    let mut steps = vec![0; skipped];
    steps.extend(
        strides(from)
            .into_iter()
            .zip(from)
            .map(|(step, extent)| if *extent == 1 { 0 } else { step }),
    );
    strided(to, &steps, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(EVALUATORS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn strides_reach_every_element() {
        let all = |indices: Strided| indices.collect::<Vec<usize>>();
        assert_eq!(
            all(strided(&[2, 3], &strides(&[2, 3]), 0)),
            [0, 1, 2, 3, 4, 5]
        );
        assert_eq!(all(strided(&[3, 2], &[-2, 1], 4)), [4, 5, 2, 3, 0, 1]);
        assert_eq!(all(strided(&[], &[], 7)), [7]);
        assert_eq!(
            all(broadcast_indices(&[3, 1], &[2, 3, 2])),
            [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]
        );
        assert!(all(strided(&[0, 3], &[3, 1], 0)).is_empty());
        assert!(within(&[1 << 40, 1 << 40], 10).is_err() && within(&[11], 10).is_err());
    }
}
