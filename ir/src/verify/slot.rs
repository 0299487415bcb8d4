//! Verification of the packed graph.

use super::maps::{
    MAX_SLOTS, check_layout, check_map, check_parallel, check_polynomial, check_siso,
};
use super::{Violations, at, check_dead, check_ends};
use crate::graph::ValueId;
use crate::linear::LinearMap;
use crate::slot::{ApproximatedActivation, Normalisation, Op, SlotGraph, SlotType, Weighting};
use crate::weights::Weights;

/// Relative difference up to which two factors agree.
const FACTOR_TOLERANCE: f64 = 1e-9;

/// Relative amount by which an approximation may exceed the error that it claims.
const ERROR_TOLERANCE: f64 = 1e-3;
/// Most factors of a division: every one doubles the bits of the result.
const MAX_ITERATIONS: usize = 16;

/// Everything that is wrong with a packed graph: operands, layouts, ranges and the factors that
/// follow from them, chains that do not fit their layouts, an output that does not end in a linear
/// map (other slots would leak partial sums). Empty for a valid graph.
pub fn verify(graph: &SlotGraph, weights: &Weights) -> Violations {
    let mut violations = Violations::new();
    check_ends(graph, |op| matches!(op, Op::Input), &mut violations);
    check_dead(graph, &mut violations);
    let sound: Vec<bool> = graph
        .values()
        .map(|value| {
            let wrong = check_type(graph.ty(value)).err();
            let sound = wrong.is_none();
            violations.extend(wrong.map(|message| at(graph, value, &message)));
            sound
        })
        .collect();
    for value in graph.values() {
        let operands = graph.operands(value);
        let known = operands
            .iter()
            .chain([&value])
            .all(|value| sound[value.index()]);
        for message in check_operation(graph, value, &operands, weights, known) {
            violations.push_at(graph, value, &message);
        }
    }
    for output in graph
        .outputs()
        .iter()
        .filter(|output| output.index() < graph.len())
    {
        if !matches!(graph.node(*output).op, Op::Linear(_)) {
            let message = "the output must be the result of a linear map";
            violations.push_at(graph, *output, message);
        }
    }
    violations
}

/// Checks a packed value's layout and range.
pub(crate) fn check_type(ty: &SlotType) -> Result<(), String> {
    check_layout(&ty.layout, MAX_SLOTS)?;
    if ty.range.is_finite() && ty.range > 0.0 {
        Ok(())
    } else {
        Err(format!("range {} is not a positive number", ty.range))
    }
}

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= FACTOR_TOLERANCE * expected.abs()
}

/// Whether two types agree, ranges up to rounding.
fn same_type(a: &SlotType, b: &SlotType) -> bool {
    a.layout == b.layout && close(a.range, b.range)
}

