//! In steady state the engine takes no buffers from the operating system.

use heddle_ckks::secret::rig::Rig;
use heddle_ckks::{Bootstrapper, Context};
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::named;

#[test]
fn a_repeated_bootstrap_takes_no_fresh_buffer() {
    // One thread: with more, how many buffers are alive at once depends on how their work falls
    // together.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .expect("one thread can be had");
    pool.install(|| {
        let context = Context::new(named::toy(11).expect("a toy ring")).expect("a kernel");
        let parameters = BootstrapParameters::default();
        let bootstrapper =
            Bootstrapper::new(&context, &parameters, 9, BootstrapVariant::Real).expect("fits");
        let uses = bootstrapper.required_keys().expect("fits");
        let rig = Rig::new(&context, &uses, || ()).expect("keys");
        let slots = vec![0.5.into(); 1 << 9];
        let input = rig
            .encrypt(
                &slots,
                bootstrapper.output_scale(),
                bootstrapper.input_level(),
            )
            .expect("encrypts");
        let run = || {
            drop(
                bootstrapper
                    .bootstrap(rig.evaluator(), &input)
                    .expect("keys"),
            )
        };
        let cold = context.pool().fresh_buffers();
        // A buffer may serve where a smaller one would do, so that it takes a few rounds until none
        // is missed.
        for _ in 0..4 {
            run();
        }
        let warm = context.pool().fresh_buffers();
        assert!(warm > cold, "the first bootstraps make their buffers");
        for _ in 0..4 {
            run();
        }
        assert_eq!(
            context.pool().fresh_buffers(),
            warm,
            "later ones reuse them"
        );
    });
}
