//! The whole flow through the one crate that a Rust user adds.

use std::sync::Arc;

use heddle::prelude::*;

/// What accepts a small ring.
fn any() -> Accept {
    Accept::Any(Insecure::acknowledged())
}

fn model() -> Model {
    import(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tiny.onnx")).unwrap()
}

fn plan() -> Arc<Plan> {
    let options = Options {
        ring: Ring::Insecure { log_n: 10 },
        ..Options::new(Preprocess::named_or_file("unit").unwrap())
    };
    Arc::new(compile(model(), &options).unwrap())
}

const IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/tiny.npy");

#[test]
fn every_way_to_an_answer_gives_the_same_class() {
    let (model, plan) = (model(), plan());
    let image = read_image(IMAGE, &plan.client_plan().unwrap()).unwrap();
    let plain = reference(&model, &image).unwrap();

    let protocol = Protocol::new(plan.client_plan().unwrap(), any()).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let encrypted = client.encrypt(&image.name, &image.elements).unwrap();
    let protocol = Protocol::of(&plan, any()).unwrap();
    let server = Server::load(plan.clone(), &protocol, keys, Memory::FullSpeed, &()).unwrap();
    let (answer, trace) = server.run(encrypted, &()).unwrap();
    let decrypted = Prediction::of(client.decrypt(&answer, Disclosure::Private).unwrap());
    assert!(trace.seconds > 0.0);

    let runners = [
        Runner::clear(plan.clone()).unwrap(),
        Runner::noisy(plan.clone()).unwrap(),
        Runner::encrypted(plan.clone(), any(), Memory::FullSpeed, &()).unwrap(),
    ];
    let mut predictions = vec![decrypted];
    predictions.extend(runners.iter().map(|runner| runner.predict(&image).unwrap()));
    for prediction in predictions {
        assert_eq!(prediction.class, plain.class, "{prediction:?} {plain:?}");
        for (found, expected) in prediction.values.iter().zip(&plain.values) {
            let tolerance = 0.01 * plan.output.range;
            assert!(
                (found - expected).abs() < tolerance,
                "{prediction:?} {plain:?}"
            );
        }
    }
}

#[test]
fn a_plan_below_128_bits_is_refused_unless_acknowledged() {
    let plan = plan();
    let refused = Protocol::of(&plan, Accept::Secure).err().unwrap();
    assert!(refused.to_string().contains("128 are needed"), "{refused}");
    let refused = Runner::encrypted(plan, Accept::Secure, Memory::FullSpeed, &())
        .err()
        .unwrap();
    assert!(refused.to_string().contains("128 are needed"), "{refused}");
}

#[test]
fn errors_of_every_crate_become_the_one_error() {
    let plan = plan().client_plan().unwrap();
    let absent = |result: Result<(), heddle::Error>| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("`absent"), "{message}");
    };
    absent(import("absent.onnx").map(drop));
    absent(read_image("absent.png", &plan).map(drop));
    absent(
        Plan::read_file("absent.plan".as_ref(), any())
            .map(drop)
            .map_err(Into::into),
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let two = heddle_tests::npy::npy("|u1", "2, 3, 8, 8", &[0; 384]);
    std::fs::write(file.path(), two).unwrap();
    let name = file.path().to_str().unwrap();
    let error = read_image(name, &plan).unwrap_err();
    assert!(
        matches!(error, heddle::Error::ImageCount { count: 2, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("#0`"), "{error}");
    assert_eq!(read_images(name, &plan).unwrap().len(), 2);
}

#[test]
fn what_a_program_holds_may_be_sent_to_and_shared_by_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Client>();
    check::<ClientPlan>();
    check::<EncryptedAnswer>();
    check::<EncryptedImage>();
    check::<ImageKey>();
    check::<Model>();
    check::<Options>();
    check::<Plan>();
    check::<Protocol>();
    check::<Runner>();
    check::<Server>();
    check::<heddle::Error>();
}

#[test]
fn the_example_in_the_projects_readme_is_the_tested_one() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    let (tested, shown) = (
        read(root.join("README.md")),
        read(root.join("../README.md")),
    );
    let code = tested
        .split("```rust")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    // What starts with `# ` is compiled and not shown.
    let visible: Vec<&str> = code
        .lines()
        .filter(|line| !line.starts_with("# "))
        .collect();
    assert!(
        shown.contains(&visible.join("\n")),
        "README.md differs from heddle/README.md"
    );
}

#[test]
#[ignore = "writes examples/tiny.onnx and examples/tiny.npy again"]
fn write_the_tiny_model() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let network = heddle_tests::small::network(4, 4, heddle_tests::resnet::Shortcut::A);
    std::fs::write(folder.join("tiny.onnx"), network.build()).unwrap();
    let pixels: Vec<u8> = (0..192_u32).map(|pixel| (pixel * 29 % 251) as u8).collect();
    let image = heddle_tests::npy::npy("|u1", "3, 8, 8", &pixels);
    std::fs::write(folder.join("tiny.npy"), image).unwrap();
}
