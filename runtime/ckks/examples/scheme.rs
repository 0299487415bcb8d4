//! Times the scheme's operations at full size, parameter set B.
//!
//! `RAYON_NUM_THREADS=1 cargo run --release -p heddle-ckks --example scheme`; `HEDDLE_KERNEL` sets the kernel.
//!
//! Prints, per operation, wall time and processor time of the fastest of a few runs.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_ckks::Context;
use heddle_ckks::ciphertext::Plaintext;
use heddle_ckks::encode::Complex64;
use heddle_ckks::encrypt::{Decryptor, SecretEncryptor};
use heddle_ckks::eval::Evaluator;
use heddle_ckks::eval::linear::LinearTransform;
use heddle_ckks::keys::{KeyGenerator, SecretKey};
use heddle_ckks::precision::Precision;
use heddle_params::bsgs::{BsgsCost, BsgsPlan};
use heddle_params::keys::{KeyKind, KeyUse};
use heddle_params::{GaloisElement, named};

const SCALE: f64 = (1u64 << 40) as f64;

/// Processor time of all threads of this process, where the system tells.
fn processor_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let nanoseconds = tasks
        .filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

fn time<T>(label: &str, runs: usize, mut f: impl FnMut() -> T) -> T {
    let mut best = (Duration::MAX, Duration::MAX);
    let mut last = None;
    for _ in 0..runs {
        let (wall, processor) = (Instant::now(), processor_time());
        last = Some(f());
        best = best.min((processor_time().saturating_sub(processor), wall.elapsed()));
    }
    println!(
        "{label:<52} wall {:>8.2} ms  processor {:>8.2} ms",
        best.1.as_secs_f64() * 1e3,
        best.0.as_secs_f64() * 1e3
    );
    last.expect("at least one run")
}

/// The diagonals of a 3 by 3 convolution of 16 planes of 32 by 32.
fn convolution() -> Vec<usize> {
    let offsets = (-1i64..=1).flat_map(|dy| (-1i64..=1).map(move |dx| dy * 32 + dx));
    let all: BTreeSet<usize> = offsets
        .flat_map(|o| (0..16).map(move |plane| (plane * 1024 + o).rem_euclid(1 << 14) as usize))
        .collect();
    all.into_iter().collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let params = named::n16_qp1714_dense();
    let n = params.n();
    let context = time("context", 1, || Context::new(params.clone()))?;
    println!(
        "kernel {}, {} threads",
        context.kernel().name(),
        rayon::current_num_threads()
    );
    let secret = SecretKey::generate(&context)?;
    let log_slots = 14u32;
    let plans: Vec<(&str, usize, BsgsPlan)> = [
        ("144 diagonals at level 4", 4, convolution()),
        (
            "31 diagonals at level 28",
            28,
            (0..31)
                .map(|i| (i * 1024 + (1 << 14) - 15 * 1024) % (1 << 14))
                .collect(),
        ),
    ]
    .into_iter()
    .map(|(label, level, mut diagonals): (_, _, Vec<usize>)| {
        diagonals.sort_unstable();
        diagonals.dedup();
        let plan = BsgsPlan::for_diagonals(&diagonals, 1 << log_slots, n / 2, BsgsCost::default())?;
        Ok((label, level, plan))
    })
    .collect::<Result<_, heddle_params::Error>>()?;
    let galois = |k: i64, level| KeyUse {
        kind: KeyKind::Galois(GaloisElement::rotation(k, n)),
        level,
    };
    let mut uses = vec![KeyUse {
        kind: KeyKind::Relin,
        level: 28,
    }];
    uses.extend([4, 11, 18, 28].map(|level| galois(1, level)));
    for (_, level, plan) in &plans {
        uses.extend(
            plan.rotations()
                .into_iter()
                .map(|k| galois(k as i64, *level)),
        );
    }
    let generator = KeyGenerator::new(&context, &secret)?;
    let keys = time(&format!("{} keys", uses.len()), 1, || {
        generator.generate(&uses)
    })?;
    println!("{} MiB of keys", keys.bytes() >> 20);
    let evaluator = Evaluator::new(&context, Arc::new(keys));
    let values: Vec<f64> = (0..1 << log_slots)
        .map(|i| (i as f64 * 0.37).sin())
        .collect();
    let plaintext = Plaintext::encode_real(evaluator.encoder(), &values, SCALE)?;
    let encryptor = SecretEncryptor::new(&context, &secret);
    let decryptor = Decryptor::new(&context, &secret);
    let fresh = encryptor.encrypt(&plaintext, 28)?.expand(&context);
    for level in [4, 11, 18, 25, 28] {
        let x = evaluator.drop_to_level(&fresh, level)?;
        time(&format!("rotate/65536/{}", level + 1), 5, || {
            evaluator.rotate(&x, 1)
        })
        .map(drop)?;
        let product = time(&format!("mul_rescale/65536/{}", level + 1), 5, || {
            evaluator.mul_rescale(&x, &x)
        })?;
        if level <= 18 {
            let expected: Vec<f64> = values.iter().map(|v| v * v).collect();
            println!(
                "  {}",
                Precision::compare_real(&expected, &decryptor.decrypt(&product)?)
            );
        }
    }
    for (label, level, plan) in plans {
        println!(
            "{label}: {} baby, {} giant",
            plan.baby_rotations().count(),
            plan.giant_rotations().count()
        );
        let diagonal = |d: usize| -> Vec<f64> {
            (0..1usize << log_slots)
                .map(|i| ((i * 31 + d * 17) % 64) as f64 / 1024.0 - 0.03)
                .collect()
        };
        let all: Vec<usize> = plan
            .giants
            .iter()
            .flat_map(|g| g.diagonals.iter().map(|&(_, d)| d))
            .collect();
        let scale = context.modulus(level).value() as f64;
        let mut transform = time("  encode", 1, || {
            LinearTransform::new_real(
                evaluator.encoder(),
                plan.clone(),
                log_slots,
                scale,
                diagonal,
            )
        })?;
        let x = evaluator.drop_to_level(&fresh, level)?;
        let out = time("  transform_rescale", 3, || {
            evaluator.linear_transform_rescale(&[(&x, &transform)])
        })?;
        let specials = context.parameters().key_switch_layout(level)?.specials;
        transform.prepare(&context, level, specials)?;
        time("  transform_rescale, prepared", 3, || {
            evaluator.linear_transform_rescale(&[(&x, &transform)])
        })?;
        let size = values.len();
        let mut expected = vec![Complex64::default(); size];
        for d in all {
            for (i, (out, m)) in expected.iter_mut().zip(diagonal(d)).enumerate() {
                *out += Complex64::from(m * values[(i + d) % size]);
            }
        }
        println!(
            "  {}",
            Precision::compare(&expected, &decryptor.decrypt(&out)?)
        );
    }
    Ok(())
}
