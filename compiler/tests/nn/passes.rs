//! Batch-norm folding and identity removal keep what a model computes.

use heddle_compiler::passes::{fold_batch_norm, fold_padding, remove_identity};
use heddle_compiler::{Changed, Error};
use heddle_ir::eval::ckks::ClearInterpreter;
use heddle_ir::eval::nn::run;
use heddle_ir::nn::{
    AveragePool, BatchNorm, Conv, LinearOp, Model, Op, Pad, PaddingInMean, Window,
};
use heddle_ir::plan::Plan;
use heddle_ir::{ValueId, verify};

use crate::build::{Builder, images, residual};

pub fn assert_same(before: &Model, after: &Model) {
    let violations = verify::nn::verify(after);
    assert!(violations.is_empty(), "{violations:?}");
    for image in images(3, before.image_shape().iter().product()) {
        let (expected, found) = (run(before, &image).unwrap(), run(after, &image).unwrap());
        assert_eq!(expected.len(), found.len());
        for (expected, found) in expected.iter().zip(&found) {
            assert!((expected - found).abs() < 1e-5, "{expected} vs {found}");
        }
    }
}

/// That a plan, evaluated on plain numbers, computes what the model does, up to `tolerance`.
pub fn assert_computes(plan: &Plan, model: &Model, images: &[Vec<f32>], tolerance: f64) {
    let machine = ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap).unwrap();
    for image in images {
        let elements = image.iter().map(|x| f64::from(*x) / plan.input.range);
        let elements: Vec<f64> = elements.collect();
        let pieces = plan.input.pieces.iter();
        let packed: Vec<Vec<f64>> = pieces
            .map(|piece| {
                let elements = piece.region.cut(&elements, plan.input.shape);
                piece.layout.pack(&elements)
            })
            .collect();
        let slots = machine.run(&packed, |_, _| {}).unwrap();
        let found = plan.output.layout.unpack(&slots);
        let expected = run(model, image).unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let (found, expected) = (found * plan.output.range, f64::from(*expected));
            assert!(
                (found - expected).abs() < tolerance,
                "{found} vs {expected}"
            );
        }
    }
}

fn count(model: &Model, is: impl Fn(&Op) -> bool) -> usize {
    model
        .graph
        .values()
        .filter(|value| is(&model.graph.node(*value).op))
        .count()
}

fn is_batch_norm(op: &Op) -> bool {
    matches!(op, Op::Linear(LinearOp::BatchNorm(_)))
}

fn is_affine(op: &Op) -> bool {
    matches!(op, Op::Linear(LinearOp::ChannelAffine(_)))
}

#[test]
fn batch_norms_fold_into_convolutions() {
    let model = residual();
    assert_eq!(count(&model, is_batch_norm), 3);
    let (folded, changed) = fold_batch_norm::run(model.clone()).unwrap();
    assert_eq!(changed, Changed::Yes);
    assert_eq!(folded.graph.len(), model.graph.len() - 3);
    assert_eq!(count(&folded, |op| is_batch_norm(op) || is_affine(op)), 0);
    // Four weights and biases are left, and none that nobody uses.
    assert_eq!(folded.weights.len(), 8);
    assert_same(&model, &folded);
    let (again, changed) = fold_batch_norm::run(folded.clone()).unwrap();
    assert_eq!((again, changed), (folded, Changed::No));
}

#[test]
fn a_shared_convolution_keeps_its_weights() {
    let mut b = Builder::new([3, 6, 6]);
    let conv = b.conv(ValueId(0), [4, 3, 1, 1], "conv");
    let norm = b.batch_norm(conv, "bn");
    let sum = b.keep(Op::Add, &[conv, norm], "add");
    let out = b.head(sum, 3);
    let model = b.finish(out);
    let (folded, changed) = fold_batch_norm::run(model.clone()).unwrap();
    assert_eq!(changed, Changed::Yes);
    assert_eq!(
        (count(&folded, is_batch_norm), count(&folded, is_affine)),
        (0, 1)
    );
    assert_same(&model, &folded);
    let (again, changed) = fold_batch_norm::run(folded.clone()).unwrap();
    assert_eq!((again, changed), (folded, Changed::No));
}

