//! Identity removal: users of an [`Op::Identity`], which is also what an inference-time Dropout or
//! a harmless Cast becomes, use its operand instead.

use heddle_ir::nn::{Model, Op};
use heddle_ir::{Graph, ValueId};

use crate::error::Error;
use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "remove-identity";

/// Rebuilds the graph without identities and without values that nothing depends on. An image that
/// is itself the output keeps its identity: a graph's output is never its input.
///
/// # Errors
/// None; the signature is that of every pass of its stage.
pub fn run(mut model: Model) -> Result<(Model, Changed), Error> {
    let graph = &model.graph;
    let mut rebuilt = Graph::new();
    let mut renumbered: Vec<ValueId> = Vec::with_capacity(graph.len());
    for value in graph.values() {
        let node = graph.node(value);
        let operands = graph.renumbered_operands(value, &renumbered);
        let is_trivial_output = graph.outputs().contains(&value)
            && operands
                .iter()
                .any(|operand| matches!(rebuilt.node(*operand).op, Op::Input));
        renumbered.push(match node.op {
            Op::Identity if !is_trivial_output => operands[0],
            _ => rebuilt.add(
                node.op.clone(),
                &operands,
                node.ty.clone(),
                node.name.clone(),
            ),
        });
    }
    rebuilt.set_outputs(
        graph
            .outputs()
            .iter()
            .map(|output| renumbered[output.index()])
            .collect(),
    );
    let rebuilt = rebuilt.pruned(|op| matches!(op, Op::Input));
    let changed = if rebuilt.len() == graph.len() {
        Changed::No
    } else {
        Changed::Yes
    };
    model.graph = rebuilt;
    Ok((model, changed))
}
