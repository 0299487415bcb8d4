//! `heddle run`.

use std::path::PathBuf;

use anyhow::Result;
use heddle_ir::file::{Content, Kind, Outputs};
use heddle_ir::printable;
use heddle_runtime::files;
use heddle_runtime::message::same_key;
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;
use heddle_terminal::{print, say};

use super::json::json;
use super::progress::Bars;
use super::{Limits, PlanFile, overwrite};

/// The first key of a trace tells it from other files.
const TRACE: Content = Content::Json {
    first_key: "seconds",
};

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
    /// Where the encrypted answer goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Say where the time went, by layer and by kind of operation: as JSON to FILE and as a table
    /// on standard error, or with `-` as a table on standard output alone.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Replace an encrypted answer and a trace that exist.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    limits: Limits,
}

impl Run {
    pub(super) fn execute(self) -> Result<()> {
        self.limits.threads.apply();
        let overwrite = overwrite(self.force);
        let mut outputs = Outputs::new([&self.plan.path, &self.eval, &self.input]);
        let existing = outputs.check(&self.output, Content::Heddle(Kind::Ciphertext), overwrite)?;
        let trace_file = match self.trace.as_deref().filter(|path| path.as_os_str() != "-") {
            Some(path) => Some((path, outputs.check(path, TRACE, overwrite)?)),
            None => None,
        };
        let plan = self.plan.open()?;
        let protocol = Protocol::of(&plan, self.plan.accept())?;
        let image = files::ciphertext::read_image(&self.input, &protocol)?;
        let bars = Bars::default();
        let keys = files::keys::read_evaluation(&self.eval, &protocol, &bars)?;
        let names = (printable::path(&self.eval), printable::path(&self.input));
        same_key((&names.0, keys.key), (&names.1, image.key))?;
        let server = Server::load(plan, &protocol, keys, self.limits.memory(), &bars)?;
        let (answer, trace) = server.run(image, &bars)?;
        files::ciphertext::write_answer(&self.output, existing, &protocol, &answer)?;
        match (trace_file, &self.trace) {
            (Some((path, existing)), _) => {
                files::write_text(path, existing, &json(&trace)?)?;
                say(&trace.to_string());
            }
            (None, Some(_)) => print(&format!("{trace}\n"))?,
            (None, None) => {}
        }
        print(&format!(
            "`{}`: encrypted answer after {:.2} s",
            printable::path(&self.output),
            trace.seconds
        ))?;
        Ok(())
    }
}
