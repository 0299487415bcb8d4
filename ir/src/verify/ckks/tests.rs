//! Each invariant, broken by one edit of a valid schedule.

use super::*;
use crate::ckks::PolynomialId;
use crate::slot::Chebyshev;
use crate::test_support::{parallel_schedule, parameters, schedule, violations};
use heddle_params::keys::{KeyKind, KeyUse};

fn after(edit: impl FnOnce(&mut Schedule)) -> Vec<String> {
    let (mut schedule, weights) = schedule();
    edit(&mut schedule);
    violations(&schedule, &weights)
}

/// The first operation of a kind.
fn find(schedule: &Schedule, kind: impl Fn(&Op) -> bool) -> ValueId {
    let graph = &schedule.graph;
    graph
        .values()
        .find(|value| kind(&graph.node(*value).op))
        .expect("it is in the schedule")
}

fn retype(kind: impl Fn(&Op) -> bool, edit: impl FnOnce(&mut CiphertextType)) -> Vec<String> {
    after(|schedule| {
        let value = find(schedule, kind);
        edit(&mut schedule.graph.node_mut(value).ty);
    })
}

#[track_caller]
fn assert_has(messages: &[String], expected: &str) {
    assert!(
        messages.iter().any(|message| message.contains(expected)),
        "{messages:#?}"
    );
}

#[test]
fn accepts_a_valid_schedule() {
    assert_eq!(after(|_| {}), [""; 0]);
    let (schedule, weights) = schedule();
    assert!(verify_diagonals(&schedule, &weights).is_empty());
}

#[test]
fn types_fit_the_target() {
    let input = |op: &Op| matches!(op, Op::Input);
    assert_has(&retype(input, |ty| ty.level = 99), "level 99 is above 28");
    assert_has(
        &retype(input, |ty| ty.log_slots = 77),
        "does not fit a ring of degree 2^10",
    );
    for scale in [f64::NAN, f64::INFINITY, -1.0, 300.0] {
        assert_has(
            &retype(input, |ty| ty.log_scale = scale),
            "does not fit the modulus",
        );
    }
}

#[test]
fn each_operation_has_its_level_and_scale() {
    let rescale = |op: &Op| matches!(op, Op::Rescale);
    assert_has(
        &retype(rescale, |ty| ty.level = 2),
        "expected ct<slots=2^5, level=3",
    );
    assert_has(&retype(rescale, |ty| ty.log_scale += 1e-9), "expected ct<");
    let multiply = |op: &Op| matches!(op, Op::Multiply);
    assert_has(&retype(multiply, |ty| ty.log_scale = 79.0), "scale=2^80");
    let polynomial = |op: &Op| matches!(op, Op::Polynomial { .. });
    assert_has(&retype(polynomial, |ty| ty.level = 17), "level=16");
    let bootstrap = |op: &Op| matches!(op, Op::Bootstrap { .. });
    assert_has(&retype(bootstrap, |ty| ty.level = 20), "level=18");
    assert_has(&retype(bootstrap, |ty| ty.log_scale = 41.0), "scale=2^40");
    let drop = |op: &Op| matches!(op, Op::DropLevel);
    assert_has(
        &retype(drop, |ty| ty.level = 19),
        "drops from level 18 to 19",
    );
    let bias = |op: &Op| matches!(op, Op::AddBias { .. });
    assert_has(
        &retype(bias, |ty| ty.log_slots = 4),
        "expected ct<slots=2^5",
    );
    let transform = |op: &Op| matches!(op, Op::LinearTransform { .. });
    assert_has(&retype(transform, |ty| ty.level = 3), "level=4");
    assert_has(
        &retype(transform, |ty| ty.log_scale = 40.0),
        "none for the diagonals",
    );
    assert_has(
        &retype(transform, |ty| ty.log_slots = 4),
        "result of 16 slots",
    );
}

#[test]
fn a_bootstrap_starts_high_enough() {
    let messages = after(|schedule| {
        let bias = find(schedule, |op| matches!(op, Op::AddBias { .. }));
        schedule.graph.node_mut(bias).ty.level = 2;
    });
    assert_has(
        &messages,
        "bootstraps at level 2; SlotToCoeff starts from 3",
    );
}

#[test]
fn operands_agree() {
    let messages = after(|schedule| {
        let drop = find(schedule, |op| matches!(op, Op::DropLevel));
        schedule.graph.node_mut(drop).ty.level = 13;
    });
    assert_has(&messages, "operands of type ct<slots=2^5, level=13");
    let messages = after(|schedule| {
        let rescale = find(schedule, |op| matches!(op, Op::Rescale));
        schedule.graph.node_mut(rescale).op = Op::Add;
    });
    assert_has(&messages, "expected 2 operands, found 1");
}

#[test]
fn references_exist() {
    let messages = after(|schedule| {
        let value = find(schedule, |op| matches!(op, Op::Polynomial { .. }));
        let polynomial = PolynomialId(9);
        schedule.graph.node_mut(value).op = Op::Polynomial { polynomial };
        let value = find(schedule, |op| matches!(op, Op::AddBias { .. }));
        let map = LinearMapId(7);
        schedule.graph.node_mut(value).op = Op::AddBias { map };
    });
    assert_has(&messages, "p9 is not defined");
    assert_has(&messages, "m7 is not defined");
    let messages = after(|schedule| schedule.linear_maps.truncate(1));
    assert_has(&messages, "m2 is not defined");
    let messages = after(|schedule| schedule.polynomials[0].coefficients.clear());
    assert_has(&messages, "p0 has no coefficients");
    let messages = after(|schedule| {
        schedule.linear_maps[0].output.grid_height = usize::MAX;
        schedule.linear_maps[1].terms[0].input.gap = [usize::MAX; 2];
    });
    assert_has(&messages, "m0 result: ");
    assert_has(&messages, "m1 term 0: ");
    let messages = after(|schedule| schedule.linear_maps[0].terms[0].factor = f64::NAN);
    assert_has(&messages, "m0 term 0: the factor is NaN");
}

