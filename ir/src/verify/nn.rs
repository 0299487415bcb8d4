//! Shape inference and verification of the tensor graph.

use crate::graph::{Graph, ValueId};
pub use crate::nn::shapes::MAX_ELEMENTS;
use crate::nn::shapes::{check_feature_map, check_type, slide};
use crate::nn::{LinearOp, Model, Op, TensorType, Window};
use crate::verify::{Violation, Violations, check_ends};
use crate::weights::Weights;

/// Largest extent or padding of a max pool's window.
const MAX_POOL: usize = 1 << 10;

/// The type of `op`'s result for operands of the given types.
///
/// # Errors
/// A sentence that says which operand, weight or option does not fit.
pub fn infer(op: &Op, operands: &[&TensorType], weights: &Weights) -> Result<TensorType, String> {
    let arity = match op {
        Op::Input => 0,
        Op::Add | Op::Multiply { .. } => 2,
        Op::Linear(_) | Op::Activation { .. } | Op::MaxPool { .. } | Op::Identity => 1,
    };
    if operands.len() != arity {
        return Err(format!(
            "expected {arity} operands, found {}",
            operands.len()
        ));
    }
    for operand in operands {
        check_type(operand)?;
    }
    let result = match op {
        Op::Input => return Err("the type of the input cannot be inferred".into()),
        Op::Activation {
            function: activation,
            ..
        } => {
            activation.check()?;
            operands[0].clone()
        }
        Op::Identity => operands[0].clone(),
        Op::Add | Op::Multiply { .. } if operands[0] == operands[1] => operands[0].clone(),
        Op::Add => {
            return Err(format!("cannot add {} and {}", operands[0], operands[1]));
        }
        Op::Multiply { .. } => {
            return Err(format!(
                "cannot multiply {} and {}",
                operands[0], operands[1]
            ));
        }
        Op::MaxPool { window } => infer_max_pool(window, operands[0])?,
        Op::Linear(linear) => return infer_linear(linear, operands[0], weights),
    };
    check_type(&result)?;
    Ok(result)
}

/// [`infer`] for an affine operation.
pub(super) fn infer_linear(
    op: &LinearOp,
    operand: &TensorType,
    weights: &Weights,
) -> Result<TensorType, String> {
    check_type(operand)?;
    let result = op.as_operation().shape(operand, weights)?;
    check_type(&result)?;
    Ok(result)
}

fn infer_max_pool(window: &Window, operand: &TensorType) -> Result<TensorType, String> {
    check_feature_map(operand)?;
    let [c, h, w] = operand.chw();
    if window
        .kernel
        .iter()
        .chain(&window.pads)
        .any(|extent| *extent > MAX_POOL)
    {
        return Err(format!("a max pool with an extent above {MAX_POOL}"));
    }
    let [rows, columns] = slide(window, [c, h, w])?;
    for (axis, count, extent) in [(0, rows, h), (1, columns, w)] {
        let is_empty = |output: &usize| {
            (0..window.kernel[axis])
                .all(|tap| window.input_index(axis, *output, tap, extent).is_none())
        };
        if let Some(output) = (0..count).find(is_empty) {
            return Err(format!(
                "position {output} of a window of {:?} lies in the padding {:?} alone",
                window.kernel, window.pads
            ));
        }
    }
    Ok(TensorType::new([c, rows, columns]))
}

/// Recomputes the type of every value but the input's from its operands' types.
///
/// Values whose type cannot be inferred keep the one they have and are reported.
pub fn infer_shapes(graph: &mut Graph<Op, TensorType>, weights: &Weights) -> Violations {
    let mut violations = Violations::new();
    for value in graph.values() {
        if matches!(graph.node(value).op, Op::Input) {
            continue;
        }
        match inferred(graph, weights, value) {
            Ok(ty) => graph.node_mut(value).ty = ty,
            Err(message) => violations.push(violation(graph, value, message)),
        }
    }
    violations
}

fn inferred(
    graph: &Graph<Op, TensorType>,
    weights: &Weights,
    value: ValueId,
) -> Result<TensorType, String> {
    let operands = graph.operands(value);
    let types: Vec<&TensorType> = operands.iter().map(|operand| graph.ty(*operand)).collect();
    infer(&graph.node(value).op, &types, weights)
}

