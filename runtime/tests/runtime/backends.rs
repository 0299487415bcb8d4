//! Both backends run the toy plan through the executor.

use std::time::Duration;

use heddle_ir::ckks::Op;
use heddle_params::{Accept, Insecure};
use heddle_runtime::Error;
use heddle_runtime::backend::clear::ClearBackend;
use heddle_runtime::client::{Client, KeyLimit, Share};
use heddle_runtime::executor::execute;
use heddle_runtime::memory::Memory;
use heddle_runtime::message::ServerKeys;
use heddle_runtime::packing::{pack, unpack};
use heddle_runtime::progress::Show;
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;

use crate::toy;

fn clear_logits(seed: usize) -> Vec<f64> {
    let plan = toy::plan();
    let backend = ClearBackend::load(&plan).unwrap();
    let packed = pack(&plan.input, "x", &toy::tensor(seed)).unwrap();
    let outputs = execute(&plan.schedule, &backend, packed, &mut |_, _| {}).unwrap();
    unpack(&plan.output, &outputs[0]).unwrap()
}

#[test]
fn the_toy_plan_is_valid() {
    toy::plan().check().unwrap();
}

#[test]
fn the_executor_agrees_with_the_machine_that_runs_batches() {
    let plan = toy::plan();
    let backend = ClearBackend::load(&plan).unwrap();
    let packed = pack(&plan.input, "x", &toy::tensor(1)).unwrap();
    let batch = backend.machine().run_batch(&[packed]).unwrap();
    let logits = unpack(&plan.output, &batch.outputs[0]).unwrap();
    for (batch, single) in logits.iter().zip(clear_logits(1)) {
        assert!((batch - single).abs() < 1e-12);
    }
    assert!(
        batch.ranges.iter().all(|range| range.worst <= 1.0),
        "{:?}",
        batch.ranges
    );
}

#[test]
fn encrypted_logits_are_those_of_the_clear_backend() {
    let plan = toy::plan();
    let protocol = Protocol::of(&plan, Accept::Any(Insecure::acknowledged())).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = client
        .server_keys(KeyLimit::default(), Show::Nothing)
        .unwrap();
    let server = Server::load(&plan, &protocol, keys, Memory::FullSpeed, Show::Nothing).unwrap();
    for seed in 0..2 {
        let image = client.encrypt("x", &toy::tensor(seed)).unwrap();
        let (output, trace) = server.run(image, Show::Nothing).unwrap();
        let clear = clear_logits(seed);
        let logits = client.decrypt(&output, Share::Private).unwrap();
        for (encrypted, clear) in logits.iter().zip(&clear) {
            assert!((encrypted - clear).abs() < 1e-3, "{logits:?} {clear:?}");
        }
        // Noise for sharing moves the logits, but by its own size only.
        let shared = client.decrypt(&output, Share::Noisy { bits: 8 }).unwrap();
        assert_ne!(shared, logits);
        let deviation = plan.output.range / 256.0;
        for (shared, clear) in shared.iter().zip(&clear) {
            assert!((shared - clear).abs() < 8.0 * deviation);
        }
        assert_eq!(trace.operations.len(), plan.schedule.graph.len() - 1);
        assert!(trace.split.bootstrap > 0.0 && trace.split.linear > 0.0);
        let names: Vec<&str> = trace
            .layers
            .iter()
            .map(|layer| layer.node.as_str())
            .collect();
        // A step of the network is one line, whatever levels it drops on the way.
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
    let protocol = Protocol::of(&plan, Accept::Any(Insecure::acknowledged())).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = client
        .server_keys(KeyLimit::default(), Show::Nothing)
        .unwrap();
    let image = client.encrypt("x", &toy::tensor(3)).unwrap();
    let logits = |memory| -> Result<Vec<f64>, Error> {
        let server = Server::load(&plan, &protocol, keys.clone(), memory, Show::Nothing)?;
        let (output, _) = server.run(image.clone(), Show::Nothing)?;
        client.decrypt(&output, Share::Private)
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
fn a_missing_key_is_named_before_anything_runs() {
    let plan = toy::plan();
    let protocol = Protocol::of(&plan, Accept::Any(Insecure::acknowledged())).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = ServerKeys {
        key: client.id(),
        keys: Default::default(),
    };
    let error = Server::load(&plan, &protocol, keys, Memory::FullSpeed, Show::Nothing);
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("no key for the Galois element X^"),
        "{error}"
    );
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let plan = toy::plan();
    for tensor in [vec![0.5; 7], vec![1.5; 192], vec![f32::NAN; 192]] {
        let error = pack(&plan.input, "picture.npy", &tensor).unwrap_err();
        assert!(
            matches!(&error, Error::Input { what, .. } if what == "`picture.npy`"),
            "{error}"
        );
    }
}

#[test]
fn a_schedule_that_lacks_operands_is_an_error() {
    let mut plan = toy::plan();
    let backend = ClearBackend::load(&plan).unwrap();
    let packed = pack(&plan.input, "x", &toy::tensor(0)).unwrap();
    let ty = *plan.schedule.graph.ty(heddle_ir::ValueId(0));
    plan.schedule.graph.add(Op::Rescale, &[], ty, "stray");
    let ignore = &mut |_: &heddle_runtime::executor::Step<'_>, _: Duration| {};
    let error = execute(&plan.schedule, &backend, packed, ignore).unwrap_err();
    assert!(error.to_string().contains("`stray`"), "{error}");
}
