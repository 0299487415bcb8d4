//! The whole story in one process: a pretrained ONNX model becomes a plan, a client encrypts a
//! picture, a server classifies it without seeing it, the client reads the answer.
//!
//! `cargo run --release -p heddle-examples --bin classify [MODEL.onnx PICTURE]`, for models that
//! take CIFAR-10 images.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use heddle_compiler::{Options, compile};
use heddle_frontends::{image, onnx};
use heddle_ir::eval::nn;
use heddle_ir::preprocess::{CIFAR10_CLASSES, Preprocess};
use heddle_params::Accept;
use heddle_runtime::client::{Client, KeyLimit, Share};
use heddle_runtime::memory::Memory;
use heddle_runtime::packing::class_of;
use heddle_runtime::progress::Show;
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;

fn main() -> Result<()> {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let mut arguments = std::env::args().skip(1);
    let model_file = arguments
        .next()
        .unwrap_or(format!("{demo}/resnet20_cifar10.onnx"));
    let picture_file = arguments.next().unwrap_or(format!("{demo}/ship.png"));

    let model = onnx::import(Path::new(&model_file), &onnx::ImportOptions::default())?;
    let options = Options {
        labels: CIFAR10_CLASSES.map(str::to_owned).to_vec(),
        ..Options::new(Preprocess::named("cifar10").expect("a built-in set"))
    };
    let plan = compile(model.clone(), &options, &())?.plan;
    let protocol = Protocol::of(&plan, Accept::Secure)?;
    let security = protocol.context().parameters().security().bits;
    println!(
        "plan: {} bootstraps, {security:.1}-bit security",
        plan.schedule.bootstraps()
    );

    let pictures = image::read(&picture_file)?;
    ensure!(
        pictures.len() == 1,
        "`{picture_file}` holds {} pictures; name one",
        pictures.len()
    );
    let layout = &plan.input.layout;
    let shape = [layout.channels, layout.height, layout.width];
    let (tensor, _) = image::to_tensor(&pictures[0], &plan.preprocess, shape)?;

    // The client: its secret key never leaves it.
    let client = Client::generate(&protocol)?;
    let keys = client.server_keys(KeyLimit::default(), Show::Stderr)?;
    let encrypted = client.encrypt(&picture_file, &tensor)?;

    // The server: plan, weights, evaluation keys, a picture that it cannot see.
    let server = Server::load(&plan, &protocol, keys, Memory::FullSpeed, Show::Stderr)?;
    let started = Instant::now();
    let (answer, _) = server.run(encrypted, Show::Stderr)?;
    let seconds = started.elapsed().as_secs_f64();

    let logits = client.decrypt(&answer, Share::Private)?;
    let reference: Vec<f64> = nn::run(&model, &tensor)?
        .into_iter()
        .map(f64::from)
        .collect();
    let name = |logits: &[f64]| {
        plan.labels
            .get(class_of(logits))
            .cloned()
            .unwrap_or_default()
    };
    println!("encrypted: {} {logits:.3?}", name(&logits));
    println!("plaintext: {} {reference:.3?}", name(&reference));
    println!(
        "{seconds:.1} s from encrypted picture to encrypted answer, at {security:.1}-bit security"
    );
    Ok(())
}