fn violation(graph: &Graph<Op, TensorType>, value: ValueId, message: String) -> Violation {
    Violation {
        value: Some(value),
        message: format!("`{}`: {message}", graph.node(value).name),
    }
}

/// Everything that is wrong with a model: types that do not follow from the operands, weights that
/// are missing or not finite, more or fewer than one input or output. Empty for a valid model.
pub fn verify(model: &Model) -> Violations {
    let graph = &model.graph;
    let mut violations = Violations::new();
    for value in graph.values() {
        let node = graph.node(value);
        if matches!(node.op, Op::Input) {
            let rank = if node.ty.shape.len() == 3 {
                Ok(())
            } else {
                Err(format!("the input must be `C×H×W`, found {}", node.ty))
            };
            if let Err(message) = check_type(&node.ty).and(rank) {
                violations.push(violation(graph, value, message));
            }
            continue;
        }
        match inferred(graph, &model.weights, value) {
            Ok(ty) if ty == node.ty => {}
            Ok(ty) => violations.push(violation(
                graph,
                value,
                format!("has type {}, but its operands give {ty}", node.ty),
            )),
            Err(message) => violations.push(violation(graph, value, message)),
        }
    }
    check_ends(graph, |op| matches!(op, Op::Input), &mut violations);
    for (id, tensor) in model.weights.iter() {
        if tensor.data.iter().any(|element| !element.is_finite()) {
            let message = format!("weight {id} `{}` holds NaN or an infinity", tensor.name);
            violations.push(Violation {
                value: None,
                message,
            });
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{
        Activation, AveragePool, AxisOrder, ChannelAffine, Conv, ElementAffine, PaddingInMean,
        Separable, Slice,
    };
    use crate::weights::{Tensor, WeightId};

    fn model() -> Model {
        let mut weights = Weights::default();
        let weight = weights.push(Tensor::new("w", vec![4, 3, 3, 3], vec![0.5; 108]));
        let window = Window::square(3, 2);
        let mut graph = Graph::new();
        let x = graph.add(Op::Input, &[], TensorType::new([3, 8, 8]), "x");
        let conv = LinearOp::Conv(Conv {
            weight,
            bias: None,
            window,
            groups: 1,
        });
        let y = graph.add(Op::Linear(conv), &[x], TensorType::new([4, 4, 4]), "conv");
        let relu = Op::activation(Activation::Relu);
        let z = graph.add(relu, &[y], TensorType::new([4, 4, 4]), "relu");
        graph.set_outputs(vec![z]);
        Model {
            name: "m".into(),
            digest: [0; 32],
            graph,
            weights,
            input_order: AxisOrder::Chw,
            notes: Vec::new(),
        }
    }

    #[test]
    fn accepts_a_valid_model() {
        assert!(verify(&model()).is_empty());
    }

    #[test]
    fn collects_every_violation() {
        let mut model = model();
        let nan = model
            .weights
            .push(Tensor::new("poisoned", vec![1], vec![f32::NAN]));
        let [conv, relu] = [ValueId(1), ValueId(2)];
        model.graph.node_mut(relu).ty = TensorType::new([4, 4, 5]);
        model.graph.node_mut(conv).op = Op::Linear(LinearOp::ChannelAffine(ChannelAffine {
            scale: Some(nan),
            shift: None,
        }));
        model.graph.set_outputs(Vec::new());
        let messages: Vec<String> = verify(&model)
            .into_iter()
            .map(|violation| violation.message.clone())
            .collect();
        assert_eq!(messages.len(), 4, "{messages:#?}");
        assert!(messages[0].contains("`conv`") && messages[0].contains("expected [3]"));
        assert!(messages[1].contains("tensor<4x4x5>"));
        assert!(messages[2].contains("expected one output"));
        assert!(messages[3].contains("`poisoned`"));
    }

    #[test]
    fn infers_what_was_erased() {
        let mut model = model();
        let want = model.graph.clone();
        for value in [ValueId(1), ValueId(2)] {
            model.graph.node_mut(value).ty = TensorType::new([1]);
        }
        assert!(infer_shapes(&mut model.graph, &model.weights).is_empty());
        assert_eq!(model.graph, want);
    }

    #[test]
    fn refuses_windows_and_slices_that_do_not_fit() {
        let weights = Weights::default();
        let x = TensorType::new([2, 4, 4]);
        let pool = |kernel, pads| {
            let window = Window {
                kernel,
                stride: [1, 1],
                pads,
                dilation: [1, 1],
            };
            Op::Linear(LinearOp::AveragePool(AveragePool {
                window,
                padding: PaddingInMean::Counted,
            }))
        };
        assert!(infer(&pool([5, 5], [0; 4]), &[&x], &weights).is_err());
        assert!(infer(&pool([2, 2], [2; 4]), &[&x], &weights).is_err());
        assert!(infer(&pool([0, 2], [0; 4]), &[&x], &weights).is_err());
        let slice = |end| {
            Op::Linear(LinearOp::Slice(Slice {
                start: [0; 3],
                end: [2, end, 4],
                step: [1, 3, 2],
            }))
        };
        assert_eq!(infer(&slice(4), &[&x], &weights).unwrap().shape, [2, 2, 2]);
        assert!(infer(&slice(5), &[&x], &weights).is_err());
        assert!(infer(&Op::Add, &[&x, &TensorType::new([32])], &weights).is_err());
        let product = Op::multiply();
        assert_eq!(infer(&product, &[&x, &x], &weights), Ok(x.clone()));
        let refused = infer(&product, &[&x, &TensorType::new([2, 1, 1])], &weights).unwrap_err();
        assert_eq!(refused, "cannot multiply tensor<2x4x4> and tensor<2x1x1>");
        assert!(infer(&product, &[&x], &weights).is_err());
    }

    #[test]
    fn refuses_elements_of_another_shape() {
        let mut weights = Weights::default();
        let scale = weights.push(Tensor::new("mask", vec![2, 4, 5], vec![0.5; 40]));
        let op = Op::Linear(LinearOp::ElementAffine(ElementAffine {
            scale: Some(scale),
            shift: None,
        }));
        let fitting = TensorType::new([2, 4, 5]);
        assert_eq!(infer(&op, &[&fitting], &weights), Ok(fitting));
        // The same number of elements is not enough.
        let refused = infer(&op, &[&TensorType::new([2, 5, 4])], &weights).unwrap_err();
        assert!(
            refused.contains("scale `mask` has shape [2, 4, 5]"),
            "{refused}"
        );
    }

    #[test]
    fn refuses_max_pools_and_separable_maps_that_do_not_fit() {
        let mut weights = Weights::default();
        let matrix = weights.push(Tensor::new("m", vec![3, 4], vec![0.5; 12]));
        let x = TensorType::new([2, 4, 5]);
        let window = Window {
            kernel: [2, 2],
            stride: [2, 2],
            pads: [1, 0, 0, 1],
            dilation: [1, 1],
        };
        let pooled = |window| infer(&Op::MaxPool { window }, &[&x], &weights);
        assert_eq!(pooled(window).unwrap().shape, [2, 2, 3]);
        let padded = Window {
            pads: [2, 0, 0, 0],
            ..window
        };
        assert!(pooled(padded).unwrap_err().contains("in the padding"));
        let huge = Window {
            kernel: [1 << 11, 2],
            ..window
        };
        assert!(pooled(huge).unwrap_err().contains("above"));
        let separable = |rows, columns, stride| {
            let op = LinearOp::Separable(Separable {
                rows,
                columns,
                stride,
            });
            infer(&Op::Linear(op), &[&x], &weights)
        };
        let along_height = separable(Some(matrix), None, [1, 1]).unwrap();
        assert_eq!(along_height.shape, [2, 3, 5]);
        assert!(separable(None, Some(matrix), [1, 1]).is_err());
        assert!(separable(Some(WeightId(9)), None, [1, 1]).is_err());
        assert!(separable(Some(matrix), None, [0, 1]).is_err());
    }
}
