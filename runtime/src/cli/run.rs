//! `heddle run`.

use std::path::PathBuf;

use super::{MemoryLimit, PlanFile, Threads, json, print, say};
use crate::Error;
use crate::files;
use crate::progress::Show;
use crate::server::Server;

/// Run a plan on an encrypted image; needs no secret key.
#[derive(Debug, clap::Args)]
pub(super) struct Run {
    #[command(flatten)]
    plan: PlanFile,
    /// The evaluation keys from `heddle keygen`.
    #[arg(long, value_name = "FILE")]
    eval: PathBuf,
    /// The encrypted image.
    #[arg(value_name = "IMAGE.ct")]
    input: PathBuf,
    /// Where the encrypted logits go.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Say where the time went, by layer and by kind of operation: as JSON to FILE and as a table on standard error, or
    /// with `-` as a table on standard output alone.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    memory: MemoryLimit,
    #[command(flatten)]
    threads: Threads,
}

impl Run {
    pub(super) fn execute(self) -> Result<(), Error> {
        self.threads.apply();
        let (plan, context) = files::plan::open(&self.plan.plan)?;
        let input = files::ciphertext::read_input(&self.input, &plan, &context)?;
        let keys = files::keys::read_evaluation(&self.eval, &plan, &context, Show::Stderr)?;
        let server = Server::load(&plan, &context, keys, self.memory.memory(), Show::Stderr)?;
        let (output, trace) = server.run(input, Show::Stderr)?;
        files::ciphertext::write(&self.output, &plan, &context, &output)?;
        match &self.trace {
            Some(path) if path.as_os_str() == "-" => print(&format!("{trace}\n"))?,
            Some(path) => {
                files::write_text(path, &json(&trace)?)?;
                say(&trace.to_string());
            }
            None => {}
        }
        print(&format!(
            "`{}`: encrypted logits after {:.2} s",
            self.output.display(),
            trace.seconds
        ))
    }
}
