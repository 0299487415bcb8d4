//! From operator names to builders.

mod activation;
mod arithmetic;
mod concat;
mod conv;
mod dense;
mod gated;
mod identity;
mod maximum;
mod norm;
mod pad;
mod pair;
mod pool;
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
    ("Div", arithmetic::div),
    ("Dropout", identity::dropout),
    ("Elu", activation::elu),
    ("Erf", activation::erf),
    ("Exp", activation::exp),
    ("Flatten", shape::flatten),
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
    ("Min", maximum::min),
    ("Mish", activation::mish),
    ("Mul", arithmetic::mul),
    ("Neg", arithmetic::neg),
    ("PRelu", activation::prelu),
    ("Pad", pad::pad),
    ("Pow", activation::pow),
    ("Reciprocal", activation::reciprocal),
    ("ReduceMean", pool::reduce_mean),
    ("Relu", activation::relu),
    ("Reshape", shape::reshape),
    ("Selu", activation::selu),
    ("Shape", shape::shape),
    ("Shrink", activation::shrink),
    ("Sigmoid", activation::sigmoid),
    ("Size", shape::size),
    ("Slice", slice::slice),
    ("Softplus", activation::softplus),
    ("Softsign", activation::softsign),
    ("Sqrt", activation::sqrt),
    ("Squeeze", shape::squeeze),
    ("Sub", arithmetic::sub),
    ("Sum", arithmetic::sum),
    ("Swish", activation::swish),
    ("Tanh", activation::tanh),
    ("ThresholdedRelu", activation::thresholded_relu),
    ("Transpose", shape::transpose),
    ("Unsqueeze", shape::unsqueeze),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(BUILDERS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
