//! All backends run the toy plan through the executor.

use heddle_ir::ckks::Op;
use heddle_ir::plan::Plan;
use heddle_ir::weights::{Tensor, Weights};
use heddle_runtime::Error;
use heddle_runtime::client::{Client, Disclosure, KeyLimit};
use heddle_runtime::executor::execute;
use heddle_runtime::memory::Memory;
use heddle_runtime::packing::{InputTensor, pack, unpack};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::runner::Runner;
use heddle_runtime::server::Server;
use heddle_tests::toy;

use crate::any;
use crate::clear_backend::ClearBackend;

fn clear_logits(seed: usize) -> Vec<f64> {
    let plan = toy::plan();
    let backend = ClearBackend::load(&plan);
    let packed = pack(&plan.input, "x", &toy::tensor(seed)).unwrap();
    let outputs = execute(&plan.schedule, &backend, packed, &mut |_, _| {}).unwrap();
    unpack(&plan.output, &outputs[0]).unwrap()
}

fn image(seed: usize) -> InputTensor {
    InputTensor {
        name: "x".into(),
        elements: toy::tensor(seed),
    }
}

/// The answers to images that all have one.
fn answers(runner: &Runner, images: &[InputTensor], first: u64) -> Vec<Vec<f64>> {
    let batch = runner.run(images, first, &()).unwrap();
    batch.answers.into_iter().map(Result::unwrap).collect()
}

#[test]
fn the_toy_plan_is_valid() {
    toy::plan().check().unwrap();
}

#[test]
fn the_executor_agrees_with_the_interpreter_that_runs_batches() {
    let runner = Runner::clear(toy::plan()).unwrap();
    let batch = runner.run(&[image(1)], 0, &()).unwrap();
    for (batch, single) in batch.answers[0]
        .as_ref()
        .unwrap()
        .iter()
        .zip(clear_logits(1))
    {
        assert!((batch - single).abs() < 1e-12);
    }
    assert!(
        batch.ranges.iter().all(|range| range.worst <= 1.0),
        "{:?}",
        batch.ranges
    );
}

#[test]
fn runners_predict_the_same_class() {
    let plan = std::sync::Arc::new(toy::plan());
    let clear = Runner::clear(plan.clone()).unwrap();
    let noisy = Runner::noisy(plan.clone()).unwrap();
    let encrypted = Runner::encrypted(plan, any(), Memory::FullSpeed, &()).unwrap();
    let expected = clear.predict(&image(2)).unwrap();
    assert_eq!(expected.values, answers(&clear, &[image(2)], 0)[0]);
    for runner in [&noisy, &encrypted] {
        let found = runner.predict(&image(2)).unwrap();
        assert_eq!(found.class, expected.class);
        assert_ne!(found.values, expected.values);
        for (found, expected) in found.values.iter().zip(&expected.values) {
            assert!((found - expected).abs() < 1e-3);
        }
    }
    assert!(clear.key().is_none() && noisy.key().is_none() && encrypted.key().is_some());
    // Errors of the noisy backend follow from the image's index.
    let batch = answers(&noisy, &[image(2), image(2)], 5);
    let second = answers(&noisy, &[image(2)], 6);
    assert_ne!(batch[0], batch[1]);
    assert_eq!(batch[1], second[0]);
}

#[test]
fn encrypted_logits_are_those_of_the_clear_backend() {
    let plan = toy::plan();
    let protocol = Protocol::of(&plan, any()).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let server = Server::load(plan.clone(), &protocol, keys, Memory::FullSpeed, &()).unwrap();
    for seed in 0..2 {
        let image = client.encrypt("x", &toy::tensor(seed)).unwrap();
        let (output, trace) = server.run(image, &()).unwrap();
        let clear = clear_logits(seed);
        let logits = client.decrypt(&output, Disclosure::Private).unwrap();
        for (encrypted, clear) in logits.iter().zip(&clear) {
            assert!((encrypted - clear).abs() < 1e-3, "{logits:?} {clear:?}");
        }
        // The noise of a disclosure moves the logits, by its own size.
        let noisy = Disclosure::Noisy { bits: 8 };
        let disclosed = client.decrypt(&output, noisy).unwrap();
        assert_ne!(disclosed, logits);
        let deviation = plan.output.range / 256.0;
        for (disclosed, clear) in disclosed.iter().zip(&clear) {
            assert!((disclosed - clear).abs() < 8.0 * deviation);
        }
        assert_eq!(trace.operations.len(), plan.schedule.graph.len() - 1);
        assert!(trace.classes.bootstrap > 0.0 && trace.classes.linear > 0.0);
        let names: Vec<&str> = trace
            .layers
            .iter()
            .map(|layer| layer.node.as_str())
            .collect();
        // A layer of the network is one line, whatever levels it drops on the way.
        for node in ["stem", "relu1", "fc"] {
            assert_eq!(
                names.iter().filter(|name| **name == node).count(),
                1,
                "{names:?}"
            );
        }
        assert!(trace.to_string().lines().count() > trace.layers.len());
    }
}

