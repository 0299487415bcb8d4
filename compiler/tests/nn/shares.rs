//! Linear maps whose sums are computed in shares, from the model to the schedule on plain numbers.

use heddle_compiler::{Compilation, Options, Ring, compile};
use heddle_ir::ValueId;
use heddle_ir::ckks::Op as CkksOp;
use heddle_ir::nn::{Gemm, LinearOp, Model, Op};
use heddle_ir::preprocess::Preprocess;
use heddle_ir::slot::Op as SlotOp;

use crate::build::{Builder, images};
use crate::passes::assert_computes;

/// A convolution of stride 2, then two matrix products on the flattened map of 8×8×8.
fn model() -> Model {
    let mut b = Builder::new([3, 16, 16]);
    let x = b.conv(ValueId(0), [8, 3, 1, 1], "stem");
    let x = b.relu(x, "stem.relu");
    let x = b.conv(x, [8, 3, 2, 1], "strided");
    let x = b.relu(x, "strided.relu");
    let flat = b.add(Op::Linear(LinearOp::Flatten), &[x], &[512], "flatten");
    let weight = b.weight("hidden.weight", &[20, 512], 0.0, 0.1);
    let bias = Some(b.weight("hidden.bias", &[20], 0.0, 0.3));
    let hidden = LinearOp::Gemm(Gemm { weight, bias });
    let x = b.add(Op::Linear(hidden), &[flat], &[20], "hidden");
    let x = b.relu(x, "hidden.relu");
    let weight = b.weight("fc.weight", &[5, 20], 0.0, 0.5);
    let fc = LinearOp::Gemm(Gemm { weight, bias: None });
    let out = b.add(Op::Linear(fc), &[x], &[5], "fc");
    b.finish(out)
}

fn compiled() -> (Compilation, Vec<Vec<f32>>) {
    let samples = images(4, 3 * 16 * 16);
    let options = Options {
        samples: samples.clone(),
        ring: Ring::Insecure { log_n: 12 },
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    (compile(model(), &options, &()).unwrap(), samples)
}

/// Of the linear map with this name: log_shares, diagonals, log2 of its result's slots.
fn map(compilation: &Compilation, name: &str) -> (u32, usize, u32) {
    let packed = &compilation.packed;
    let log_shares = packed.values().find_map(|value| {
        let node = packed.node(value);
        match &node.op {
            SlotOp::Linear(map) if node.name == name => Some(map.log_shares),
            _ => None,
        }
    });
    let graph = &compilation.plan.schedule.graph;
    let of_node = |value: &ValueId| graph.node(*value).name == name;
    let diagonals =
        graph
            .values()
            .filter(of_node)
            .filter_map(|value| match &graph.node(value).op {
                CkksOp::LinearTransform { steps, .. } => {
                    Some(steps.iter().map(|steps| steps.diagonals).sum::<usize>())
                }
                _ => None,
            });
    let linear = |value: &ValueId| {
        let op = &graph.node(*value).op;
        !matches!(op, CkksOp::Bootstrap { .. } | CkksOp::DropLevel)
    };
    let last = graph.values().rev().filter(of_node).find(linear);
    (
        log_shares.unwrap(),
        diagonals.sum(),
        graph.ty(last.unwrap()).log_slots,
    )
}

#[test]
fn maps_to_shorter_results_take_few_diagonals() {
    let (compilation, _) = compiled();
    assert_eq!(
        map(&compilation, "stem").0,
        0,
        "the result is the longer one"
    );
    // 8 channels of 16×16 to two planes of four channels each.
    let (log_shares, diagonals, log_slots) = map(&compilation, "strided");
    assert_eq!((log_shares, log_slots), (2, 9));
    assert!(diagonals <= 8 * 9, "{diagonals} diagonals");
    // 512 slots to 20, rounded up to 32; 32 to 5, rounded up to 8.
    assert_eq!(map(&compilation, "hidden"), (4, 32, 5));
    assert_eq!(map(&compilation, "fc"), (2, 8, 3));
}

#[test]
fn the_schedule_computes_what_the_model_does() {
    let (compilation, samples) = compiled();
    assert_computes(&compilation.plan, &compilation.model, &samples, 0.02);
}
