//! Compiles an ONNX model and prints the summary of its schedule:
//! `cargo run -p heddle-compiler --example compile -- model.onnx cifar10`.
//! Ranges are estimated from batch-norm statistics; give sample images for a model that you deploy.

use std::error::Error;
use std::path::Path;

use heddle_compiler::{Observer, Options, PassRecord, compile};
use heddle_frontends::onnx::{ImportOptions, import};
use heddle_ir::preprocess::Preprocess;
use heddle_ir::text::plan_summary;

/// Names every pass that has finished.
struct Passes;

impl Observer for Passes {
    fn pass_finished(&self, pass: &PassRecord) {
        eprintln!("{}", pass.name);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(preprocess)) = (arguments.next(), arguments.next()) else {
        return Err("give the path of an ONNX model and a preprocessing set".into());
    };
    let model = import(Path::new(&path), &ImportOptions::default())?;
    let options = Options::new(Preprocess::named_or_file(&preprocess)?);
    let compilation = compile(model, &options, &Passes)?;
    print!("{}", plan_summary(&compilation.plan)?);
    Ok(())
}