fn check_operation(
    graph: &SlotGraph,
    value: ValueId,
    operands: &[ValueId],
    weights: &Weights,
    types_are_sound: bool,
) -> Vec<String> {
    let node = graph.node(value);
    let arity = match &node.op {
        Op::Input => 0,
        Op::Linear(map) | Op::SisoConvolution(map) => map.terms.len(),
        Op::Activation(_)
        | Op::RotateSum { .. }
        | Op::Normalise(_)
        | Op::ParallelConvolution { .. } => 1,
        Op::Add | Op::Multiply => 2,
    };
    if operands.len() != arity {
        return vec![format!(
            "expected {arity} operands, found {}",
            operands.len()
        )];
    }
    let mut wrong = match &node.op {
        Op::Linear(map) => check_map(map, Some(weights), MAX_SLOTS),
        Op::SisoConvolution(map) => check_siso(map, Some(weights)),
        Op::ParallelConvolution { map, slots } => check_parallel(map, Some(weights), *slots),
        Op::Activation(activation) => check_activation(activation),
        Op::Normalise(division) => check_division(division),
        Op::Input | Op::Add | Op::Multiply | Op::RotateSum { .. } => Vec::new(),
    };
    if !types_are_sound {
        return wrong;
    }
    let types: Vec<&SlotType> = operands.iter().map(|operand| graph.ty(*operand)).collect();
    match &node.op {
        Op::Input => {}
        Op::Linear(map) | Op::ParallelConvolution { map, .. } | Op::SisoConvolution(map) => {
            wrong.extend(check_linear(map, &types, &node.ty));
        }
        Op::Add => {
            if let Some(other) = types.iter().find(|ty| !same_type(ty, &node.ty)) {
                wrong.push(format!("has type {}, an operand {other}", node.ty));
            }
        }
        Op::Multiply => {
            if let Some(other) = types.iter().find(|ty| ty.layout != node.ty.layout) {
                wrong.push(format!("has type {}, an operand {other}", node.ty));
            }
            let product = types[0].range * types[1].range;
            if !close(node.ty.range, product) {
                wrong.push(format!(
                    "has the range {}, the operands' multiply to {product}",
                    node.ty.range
                ));
            }
        }
        Op::Activation(activation) => {
            if types[0].layout != node.ty.layout {
                let (found, expected) = (node.ty.layout, types[0].layout);
                wrong.push(format!("has layout {found}, its operand {expected}"));
            }
            if wrong.is_empty() {
                wrong.extend(check_error(activation, types[0].range, node.ty.range));
            }
        }
        Op::RotateSum { rotations } => {
            let period = types[0].layout.period();
            if node.ty.layout.period() != period {
                wrong.push(format!("has type {}, its operand {}", node.ty, types[0]));
            }
            wrong.extend(check_rotations(rotations, period));
        }
        Op::Normalise(division) => {
            let layout = types[0].layout;
            if node.ty.layout != layout {
                wrong.push(format!("has type {}, its operand {}", node.ty, types[0]));
            }
            if node.ty.range != 1.0 {
                wrong.push(format!(
                    "has the range {}, a quotient's is 1",
                    node.ty.range
                ));
            }
            wrong.extend(check_rotations(&division.rotations, layout.period()));
        }
    }
    wrong
}

/// The first rotation of a sum that goes nowhere or too far.
fn check_rotations(rotations: &[usize], period: usize) -> Option<String> {
    let by = rotations.iter().find(|by| !(1..period).contains(*by))?;
    Some(format!("rotates by {by}; the period is {period}"))
}

fn check_division(division: &Normalisation) -> Vec<String> {
    let names = ["numerator", "denominator", "start", "deviation"];
    let polynomials = names.into_iter().zip(division.polynomials());
    let mut wrong: Vec<String> = polynomials
        .filter_map(|(name, polynomial)| {
            let message = check_polynomial(polynomial).err()?;
            Some(format!("its {name} {message}"))
        })
        .collect();
    if !(1..=MAX_ITERATIONS).contains(&division.iterations) {
        wrong.push(format!(
            "has {} iterations; 1 to {MAX_ITERATIONS} are supported",
            division.iterations
        ));
    }
    if let Weighting::Exponential { rate } = division.function
        && !(rate.is_finite() && rate > 0.0)
    {
        wrong.push(format!("the rate {rate} is not a positive number"));
    }
    wrong
}

/// Whether polynomials and parameters can be evaluated.
fn check_activation(activation: &ApproximatedActivation) -> Vec<String> {
    let mut wrong: Vec<String> = activation.function.check().err().into_iter().collect();
    let polynomials = activation.polynomials().enumerate();
    wrong.extend(polynomials.filter_map(|(index, polynomial)| {
        check_polynomial(polynomial)
            .err()
            .map(|message| format!("polynomial {index} {message}"))
    }));
    if activation.terms.iter().any(|term| term.gate.is_empty()) {
        wrong.push("a term has no gate".to_owned());
    }
    if activation.terms.is_empty() && activation.free.is_none() {
        wrong.push("has no polynomials".to_owned());
    }
    wrong
}

/// Whether the polynomials are as close to the function as they claim.
fn check_error(activation: &ApproximatedActivation, operand: f64, result: f64) -> Option<String> {
    let (claimed, found) = (activation.error, activation.measured_error(operand, result));
    let holds = claimed.is_finite() && found <= claimed * (1.0 + ERROR_TOLERANCE) + f64::EPSILON;
    (!holds).then(|| {
        format!(
            "claims {} with an error of {claimed:e}, but differs from it by {found:e}",
            activation.function
        )
    })
}

