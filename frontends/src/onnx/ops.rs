//! From operator names to builders.

mod activation;
mod arithmetic;
mod concat;
mod conv;
mod dense;
mod gated;
mod gather;
mod identity;
mod maximum;
mod norm;
mod pad;
mod pool;
mod rearrange;
mod reduce;
mod resize;
mod shape;
mod slice;
mod split;

use super::build::Graph;
use super::call::{Call, Value};

/// Adds one ONNX node to the graph and returns its first output.
///
/// # Errors
/// A sentence that says what about the node is not supported, and what is.
pub(super) type Builder = fn(&mut Graph, &Call<'_>) -> Result<Value, String>;

/// Every operator that is supported on values that depend on the image.
pub(super) const BUILDERS: &[(&str, Builder)] = &[
    ("Abs", activation::abs),
    ("Add", arithmetic::add),
    ("AveragePool", pool::average_pool),
    ("BatchNormalization", norm::batch_normalization),
    ("Cast", identity::cast),
    ("CastLike", identity::cast),
    ("Celu", activation::celu),
    ("Clip", activation::clip),
    ("Concat", concat::concat),
    ("Conv", conv::conv),
    ("CumSum", rearrange::cum_sum),
    ("DepthToSpace", rearrange::depth_to_space),
    ("Div", arithmetic::div),
    ("Dropout", identity::dropout),
    ("Elu", activation::elu),
    ("Erf", activation::erf),
    ("Exp", activation::exp),
    ("Expand", rearrange::expand),
    ("Flatten", shape::flatten),
    ("Gather", gather::gather),
    ("GatherElements", gather::gather_elements),
    ("GatherND", gather::gather_nd),
    ("Gelu", activation::gelu),
    ("Gemm", dense::gemm),
    ("GlobalAveragePool", pool::global_average_pool),
    ("GlobalMaxPool", pool::global_max_pool),
    ("HardSigmoid", activation::hard_sigmoid),
    ("HardSwish", activation::hard_swish),
    ("Identity", identity::identity),
    ("LRN", norm::lrn),
    ("LeakyRelu", activation::leaky_relu),
    ("Log", activation::log),
    ("MatMul", dense::matmul),
    ("Max", maximum::max),
    ("MaxPool", pool::max_pool),
    ("Mean", arithmetic::mean),
    ("Min", maximum::min),
    ("Mish", activation::mish),
    ("Mul", arithmetic::mul),
    ("Neg", arithmetic::neg),
    ("PRelu", activation::prelu),
    ("Pad", pad::pad),
    ("Pow", activation::pow),
    ("Reciprocal", activation::reciprocal),
    ("ReduceMax", reduce::reduce_max),
    ("ReduceMean", reduce::reduce_mean),
    ("ReduceMin", reduce::reduce_min),
    ("ReduceSum", reduce::reduce_sum),
    ("ReduceSumSquare", reduce::reduce_sum_square),
    ("Relu", activation::relu),
    ("Reshape", shape::reshape),
    ("Resize", resize::resize),
    ("Selu", activation::selu),
    ("Shape", shape::shape),
    ("Shrink", activation::shrink),
    ("Sigmoid", activation::sigmoid),
    ("Size", shape::size),
    ("Slice", slice::slice),
    ("Softplus", activation::softplus),
    ("Softsign", activation::softsign),
    ("SpaceToDepth", rearrange::space_to_depth),
    ("Sqrt", activation::sqrt),
    ("Squeeze", shape::squeeze),
    ("Sub", arithmetic::sub),
    ("Sum", arithmetic::sum),
    ("Swish", activation::swish),
    ("Tanh", activation::tanh),
    ("ThresholdedRelu", activation::thresholded_relu),
    ("Tile", rearrange::tile),
    ("Transpose", shape::transpose),
    ("Unsqueeze", shape::unsqueeze),
    ("Upsample", resize::upsample),
];

/// Adds one ONNX node to the graph and returns all its outputs; errors as those of [`Builder`].
pub(super) type Splitter = fn(&mut Graph, &Call<'_>) -> Result<Vec<Value>, String>;

/// Every operator with more than one output that matters.
pub(super) const SPLITTERS: &[(&str, Splitter)] = &[("Split", split::split)];

/// The builder of an operator with several outputs.
pub(super) fn splitter(op: &str) -> Option<Splitter> {
    let (_, split) = SPLITTERS.iter().find(|(name, _)| *name == op)?;
    Some(*split)
}

/// The builder of an operator of the default operator set.
pub(super) fn builder(op: &str) -> Option<Builder> {
    let index = BUILDERS.binary_search_by_key(&op, |(name, _)| name).ok()?;
    Some(BUILDERS[index].1)
}

/// Operators whose builders take values of any view: those that change views, and those that act
/// element by element. All others get whole axes of the graph.
const ANY_VIEW: &[&str] = &[
    "Cast",
    "CastLike",
    "Clip",
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gemm",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "Neg",
    "Pad",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Size",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tanh",
    "Tile",
    "Transpose",
    "Unsqueeze",
];

/// Whether an operator's builder takes values that are not seen by whole axes of the graph.
pub(super) fn takes_any_view(op: &str) -> bool {
    ANY_VIEW.binary_search(&op).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(BUILDERS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(ANY_VIEW.is_sorted());
    }
}
