//! `heddle bench`: measures the engine on this machine.

mod report;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;
use heddle_ckks::buffer::{Buffer, POOL_LIMIT};
use heddle_ckks::kernel::{Init, Kernel, butterflies};
use heddle_ckks::secret::rig::{Operation, Rig, uniform_slots};
use heddle_ckks::tables::NttTable;
use heddle_ckks::{Bootstrapper, Context};
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::keys::KeyUse;
use heddle_params::named;
use heddle_terminal::{Progress, note, print};
use rayon::prelude::*;

use self::report::{Report, Row, Timing};
use super::Threads;
use super::json::print_json;
use super::machine::{Machine, peak_rss_bytes};

/// Which rows are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Transforms and products of one limb, with every kernel of this machine; no keys, 0.7 GiB.
    Kernels,
    /// Products and rotations of ciphertexts, 2 GiB at most.
    Ops,
    /// Bootstraps, 7 GiB at most.
    Bootstrap,
}

/// Measure the engine on this machine.
#[derive(Debug, clap::Args)]
pub(super) struct Bench {
    /// Measure only these rows, and the bandwidth of memory [default: all].
    #[arg(long, value_enum, value_name = "ROWS", value_delimiter = ',')]
    only: Vec<Group>,
    /// Bootstrap complex messages in all slots too.
    #[arg(long)]
    full: bool,
    /// Runs of each row, after one that is not counted.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    repeat: u16,
    /// Worker threads; transforms and products of one limb always run on one.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// INSECURE: measure a small ring of degree 2^LOG_N, for tests only.
    #[arg(long, value_name = "LOG_N", value_parser = clap::value_parser!(u32).range(8..=15))]
    insecure_log_n: Option<u32>,
}

/// Limbs of the multiplications and rotations of large ciphertexts.
const HIGH_LIMBS: usize = 25;
/// Limbs of the rotations of small ciphertexts.
const LOW_LIMBS: usize = 3;
/// Whole chains of limbs that the rows of transforms use: 76 MiB at full size, more than any
/// second-level cache.
const CHAINS: usize = 4;
/// Products cut a limb into this many blocks, so that three of them fit half a mebibyte of cache.
const BLOCKS: usize = 4;
/// Limbs of the buffer that is read for the bandwidth of memory: 512 MiB at full size.
const MEMORY_LIMBS: usize = 1024;

/// The operation of the row that measures the bandwidth of memory.
const MEMORY: &str = "memory_read";

impl Bench {
    pub(super) fn execute(self) -> Result<()> {
        let threads = Threads {
            oversubscribe: false,
            threads: Some(self.threads),
        };
        threads.apply();
        let parameters = match self.insecure_log_n {
            None => named::n16_qp1714_dense(),
            Some(log_n) => {
                note("the parameters are insecure: the figures are for tests only");
                named::toy(log_n)?
            }
        };
        let wants = |group| self.only.is_empty() || self.only.contains(&group);
        if wants(Group::Ops) || wants(Group::Bootstrap) {
            note("keys are made in memory for each row; their secret lives in this process alone");
        }
        let mut sheet = Sheet {
            context: Context::new(parameters)?,
            repeat: self.repeat.into(),
            threads: self.threads.into(),
            butterflies: BTreeMap::new(),
            rows: Vec::new(),
        };
        sheet.butterfly(sheet.context.kernel());
        if wants(Group::Kernels) {
            for kernel in Kernel::available() {
                sheet.butterfly(kernel);
                sheet.transforms(kernel)?;
                sheet.products(kernel)?;
            }
        }
        sheet.memory()?;
        if wants(Group::Ops) {
            for (operation, limbs) in [
                (Operation::MultiplyRelineariseRescale, HIGH_LIMBS),
                (Operation::Rotate, HIGH_LIMBS),
                (Operation::RotateHoisted8, HIGH_LIMBS),
                (Operation::Rotate, LOW_LIMBS),
            ] {
                sheet.operation(operation, limbs)?;
            }
        }
        if wants(Group::Bootstrap) {
            let log_n = sheet.context.log_n();
            sheet.bootstrap(log_n - 2, BootstrapVariant::Real)?;
            if self.full {
                sheet.bootstrap(log_n - 1, BootstrapVariant::Complex)?;
            }
        }
        let report = sheet.finish();
        match self.json {
            true => print_json(&report),
            false => Ok(print(&report.to_string())?),
        }
    }
}

