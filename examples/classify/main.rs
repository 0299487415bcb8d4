//! The whole story in one process: a pretrained ONNX model becomes a plan, a client encrypts a
//! picture, a server classifies it without seeing it, the client decrypts the answer.
//!
//! `cargo run --release -p heddle-examples --bin classify [MODEL.onnx PICTURE]`, for models that
//! take CIFAR-10 images.
#![forbid(unsafe_code)]

use std::time::Instant;

use anyhow::Result;
use heddle::prelude::*;

fn main() -> Result<()> {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/demo");
    let mut arguments = std::env::args().skip(1);
    let model_file = arguments
        .next()
        .unwrap_or(format!("{demo}/resnet20_cifar10.onnx"));
    let picture_file = arguments.next().unwrap_or(format!("{demo}/ship.png"));

    let model = import(&model_file)?;
    let options = Options {
        labels: CIFAR10_CLASSES.map(str::to_owned).to_vec(),
        ..Options::new(Preprocess::named_or_file("cifar10")?)
    };
    let plan = compile(model.clone(), &options)?;
    let labels = plan.labels.clone();
    let protocol = Protocol::of(&plan, Accept::Secure)?;
    let security = protocol.context().parameters().security().bits;
    println!(
        "plan: {} bootstraps, {security:.1}-bit security",
        plan.schedule.bootstraps()
    );

    // The client: its secret key never leaves it.
    let image = read_image(&picture_file, protocol.plan())?;
    let client = Client::generate(&protocol)?;
    let keys = client.server_keys(KeyLimit::default(), &Announce)?;
    let encrypted = client.encrypt(&image.name, &image.elements)?;

    // The server: plan, weights, evaluation keys, a picture that it cannot see.
    let server = Server::load(plan, &protocol, keys, Memory::FullSpeed, &Announce)?;
    let started = Instant::now();
    let (answer, _) = server.run(encrypted, &Announce)?;
    let seconds = started.elapsed().as_secs_f64();

    let decrypted = Prediction::of(client.decrypt(&answer, Disclosure::Private)?);
    let plain = reference(&model, &image)?;
    let name = |prediction: &Prediction| labels.get(prediction.class).cloned().unwrap_or_default();
    println!("encrypted: {} {:.3?}", name(&decrypted), decrypted.values);
    println!("plaintext: {} {:.3?}", name(&plain), plain.values);
    println!(
        "{seconds:.1} s from encrypted picture to encrypted answer, at {security:.1}-bit security"
    );
    Ok(())
}

/// Says on standard error what takes long.
struct Announce;

impl Observer for Announce {
    fn begin(&self, activity: heddle::Activity, total: usize) {
        eprintln!("{activity}: {total}");
    }
}
