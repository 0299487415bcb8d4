//! Executes a schedule on a backend, operation by operation, in the order of the schedule.

use std::time::{Duration, Instant};

use heddle_ir::ValueId;
use heddle_ir::ckks::{CiphertextType, Op, Schedule};

use crate::Error;
use crate::backend::Backend;

/// One operation of a schedule, as backends and observers see it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The operation's id, which is that of its result.
    pub value: ValueId,
    /// What is computed.
    pub op: &'a Op,
    /// The ONNX node that the operation comes from.
    pub name: &'a str,
    /// The result's slots, level and scale.
    pub ty: &'a CiphertextType,
    /// The type of the first operand; the result's own for the input.
    pub operand: &'a CiphertextType,
}

/// Runs a schedule on one input and returns its outputs.
///
/// `observe` is called after each operation with the time that it took; a rescale that the backend does in one with
/// the operation before takes none. A value is dropped after its last use, so that memory follows the schedule's
/// lifetimes.
///
/// # Errors
/// What the backend refuses, or a schedule whose operations lack operands.
pub fn execute<B: Backend>(
    schedule: &Schedule,
    backend: &B,
    input: B::Value,
    observe: &mut dyn FnMut(&Step<'_>, Duration),
) -> Result<Vec<B::Value>, Error> {
    let graph = &schedule.graph;
    let frees = schedule.frees();
    let mut input = Some(input);
    let mut values: Vec<Option<B::Value>> = Vec::new();
    values.resize_with(graph.len(), || None);
    for value in graph.values() {
        let step = step_of(schedule, value);
        let started = Instant::now();
        // A rescale may have been done with the operation before it.
        if values[value.index()].is_none() {
            let rescale = following_rescale(schedule, value);
            let operands = graph.operands(value);
            let mut present = Vec::with_capacity(operands.len());
            for id in &operands {
                let live = values[id.index()].as_ref();
                present.push(live.ok_or_else(|| malformed(&step, &format!("{id} is not alive")))?);
            }
            let (holder, result) = match (step.op, present.as_slice(), rescale) {
                (Op::Input, [], _) => {
                    let input = input.take();
                    (
                        value,
                        input.ok_or_else(|| malformed(&step, "there is a second input"))?,
                    )
                }
                (
                    Op::LinearTransform { map, .. } | Op::MultiplyAccumulate { map, .. },
                    [_, ..],
                    Some(rescale),
                ) => {
                    let then = step_of(schedule, rescale);
                    (
                        rescale,
                        backend.linear_transform_rescaled(&step, &then, *map, &present)?,
                    )
                }
                (Op::Multiply, [x, y], Some(rescale)) => {
                    let then = step_of(schedule, rescale);
                    (rescale, backend.multiply_rescaled(&step, &then, x, y)?)
                }
                (_, operands, _) => (value, apply(&step, backend, operands)?),
            };
            values[holder.index()] = Some(result);
        }
        for freed in &frees[value.index()] {
            values[freed.index()] = None;
        }
        observe(&step, started.elapsed());
    }
    graph
        .outputs()
        .iter()
        .map(|output| {
            values
                .get_mut(output.index())
                .and_then(Option::take)
                .ok_or_else(|| Error::Schedule {
                    value: *output,
                    node: String::new(),
                    message: "the output is not among the values".into(),
                })
        })
        .collect()
}

fn step_of(schedule: &Schedule, value: ValueId) -> Step<'_> {
    let graph = &schedule.graph;
    let node = graph.node(value);
    let operand = graph
        .operands(value)
        .first()
        .map_or(&node.ty, |operand| graph.ty(*operand));
    Step {
        value,
        op: &node.op,
        name: &node.name,
        ty: &node.ty,
        operand,
    }
}

/// The rescale that comes right after `value` and is all that uses it.
fn following_rescale(schedule: &Schedule, value: ValueId) -> Option<ValueId> {
    let graph = &schedule.graph;
    let next = ValueId(value.0 + 1);
    let alone = graph.users(value) == [next] && !graph.outputs().contains(&value);
    (alone && matches!(graph.node(next).op, Op::Rescale)).then_some(next)
}

fn apply<B: Backend>(
    step: &Step<'_>,
    backend: &B,
    operands: &[&B::Value],
) -> Result<B::Value, Error> {
    match (step.op, operands) {
        (Op::LinearTransform { map, .. } | Op::MultiplyAccumulate { map, .. }, [_, ..]) => {
            backend.linear_transform(step, *map, operands)
        }
        (Op::AddBias { map }, [x]) => backend.add_bias(step, *map, x),
        (Op::Rotate { by }, [x]) => backend.rotate(step, *by, x),
        (Op::Add, [x, y]) => backend.add(step, x, y),
        (Op::Multiply, [x, y]) => backend.multiply(step, x, y),
        (Op::Rescale, [x]) => backend.rescale(step, x),
        (Op::DropLevel, [x]) => backend.drop_level(step, x),
        (Op::Polynomial { polynomial }, [x]) => backend.polynomial(step, *polynomial, x),
        (Op::Bootstrap { variant }, [x]) => backend.bootstrap(step, *variant, x),
        _ => Err(malformed(
            step,
            &format!("it has {} operands", operands.len()),
        )),
    }
}

fn malformed(step: &Step<'_>, message: &str) -> Error {
    Error::Schedule {
        value: step.value,
        node: step.name.into(),
        message: message.into(),
    }
}