/// The rows measured so far.
struct Sheet {
    context: Arc<Context>,
    repeat: usize,
    threads: usize,
    /// Seconds of a butterfly in cache, by kernel.
    butterflies: BTreeMap<&'static str, f64>,
    rows: Vec<Row>,
}

impl Sheet {
    /// Times one butterfly of a limb that stays in cache, over a forward and an inverse transform.
    fn butterfly(&mut self, kernel: Kernel) {
        const RUNS: usize = 50;
        let table = self.context.table(0);
        let mut limb = Buffer::zeroed(self.context.n());
        fill(&mut limb, table.modulus().value());
        let mut least = f64::INFINITY;
        for _ in 0..RUNS {
            let (started, before) = (Instant::now(), butterflies());
            kernel.ntt_forward(table, &mut limb);
            kernel.ntt_inverse(table, &mut limb);
            let count = butterflies() - before;
            least = least.min(started.elapsed().as_secs_f64() / count as f64);
        }
        self.butterflies.insert(kernel.name(), least);
    }

    /// Times `work`, which does the same thing `count` times, and adds what one of them took.
    fn row(&mut self, row: Row, count: usize, mut work: impl FnMut() -> Result<()>) -> Result<()> {
        let progress = Progress::new(&format!("measuring {}", row.label), self.repeat + 1);
        let mut samples = Vec::with_capacity(self.repeat);
        let mut counted = 0;
        for run in 0..=self.repeat {
            let (started, before) = (Instant::now(), butterflies());
            work()?;
            let seconds = started.elapsed().as_secs_f64();
            counted = (butterflies() - before) / count as u64;
            // The first run fills caches and pools.
            if run > 0 {
                samples.push(seconds / count as f64);
            }
            progress.advance();
        }
        self.rows.push(row.measured(Timing::of(samples), counted));
        Ok(())
    }

    fn label(&self, operation: &str, limbs: usize, kernel: Kernel) -> String {
        format!("{operation}/{}/{limbs}/{}", self.context.n(), kernel.name())
    }

