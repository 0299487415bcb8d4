//! Bootstraps at full size (N16_QP1714_DENSE) and prints time, memory and precision.
//!
//! ```text
//! cargo run --release -p heddle-ckks --example bootstrap -- \
//!     [--complex] [--repeat N] [--eval-mod CHOICE] [LOG_SLOTS ...]
//! ```
//!
//! CHOICE is that of `heddlec --eval-mod`. `RAYON_NUM_THREADS` sets the threads, `HEDDLE_KERNEL`
//! the kernel.

use heddle_ckks::secret::rig::{Rig, uniform_slots};
use heddle_ckks::{Bootstrapper, Context};
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::eval_mod::EvalMod;
use heddle_params::keys::KeyUse;
use heddle_params::{Parameters, named};
use std::error::Error;
use std::time::Instant;

const GIB: f64 = (1u64 << 30) as f64;

struct Options {
    variant: BootstrapVariant,
    repeat: usize,
    eval_mod: EvalMod,
    log_slots: Vec<u32>,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        variant: BootstrapVariant::Real,
        repeat: 2,
        eval_mod: EvalMod::default(),
        log_slots: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--complex" => options.variant = BootstrapVariant::Complex,
            "--repeat" => {
                options.repeat = arguments.next().ok_or("--repeat needs a number")?.parse()?
            }
            "--eval-mod" => {
                options.eval_mod = arguments
                    .next()
                    .ok_or("--eval-mod needs a choice")?
                    .parse()?
            }
            count => options.log_slots.push(
                count
                    .parse()
                    .map_err(|_| format!("`{count}` is no log2 of a slot count"))?,
            ),
        }
    }
    if options.log_slots.is_empty() {
        options.log_slots.push(14);
    }
    Ok(options)
}

/// A field of `/proc/self/status` in GiB, where there is such a file.
fn memory(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / GIB)
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options()?;
    let start = Instant::now();
    let parameters = BootstrapParameters::with_eval_mod(options.eval_mod);
    let literal = named::n16_qp1714_dense_literal_with(parameters.eval_mod_depth());
    let context = Context::new(Parameters::new(literal)?)?;
    let bootstrappers = options
        .log_slots
        .iter()
        .map(|&log_slots| Bootstrapper::new(&context, &parameters, log_slots, options.variant))
        .collect::<Result<Vec<_>, _>>()?;
    println!(
        "kernel {}, {} threads; context and transforms {:.1} s, transforms {:.2} GiB",
        context.kernel().name(),
        rayon::current_num_threads(),
        start.elapsed().as_secs_f64(),
        bootstrappers.iter().map(Bootstrapper::bytes).sum::<usize>() as f64 / GIB
    );

    let mut uses: Vec<KeyUse> = Vec::new();
    for bootstrapper in &bootstrappers {
        uses.extend(bootstrapper.required_keys()?);
    }
    let start = Instant::now();
    let rig = Rig::new(&context, &uses, || ())?;
    let keys = rig.evaluator().keys();
    println!(
        "{} keys, {:.2} GiB, made in {:.1} s",
        keys.len(),
        keys.bytes() as f64 / GIB,
        start.elapsed().as_secs_f64()
    );

    for bootstrapper in &bootstrappers {
        let slots = uniform_slots(bootstrapper.log_slots(), options.variant);
        let ciphertext = rig.encrypt(
            &slots,
            bootstrapper.output_scale(),
            bootstrapper.input_level(),
        )?;
        println!(
            "2^{} slots: failure probability 2^{:.1} per bootstrap",
            bootstrapper.log_slots(),
            bootstrapper.failure_log2()
        );
        for _ in 0..options.repeat {
            let start = Instant::now();
            let (refreshed, times) = bootstrapper.bootstrap_timed(rig.evaluator(), &ciphertext)?;
            let total = start.elapsed().as_secs_f64();
            let precision = rig.precision(&slots, &refreshed)?;
            println!(
                "2^{} slots: {total:.3} s = SlotToCoeff {:.3} + ModRaise {:.3} + CoeffToSlot {:.3} + EvalMod {:.3}; {precision}",
                bootstrapper.log_slots(),
                times.slot_to_coeff.as_secs_f64(),
                times.mod_raise.as_secs_f64(),
                times.coeff_to_slot.as_secs_f64(),
                times.eval_mod.as_secs_f64(),
            );
        }
    }
    if let (Some(now), Some(peak)) = (memory("VmRSS:"), memory("VmHWM:")) {
        println!("memory {now:.2} GiB now, {peak:.2} GiB at peak");
    }
    Ok(())
}
