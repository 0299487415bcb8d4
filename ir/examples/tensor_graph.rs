//! Builds a tensor graph, verifies it, prints it and parses the text back.

use heddle_ir::nn::{Activation, AxisOrder, LinearOp, Model, Op, Region, TensorType};
use heddle_ir::{Graph, Weights, text, verify};

fn main() -> Result<(), heddle_ir::Error> {
    let image = TensorType::new([3, 8, 8]);
    let pooled = TensorType::new([3, 1, 1]);
    let mut graph = Graph::new();
    let x = graph.add(Op::Input, &[], image.clone(), "image");
    let x = graph.add(Op::activation(Activation::Relu), &[x], image, "relu");
    let x = graph.add(
        Op::Linear(LinearOp::GlobalAveragePool),
        &[x],
        pooled,
        "pool",
    );
    let flat = Op::Linear(LinearOp::Flatten);
    let logits = graph.add(flat, &[x], TensorType::new([3]), "flatten");
    graph.set_outputs(vec![logits]);
    let model = Model {
        name: "three means".into(),
        digest: [0; 32],
        graph,
        weights: Weights::default(),
        input_regions: vec![Region::whole([3, 8, 8])],
        input_order: AxisOrder::Chw,
        notes: Vec::new(),
    };

    verify::require("nn", &verify::nn::verify(&model))?;
    let printed = text::print_nn(&model);
    print!("{printed}");
    assert_eq!(text::parse_nn(&printed, Weights::default())?, model);
    Ok(())
}
