//! Feature maps that one ciphertext cannot hold.

use std::collections::BTreeSet;

use heddle_compiler::analysis::grid::Grid;
use heddle_compiler::passes::split_channels::{self, Splitting};
use heddle_compiler::{Changed, Error, Options, Ring, compile};
use heddle_ir::ValueId;
use heddle_ir::nn::{
    ActivationId, AveragePool, LinearOp, Model, Op, Pad, PaddingInMean, Rearrange, Slice, Window,
};
use heddle_ir::preprocess::Preprocess;

use crate::build::{Builder, images, residual};
use crate::passes::{assert_computes, assert_same};

/// Every operation on maps of 16×8×8 and wider, all larger than 256 slots.
fn wide() -> Model {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [10, 3, 1, 1], "stem");
    let x = b.relu(x, "stem.relu");
    let y = b.conv(x, [10, 3, 1, 10], "depthwise");
    let y = b.affine(y, "affine");
    let y = b.keep(Op::Identity, &[y], "dropout");
    let y = b.elements(y, "elements");
    let y = b.relu(y, "depthwise.relu");
    let y = b.conv(y, [12, 3, 1, 2], "grouped");
    // Two more channels than x has: a slice with a step and a pad that starts inside a run.
    let slice = LinearOp::Slice(Slice {
        start: [1, 0, 0],
        end: [10, 8, 8],
        step: [2, 1, 1],
    });
    let s = b.add(Op::Linear(slice), &[x], &[5, 8, 8], "slice");
    let pad = LinearOp::Pad(Pad {
        before: [7, 0, 0],
        after: [0, 0, 0],
    });
    let s = b.add(Op::Linear(pad), &[s], &[12, 8, 8], "pad");
    let z = b.keep(Op::Add, &[y, s], "add");
    let z = b.relu(z, "join.relu");
    let window = Window {
        kernel: [2; 2],
        stride: [2; 2],
        pads: [0; 4],
        dilation: [1; 2],
    };
    let pool = LinearOp::AveragePool(AveragePool {
        window,
        padding: PaddingInMean::Excluded,
    });
    let p = b.add(Op::Linear(pool), &[z], &[12, 4, 4], "pool");
    let p = b.conv(p, [40, 3, 1, 1], "last");
    let p = b.relu(p, "last.relu");
    let out = b.head(p, 5);
    b.finish(out)
}

/// Blocks of pixels that become channels and a channel shuffle, on maps that are split, and a vector
/// in another order.
fn rearranged() -> Model {
    let axis = |extent: u32, step: u32| -> Vec<Option<u32>> {
        (0..extent).map(|at| Some(at * step)).collect()
    };
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [10, 3, 1, 1], "stem");
    let x = b.relu(x, "stem.relu");
    let blocks = [
        axis(2, 8),
        axis(2, 1),
        axis(10, 64),
        axis(4, 16),
        axis(4, 2),
    ];
    let blocks = Rearrange::whole(blocks.to_vec(), [10, 8, 8], [40, 4, 4]);
    let x = b.add(Op::Linear(blocks.into()), &[x], &[40, 4, 4], "blocks");
    let x = b.relu(x, "blocks.relu");
    let shuffle = [axis(10, 16), axis(4, 160), axis(16, 1)];
    let shuffle = Rearrange::whole(shuffle.to_vec(), [40, 4, 4], [40, 4, 4]);
    let x = b.add(Op::Linear(shuffle.into()), &[x], &[40, 4, 4], "shuffle");
    let x = b.relu(x, "shuffle.relu");
    let last = [axis(16, 1), axis(40, 16)];
    let last = Rearrange::whole(last.to_vec(), [40, 4, 4], [640]);
    let x = b.add(Op::Linear(last.into()), &[x], &[640], "last");
    let x = b.relu(x, "last.relu");
    let order = Rearrange::whole(vec![axis(8, 4), axis(4, 150)], [640, 1, 1], [32]);
    let x = b.add(Op::Linear(order.into()), &[x], &[32], "order");
    b.finish(x)
}

fn activations(model: &Model) -> usize {
    let is = |value: &ValueId| matches!(model.graph.node(*value).op, Op::Activation { .. });
    model.graph.values().filter(is).count()
}

/// The model in pieces that fit `slots` slots, as few as possible.
pub fn split_at(model: &Model, slots: usize) -> (Model, Changed) {
    let grid = Grid::of(model, slots).unwrap();
    split_channels::run(model.clone(), Splitting::WhereNeeded, &grid).unwrap()
}

