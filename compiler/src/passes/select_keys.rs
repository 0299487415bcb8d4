//! Rotation-key selection: the evaluation keys that a schedule uses, and no others.
//!
//! A key serves its own level and those below, but the lower a level, the smaller the key that it
//! could do with. Uses of one key are grouped by the number of digits that their level calls for;
//! the highest level of each group gets a key.

use std::collections::BTreeMap;

use heddle_ir::ckks::{Op, Schedule};
use heddle_params::bootstrap::{BootstrapParameters, KeyKind, KeyUse, required_keys};
use heddle_params::{GaloisElement, Parameters};

use crate::error::Error;

/// The pass's name.
pub const NAME: &str = "select-keys";

/// Fills in the schedule's keys.
///
/// # Errors
/// If the bootstraps do not fit the parameters.
pub fn run(
    schedule: &mut Schedule,
    parameters: &Parameters,
    bootstrap: &BootstrapParameters,
) -> Result<(), Error> {
    // Level of the key by kind and number of digits.
    let mut keys: BTreeMap<(KeyKind, usize), usize> = BTreeMap::new();
    let mut add = |used: KeyUse| -> Result<(), Error> {
        let digits = match used.kind {
            KeyKind::Galois(_) | KeyKind::Relin => {
                parameters.key_switch_layout(used.level)?.digits.len()
            }
            KeyKind::Encapsulate | KeyKind::Decapsulate => 1,
        };
        let level = keys.entry((used.kind, digits)).or_insert(used.level);
        *level = used.level.max(*level);
        Ok(())
    };
    let rotation = |by: usize, level: usize| {
        let element = GaloisElement::rotation(by as i64, parameters.n());
        (element != GaloisElement::IDENTITY).then_some(KeyUse {
            kind: KeyKind::Galois(element),
            level,
        })
    };
    let graph = &schedule.graph;
    for value in graph.values() {
        let level = graph.ty(value).level;
        match &graph.node(value).op {
            Op::LinearTransform { steps, .. } => {
                let rotations = steps
                    .iter()
                    .flat_map(|step| step.baby.iter().chain(&step.giant));
                for used in rotations.filter_map(|by| rotation(*by, level)) {
                    add(used)?;
                }
            }
            Op::Rotate { by } => rotation(*by, level).map_or(Ok(()), &mut add)?,
            Op::Multiply => add(KeyUse {
                kind: KeyKind::Relin,
                level,
            })?,
            Op::Polynomial { .. } => {
                // Products run from just below the operand's level down to the result's.
                let top = graph.ty(graph.operands(value)[0]).level;
                for level in level + 1..=top {
                    add(KeyUse {
                        kind: KeyKind::Relin,
                        level,
                    })?;
                }
            }
            Op::Bootstrap { variant } => {
                let log_slots = graph.ty(value).log_slots;
                for used in required_keys(parameters, bootstrap, log_slots, *variant)? {
                    add(used)?;
                }
            }
            Op::Input
            | Op::MultiplyAccumulate { .. }
            | Op::AddBias { .. }
            | Op::Add
            | Op::Rescale
            | Op::DropLevel => {}
        }
    }
    schedule.keys = keys
        .into_iter()
        .map(|((kind, _), level)| KeyUse { kind, level })
        .collect();
    schedule.keys.sort_unstable();
    Ok(())
}
