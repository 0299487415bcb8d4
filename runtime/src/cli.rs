//! The command line `heddle`.

use std::path::PathBuf;
use std::process::ExitCode;
#[cfg(feature = "client")]
use std::sync::Arc;

use clap::{Parser, Subcommand};
use heddle_ir::file::Overwrite;
use heddle_ir::plan::Plan;
use heddle_params::{Accept, Insecure, Parameters};

use crate::Error;
use crate::memory::{Memory, parse_size};
#[cfg(feature = "client")]
use crate::protocol::Protocol;

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
#[cfg(feature = "client")]
mod machine;
#[cfg(feature = "client")]
mod record;
mod run;
#[cfg(feature = "client")]
mod runner;
mod terminal;

#[cfg(feature = "client")]
pub use record::Record;
#[cfg(feature = "client")]
use terminal::print_json;
use terminal::{json, print, say};

/// Runs encrypted-inference plans.
#[derive(Debug, Parser)]
#[command(name = "heddle", version, about, propagate_version = true)]
pub struct Cli {
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
    #[cfg(feature = "client")]
    Decrypt(client::Decrypt),
    /// Do all steps of client and server in one process, on many images.
    #[cfg(feature = "client")]
    Infer(infer::Infer),
    /// Measure accuracy, agreement with the plain network, precision and head-room on a labelled batch.
    ///
    /// Intervals hold the true share 95 times in 100 (Wilson). A class that the plan decides otherwise than the plain
    /// network counts as close where that network's two best logits differ by less than 0.1.
    #[cfg(feature = "client")]
    Eval(eval::Eval),
    /// Say what a plan, key or ciphertext is.
    Inspect(inspect::Inspect),
    /// Measure the engine on this machine.
    ///
    /// Prints medians with the least and the most of all runs, at parameter set B: N = 2^16, 128-bit security. Rows are
    /// labelled `operation/N/limbs/kernel`. Each row's keys are made in memory for that row alone; their secret lives in
    /// this process only, which writes no file.
    #[cfg(feature = "client")]
    Bench(bench::Bench),
}

/// Parses the process's arguments and does what they say. Exits with 2 on a wrong usage, with 1 on
/// a bad file or input.
pub fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => terminal::usage::<Cli>(&error),
    };
    // Where the system refuses, the rest is no less secure than it was.
    #[cfg(feature = "client")]
    heddle_ckks::secret::forbid_core_dumps();
    #[cfg(unix)]
    if let Err(error) = heddle_ir::file::signals::remove_unfinished_on_signals() {
        say(&format!(
            "note: signals leave unfinished files behind: {error}"
        ));
    }
    let result = match command {
        #[cfg(feature = "client")]
        Command::Keygen(command) => command.execute(),
        #[cfg(feature = "client")]
        Command::Encrypt(command) => command.execute(),
        Command::Run(command) => command.execute(),
        #[cfg(feature = "client")]
        Command::Decrypt(command) => command.execute(),
        #[cfg(feature = "client")]
        Command::Infer(command) => command.execute(),
        #[cfg(feature = "client")]
        Command::Eval(command) => command.execute(),
        Command::Inspect(command) => command.execute(),
        #[cfg(feature = "client")]
        Command::Bench(command) => command.execute(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// `--threads N`.
#[derive(Debug, clap::Args)]
struct Threads {
    /// Worker threads, at most one a core unless `--oversubscribe` is given [default: one a core].
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
            say(&format!(
                "note: {threads} threads, one a core; `--oversubscribe` would force {asked}"
            ));
        }
        // Fails only when a pool exists already, and this is the first use.
        let _ = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global();
    }
}

/// `--memory SIZE`.
#[derive(Debug, clap::Args)]
struct MemoryLimit {
    /// Most memory to take, like 4GiB: what finds no room is computed again at each use [default: what full speed takes].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
}

impl MemoryLimit {
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
        say(&format!(
            "note: INSECURE: the plan's parameters give {:.1} bits of security: it is for tests only",
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

    fn open(&self) -> Result<Plan, Error> {
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
    fn open(&self) -> Result<Arc<Protocol>, Error> {
        let protocol = Protocol::open(&self.path, self.acceptance.accept())?;
        warn_insecure(protocol.context().parameters());
        Ok(protocol)
    }
}
