//! Which of an input's axes are channels, height and width.
//!
//! ONNX does not say, and extents do not tell: `[1, 6, 128, 1]` is a signal of six channels or an
//! image of one. What the network does with the input decides. Operators that leave axes where they
//! are, move, add or drop them are followed from the input to the first ones that know: a
//! convolution, a pool or a batch norm has its channels on axis 1, a matrix product on the last
//! one.

use std::collections::HashMap;

use heddle_ir::nn::AxisOrder;
use onnx_protobuf::{GraphProto, NodeProto, TensorProto};

use super::expand::Node;
use crate::onnx::dims;
use crate::onnx::opset;

/// The axes of an input's declared shape; `None` where it has no such axis, whose extent is 1 then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Axes {
    pub(super) batch: Option<usize>,
    pub(super) channels: Option<usize>,
    pub(super) height: Option<usize>,
    pub(super) width: Option<usize>,
}

impl Axes {
    /// Where channels, height and width lie.
    pub(super) fn chw(&self) -> [Option<usize>; 3] {
        [self.channels, self.height, self.width]
    }

    /// Whether channels come before or behind the others.
    pub(super) fn order(&self) -> AxisOrder {
        let last = self.height.max(self.width);
        match self.channels.zip(last) {
            Some((channels, last)) if channels > last => AxisOrder::Hwc,
            _ => AxisOrder::Chw,
        }
    }

    fn of(batch: Option<usize>, [channels, height, width]: [Option<usize>; 3]) -> Self {
        Self {
            batch,
            channels,
            height,
            width,
        }
    }
}

/// The axes of an input of the given extents, `None` where one is open.
///
/// `seen` is what [`follow`] says, `order` what the caller says. Without either, an image has few
/// channels and larger planes, which matters for pictures alone: no operation looks at the axes.
pub(super) fn decide(
    extents: &[Option<usize>],
    seen: Option<Axes>,
    order: Option<AxisOrder>,
) -> Option<Axes> {
    let planes = |batch: Option<usize>, first: usize, order: AxisOrder| {
        let [a, b, c] = [Some(first), Some(first + 1), Some(first + 2)];
        match order {
            AxisOrder::Chw => Axes::of(batch, [a, b, c]),
            AxisOrder::Hwc => Axes::of(batch, [c, a, b]),
        }
    };
    let guess = |first: usize| {
        let small = |extent: Option<usize>| extent.is_some_and(|extent| extent <= 4);
        match small(extents[first + 2]) && !small(extents[first]) {
            true => AxisOrder::Hwc,
            false => AxisOrder::Chw,
        }
    };
    let signal = |axes: &Axes| axes.channels.is_some() && axes.height.is_none();
    match (extents.len(), order, seen) {
        (4, Some(order), _) => Some(planes(Some(0), 1, order)),
        (3, Some(AxisOrder::Chw), Some(axes)) if signal(&axes) => {
            Some(Axes::of(Some(0), [Some(1), None, Some(2)]))
        }
        (3, Some(AxisOrder::Hwc), Some(axes)) if signal(&axes) => {
            Some(Axes::of(Some(0), [Some(2), None, Some(1)]))
        }
        (_, _, Some(axes)) => Some(axes),
        (4, None, None) => Some(planes(Some(0), 1, guess(1))),
        (3, _, None) if extents[0].is_none() => Some(Axes::of(Some(0), [None, Some(1), Some(2)])),
        (3, order, None) => Some(planes(None, 0, order.unwrap_or_else(|| guess(0)))),
        (2, _, None) => Some(Axes::of(Some(0), [None, None, Some(1)])),
        (1, _, None) => Some(Axes::of(None, [None, None, Some(0)])),
        _ => None,
    }
}

/// Most values that are followed, and most axes of one.
const MAX_VALUES: usize = 1 << 12;
const MAX_AXES: usize = 8;

