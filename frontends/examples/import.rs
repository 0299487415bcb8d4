//! Imports an ONNX model and prints what it is made of:
//! `cargo run -p heddle-frontends --example import -- model.onnx`.

use std::error::Error;
use std::path::Path;

use heddle_frontends::onnx::{ImportOptions, import};
use heddle_ir::nn::{Op, TensorType};

fn main() -> Result<(), Box<dyn Error>> {
    let Some(path) = std::env::args_os().nth(1) else {
        return Err("give the path of an ONNX model".into());
    };
    let model = import(Path::new(&path), &ImportOptions::default())?;
    let graph = &model.graph;
    let activations = graph
        .values()
        .filter(|value| matches!(graph.node(*value).op, Op::Activation { .. }));
    println!(
        "{}: {} to {}, {} operations, {} activations, {} weights",
        model.name,
        TensorType::new(model.image_shape()),
        graph.ty(model.output()),
        graph.len(),
        activations.count(),
        model.weights.len(),
    );
    for note in &model.notes {
        println!("note: {note}");
    }
    Ok(())
}
