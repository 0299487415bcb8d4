//! A client and a server that exchange files, over a small ring that is INSECURE.
//!
//! `cargo run --release -p heddle --example client_and_server`

use heddle::files::{ciphertext, keys};
use heddle::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (here, folder) = (env!("CARGO_MANIFEST_DIR"), tempfile::tempdir()?);
    let (path, new) = (|name: &str| folder.path().join(name), Existing::Refuse);
    let accept = Accept::Any(Insecure::acknowledged());
    let mut options = Options::new(Preprocess::named_or_file("unit")?);
    options.ring = Ring::Insecure { log_n: 10 };
    let plan = compile(import(format!("{here}/examples/tiny.onnx"))?, &options)?;
    plan.write_file(&path("model.plan"))?;
    plan.client_plan()?.write_file(&path("model.client.plan"))?;

    // The client makes keys and encrypts an image.
    let protocol = Protocol::open(&path("model.client.plan"), accept)?;
    let client = Client::generate(&protocol)?;
    let make = |sink: &mut keys::KeySink<'_>| client.generate_keys(KeyLimit::default(), &(), sink);
    keys::stage_evaluation(&path("eval.keys"), new, &protocol, client.id(), make)?.commit()?;
    keys::stage_secret(&path("client.key"), &client)?.commit()?; // `keys::read_secret` reads it.
    let image = read_image(&format!("{here}/examples/tiny.npy"), protocol.plan())?;
    let encrypted = client.encrypt(&image.name, &image.elements)?;
    ciphertext::write_image(&path("image.ct"), new, &protocol, &encrypted)?;

    // The server answers.
    let plan = Plan::read_file(&path("model.plan"), accept)?;
    let protocol = Protocol::of(&plan, accept)?;
    let keys_of_client = keys::read_evaluation(&path("eval.keys"), &protocol, &())?;
    let server = Server::load(plan, &protocol, keys_of_client, Memory::FullSpeed, &())?;
    let (answer, _) = server.run(ciphertext::read_image(&path("image.ct"), &protocol)?, &())?;
    ciphertext::write_answer(&path("answer.ct"), new, &protocol, &answer)?;

    // The client decrypts.
    let answer = ciphertext::read_answer(&path("answer.ct"), client.protocol())?;
    println!("{:.3?}", client.decrypt(&answer, Disclosure::Private)?);
    Ok(())
}