/// What the first operators that know say about the axes of the input `name` of rank `rank`.
/// `nodes` come in an order in which each one's inputs are known.
pub(super) fn follow<'a>(
    graph: &'a GraphProto,
    nodes: impl Iterator<Item = &'a Node<'a>>,
    name: &'a str,
    rank: usize,
) -> Option<Axes> {
    if rank > MAX_AXES {
        return None;
    }
    // For every axis of a value the axis of the input behind it.
    let mut values: HashMap<&str, Vec<Option<usize>>> = HashMap::new();
    values.insert(name, (0..rank).map(Some).collect());
    let stored = graph.initializer.iter();
    let mut lists: HashMap<&str, List<'a>> = stored
        .map(|tensor| (tensor.name.as_str(), List::Tensor(tensor)))
        .collect();
    let mut weak = None;
    for node in nodes {
        let proto: &'a NodeProto = &node.proto;
        if proto.op_type == "Constant" {
            if let (Some(output), Some(list)) = (proto.output.first(), List::of(proto)) {
                lists.insert(output, list);
            }
            continue;
        }
        let known = |input: &&String| values.contains_key(input.as_str());
        let Some(input) = proto.input.iter().find(known) else {
            continue;
        };
        let Some(axes) = values.get(input.as_str()) else {
            continue;
        };
        match proto.op_type.as_str() {
            "Conv"
            | "MaxPool"
            | "AveragePool"
            | "LpPool"
            | "GlobalAveragePool"
            | "GlobalMaxPool"
            | "BatchNormalization"
            | "InstanceNormalization"
            | "LRN"
            | "DepthToSpace"
            | "SpaceToDepth"
                if opset::is_default(&proto.domain) =>
            {
                match axes[..] {
                    [batch, channels, height, width] => {
                        return Some(Axes::of(batch, [channels, height, width]));
                    }
                    [batch, channels, width] => {
                        return Some(Axes::of(batch, [channels, None, width]));
                    }
                    // A batch norm of a vector.
                    _ => continue,
                }
            }
            "MatMul" if weak.is_none() && proto.input.first() == Some(input) => {
                weak = match axes[..] {
                    [batch, height, width, channels] => {
                        Some(Axes::of(batch, [channels, height, width]))
                    }
                    [batch, width, channels] => Some(Axes::of(batch, [channels, None, width])),
                    _ => None,
                };
                continue;
            }
            _ => {}
        }
        let ints = |attribute: &str, index: usize| {
            let own = proto.attribute.iter().find(|own| own.name == attribute);
            match own {
                Some(own) => Some(List::Ints(&own.ints).ints()),
                None => Some(lists.get(proto.input.get(index)?.as_str())?.ints()),
            }
        };
        let moved = match proto.op_type.as_str() {
            "Transpose" => {
                let own = proto.attribute.iter().find(|own| own.name == "perm");
                let perm = own.map(|own| own.ints.as_slice());
                dims::permutation(perm, axes.len())
                    .ok()
                    .map(|perm| perm.iter().map(|axis| axes[*axis]).collect())
            }
            "Unsqueeze" => ints("axes", 1).and_then(|list| inserted(axes, &list)),
            "Squeeze" => ints("axes", 1).and_then(|list| {
                let set = dims::axis_set(&list, axes.len()).ok()?;
                let kept = axes.iter().zip(set).filter(|(_, dropped)| !dropped);
                Some(kept.map(|(axis, _)| *axis).collect())
            }),
            op if keeps_axes(op) => Some(axes.clone()),
            _ => None,
        };
        if let Some(moved) = moved {
            for output in &proto.output {
                if values.len() < MAX_VALUES {
                    values.insert(output, moved.clone());
                }
            }
        }
    }
    weak
}

/// Axes with new ones of extent 1 at the places in `list`.
fn inserted(axes: &[Option<usize>], list: &[i64]) -> Option<Vec<Option<usize>>> {
    let rank = axes.len() + list.len();
    if rank > MAX_AXES {
        return None;
    }
    let set = dims::axis_set(list, rank).ok()?;
    let mut rest = axes.iter();
    let next = |new: bool| match new {
        true => Some(None),
        false => rest.next().copied(),
    };
    set.into_iter().map(next).collect()
}

