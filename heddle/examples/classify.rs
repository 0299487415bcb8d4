//! Compiles the demo network and classifies pictures with its plan, on plain numbers.
//!
//! `cargo run --release -p heddle --example classify [MODEL.onnx PICTURE...]`, for models that take
//! CIFAR-10 images. With `Runner::encrypted` in place of `Runner::clear` the same runs encrypted.

use heddle::prelude::*;

fn main() -> Result<(), heddle::Error> {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/demo");
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next();
    let model = import(model.unwrap_or(format!("{demo}/resnet20_cifar10.onnx")))?;
    let mut pictures: Vec<String> = arguments.collect();
    if pictures.is_empty() {
        pictures = ["ship", "frog", "truck"]
            .map(|name| format!("{demo}/{name}.png"))
            .into();
    }

    let options = Options {
        labels: CIFAR10_CLASSES.map(str::to_owned).to_vec(),
        ..Options::new(Preprocess::named_or_file("cifar10")?)
    };
    let plan = compile(model.clone(), &options)?;
    let client_plan = plan.client_plan()?;
    let runner = Runner::clear(plan)?;

    for picture in pictures {
        let image = read_image(&picture, &client_plan)?;
        let (plan, plain) = (runner.predict(&image)?, reference(&model, &image)?);
        let name = |prediction: &Prediction| &client_plan.labels[prediction.class];
        println!(
            "{picture}: {} by the plan, {} by the network",
            name(&plan),
            name(&plain)
        );
    }
    Ok(())
}
