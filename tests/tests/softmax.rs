//! Plans that end in probabilities: on plain numbers and encrypted, at a small ring.

use heddle_compiler::{Compilation, Options, Ring, compile};
use heddle_frontends::onnx;
use heddle_ir::eval::ckks::ClearInterpreter;
use heddle_ir::eval::nn;
use heddle_ir::eval::slot::{Activations, SlotInterpreter};
use heddle_ir::nn::Model;
use heddle_ir::plan::{OutputKind, Plan};
use heddle_ir::preprocess::Preprocess;
use heddle_ir::slot::Op;
use heddle_ir::text;
use heddle_params::eval_mod::EvalMod;
use heddle_params::{Accept, Insecure};
use heddle_runtime::client::{Client, Disclosure, KeyLimit};
use heddle_runtime::memory::Memory;
use heddle_runtime::packing::{pack, unpack};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};
use heddle_tests::resnet::{Shortcut, Spec};
use heddle_tests::small;

/// How far a probability may be from the exact one.
const TOLERANCE: f64 = 1.0 / 1024.0;

fn image(seed: usize) -> Vec<f32> {
    (0..3 * 64)
        .map(|i| ((i * 29 + seed * 131 + i * i * (seed + 3)) % 97) as f32 / 96.0)
        .collect()
}

fn network(classes: usize) -> Model {
    let spec = Spec {
        seed: 5,
        ..small::network(4, classes, Shortcut::A)
    };
    let options = onnx::ImportOptions::default();
    onnx::import_bytes("model", &spec.build(), &options).unwrap()
}

fn compiled(model: Model, output_kind: OutputKind, eval_mod: EvalMod) -> Compilation {
    let options = Options {
        samples: (0..40).map(image).collect(),
        ring: Ring::Insecure { log_n: 11 },
        eval_mod,
        output_kind,
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    compile(model, &options, &()).unwrap()
}

fn clear(plan: &Plan, image: &[f32]) -> Vec<f64> {
    let interpreter =
        ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap).unwrap();
    let packed = pack(&plan.input, "image", image).unwrap();
    let batch = interpreter.run_batch(&[packed]).unwrap();
    assert!(
        batch.ranges.iter().all(|range| range.overflows == 0),
        "{:?}",
        batch.ranges
    );
    let output = &batch.outputs[0];
    let layout = &plan.output.layout;
    let kept = layout.slots();
    for (slot, value) in output.iter().enumerate() {
        assert!(
            kept.contains(&slot) || *value == 0.0,
            "slot {slot} holds {value}"
        );
    }
    unpack(&plan.output, output).unwrap()
}

fn encrypted(plan: &Plan, images: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let protocol = Protocol::of(plan, Accept::Any(Insecure::acknowledged())).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let server = Server::load(plan.clone(), &protocol, keys, Memory::FullSpeed, &()).unwrap();
    let answer = |image: &Vec<f32>| {
        let image = client.encrypt("image", image).unwrap();
        let (output, _) = server.run(image, &()).unwrap();
        client.decrypt(&output, Disclosure::Private).unwrap()
    };
    images.iter().map(answer).collect()
}

fn probabilities(logits: Vec<f64>) -> Vec<f64> {
    OutputKind::Probabilities.of_logits(logits)
}

fn furthest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max)
}

#[test]
fn probabilities_are_the_softmax_of_the_logits() {
    for classes in [4, 10] {
        let model = network(classes);
        let logits = compiled(model.clone(), OutputKind::Logits, EvalMod::Cosine).plan;
        let plan = compiled(model.clone(), OutputKind::Probabilities, EvalMod::Cosine).plan;
        assert_eq!(
            (plan.output_kind, plan.output.range),
            (OutputKind::Probabilities, 1.0)
        );
        let mut bytes = Vec::new();
        plan.write(&mut bytes, "plan").unwrap();
        assert_eq!(
            Plan::read(&*bytes, "plan", Accept::Any(Insecure::acknowledged())).unwrap(),
            plan
        );
        for seed in 100..106 {
            let image = image(seed);
            let found = clear(&plan, &image);
            let approximated = probabilities(clear(&logits, &image));
            let plain = nn::run(&model, &image).unwrap();
            let exact = probabilities(plain.into_iter().map(f64::from).collect());
            let (own, all) = (furthest(&found, &approximated), furthest(&found, &exact));
            println!(
                "{classes} classes: 2^{:.1} off the logits' softmax, 2^{:.1} off the network's",
                own.log2(),
                all.log2()
            );
            assert!(own < TOLERANCE && all < TOLERANCE, "{found:?} {exact:?}");
        }
    }
}

#[test]
fn plans_with_every_way_to_reduce_are_read_back_equal() {
    for eval_mod in EvalMod::ALL {
        let plan = compiled(network(4), OutputKind::Logits, eval_mod).plan;
        let mut bytes = Vec::new();
        plan.write(&mut bytes, "plan").unwrap();
        let read = Plan::read(&*bytes, "plan", Accept::Any(Insecure::acknowledged())).unwrap();
        assert_eq!(read, plan);
        assert_eq!(read.bootstrap.eval_mod, eval_mod);
    }
}

