//! Plans as files, and what a reader refuses.

use super::*;
use crate::graph::ValueId;
use crate::nn::LinearOp;
use crate::test_support::{parameters, schedule, slot_graph};
use crate::text;
use crate::weights::Tensor;
use heddle_params::eval_mod::EvalMod;
use heddle_params::{Accept, Insecure};

/// The small ring of tests is insecure.
pub(crate) fn any() -> Accept {
    Accept::Any(Insecure::acknowledged())
}

pub(crate) fn plan() -> Plan {
    let (schedule, weights) = schedule();
    let (packed, _) = slot_graph();
    let (parameters, bootstrap) = parameters();
    Plan {
        name: "small".into(),
        model_digest: [3; 32],
        parameters: parameters.literal().clone(),
        insecure: true,
        bootstrap,
        schedule,
        weights,
        input: InputPacking::whole(packed.ty(ValueId(0))),
        output: packed.ty(packed.outputs()[0]).clone(),
        output_kind: OutputKind::Probabilities,
        input_order: AxisOrder::Hwc,
        preprocess: Preprocess::named("mnist").unwrap(),
        labels: vec!["cat".into(), "dog".into(), "frog".into()],
        ranges: vec![RangeRecord {
            name: "relu1".into(),
            bound: 3.0,
            observed: Some(2.0),
            activation: Some(ActivationRecord {
                function: "relu".into(),
                precision_bits: 13.16,
                depth: 14,
            }),
        }],
        notes: vec!["cut `Softmax`".into()],
    }
}

fn written(plan: &Plan) -> Vec<u8> {
    plan.write(Vec::new(), "p").unwrap()
}

fn reread(plan: &Plan) -> Result<Plan, Error> {
    Plan::read(&*written(plan), "p.plan", any())
}

#[test]
fn round_trips_and_is_bound_by_its_digest() {
    let plan = plan();
    assert_eq!(reread(&plan).unwrap(), plan);
    assert_eq!(written(&plan), written(&plan));
    assert_eq!(
        plan.digest().unwrap(),
        <[u8; 32]>::from(Sha256::digest(written(&plan)))
    );
    let mut other = plan.clone();
    other.ranges[0].bound = 3.5;
    assert_ne!(other.digest().unwrap(), plan.digest().unwrap());
    assert_eq!(plan.ranges[0].margin(), Some(1.5));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.plan");
    plan.write_file(&path).unwrap();
    assert_eq!(Plan::read_file(&path, any()).unwrap(), plan);
}

#[test]
fn every_eval_mod_survives_the_file() {
    for eval_mod in EvalMod::ALL {
        // A client plan has no schedule whose levels would have to fit.
        let mut client = plan().client_plan().unwrap();
        client.bootstrap.eval_mod = eval_mod;
        client.bootstrap.degree = BootstrapParameters::with_eval_mod(eval_mod).degree;
        let bytes = client.write(Vec::new(), "c").unwrap();
        assert_eq!(ClientPlan::read(&*bytes, "c", any()).unwrap(), client);
        // The schedule's bootstraps end at the default's level: no plan says otherwise.
        let mut plan = plan();
        plan.bootstrap = client.bootstrap.clone();
        match (eval_mod, reread(&plan)) {
            (EvalMod::Cosine, read) => assert_eq!(read.unwrap(), plan),
            (EvalMod::Arcsine { .. }, read) => {
                let message = read.unwrap_err().to_string();
                assert!(message.contains("expected ct<"), "{message}");
            }
        }
    }
}

#[test]
fn probabilities_are_the_softmax_of_the_logits() {
    let softmax = OutputKind::Probabilities.of_logits(vec![800.0, 800.0 + 3_f64.ln()]);
    assert!((softmax[0] - 0.25).abs() < 1e-12 && (softmax[1] - 0.75).abs() < 1e-12);
    assert_eq!(OutputKind::Logits.of_logits(vec![3.0]), [3.0]);
}

#[test]
fn a_plan_below_128_bits_needs_the_token() {
    let refused = Plan::read(&*written(&plan()), "p.plan", Accept::Secure).unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused}");
    assert!(
        refused
            .to_string()
            .ends_with("on the command line with `--insecure`")
    );
    let mut lying = plan();
    lying.insecure = false;
    assert!(lying.checked_parameters().is_err() && lying.required_keys().is_err());
    let mut modest = plan();
    modest.parameters = heddle_params::named::n16_qp1714_dense_literal();
    let message = modest.check().unwrap_err().to_string();
    assert_eq!(message, "is marked insecure, but its parameters are not");
}

#[test]
fn a_plan_without_one_output_has_no_client_plan() {
    let mut plan = plan();
    plan.schedule.graph.set_outputs(Vec::new());
    let message = plan.client_plan().unwrap_err().to_string();
    assert!(message.contains("has 0 outputs, expected one"), "{message}");
}