/// Where a list of axes stands in the file.
enum List<'a> {
    Tensor(&'a TensorProto),
    Ints(&'a [i64]),
}

impl<'a> List<'a> {
    /// The value of a `Constant` node.
    fn of(node: &'a NodeProto) -> Option<Self> {
        let named = |name: &str| node.attribute.iter().find(|own| own.name == name);
        if let Some(own) = named("value_ints") {
            return Some(Self::Ints(&own.ints));
        }
        Some(Self::Tensor(named("value")?.t.as_ref()?))
    }

    /// The first of its integers, as many as a value may have axes and one more.
    fn ints(&self) -> Vec<i64> {
        let most = MAX_AXES + 1;
        match self {
            Self::Ints(ints) => ints.iter().copied().take(most).collect(),
            Self::Tensor(tensor) if tensor.raw_data.is_empty() => {
                tensor.int64_data.iter().copied().take(most).collect()
            }
            Self::Tensor(tensor) => {
                let (chunks, _) = tensor.raw_data.as_chunks::<8>();
                let ints = chunks.iter().map(|bytes| i64::from_le_bytes(*bytes));
                ints.take(most).collect()
            }
        }
    }
}

/// Whether an operator leaves the axes of its operand as they are.
fn keeps_axes(op: &str) -> bool {
    matches!(
        op,
        "Identity"
            | "Cast"
            | "CastLike"
            | "Dropout"
            | "Pad"
            | "Slice"
            | "Concat"
            | "Split"
            | "Add"
            | "Sub"
            | "Mul"
            | "Div"
            | "Neg"
            | "Pow"
            | "Sum"
            | "Max"
            | "Min"
            | "Clip"
            | "Relu"
            | "LeakyRelu"
            | "PRelu"
            | "Sigmoid"
            | "Tanh"
            | "Abs"
            | "Sqrt"
            | "Elu"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "Swish"
            | "Mish"
            | "Softplus"
            | "Resize"
            | "Upsample"
            | "QuantizeLinear"
            | "DequantizeLinear"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_decide_the_order() {
        let axes = |list: [Option<usize>; 3]| Axes::of(Some(0), list);
        assert_eq!(axes([Some(1), Some(2), Some(3)]).order(), AxisOrder::Chw);
        assert_eq!(axes([Some(3), Some(1), Some(2)]).order(), AxisOrder::Hwc);
        assert_eq!(axes([Some(2), None, Some(1)]).order(), AxisOrder::Hwc);
        assert_eq!(axes([None, Some(1), Some(2)]).order(), AxisOrder::Chw);
        assert_eq!(axes([Some(1), None, None]).order(), AxisOrder::Chw);
    }

    #[test]
    fn without_operators_that_know_extents_tell() {
        let of = |extents: &[usize], order| {
            let extents: Vec<Option<usize>> = extents.iter().copied().map(Some).collect();
            decide(&extents, None, order).map(|axes| axes.chw())
        };
        let [first, second, third, fourth] = [Some(0), Some(1), Some(2), Some(3)];
        let last = Some([fourth, second, third]);
        assert_eq!(of(&[1, 28, 28, 1], None), last);
        assert_eq!(of(&[1, 6, 128, 7], None), Some([second, third, fourth]));
        let chw = Some(AxisOrder::Chw);
        assert_eq!(of(&[1, 28, 28, 1], chw), Some([second, third, fourth]));
        assert_eq!(of(&[3, 8, 8], None), Some([first, second, third]));
        assert_eq!(of(&[1, 12], None), Some([None, None, second]));
        assert_eq!(of(&[12], None), Some([None, None, first]));
        assert_eq!(of(&[1; 5], None), None);
        assert_eq!(of(&[], None), None);
    }
}
