//! Linear-map fusion keeps what a packed graph computes, shared maps and their offsets included.

use heddle_compiler::analysis::grid::Grid;
use heddle_compiler::analysis::ranges::calibrate;
use heddle_compiler::approx::sign::ReluPrecision;
use heddle_compiler::passes::split_channels::Splitting;
use heddle_compiler::passes::{approximate_activations, fuse_linear_maps, lower_max_pool, pack};
use heddle_compiler::{Changed, Convolution};
use heddle_ir::eval::slot::{Activations, SlotInterpreter};
use heddle_ir::nn::{Gemm, LinearOp, Model, Op, Window};
use heddle_ir::slot::{Op as SlotOp, SlotGraph};
use heddle_ir::{ValueId, verify};

use crate::build::{Builder, images, residual};

/// Slots of a ciphertext.
const SLOTS: usize = 1 << 12;

fn maps(graph: &SlotGraph) -> usize {
    let is_map = |value: &ValueId| matches!(graph.node(*value).op, SlotOp::Linear(_));
    graph.values().filter(is_map).count()
}

/// Packs and fuses; compares the graphs on plain numbers and returns the fused one.
fn fused(model: Model) -> SlotGraph {
    let (mut model, _) = lower_max_pool::run(model, Splitting::WhereNeeded, SLOTS).unwrap();
    model.number_activations();
    let [c, h, w] = model.image_shape();
    let samples = images(4, c * h * w);
    let ranges = calibrate(&model, &samples, &[], 1.0, &()).unwrap();
    let sign = ReluPrecision::default().stages().unwrap();
    let approximations = approximate_activations::run(&model, &ranges, &sign).unwrap();
    let grid = Grid::of(&model, SLOTS).unwrap();
    let convolution = Convolution::default();
    let packed = pack::run(&model, &ranges, &approximations, convolution, &grid).unwrap();
    let (fused, changed) = fuse_linear_maps::run(packed.clone(), fuse_linear_maps::MAX_TERMS);
    assert_eq!(changed == Changed::No, fused == packed);
    assert!(verify::slot::verify(&fused, &model.weights).is_empty());
    let machines =
        [&packed, &fused].map(|graph| SlotInterpreter::new(graph, &model.weights).unwrap());
    let (layout, bound) = (packed.ty(ValueId(0)).layout, ranges.input());
    for sample in &samples {
        let scaled: Vec<f64> = sample.iter().map(|x| f64::from(*x) / bound).collect();
        let input = [layout.pack(&scaled)];
        let [before, after] = machines
            .each_ref()
            .map(|machine| machine.run(&input, Activations::Exact, |_, _| {}).unwrap());
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            assert!((before - after).abs() < 1e-9, "{after}, not {before}");
        }
    }
    fused
}

#[test]
fn a_chain_and_a_join_become_one_map_each() {
    // The stem, the two convolutions of the block with its join, and the head.
    assert_eq!(maps(&fused(residual())), 4);
}

#[test]
fn a_sum_that_several_maps_share_becomes_part_of_each() {
    let mut b = Builder::new([2, 4, 4]);
    let x = b.conv(ValueId(0), [2, 1, 1, 1], "stem");
    let x = b.relu(x, "relu");
    let y = b.conv(x, [2, 3, 1, 1], "first");
    let sum = b.keep(Op::Add, &[x, y], "sum");
    let left = b.conv(sum, [2, 3, 1, 1], "left");
    let left = b.relu(left, "left.relu");
    let right = b.affine(sum, "right");
    let right = b.relu(right, "right.relu");
    let join = b.keep(Op::Add, &[left, right], "join");
    let out = b.head(join, 3);
    let graph = fused(b.finish(out));
    // The stem, left, right, the join in front of the mean, and the head: none of them is `sum`.
    let names: Vec<&str> = graph
        .values()
        .filter(|value| matches!(graph.node(*value).op, SlotOp::Linear(_)))
        .map(|value| graph.node(value).name.as_str())
        .collect();
    assert_eq!(names, ["stem", "left", "right", "join", "fc"]);
}

#[test]
fn a_map_that_an_activation_sees_stays() {
    let mut b = Builder::new([2, 4, 4]);
    let x = b.conv(ValueId(0), [2, 1, 1, 1], "stem");
    let x = b.relu(x, "relu");
    let sum = b.conv(x, [2, 3, 1, 1], "sum");
    let y = b.relu(sum, "sum.relu");
    let z = b.keep(Op::Add, &[sum, y], "join");
    let out = b.head(z, 3);
    assert_eq!(maps(&fused(b.finish(out))), 4);
}

/// Every ReLU of a pool sees one map of everything in front of it, so that a pool takes a level
/// between two bootstraps and no more.
#[test]
fn a_max_pool_takes_one_map_for_every_relu() {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [4, 3, 1, 1], "conv");
    let x = b.relu(x, "relu");
    let window = Window::square(3, 2);
    let x = b.add(Op::MaxPool { window }, &[x], &[4, 4, 4], "pool");
    let x = b.conv(x, [5, 3, 1, 1], "next");
    let x = b.relu(x, "next.relu");
    let flat = b.add(Op::Linear(LinearOp::Flatten), &[x], &[80], "flatten");
    let weight = b.weight("fc.weight", &[3, 80], 0.0, 0.2);
    let gemm = LinearOp::Gemm(Gemm { weight, bias: None });
    let out = b.add(Op::Linear(gemm), &[flat], &[3], "fc");
    let graph = fused(b.finish(out));
    let relus = graph
        .values()
        .filter(|value| matches!(graph.node(*value).op, SlotOp::Activation(_)))
        .count();
    assert_eq!((relus, maps(&graph)), (6, 7));
    // The pool's result has the gap of a strided convolution's.
    let next = graph
        .values()
        .find(|value| graph.node(*value).name == "next.relu")
        .unwrap();
    assert_eq!(graph.ty(next).layout.gap, [2; 2]);
}