/// What may stand around bands of rows: windows with strides, dilation and uneven pads, maps larger
/// than the image, crops, and vectors that were flattened in bands.
fn tall() -> Model {
    let mut b = Builder::new([2, 12, 5]);
    let x = b.conv(ValueId(0), [4, 3, 1, 1], "stem");
    let x = b.relu(x, "stem.relu");
    let pad = LinearOp::Pad(Pad {
        before: [1, 2, 0],
        after: [0, 1, 1],
    });
    let x = b.add(Op::Linear(pad), &[x], &[5, 15, 6], "pad");
    let x = b.relu(x, "pad.relu");
    let window = Window {
        kernel: [3, 2],
        stride: [2, 1],
        pads: [1, 0, 2, 1],
        dilation: [1, 1],
    };
    let pool = LinearOp::AveragePool(AveragePool {
        window,
        padding: PaddingInMean::Excluded,
    });
    let p = b.add(Op::Linear(pool), &[x], &[5, 8, 6], "pool");
    let p = b.relu(p, "pool.relu");
    let p = b.affine(p, "affine");
    let p = b.elements(p, "elements");
    let p = b.relu(p, "elements.relu");
    let crop = LinearOp::Slice(Slice {
        start: [0, 1, 2],
        end: [5, 8, 6],
        step: [2, 3, 1],
    });
    let c = b.add(Op::Linear(crop), &[p], &[3, 3, 4], "crop");
    let c = b.relu(c, "crop.relu");
    let d = b.conv(p, [6, 3, 1, 1], "last");
    let d = b.relu(d, "last.relu");
    let flat = b.add(Op::Linear(LinearOp::Flatten), &[d], &[6 * 8 * 6], "flat");
    let flat = b.elements(flat, "flat.elements");
    let flat = b.relu(flat, "flat.relu");
    let left = b.dense(flat, 4, "left");
    let right = b.head(c, 4);
    let out = b.keep(Op::Add, &[left, right], "sum");
    b.finish(out)
}

#[test]
fn a_split_model_computes_the_same() {
    for (model, slots) in [
        (wide(), 256),
        (wide(), 128),
        (wide(), 64),
        (wide(), 32),
        (wide(), 16),
        (residual(), 128),
        (residual(), 32),
        (tall(), 64),
        (tall(), 32),
        (tall(), 16),
        (rearranged(), 256),
        (rearranged(), 64),
        (rearranged(), 32),
    ] {
        let mut model = model;
        model.number_activations();
        let (split, changed) = split_at(&model, slots);
        assert_eq!(changed, Changed::Yes);
        assert_same(&model, &split);
        // Every activation of the model is there, some several times, and nothing else is.
        let ids = |model: &Model| -> Vec<ActivationId> {
            let ids = model
                .activations()
                .map(|value| match model.graph.node(value).op {
                    Op::Activation { id, .. } => id.expect("activations are numbered"),
                    _ => unreachable!("activations are activations"),
                });
            ids.collect()
        };
        let copies = ids(&split);
        assert!(copies.len() > activations(&model));
        let distinct: BTreeSet<ActivationId> = copies.into_iter().collect();
        assert_eq!(distinct, ids(&model).into_iter().collect());
        for value in split.graph.values() {
            let node = split.graph.node(value);
            if matches!(node.op, Op::Activation { .. }) {
                assert!(node.ty.elements() <= slots, "{}", node.ty);
            }
        }
    }
}

#[test]
fn what_fits_stays_as_it_is() {
    for slots in [1024, 1 << 15] {
        let (split, changed) = split_at(&wide(), slots);
        assert_eq!((changed, split), (Changed::No, wide()));
    }
}

#[test]
fn a_row_that_no_ciphertext_holds_is_refused() {
    let refused = Grid::of(&wide(), 4).unwrap_err();
    assert!(
        matches!(refused, Error::TooLarge { slots: 4, .. }),
        "{refused}"
    );
}

#[test]
fn a_split_model_compiles_and_runs() {
    // 256 slots hold all maps of the first in a few pieces; those of the second need bands.
    for (model, log_n) in [(wide(), 9), (wide(), 6), (tall(), 6)] {
        let [channels, height, width] = model.image_shape();
        let samples = images(20, channels * height * width);
        let options = Options {
            samples: samples.clone(),
            ring: Ring::Insecure { log_n },
            ..Options::new(Preprocess::named("unit").unwrap())
        };
        let compilation = compile(model.clone(), &options, &()).unwrap();
        let plan = &compilation.plan;
        // One range for every activation of the model, whatever became of it.
        assert_eq!(plan.ranges.len(), activations(&model) + 1);
        assert_computes(plan, &model, &samples[..4], 0.02);
    }
}