#[test]
fn batch_norms_in_front_of_activations_become_affine() {
    let mut b = Builder::new([4, 6, 6]);
    let norm = b.batch_norm(ValueId(0), "bn1");
    let x = b.relu(norm, "relu1");
    let x = b.batch_norm(x, "bn2");
    let x = b.affine(x, "affine");
    let x = b.conv(x, [4, 1, 1, 1], "conv");
    let out = b.head(x, 3);
    let model = b.finish(out);
    let (folded, _) = fold_batch_norm::run(model.clone()).unwrap();
    // bn2 and the affine behind it are one.
    assert_eq!(
        (count(&folded, is_batch_norm), count(&folded, is_affine)),
        (0, 2)
    );
    assert_same(&model, &folded);
}

#[test]
fn affine_operations_fold_into_matrix_products() {
    let mut b = Builder::new([3, 4, 4]);
    let x = b.head(ValueId(0), 6);
    let x = b.affine(x, "affine");
    let out = b.batch_norm(x, "bn");
    let model = b.finish(out);
    let (folded, _) = fold_batch_norm::run(model.clone()).unwrap();
    assert_eq!(folded.graph.len(), model.graph.len() - 2);
    assert_same(&model, &folded);
}

#[test]
fn a_convolution_without_bias_gets_one() {
    let mut b = Builder::new([3, 6, 6]);
    let weight = b.weight("w", &[4, 3, 1, 1], 0.0, 1.0);
    let window = Window {
        kernel: [1, 1],
        stride: [2, 1],
        pads: [0; 4],
        dilation: [1; 2],
    };
    let op = LinearOp::Conv(Conv {
        weight,
        bias: None,
        window,
        groups: 1,
    });
    let x = b.add(Op::Linear(op), &[ValueId(0)], &[4, 3, 6], "conv");
    let x = b.batch_norm(x, "bn");
    let out = b.head(x, 2);
    let model = b.finish(out);
    let (folded, _) = fold_batch_norm::run(model.clone()).unwrap();
    assert_eq!(folded.graph.len(), model.graph.len() - 1);
    assert_same(&model, &folded);
}

#[test]
fn an_output_in_front_of_a_batch_norm_stays_what_it_is() {
    let mut b = Builder::new([3, 6, 6]);
    let conv = b.conv(ValueId(0), [4, 3, 1, 1], "conv");
    b.batch_norm(conv, "dead");
    let model = b.finish(conv);
    let (folded, _) = fold_batch_norm::run(model.clone()).unwrap();
    let image = &images(1, 108)[0];
    assert_eq!(run(&folded, image).unwrap(), run(&model, image).unwrap());
}

