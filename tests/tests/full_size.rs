//! Full size: the demo network at N = 2^16 and 128-bit security. Minutes and gigabytes, so only
//! when asked for: `cargo test --release -p heddle-tests --test full_size -- --ignored`.

use std::path::PathBuf;

use heddle_compiler::{Options, compile};
use heddle_frontends::{image, onnx};
use heddle_ir::eval::{ckks::ClearInterpreter, nn};
use heddle_ir::plan::{ClientPlan, Plan};
use heddle_ir::preprocess::Preprocess;
use heddle_params::Accept;
use heddle_runtime::client::{Client, Disclosure, KeyLimit};
use heddle_runtime::memory::Memory;
use heddle_runtime::packing::{class_of, pack, unpack};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;

/// A file of the demo.
fn demo(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/demo")
        .join(name)
}

#[test]
#[ignore = "full size: minutes and about 10 GiB"]
fn the_demo_network_classifies_a_picture_under_encryption() {
    let model_path = demo("resnet20_cifar10.onnx");
    let model = onnx::import(&model_path, &onnx::ImportOptions::default()).unwrap();
    let options = Options::new(Preprocess::named("cifar10").unwrap());
    let compilation = compile(model.clone(), &options, &()).unwrap();
    // What is executed is what a reader of the file gets.
    let mut bytes = Vec::new();
    compilation.plan.write(&mut bytes, "demo").unwrap();
    let plan = Plan::read(&bytes[..], "demo", Accept::Secure).unwrap();
    let protocol = Protocol::of(&plan, Accept::Secure).unwrap();
    assert!(protocol.context().parameters().security().bits >= 128.0);

    let picture = &image::read(demo("ship.png").to_str().unwrap()).unwrap()[0];
    let (tensor, _) = image::to_tensor(picture, &plan.preprocess, [3, 32, 32]).unwrap();
    let reference: Vec<f64> = nn::run(&model, &tensor)
        .unwrap()
        .into_iter()
        .map(f64::from)
        .collect();
    let interpreter =
        ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap).unwrap();
    let slots = interpreter
        .run(&pack(&plan.input, "ship", &tensor).unwrap(), |_, _| {})
        .unwrap();
    let clear = unpack(&plan.output, &slots).unwrap();

    // The client has the client plan alone.
    let bytes = protocol.plan().write(Vec::new(), "client").unwrap();
    let received = ClientPlan::read(&bytes[..], "client", Accept::Secure).unwrap();
    let client = Client::generate(&Protocol::new(received, Accept::Secure).unwrap()).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let server = Server::load(plan.clone(), &protocol, keys, Memory::FullSpeed, &()).unwrap();
    let input = client.encrypt("ship", &tensor).unwrap();
    let (output, trace) = server.run(input, &()).unwrap();
    let logits = client.decrypt(&output, Disclosure::Private).unwrap();

    let largest = |left: &[f64], right: &[f64]| {
        left.iter()
            .zip(right)
            .map(|(left, right)| (left - right).abs())
            .fold(0.0, f64::max)
    };
    println!(
        "plaintext {reference:.4?}\nclear     {clear:.4?}\nencrypted {logits:.4?}\n{:?}",
        trace.classes
    );
    assert_eq!(class_of(&logits), class_of(&reference));
    assert_eq!(class_of(&logits), 8, "a ship");
    assert!(
        largest(&logits, &clear) < 0.005,
        "{}",
        largest(&logits, &clear)
    );
    assert!(
        largest(&clear, &reference) < 0.05,
        "{}",
        largest(&clear, &reference)
    );
}
