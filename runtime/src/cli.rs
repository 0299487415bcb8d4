//! The command line `heddle`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::Error;
use crate::memory::{Memory, parse_size};

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
mod run;
#[cfg(feature = "client")]
mod runner;

/// Runs encrypted-inference plans.
#[derive(Debug, Parser)]
#[command(name = "heddle", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a secret key and the evaluation keys that a plan uses.
    #[cfg(feature = "client")]
    Keygen(client::Keygen),
    /// Encrypt an image for a plan.
    #[cfg(feature = "client")]
    Encrypt(client::Encrypt),
    /// Run a plan on an encrypted image; needs no secret key.
    Run(run::Run),
    /// Decrypt the logits and name the class.
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
    /// Say what a plan, key file or ciphertext is.
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
    let result = match Cli::parse().command {
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

/// A line on standard error, for notes and errors.
fn say(line: &str) {
    // There is nobody left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{line}");
}

/// A result on standard output. A reader that closes the pipe early is not an error.
fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(source) if source.kind() != io::ErrorKind::BrokenPipe => Err(Error::Io {
            file: "standard output".into(),
            source,
        }),
        _ => Ok(()),
    }
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string_pretty(value).map_err(|error| Error::Io {
        file: "json".into(),
        source: error.into(),
    })
}

/// `--threads N`.
#[derive(Debug, clap::Args)]
struct Threads {
    /// Worker threads [default: one a core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    fn apply(&self) {
        if let Some(threads) = self.threads {
            // Fails only when a pool exists already, and this is the first use.
            let _ = rayon::ThreadPoolBuilder::new()
                .num_threads(threads.into())
                .build_global();
        }
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

/// The plan that every client and server command takes first.
#[derive(Debug, clap::Args)]
struct PlanFile {
    /// The plan that heddlec made.
    #[arg(value_name = "MODEL.plan")]
    plan: PathBuf,
}