#[test]
fn a_memory_limit_changes_no_result() {
    let plan = toy::plan();
    let protocol = Protocol::of(&plan, any()).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let image = client.encrypt("x", &toy::tensor(3)).unwrap();
    let logits = |memory| -> Result<Vec<f64>, Error> {
        let server = Server::load(plan.clone(), &protocol, keys.clone(), memory, &())?;
        let (output, _) = server.run(image.clone(), &())?;
        client.decrypt(&output, Disclosure::Private)
    };
    let needed = match logits(Memory::AtMost(1)) {
        Err(Error::Memory { needed, .. }) => needed,
        other => panic!("{other:?}"),
    };
    // Not a byte is left to encoded weights.
    let bounded = logits(Memory::AtMost(needed)).unwrap();
    assert_eq!(bounded, logits(Memory::FullSpeed).unwrap());
}

#[test]
fn values_are_freed_after_their_last_use() {
    let plan = toy::plan();
    let graph = &plan.schedule.graph;
    let frees = plan.schedule.frees();
    let mut live = 0;
    let mut most = 0;
    for value in graph.values() {
        live += 1;
        most = most.max(live);
        live -= frees[value.index()].len();
    }
    assert_eq!(live, 1);
    assert!(most <= 3, "{most} values are alive at once");
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let plan = toy::plan();
    let refused = |tensor: &[f32]| pack(&plan.input, "picture.npy", tensor).unwrap_err();
    let error = refused(&[0.5; 7]);
    assert!(
        matches!(&error, Error::Input { what, .. } if what == "`picture.npy`"),
        "{error}"
    );
    for element in [1.5, f32::NAN, f32::NEG_INFINITY] {
        let error = refused(&[element; 192]);
        assert!(
            matches!(&error, Error::InputRange { image, .. } if image == "picture.npy"),
            "{error}"
        );
    }
}

#[test]
fn a_schedule_that_lacks_operands_is_an_error() {
    let mut plan = toy::plan();
    let backend = ClearBackend::load(&plan);
    let packed = pack(&plan.input, "x", &toy::tensor(0)).unwrap();
    let ty = *plan.schedule.graph.ty(heddle_ir::ValueId(0));
    plan.schedule.graph.add(Op::Rescale, &[], ty, "stray");
    let error = execute(&plan.schedule, &backend, packed, &mut |_, _| {}).unwrap_err();
    assert!(error.to_string().contains("`stray`"), "{error}");
}

/// The toy plan with weights so large that its gate diverges.
fn wild() -> Plan {
    let mut plan = toy::plan();
    let mut weights = Weights::default();
    for (_, tensor) in plan.weights.iter() {
        let data = tensor.data.iter().map(|x| 1e9 * x).collect();
        weights.push(Tensor::new(
            tensor.name.as_str(),
            tensor.shape.clone(),
            data,
        ));
    }
    plan.weights = weights;
    plan
}

#[test]
fn an_answer_beyond_the_plans_range_is_none() {
    let plan = std::sync::Arc::new(wild());
    for runner in [Runner::clear(plan.clone()), Runner::noisy(plan.clone())] {
        let runner = runner.unwrap();
        let batch = runner.run(&[image(1), image(2)], 0, &()).unwrap();
        for answer in batch.answers {
            let message = answer.unwrap_err().to_string();
            for part in [
                "the answer to `x` is out of the plan's range",
                "--calibrate",
                "--range",
            ] {
                assert!(message.contains(part), "{message}");
            }
        }
        let refused = runner.predict(&image(1));
        assert!(matches!(refused, Err(Error::OutOfRange { .. })));
    }
}

#[test]
fn numbers_are_answers_up_to_the_range_and_its_noise() {
    let output = toy::plan().output;
    let slots = |slot: f64| vec![slot; output.layout.period()];
    assert!(unpack(&output, &slots(-1.01)).is_ok());
    for slot in [1.5, -800.0, f64::NAN, f64::NEG_INFINITY] {
        let refused = unpack(&output, &slots(slot));
        assert!(matches!(refused, Err(Error::OutOfRange { .. })), "{slot}");
    }
}

#[test]
fn an_image_out_of_range_costs_no_other_images_answer() {
    let plan = std::sync::Arc::new(toy::plan());
    let mut outside = image(2);
    outside.name = "y".into();
    outside.elements[3] = 1.001;
    let images = [image(1), outside.clone(), image(3)];
    let clear = Runner::clear(plan.clone()).unwrap();
    let noisy = Runner::noisy(plan.clone()).unwrap();
    let encrypted = Runner::encrypted(plan, any(), Memory::FullSpeed, &()).unwrap();
    for runner in [&clear, &noisy, &encrypted] {
        let mut found = runner.run(&images, 0, &()).unwrap().answers;
        let last = found.pop().unwrap().unwrap();
        let refused = found.pop().unwrap().unwrap_err();
        let message = refused.to_string();
        for part in ["`y`", "1.001", "0.100 % beyond", "--margin", "--range"] {
            assert!(message.contains(part), "{message}");
        }
        for (found, expected) in found.pop().unwrap().unwrap().iter().zip(clear_logits(1)) {
            assert!((found - expected).abs() < 1e-3);
        }
        for (found, expected) in last.iter().zip(clear_logits(3)) {
            assert!((found - expected).abs() < 1e-3);
        }
    }
    assert!(matches!(
        clear.predict(&outside),
        Err(Error::InputRange { .. })
    ));
    outside.elements[7] = f32::NAN;
    let message = clear.predict(&outside).unwrap_err().to_string();
    assert!(message.contains("not a finite number"), "{message}");
}