/// The keys follow from the operations; a rotation that no key can serve is refused.
#[test]
fn the_keys_are_those_of_the_operations() {
    let keys_without = |gone: fn(&Op) -> bool| {
        let (mut schedule, _) = schedule();
        let (parameters, bootstrap) = parameters();
        let all = schedule.required_keys(&parameters, &bootstrap).unwrap();
        for value in schedule.graph.values() {
            if gone(&schedule.graph.node(value).op) {
                schedule.graph.node_mut(value).op = Op::Add;
            }
        }
        let rest = schedule.required_keys(&parameters, &bootstrap).unwrap();
        all.into_iter()
            .filter(|key| !rest.contains(key))
            .collect::<Vec<KeyUse>>()
    };
    let of_bootstraps = keys_without(|op| matches!(op, Op::Bootstrap { .. }));
    assert!(
        of_bootstraps
            .iter()
            .any(|key| key.kind == KeyKind::Decapsulate)
    );
    let of_transforms = keys_without(|op| matches!(op, Op::LinearTransform { .. }));
    assert!(!of_transforms.is_empty() && of_transforms.iter().all(|key| key.level <= 4));
    assert!(keys_without(|_| false).is_empty());
    let messages = after(|schedule| {
        let value = find(schedule, |op| matches!(op, Op::LinearTransform { .. }));
        if let Op::LinearTransform { steps, .. } = &mut schedule.graph.node_mut(value).op {
            steps[0].giant.push(usize::MAX);
        }
    });
    assert_has(&messages, "giant steps must ascend and stay below 512");
}

#[test]
fn reports_are_cut_at_twenty() {
    let messages = after(|schedule| {
        for _ in 0..2_000 {
            schedule.polynomials.push(Chebyshev {
                coefficients: vec![],
            });
        }
    });
    assert_eq!(messages.len(), 20);
    let violations: Violations = (0..2_000_000)
        .map(|_| Violation {
            value: None,
            message: String::new(),
        })
        .collect();
    let text = crate::verify::require("ckks", &violations)
        .unwrap_err()
        .to_string();
    assert!(
        text.ends_with("and 1999980 more") && text.lines().count() == 22,
        "{text}"
    );
}

#[test]
fn steps_reach_every_diagonal() {
    let edited = |edit: fn(&mut TransformSteps)| {
        let (mut schedule, weights) = schedule();
        let value = find(&schedule, |op| matches!(op, Op::LinearTransform { .. }));
        match &mut schedule.graph.node_mut(value).op {
            Op::LinearTransform { steps, .. } => edit(&mut steps[0]),
            other => panic!("{other:?}"),
        }
        let mut messages = violations(&schedule, &weights);
        let diagonals = verify_diagonals(&schedule, &weights);
        messages.extend(diagonals.iter().map(Violation::to_string));
        messages
    };
    assert_has(&edited(|steps| steps.baby = vec![0, 2]), "reach diagonal 1");
    assert_has(&edited(|steps| steps.diagonals += 1), "the steps are for");
    assert_has(
        &edited(|steps| steps.giant.reverse()),
        "giant steps must ascend",
    );
    assert_has(
        &edited(|steps| steps.baby = vec![]),
        "baby steps must ascend",
    );
    assert_has(
        &edited(|steps| steps.baby = vec![0, usize::MAX]),
        "stay below 512",
    );
}

#[test]
fn the_output_holds_the_logits_alone() {
    let messages = after(|schedule| {
        let last = schedule.graph.outputs()[0];
        let map = LinearMapId(0);
        schedule.graph.node_mut(last).op = Op::AddBias { map };
    });
    assert_has(&messages, "the output must be a linear map's result");
    let messages = after(|schedule| {
        let ty = *schedule.graph.ty(schedule.graph.outputs()[0]);
        schedule.graph.add(Op::Input, &[], ty, "");
        schedule.graph.set_outputs(vec![]);
    });
    assert_has(&messages, "expected one output, found 0");
    assert_has(&messages, "nobody uses this value");
}

#[test]
fn an_output_is_complete() {
    let shared = |edit: fn(&mut Schedule)| {
        let (mut schedule, weights) = parallel_schedule();
        edit(&mut schedule);
        violations(&schedule, &weights)
    };
    assert_eq!(shared(|_| {}), Vec::<String>::new());
    let expected = "the output must be a linear map's result, its shares added up";
    assert_has(
        &shared(|schedule| schedule.linear_maps[1].log_shares = 1),
        expected,
    );
    let messages = shared(|schedule| {
        let output = schedule.graph.outputs()[0];
        let sum = schedule.graph.operands(output)[0];
        let before = schedule.graph.operands(sum)[0];
        schedule.graph.set_outputs(vec![before]);
    });
    assert_has(&messages, expected);
    for log_shares in [64, u32::MAX] {
        let messages = after(|schedule| schedule.linear_maps[0].log_shares = log_shares);
        assert_has(&messages, &format!("m0 2^{log_shares} shares of 32 slots"));
    }
}
