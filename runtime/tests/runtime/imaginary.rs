//! Imaginary removal matters: a deep chain of ReLU and bootstrap with it, and with the complex
//! variant that removes nothing. The imaginary parts come from the noise of the computation alone.

use std::sync::Arc;

use heddle_ckks::Decryptor;
use heddle_compiler::approx::sign::ReluPrecision;
use heddle_ir::slot::Chebyshev;
use heddle_params::bootstrap::BootstrapVariant;
use heddle_runtime::backend::ckks::CkksBackend;
use heddle_runtime::client::{Client, KeyLimit};
use heddle_runtime::executor::execute;
use heddle_runtime::memory::Memory;
use heddle_runtime::protocol::Protocol;
use heddle_tests::toy;

use crate::any;

const LINKS: usize = 14;

/// The gate of ReLU, `(1 + s)/2`.
fn relu() -> Vec<Chebyshev> {
    let mut stages = ReluPrecision::default().stages().unwrap();
    let last = &mut stages.last_mut().unwrap().coefficients;
    last.iter_mut().for_each(|coefficient| *coefficient /= 2.0);
    last[0] += 0.5;
    stages
}

/// Root mean square of the imaginary parts after every link.
fn imaginary_parts(variant: BootstrapVariant) -> Vec<f64> {
    let plan = toy::chain(LINKS, variant, &relu());
    // A client plan has one output; the chain's are looked at here alone.
    let mut single = plan.clone();
    single.labels.clear();
    let last = single.schedule.graph.outputs()[LINKS - 1];
    single.schedule.graph.set_outputs(vec![last]);
    let protocol = Protocol::of(&single, any()).unwrap();
    let context = protocol.context();
    let client = Client::generate(&protocol).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap().keys;
    let plan = Arc::new(plan);
    let (shared, keys) = (Arc::clone(&plan), keys.into());
    let backend = CkksBackend::load(shared, context, keys, Memory::FullSpeed, &()).unwrap();
    let tensor: Vec<f32> = (0..32).map(|i| (i as f32 - 15.5) / 20.0).collect();
    let input = client.encrypt("x", &tensor).unwrap().expand();
    let outputs = execute(&plan.schedule, &backend, input, &mut |_, _| {}).unwrap();
    let decryptor = Decryptor::new(context, client.secret());
    outputs
        .iter()
        .map(|output| {
            let slots = decryptor.decrypt(output).unwrap();
            let sum: f64 = slots.iter().map(|slot| slot.im * slot.im).sum();
            (sum / slots.len() as f64).sqrt()
        })
        .collect()
}

#[test]
fn imaginary_parts_grow_without_removal_and_stay_bounded_with_it() {
    let removed = imaginary_parts(BootstrapVariant::Real);
    let kept = imaginary_parts(BootstrapVariant::Complex);
    eprintln!("with removal:    {removed:?}\nwithout removal: {kept:?}");
    let worst = removed.iter().copied().fold(0.0, f64::max);
    assert!(worst < 1e-4, "{removed:?}");
    assert!(kept[LINKS - 1] > 100.0 * kept[0], "{kept:?}");
    assert!(kept[LINKS - 1] > 100.0 * worst, "{kept:?}");
}