    /// Transforms of limbs that come from memory, with the moduli of the chain in turn.
    fn transforms(&mut self, kernel: Kernel) -> Result<()> {
        let context = Arc::clone(&self.context);
        let (n, parameters) = (context.n(), context.parameters());
        let moduli = parameters.q().len() + parameters.p().len();
        let mut data = Buffer::zeroed(CHAINS * moduli * n);
        for (i, limb) in data.chunks_exact_mut(n).enumerate() {
            fill(limb, context.modulus(i % moduli).value());
        }
        type Transform = fn(Kernel, &NttTable, &mut [u64]);
        let both: [(&str, Transform); 2] = [
            ("ntt_forward", Kernel::ntt_forward),
            ("ntt_inverse", Kernel::ntt_inverse),
        ];
        for (name, transform) in both {
            let row = Row {
                // Each limb is read and written.
                bytes: Some(16 * n),
                ..Row::new(
                    self.label(name, 1, kernel),
                    "limbs from memory, all moduli in turn",
                )
            };
            self.row(row, CHAINS * moduli, || {
                for (i, limb) in data.chunks_exact_mut(n).enumerate() {
                    transform(kernel, context.table(i % moduli), limb);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// `acc += x·y` over one limb, in blocks that stay in the second-level cache.
    fn products(&mut self, kernel: Kernel) -> Result<()> {
        const LIMBS: usize = 64;
        let modulus = *self.context.modulus(0);
        let block = self.context.n() / BLOCKS;
        let mut data = Buffer::zeroed(3 * block);
        fill(&mut data, modulus.value());
        let (acc, operands) = data.split_at_mut(block);
        let (x, y) = operands.split_at(block);
        let label = self.label("multiply_accumulate", 1, kernel);
        self.row(Row::new(label, "in quarters, from L2"), LIMBS, || {
            for _ in 0..LIMBS * BLOCKS {
                let (x, y) = ([black_box(x)], [black_box(y)]);
                kernel.dot(&modulus, acc, Init::Accumulate, &x, 0, &y);
            }
            Ok(())
        })
    }

    /// Measures the bandwidth of memory with the sum of a buffer.
    fn memory(&mut self) -> Result<()> {
        let n = self.context.n();
        let data = Buffer::zeroed(MEMORY_LIMBS * n);
        let row = Row {
            threads: self.threads,
            bytes: Some(8 * data.len()),
            ..Row::new(
                format!("{MEMORY}/{n}/{MEMORY_LIMBS}"),
                "the sum of a buffer",
            )
        };
        self.row(row, 1, || {
            let sum = |words: &[u64]| {
                words
                    .iter()
                    .fold(0, |sum: u64, &word| sum.wrapping_add(word))
            };
            let total = data.par_chunks(n).map(sum).reduce(|| 0, u64::wrapping_add);
            black_box(total);
            Ok(())
        })?;
        drop(data);
        Ok(())
    }

    /// A rig with the keys for these uses.
    fn rig(&self, label: &str, uses: &[KeyUse]) -> Result<Rig> {
        let progress = Progress::new(&format!("making keys of {label}"), uses.len());
        Ok(Rig::new(&self.context, uses, || progress.advance())?)
    }

    fn operation(&mut self, operation: Operation, limbs: usize) -> Result<()> {
        let level = limbs - 1;
        let parameters = self.context.parameters();
        let label = self.label(operation.name(), limbs, self.context.kernel());
        let uses = operation.required_keys(parameters, level);
        let rig = self.rig(&label, &uses)?;
        let slots = uniform_slots(self.context.log_n() - 1, BootstrapVariant::Complex);
        let scale = f64::from(BootstrapParameters::default().log_scale).exp2();
        let x = rig.encrypt(&slots, scale, level)?;
        let row = Row {
            threads: self.threads,
            key_bytes: Some(rig.evaluator().keys().bytes()),
            ..Row::new(
                label,
                match operation {
                    Operation::RotateHoisted8 => "one decomposition, eight results",
                    _ => "",
                },
            )
        };
        self.row(row, 1, || Ok(operation.run(rig.evaluator(), &x)?))?;
        drop((rig, x));
        self.trim_pool();
        Ok(())
    }

    /// A bootstrap of uniform messages on [−1, 1], with its precision.
    fn bootstrap(&mut self, log_slots: u32, variant: BootstrapVariant) -> Result<()> {
        let parameters = BootstrapParameters::default();
        let bootstrapper = Bootstrapper::new(&self.context, &parameters, log_slots, variant)?;
        let (name, what) = match variant {
            BootstrapVariant::Real => ("bootstrap_real", "uniform real messages"),
            BootstrapVariant::Complex => ("bootstrap_complex", "uniform complex messages"),
        };
        let level = bootstrapper.input_level();
        let label = self.label(name, level + 1, self.context.kernel());
        let rig = self.rig(&label, &bootstrapper.required_keys()?)?;
        let slots = uniform_slots(log_slots, variant);
        let x = rig.encrypt(&slots, bootstrapper.output_scale(), level)?;
        let precision = rig.precision(&slots, &bootstrapper.bootstrap(rig.evaluator(), &x)?)?;
        let row = Row {
            threads: self.threads,
            key_bytes: Some(rig.evaluator().keys().bytes()),
            log_slots: Some(log_slots),
            mean_bits: Some(precision.mean_bits),
            worst_bits: Some(precision.worst_bits),
            ..Row::new(label, what)
        };
        self.row(row, 1, || {
            drop(black_box(bootstrapper.bootstrap(rig.evaluator(), &x)?));
            Ok(())
        })?;
        drop((rig, x));
        self.trim_pool();
        Ok(())
    }

    /// Gives the buffers of a row back, so that rows do not add up to more memory than the largest.
    fn trim_pool(&self) {
        self.context.pool().set_limit(0);
        self.context.pool().set_limit(POOL_LIMIT);
    }

    fn finish(self) -> Report {
        let parameters = self.context.parameters();
        let memory = self.rows.iter().find(|row| row.label.starts_with(MEMORY));
        let bandwidth = memory.and_then(|row| row.bytes_per_second);
        let rows = self.rows.into_iter().map(|row| {
            let kernel = row.label.rsplit('/').next().unwrap_or_default();
            let butterfly = self.butterflies.get(kernel).copied();
            row.with_floors(butterfly, bandwidth)
        });
        Report {
            version: env!("CARGO_PKG_VERSION"),
            machine: Machine::this(),
            kernel: self.context.kernel().name(),
            threads: self.threads,
            repeat: self.repeat,
            log_n: parameters.log_n(),
            log_qp: parameters.log_qp(),
            security_bits: parameters.security().bits,
            insecure: parameters.is_insecure(),
            rows: rows.collect(),
            butterfly_seconds: self.butterflies,
            peak_rss_bytes: peak_rss_bytes(),
        }
    }
}

/// Fills words with residues below `modulus`; the kernels' time does not depend on the values.
fn fill(words: &mut [u64], modulus: u64) {
    for (i, word) in words.iter_mut().enumerate() {
        *word = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) % modulus;
    }
}
