//! The command line `heddle`.
//!
//! [`main`] is the whole program. [`Record`] is the file of `heddle eval --resume`, for whoever
//! reads one.
//!
//! ```
//! # #[cfg(feature = "client")] {
//! // An empty record that was sealed is not edited.
//! let record = heddle_cli::Record::default().sealed()?;
//! assert!(record.is_sealed()?);
//! # }
//! # Ok::<(), anyhow::Error>(())
//! ```
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
#[cfg(feature = "client")]
use std::sync::Arc;

use anyhow::Result;
use clap::{Parser, Subcommand};
use heddle_ir::file::Overwrite;
use heddle_ir::plan::Plan;
use heddle_params::{Accept, Insecure, Parameters};
use heddle_runtime::memory::Memory;
#[cfg(feature = "client")]
use heddle_runtime::protocol::Protocol;
use heddle_terminal::note;

use sizes::parse_size;

#[cfg(feature = "client")]
mod answers;
#[cfg(feature = "client")]
mod bench;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "client")]
mod eval;
#[cfg(feature = "client")]
mod infer;
mod inspect;
mod json;
#[cfg(feature = "client")]
mod machine;
mod progress;
#[cfg(feature = "client")]
mod record;
mod run;
#[cfg(feature = "client")]
mod runner;
mod sizes;

#[cfg(feature = "client")]
pub use record::Record;

/// Runs encrypted-inference plans.
#[derive(Debug, Parser)]
#[command(name = "heddle", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a secret key and the evaluation keys that a plan needs.
    #[cfg(feature = "client")]
    Keygen(client::Keygen),
    /// Encrypt an image for a plan.
    #[cfg(feature = "client")]
    Encrypt(client::Encrypt),
    /// Run a plan on an encrypted image; needs no secret key.
    Run(run::Run),
    /// Decrypt an answer and name the class.
    ///
    /// An answer out of the plan's range is refused before any number of it is printed: the image
    /// is unlike those that the plan was calibrated with, or the keys are others. The exit code is
    /// then 1.
    #[cfg(feature = "client")]
    Decrypt(client::Decrypt),
    /// Run client and server in one process, on many images.
    ///
    /// An image or an answer out of the plan's range is refused: no class and no number of it is
    /// printed, the others are answered, and the exit code is 1.
    #[cfg(feature = "client")]
    Infer(infer::Infer),
    /// Measure accuracy, agreement with the plain network, precision and margins on a labelled
    /// batch.
    ///
    /// Intervals hold the true fraction 95 times in 100 (Wilson). An image on which plan and plain
    /// network disagree counts as close where the plain network's two best logits differ by less
    /// than 0.1.
    ///
    /// Accuracy and agreement are over all images. An image that is out of the plan's range, or
    /// whose answer is, counts as wrong and is listed; then the exit code is 1, after the figures.
    #[cfg(feature = "client")]
    Eval(eval::Eval),
    /// Say what a plan, key or ciphertext is.
    Inspect(inspect::Inspect),
    /// Measure the engine on this machine.
    ///
    /// Prints medians with the least and the most of all runs, at N = 2^16 and 128-bit security.
    /// Rows are labelled `operation/N/limbs/kernel`. Each row's keys are made in memory for that
    /// row alone; their secret lives in this process only, which writes no file.
    #[cfg(feature = "client")]
    Bench(bench::Bench),
}

/// Parses the process's arguments and does what they say. Exits with 2 on wrong usage, with 1 on a
/// bad file or input.
pub fn main() -> ExitCode {
    heddle_terminal::main(|Cli { command }| command.execute())
}

impl Command {
    fn execute(self) -> Result<()> {
        // Where the system refuses, the rest is no less secure than it was.
        #[cfg(feature = "client")]
        heddle_ckks::secret::forbid_core_dumps();
        match self {
            #[cfg(feature = "client")]
            Self::Keygen(command) => command.execute(),
            #[cfg(feature = "client")]
            Self::Encrypt(command) => command.execute(),
            Self::Run(command) => command.execute(),
            #[cfg(feature = "client")]
            Self::Decrypt(command) => command.execute(),
            #[cfg(feature = "client")]
            Self::Infer(command) => command.execute(),
            #[cfg(feature = "client")]
            Self::Eval(command) => command.execute(),
            Self::Inspect(command) => command.execute(),
            #[cfg(feature = "client")]
            Self::Bench(command) => command.execute(),
        }
    }
}

/// `--threads N`.
#[derive(Debug, clap::Args)]
struct Threads {
    /// Worker threads, at most one per core unless `--oversubscribe` is given [default: one per
    /// core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Allow more threads than cores; far slower.
    #[arg(long, requires = "threads")]
    oversubscribe: bool,
}

impl Threads {
    fn apply(&self) {
        let Some(asked) = self.threads.map(usize::from) else {
            return;
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = match self.oversubscribe {
            true => asked,
            false => asked.min(cores),
        };
        if threads < asked {
            note(&format!(
                "{threads} threads, one per core; `--oversubscribe` would force {asked}"
            ));
        }
        // Fails only when a pool exists already, and this is the first use.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
    }
}

/// What executing a plan may take: `--memory SIZE` and `--threads N`.
#[derive(Debug, clap::Args)]
struct Limits {
    /// Most memory to take, like 4GiB: weights that do not fit are encoded again at each use
    /// [default: what full speed takes].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    #[command(flatten)]
    threads: Threads,
}

impl Limits {
    fn memory(&self) -> Memory {
        self.memory.map_or(Memory::FullSpeed, Memory::AtMost)
    }
}

/// What `--force` means.
fn overwrite(force: bool) -> Overwrite {
    match force {
        true => Overwrite::Allow,
        false => Overwrite::Refuse,
    }
}

/// `--insecure`.
#[derive(Clone, Copy, Debug, clap::Args)]
struct Acceptance {
    /// Accept parameters below 128 bits of security, for tests and studies only.
    #[arg(long)]
    insecure: bool,
}

impl Acceptance {
    fn accept(self) -> Accept {
        match self.insecure {
            true => Accept::Any(Insecure::acknowledged()),
            false => Accept::Secure,
        }
    }
}

/// Says so where parameters are weaker than 128 bits.
fn warn_insecure(parameters: &Parameters) {
    if parameters.is_insecure() {
        note(&format!(
            "INSECURE: the plan's parameters give {:.1} bits of security: it is for tests only",
            parameters.security().bits
        ));
    }
}

/// The plan that a server command takes first.
#[derive(Debug, clap::Args)]
struct PlanFile {
    /// The plan that heddlec made.
    #[arg(value_name = "MODEL.plan")]
    path: PathBuf,
    #[command(flatten)]
    acceptance: Acceptance,
}

impl PlanFile {
    fn accept(&self) -> Accept {
        self.acceptance.accept()
    }

    fn open(&self) -> Result<Plan> {
        let plan = Plan::read_file(&self.path, self.acceptance.accept())?;
        warn_insecure(&plan.checked_parameters()?);
        Ok(plan)
    }
}

/// The plan that a client command takes first.
#[cfg(feature = "client")]
#[derive(Debug, clap::Args)]
struct ClientPlanFile {
    /// The client plan that heddlec made, or the plan itself.
    #[arg(value_name = "MODEL.client.plan")]
    path: PathBuf,
    #[command(flatten)]
    acceptance: Acceptance,
}

#[cfg(feature = "client")]
impl ClientPlanFile {
    fn open(&self) -> Result<Arc<Protocol>> {
        let protocol = Protocol::open(&self.path, self.acceptance.accept())?;
        warn_insecure(protocol.context().parameters());
        Ok(protocol)
    }
}
