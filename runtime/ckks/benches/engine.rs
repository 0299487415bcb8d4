//! The engine's operations at full size, N16_QP1714_DENSE; labels are
//! `operation/degree/limbs/kernel`.
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo bench -p heddle-ckks --bench engine -- [FILTER]
//! ```
//!
//! `HEDDLE_KERNEL` sets the kernel. Keys are made for the rows that the filter leaves; the
//! bootstrap takes 7 GiB, the others 2 GiB. `heddle bench` measures the same operations without
//! Criterion.

#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use heddle_ckks::secret::rig::{Operation, Rig, uniform_slots};
use heddle_ckks::{Bootstrapper, Ciphertext, Context};
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::named;
use std::cell::LazyCell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

fn context() -> Arc<Context> {
    Context::new(named::n16_qp1714_dense()).expect("the machine has the kernel that is asked for")
}

fn label(context: &Context, operation: &str, limbs: usize) -> String {
    let kernel = context.kernel().name();
    format!("{operation}/{}/{limbs}/{kernel}", context.n())
}

/// Keys and a ciphertext for an operation at a level.
fn prepare(context: &Arc<Context>, operation: Operation, level: usize) -> (Rig, Ciphertext) {
    let uses = operation.required_keys(context.parameters(), level);
    let rig = Rig::new(context, &uses, || ()).expect("the chain has the level");
    let slots = uniform_slots(context.log_n() - 1, BootstrapVariant::Complex);
    let ciphertext = rig.encrypt(&slots, 2f64.powi(40), level);
    (rig, ciphertext.expect("the slots fit the ring"))
}

fn operations(c: &mut Criterion) {
    let context = context();
    for (operation, limbs) in [
        (Operation::MultiplyRelineariseRescale, 25),
        (Operation::Rotate, 25),
        (Operation::RotateHoisted8, 25),
        (Operation::Rotate, 3),
    ] {
        // Made only when the filter lets the row run.
        let ready = LazyCell::new(|| prepare(&context, operation, limbs - 1));
        c.bench_function(&label(&context, operation.name(), limbs), |b| {
            let (rig, x) = &*ready;
            b.iter(|| {
                operation
                    .run(rig.evaluator(), x)
                    .expect("its keys are there")
            });
        });
    }
}

fn bootstrap(c: &mut Criterion) {
    let context = context();
    let log_slots = context.log_n() - 2;
    let parameters = BootstrapParameters::default();
    let ready = LazyCell::new(|| {
        let variant = BootstrapVariant::Real;
        let bootstrapper = Bootstrapper::new(&context, &parameters, log_slots, variant)
            .expect("the parameters are made for bootstrapping");
        let uses = bootstrapper
            .required_keys()
            .expect("the chain has the keys");
        let rig = Rig::new(&context, &uses, || ()).expect("keys are made");
        let (scale, level) = (bootstrapper.output_scale(), bootstrapper.input_level());
        let x = rig
            .encrypt(&uniform_slots(log_slots, variant), scale, level)
            .expect("the slots fit the ring");
        (bootstrapper, rig, x)
    });
    let limbs = parameters.input_level() + 1;
    c.bench_function(&label(&context, "bootstrap_real", limbs), |b| {
        let (bootstrapper, rig, x) = &*ready;
        b.iter(|| {
            black_box(
                bootstrapper
                    .bootstrap(rig.evaluator(), x)
                    .expect("its keys are there"),
            )
        });
    });
}

/// The fewest samples that Criterion takes, and time for as many bootstraps.
fn few() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .measurement_time(Duration::from_secs(20))
}

criterion_group!(
    name = short;
    config = Criterion::default().sample_size(20);
    targets = operations
);
criterion_group!(
    name = long;
    config = few();
    targets = bootstrap
);
criterion_main!(short, long);