#[test]
fn a_negative_variance_is_refused_by_name() {
    for bad in [-1.0, f32::NAN, -1.5e-5] {
        let mut b = Builder::new([3, 6, 6]);
        let x = b.conv(ValueId(0), [4, 3, 1, 1], "conv");
        let out = b.batch_norm(x, "bn");
        let model = b.finish(out);
        let Op::Linear(LinearOp::BatchNorm(BatchNorm { variance, .. })) = model.graph.node(out).op
        else {
            unreachable!("the last operation is a batch normalisation")
        };
        let mut b = Builder::from(model);
        b.set(variance, |tensor| tensor.data[2] = bad);
        match fold_batch_norm::run(b.finish(out)) {
            Err(Error::BatchNorm {
                node, channel: 2, ..
            }) => assert_eq!(node, "bn"),
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[test]
fn identities_vanish() {
    let model = residual();
    let (removed, changed) = remove_identity::run(model.clone()).unwrap();
    assert_eq!(changed, Changed::Yes);
    assert_eq!(count(&removed, |op| *op == Op::Identity), 0);
    assert_eq!(removed.graph.len(), model.graph.len() - 1);
    assert_same(&model, &removed);
    let (again, changed) = remove_identity::run(removed.clone()).unwrap();
    assert_eq!((again, changed), (removed, Changed::No));
}

#[test]
fn identities_at_the_end_and_in_chains_vanish() {
    let mut b = Builder::new([3, 6, 6]);
    let x = b.keep(Op::Identity, &[ValueId(0)], "cast");
    let x = b.keep(Op::Identity, &[x], "dropout");
    let x = b.keep(Op::Add, &[x, x], "double");
    let out = b.keep(Op::Identity, &[x], "output");
    let model = b.finish(out);
    let (removed, _) = remove_identity::run(model.clone()).unwrap();
    assert_eq!(removed.graph.len(), 2);
    assert_same(&model, &removed);
}

#[test]
fn an_image_that_is_the_output_keeps_one_identity() {
    let mut b = Builder::new([3, 6, 6]);
    let x = b.keep(Op::Identity, &[ValueId(0)], "cast");
    let out = b.keep(Op::Identity, &[x], "output");
    let model = b.finish(out);
    let (removed, _) = remove_identity::run(model.clone()).unwrap();
    assert_eq!(removed.graph.len(), 2);
    assert_same(&model, &removed);
}

/// Zeros of height and width in front of `op`, behind a ReLU or not.
fn padded(op: Op, shape: [usize; 3], rectified: bool) -> Model {
    let mut b = Builder::new([3, 6, 6]);
    let x = match rectified {
        true => b.relu(ValueId(0), "relu"),
        false => ValueId(0),
    };
    let pad = LinearOp::Pad(Pad {
        before: [0, 1, 0],
        after: [0, 1, 1],
    });
    let x = b.add(Op::Linear(pad), &[x], &[3, 8, 7], "pad");
    let x = b.add(op, &[x], &shape, "window");
    let out = b.head(x, 2);
    b.finish(out)
}

fn is_pad(op: &Op) -> bool {
    matches!(op, Op::Linear(LinearOp::Pad(_)))
}

#[test]
fn padding_becomes_part_of_the_window_behind_it() {
    let window = Window {
        kernel: [3, 2],
        stride: [2, 1],
        pads: [0; 4],
        dilation: [1; 2],
    };
    let mean = |padding| Op::Linear(LinearOp::AveragePool(AveragePool { window, padding }));
    let max = Op::MaxPool { window };
    for (op, rectified, left) in [
        (mean(PaddingInMean::Counted), false, 0),
        (mean(PaddingInMean::Excluded), false, 1),
        (max.clone(), true, 0),
        (max, false, 1),
    ] {
        let model = padded(op, [3, 3, 6], rectified);
        assert!(verify::nn::verify(&model).is_empty());
        let (folded, _) = fold_padding::run(model.clone()).unwrap();
        assert_eq!(count(&folded, is_pad), left, "{folded:?}");
        assert_same(&model, &folded);
    }
}

#[test]
fn padding_that_something_else_sees_stays() {
    let mut b = Builder::new([3, 6, 6]);
    let pad = LinearOp::Pad(Pad {
        before: [0, 1, 1],
        after: [0, 1, 1],
    });
    let x = b.add(Op::Linear(pad), &[ValueId(0)], &[3, 8, 8], "pad");
    let y = b.conv(x, [3, 3, 1, 1], "conv");
    let z = b.keep(Op::Add, &[x, y], "add");
    let out = b.head(z, 2);
    let model = b.finish(out);
    let (folded, changed) = fold_padding::run(model.clone()).unwrap();
    assert_eq!((changed, count(&folded, is_pad)), (Changed::Yes, 1));
    assert_same(&model, &folded);
    let (again, changed) = fold_padding::run(folded.clone()).unwrap();
    assert_eq!((again, changed), (folded, Changed::No));
}