#[test]
fn the_exact_packed_graph_is_exact_softmax() {
    let model = network(10);
    let compilation = compiled(model.clone(), OutputKind::Probabilities, EvalMod::Cosine);
    let (plan, graph) = (&compilation.plan, &compilation.packed);
    let interpreter = SlotInterpreter::new(graph, &plan.weights).unwrap();
    let image = image(7);
    let packed = pack(&plan.input, "image", &image).unwrap();
    let exact = interpreter
        .run(&packed, Activations::Exact, |_, _| {})
        .unwrap();
    let plain = nn::run(&model, &image).unwrap();
    let expected = probabilities(plain.into_iter().map(f64::from).collect());
    // Slots without a class take part by less than 2^-17.
    assert!(furthest(&unpack(&plan.output, &exact).unwrap(), &expected) < 1e-5);
    let text = text::print_slot(graph);
    assert_eq!(&text::parse_slot(&text).unwrap(), graph);
    let divisions = graph
        .values()
        .filter(|value| matches!(graph.node(*value).op, Op::Normalise(_)));
    assert!(
        divisions.count() >= 3 && text.contains("normalise %"),
        "{text}"
    );
}

#[test]
fn encrypted_probabilities_are_those_of_the_clear_backend() {
    let model = network(10);
    let plan = compiled(model.clone(), OutputKind::Probabilities, EvalMod::Cosine).plan;
    let images = [image(100), image(103)];
    for (image, found) in images.iter().zip(encrypted(&plan, &images)) {
        let expected = clear(&plan, image);
        let plain = nn::run(&model, image).unwrap();
        let exact = probabilities(plain.into_iter().map(f64::from).collect());
        println!(
            "2^{:.1} off clear, 2^{:.1} off exact: {found:.4?}",
            furthest(&found, &expected).log2(),
            furthest(&found, &exact).log2()
        );
        assert!(
            furthest(&found, &expected) < TOLERANCE,
            "{found:?} {expected:?}"
        );
        assert!(furthest(&found, &exact) < TOLERANCE, "{found:?} {exact:?}");
    }
}

/// A plan with an inverse sine takes more levels for EvalMod and leaves the network as many; its
/// logits are closer to those of a bootstrap without error.
#[test]
fn an_inverse_sine_brings_logits_closer() {
    let model = network(4);
    let images = [image(101), image(102)];
    let mut errors = Vec::new();
    for eval_mod in [EvalMod::Cosine, EvalMod::Arcsine { degree: 5 }] {
        let Compilation { plan, packed, .. } =
            compiled(model.clone(), OutputKind::Logits, eval_mod);
        let parameters = plan.checked_parameters().unwrap();
        assert_eq!(plan.bootstrap.eval_mod, eval_mod);
        assert_eq!(plan.bootstrap.output_level(&parameters), 18);
        let summary = text::plan_summary(&plan).unwrap();
        assert!(
            summary.contains(&format!("EvalMod by {eval_mod}: cosine of degree")),
            "{summary}"
        );
        assert!(
            summary.contains("a bootstrap fails with probability 2^-"),
            "{summary}"
        );
        let interpreter = SlotInterpreter::new(&packed, &plan.weights).unwrap();
        let mut worst = 0.0_f64;
        for (image, found) in images.iter().zip(encrypted(&plan, &images)) {
            let slots = pack(&plan.input, "image", image).unwrap();
            let ideal = interpreter
                .run(&slots, Activations::Approximated, |_, _| {})
                .unwrap();
            let ideal = unpack(&plan.output, &ideal).unwrap();
            assert!(furthest(&found, &clear(&plan, image)) < 1e-3);
            worst = worst.max(furthest(&found, &ideal));
        }
        println!("{eval_mod}: logits off by 2^{:.1}", worst.log2());
        errors.push(worst);
    }
    assert!(errors[1] < errors[0] / 4.0, "{errors:?}");
}

#[test]
fn a_cut_softmax_is_put_back_and_the_notes_say_so() {
    let mut onnx = OnnxBuilder::new(13);
    onnx.input("image", &[1_i64, 3, 8, 8]);
    onnx.floats(
        "kernel",
        &[5, 3, 1, 1],
        &[
            0.5, -0.25, 0.75, 1.0, -1.0, 0.3, 0.2, 0.9, -0.7, 0.1, 0.4, -0.6, 0.8, -0.3, 0.6,
        ],
    );
    onnx.node("Conv", &["image", "kernel"], "conv", &[]);
    onnx.node("GlobalAveragePool", &["conv"], "pool", &[]);
    onnx.node("Flatten", &["pool"], "logits", &[]);
    onnx.node(
        "Softmax",
        &["logits"],
        "softmax",
        &[("axis", Attr::Int(-1))],
    );
    onnx.output("softmax");
    let model = onnx::import_bytes("m", &onnx.build(), &onnx::ImportOptions::default()).unwrap();
    let plan = compiled(model.clone(), OutputKind::Probabilities, EvalMod::Cosine).plan;
    let notes = plan.notes.join("\n");
    assert!(
        notes.contains("the final Softmax `softmax` is replaced by softmax under encryption"),
        "{notes}"
    );
    assert!(
        notes.contains("results are probabilities") && !notes.contains("logits"),
        "{notes}"
    );
    let image = image(3);
    let exact = nn::run(&model, &image)
        .unwrap()
        .into_iter()
        .map(f64::from)
        .collect();
    assert!(furthest(&clear(&plan, &image), &probabilities(exact)) < TOLERANCE);
    let logits = compiled(model, OutputKind::Logits, EvalMod::Cosine).plan;
    assert!(
        logits
            .notes
            .iter()
            .any(|note| note.ends_with("results are logits"))
    );
}
