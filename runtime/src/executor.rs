//! Executes a schedule on a backend, operation by operation, in the order of the schedule.

use std::time::{Duration, Instant};

use heddle_ir::ValueId;
use heddle_ir::ckks::{Op, Schedule};

use crate::Error;
use crate::backend::{Backend, Operation};

/// Runs a schedule on its inputs, in order, and returns its outputs.
///
/// `observe` is called after each operation with the time that it took. A rescale that the backend
/// does together with the operation before it takes no time of its own. A value is dropped after
/// its last use.
///
/// # Errors
/// If there are more or fewer inputs than the schedule has, one does not have its type, the backend
/// refuses an operation, or an operation of the schedule lacks operands.
pub fn execute<B: Backend>(
    schedule: &Schedule,
    backend: &B,
    inputs: Vec<B::Value>,
    observe: &mut dyn FnMut(&Operation<'_>, Duration),
) -> Result<Vec<B::Value>, Error> {
    let graph = &schedule.graph;
    let frees = schedule.frees();
    let expected = schedule.inputs().count();
    if inputs.len() != expected {
        return Err(Error::Input {
            what: "the image".into(),
            message: format!(
                "it has {} pieces, but the plan takes {expected}\nhelp: pack the tensor with the plan's input",
                inputs.len()
            ),
        });
    }
    let mut inputs = inputs.into_iter();
    let mut values: Vec<Option<B::Value>> = Vec::new();
    values.resize_with(graph.len(), || None);
    for value in graph.values() {
        let operation = Operation::at(schedule, value);
        let started = Instant::now();
        // The operation may be a rescale that was done together with the one before it.
        if values[value.index()].is_none() {
            let (holder, result) = match operation.op {
                Op::Input if graph.operands(value).is_empty() => {
                    let input = inputs.next();
                    let input = input.ok_or_else(|| operation.contradiction("it has no piece"))?;
                    (value, backend.input(&operation, input)?)
                }
                _ => compute(schedule, backend, &operation, &values)?,
            };
            values[holder.index()] = Some(result);
        }
        for freed in &frees[value.index()] {
            values[freed.index()] = None;
        }
        observe(&operation, started.elapsed());
    }
    let outputs = graph.outputs().iter();
    outputs
        .map(|output| {
            let value = values.get_mut(output.index()).and_then(Option::take);
            value.ok_or_else(|| Error::Schedule {
                value: *output,
                node: String::new(),
                message: "the output is not among the values".into(),
            })
        })
        .collect()
}

/// Computes an operation, together with the rescale that follows it where the backend does both in
/// one. Returns the result and the value that it belongs to.
fn compute<B: Backend>(
    schedule: &Schedule,
    backend: &B,
    operation: &Operation<'_>,
    values: &[Option<B::Value>],
) -> Result<(ValueId, B::Value), Error> {
    let ids = schedule.graph.operands(operation.value);
    let mut operands = Vec::with_capacity(ids.len());
    for id in ids {
        let live = values[id.index()].as_ref();
        operands.push(live.ok_or_else(|| operation.contradiction(format!("{id} is not alive")))?);
    }
    let operands = operands.as_slice();
    let following = following_rescale(schedule, operation.value);
    let following = following.map(|rescale| Operation::at(schedule, rescale));
    if let Some(rescale) = &following {
        let result = match (operation.op, operands) {
            (Op::LinearTransform { map, .. }, [_, ..]) => {
                backend.linear_transform_rescaled(operation, rescale, *map, operands)?
            }
            (Op::MultiplyAccumulate { map, .. }, [_, ..]) => {
                backend.multiply_accumulate_rescaled(operation, rescale, *map, operands)?
            }
            (Op::Multiply, [x, y]) => backend.multiply_rescaled(operation, rescale, x, y)?,
            _ => return Ok((operation.value, apply(operation, backend, operands)?)),
        };
        return Ok((rescale.value, result));
    }
    Ok((operation.value, apply(operation, backend, operands)?))
}

/// The rescale that comes right after `value` and is its only user.
fn following_rescale(schedule: &Schedule, value: ValueId) -> Option<ValueId> {
    let graph = &schedule.graph;
    let next = ValueId(value.0 + 1);
    let alone = graph.users(value) == [next] && !graph.outputs().contains(&value);
    (alone && matches!(graph.node(next).op, Op::Rescale)).then_some(next)
}

fn apply<B: Backend>(
    operation: &Operation<'_>,
    backend: &B,
    operands: &[&B::Value],
) -> Result<B::Value, Error> {
    match (operation.op, operands) {
        (Op::LinearTransform { map, .. }, [_, ..]) => {
            backend.linear_transform(operation, *map, operands)
        }
        (Op::MultiplyAccumulate { map, .. }, [_, ..]) => {
            backend.multiply_accumulate(operation, *map, operands)
        }
        (Op::AddBias { map }, [x]) => backend.add_bias(operation, *map, x),
        (Op::Rotate { by }, [x]) => backend.rotate(operation, *by, x),
        (Op::Add, [x, y]) => backend.add(operation, x, y),
        (Op::Multiply, [x, y]) => backend.multiply(operation, x, y),
        (Op::Rescale, [x]) => backend.rescale(operation, x),
        (Op::DropLevel, [x]) => backend.drop_level(operation, x),
        (Op::Polynomial { polynomial }, [x]) => backend.polynomial(operation, *polynomial, x),
        (Op::Bootstrap { variant }, [x]) => backend.bootstrap(operation, *variant, x),
        _ => Err(operation.contradiction(format!("it has {} operands", operands.len()))),
    }
}