#[test]
fn a_summary_needs_sound_parameters() {
    assert!(text::plan_summary(&plan()).is_ok());
    let mut malformed = plan();
    malformed.bootstrap.k = 1;
    assert!(text::plan_summary(&malformed).is_err());
    malformed = plan();
    malformed.parameters.log_q.clear();
    assert!(text::plan_summary(&malformed).is_err());
}

/// Keys are bound to a digest: one that cannot be computed is an error, never the digest of
/// nothing.
#[test]
fn a_header_that_fits_no_file_has_no_digest() {
    let long = vec!["x".repeat(1 << 20); 65];
    let mut noted = plan();
    noted.notes = long.clone();
    let refused = [
        noted.digest().map(|_| ()),
        noted.client_plan().map(|_| ()),
        noted.write(Vec::new(), "p").map(|_| ()),
    ];
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    let mut client = plan().client_plan().unwrap();
    client.labels = long;
    assert!(client.digest().is_err());
    assert!(client.write(Vec::new(), "c").is_err());
}

#[test]
fn weights_that_nobody_uses_are_left_out() {
    let plan = plan();
    let mut padded = plan.clone();
    padded.weights = Weights::default();
    padded
        .weights
        .push(Tensor::new("unused", vec![1], vec![f32::NAN]));
    for (_, tensor) in plan.weights.iter() {
        padded.weights.push(tensor.clone());
    }
    let terms = padded
        .schedule
        .linear_maps
        .iter_mut()
        .flat_map(|map| &mut map.terms);
    for id in terms
        .flat_map(|term| &mut term.ops)
        .flat_map(LinearOp::weights_mut)
    {
        id.0 += 1;
    }
    assert_eq!(written(&padded), written(&plan));
}

#[test]
fn what_does_not_hold_together_is_refused() {
    let refused = |edit: fn(&mut Plan), expected: &str| {
        let mut plan = plan();
        edit(&mut plan);
        let message = reread(&plan).unwrap_err().to_string();
        assert!(message.starts_with("`p.plan` is damaged: "), "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(
            message.ends_with("help: make the plan again with `heddlec`"),
            "{message}"
        );
    };
    refused(|plan| plan.insecure = false, "128 are needed");
    refused(
        |plan| plan.ranges[0].name = "n".repeat(70_000),
        "has 70000 characters",
    );
    refused(|plan| plan.labels.truncate(2), "2 labels for 3 classes");
    refused(|plan| plan.output.layout.channels = 4, "output is not");
    refused(|plan| plan.output.range = -1.0, "output: range -1");
    refused(|plan| plan.input.range = 1e300, "input: the range");
    refused(
        |plan| plan.input.pieces[0].layout.channels = 3,
        "input: piece 0 is channels 0..1 rows 0..4 of 4 columns, its layout",
    );
    refused(
        |plan| plan.input.pieces[0].layout.gap = [1 << 20; 2],
        "input: ",
    );
    refused(
        |plan| plan.input.shape[1] = 5,
        "input: the regions do not cover",
    );
    refused(
        |plan| plan.input.pieces.clear(),
        "1 inputs for 0 pieces of the image",
    );
    refused(
        |plan| plan.input.pieces.push(plan.input.pieces[0].clone()),
        "1 inputs for 2 pieces",
    );
    refused(|plan| plan.preprocess.std[0] = 0.0, "preprocessing: ");
    refused(
        |plan| {
            let input = ValueId(0);
            plan.schedule.graph.node_mut(input).ty.log_scale = 3.0;
        },
        "carries no image",
    );
    refused(
        |plan| plan.bootstrap.double_angles = u32::MAX,
        "`double_angles`",
    );
    refused(
        |plan| plan.labels[1] = "d\x1b[2Jog".into(),
        "the label `d\\u{1b}[2Jog` is not",
    );
    refused(
        |plan| plan.notes[0] = "two\nlines".into(),
        "the note `two\\u{a}lines` is not",
    );
    refused(
        |plan| {
            plan.weights = Weights::default();
        },
        "does not exist",
    );
    refused(
        |plan| {
            let mut weights = Weights::default();
            for (_, tensor) in plan.weights.iter() {
                let mut tensor = tensor.clone();
                tensor.data[0] = f32::INFINITY;
                weights.push(tensor);
            }
            plan.weights = weights;
        },
        "holds NaN or an infinity",
    );
}

#[test]
fn damage_is_an_error() {
    let whole = written(&plan());
    for len in (0..whole.len()).step_by(97) {
        assert!(Plan::read(&whole[..len], "p", any()).is_err());
    }
    for at in (0..whole.len()).step_by(101) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x41;
        assert!(Plan::read(&*damaged, "p", any()).is_err());
    }
}