fn check_linear(map: &LinearMap, operands: &[&SlotType], result: &SlotType) -> Vec<String> {
    let mut wrong = Vec::new();
    if map.output != result.layout {
        wrong.push(format!(
            "has layout {}, its map gives {}",
            result.layout, map.output
        ));
    }
    if !close(map.bias_factor, 1.0 / result.range) {
        wrong.push(format!(
            "bias factor {} is not 1 / range {}",
            map.bias_factor, result.range
        ));
    }
    for (index, (term, operand)) in map.terms.iter().zip(operands).enumerate() {
        if term.input != operand.layout {
            let (expected, found) = (term.input, operand.layout);
            wrong.push(format!(
                "term {index}: expected layout {expected}, found {found}"
            ));
        }
        if !close(term.factor, operand.range / result.range) {
            wrong.push(format!(
                "term {index}: factor {} is not the quotient of ranges {} and {}",
                term.factor, operand.range, result.range
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::slot::Chebyshev;
    use crate::test_support::slot_graph;
    use crate::text::{parse_slot, print_slot};

    /// The messages after one edit of the valid graph.
    fn after(edit: impl FnOnce(&mut SlotGraph)) -> Vec<String> {
        let (mut graph, weights) = slot_graph();
        edit(&mut graph);
        verify(&graph, &weights)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn edit_map(graph: &mut SlotGraph, value: u32, edit: impl FnOnce(&mut LinearMap)) {
        match &mut graph.node_mut(ValueId(value)).op {
            Op::Linear(map) => edit(map),
            other => panic!("not a linear map: {other:?}"),
        }
    }

    #[track_caller]
    fn assert_only(messages: &[String], expected: &str) {
        assert!(
            messages.len() == 1 && messages[0].contains(expected),
            "{messages:#?}"
        );
    }

    #[test]
    fn accepts_a_valid_graph() {
        assert_eq!(after(|_| {}), [""; 0]);
    }

    #[test]
    fn factors_follow_from_ranges() {
        assert_only(
            &after(|g| edit_map(g, 1, |m| m.terms[0].factor *= 2.0)),
            "factor",
        );
        assert_only(
            &after(|g| edit_map(g, 1, |m| m.bias_factor = 3.0)),
            "bias factor 3",
        );
        let infinite = after(|g| edit_map(g, 1, |m| m.terms[0].factor = f64::INFINITY));
        assert_eq!(infinite.len(), 2, "{infinite:#?}");
    }

    #[test]
    fn layouts_agree_and_are_consistent() {
        let messages = after(|g| {
            let layout = &mut g.node_mut(ValueId(2)).ty.layout;
            layout.grid_width = 3;
        });
        assert_only(
            &messages,
            "%2: `relu1`: multiplexed<2x4x4, gap=1, grid=4x3> does not fit its grid",
        );
        let messages = after(|g| edit_map(g, 1, |m| m.output.gap = usize::MAX));
        assert!(
            messages[0].contains("an extent of 0 or above"),
            "{messages:#?}"
        );
        let messages = after(|g| edit_map(g, 3, |m| m.terms[1].input.channels = 3));
        assert!(
            messages
                .iter()
                .any(|m| m.contains("term 1: expected layout")),
            "{messages:#?}"
        );
    }

    #[test]
    fn ranges_are_positive() {
        let messages = after(|g| g.node_mut(ValueId(0)).ty.range = 0.0);
        assert_only(&messages, "%0: `image`: range 0 is not a positive number");
    }

    #[test]
    fn chains_fit_their_layouts_and_weights() {
        let messages = after(|g| edit_map(g, 1, |m| m.terms[0].ops.clear()));
        assert_only(&messages, "term 0: ends in");
        let (graph, _) = slot_graph();
        let messages = verify(&graph, &Weights::default());
        assert!(
            messages
                .iter()
                .all(|v| v.message.contains("does not exist"))
        );
        assert_eq!(messages.len(), 3);
    }

    #[test]
    fn operands_are_counted() {
        let messages = after(|g| edit_map(g, 3, |m| m.terms.truncate(1)));
        assert_only(&messages, "%3: `block.conv2`: expected 1 operands, found 2");
    }

    #[test]
    fn activations_have_finite_stages() {
        let messages = after(|g| match &mut g.node_mut(ValueId(2)).op {
            Op::Activation(activation) => {
                activation.terms[0].gate[0].coefficients[1] = f64::NAN;
            }
            other => panic!("not an activation: {other:?}"),
        });
        assert_only(
            &messages,
            "%2: `relu1`: polynomial 1 has the coefficient NaN",
        );
        let messages = after(|g| match &mut g.node_mut(ValueId(2)).op {
            Op::Activation(activation) => activation.terms[0].gate.clear(),
            other => panic!("not an activation: {other:?}"),
        });
        assert_only(&messages, "%2: `relu1`: a term has no gate");
    }

    #[test]
    fn an_output_ends_in_a_linear_map_and_nothing_is_dead() {
        let messages = after(|g| g.set_outputs(vec![ValueId(4)]));
        assert_eq!(messages.len(), 2, "{messages:#?}");
        assert!(messages[0].contains("%5: `fc`: nobody uses"));
        assert!(messages[1].contains("%4: `relu2`: the output must be the result of a linear map"));
        let messages = after(|g| {
            let ty = g.ty(ValueId(0)).clone();
            g.add(Op::Input, &[], ty, "second");
        });
        assert!(
            messages[0].contains("expected one input, found 2"),
            "{messages:#?}"
        );
        let messages = after(|g| g.set_outputs(vec![ValueId(99)]));
        assert!(
            messages
                .iter()
                .any(|m| m.contains("output %99 does not exist"))
        );
    }

    /// The valid graph with a division behind its second activation.
    fn with_division(edit: impl FnOnce(&mut Normalisation, &mut SlotType)) -> Vec<String> {
        let (graph, weights) = slot_graph();
        let square = Chebyshev {
            coefficients: vec![0.5, 0.0, 0.5],
        };
        let mut division = Normalisation {
            function: Weighting::Square,
            numerator: square.clone(),
            denominator: square.clone(),
            rotations: vec![1, 2, 4, 8],
            start: square.clone(),
            deviation: square,
            iterations: 3,
        };
        let mut ty = graph.ty(ValueId(4)).clone();
        ty.range = 1.0;
        edit(&mut division, &mut ty);
        let mut divided = Graph::new();
        for value in graph.values().take(5) {
            let node = graph.node(value);
            let operands = graph.operands(value);
            divided.add(node.op.clone(), &operands, node.ty.clone(), &node.name);
        }
        let quotient = divided.add(Op::Normalise(division), &[ValueId(4)], ty, "quotient");
        let fc = graph.node(ValueId(5));
        let Op::Linear(mut map) = fc.op.clone() else {
            panic!("the graph ends in a linear map");
        };
        map.terms[0].factor = 1.0 / fc.ty.range;
        let out = divided.add(Op::Linear(map), &[quotient], fc.ty.clone(), "fc");
        divided.set_outputs(vec![out]);
        let text = print_slot(&divided);
        let printed = parse_slot(&text).map(|parsed| print_slot(&parsed));
        assert_eq!(printed.unwrap(), text);
        let violations = verify(&divided, &weights);
        violations.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn divisions_are_checked_and_print_and_parse_back() {
        assert_eq!(with_division(|_, _| {}), [""; 0]);
        assert_only(&with_division(|d, _| d.iterations = 0), "has 0 iterations");
        assert_only(
            &with_division(|d, _| d.rotations[0] = 32),
            "rotates by 32; the period is 32",
        );
        let empty = |d: &mut Normalisation, _: &mut SlotType| d.start.coefficients.clear();
        assert_only(&with_division(empty), "its start has no coefficients");
        let rate = Weighting::Exponential { rate: -1.0 };
        assert_only(
            &with_division(|d, _| d.function = rate),
            "the rate -1 is not",
        );
        let messages = with_division(|_, ty| ty.range = 2.0);
        assert!(
            messages[0].contains("has the range 2, a quotient's is 1"),
            "{messages:#?}"
        );
        let messages = with_division(|_, ty| ty.layout.channels = 1);
        assert!(messages[0].contains("has type"), "{messages:#?}");
    }
}
