//! SISO lowering: a linear map that is one output channel of a convolution becomes a SISO
//! convolution. All output channels share the rotations of the input channels.

use heddle_ir::linear::siso::SisoConvolution;
use heddle_ir::slot::{Op, SlotGraph};

use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "lower-siso";

/// Lowers every map that the algorithm can express. Outputs stay linear maps, which are evaluated
/// by their diagonals.
pub fn run(mut graph: SlotGraph) -> (SlotGraph, Changed) {
    let mut changed = Changed::No;
    for value in graph.values() {
        if graph.outputs().contains(&value) {
            continue;
        }
        let op = &mut graph.node_mut(value).op;
        if let Op::Linear(map) = op
            && SisoConvolution::of(map).is_ok()
        {
            *op = Op::SisoConvolution(map.clone());
            changed = Changed::Yes;
        }
    }
    (graph, changed)
}

/// How many channels were lowered in which way, where any was.
pub fn remarks(graph: &SlotGraph) -> Vec<String> {
    let count = |is: fn(&Op) -> bool| graph.values().filter(|v| is(&graph.node(*v).op)).count();
    let siso = count(|op| matches!(op, Op::SisoConvolution(_)));
    let single = count(|op| matches!(op, Op::Linear(_)));
    match siso {
        0 => Vec::new(),
        _ => vec![format!(
            "{siso} channels by SISO convolutions, {single} maps at a single level by their diagonals"
        )],
    }
}
