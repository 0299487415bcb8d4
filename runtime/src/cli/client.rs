//! `heddle keygen`, `heddle encrypt` and `heddle decrypt`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use heddle_ckks::Context;
use heddle_ir::plan::Plan;
use serde::Serialize;

use super::{PlanFile, json, print, say};
use crate::Error;
use crate::client::{Client, SHARED_BITS, Share};
use crate::files;
use crate::image::{self, Picture};
use crate::packing::class_of;
use crate::progress::Show;

/// Make a secret key and the evaluation keys that a plan uses.
#[derive(Debug, clap::Args)]
pub(super) struct Keygen {
    #[command(flatten)]
    plan: PlanFile,
    /// Where the secret key goes; keep it to yourself.
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// Where the evaluation keys go; give them to the server.
    #[arg(long, value_name = "FILE")]
    eval: PathBuf,
}

impl Keygen {
    pub(super) fn execute(self) -> Result<(), Error> {
        let (plan, context) = files::plan::open(&self.plan.plan)?;
        warn_insecure(&plan);
        let client = Client::generate(&plan, &context)?;
        files::keys::write_evaluation(&self.eval, &plan, &context, |sink| {
            client.generate_keys(Show::Stderr, sink)
        })?;
        files::keys::write_secret(&self.secret, &plan, client.secret())?;
        let size = std::fs::metadata(&self.eval).map_or(0, |file| file.len());
        print(&format!(
            "`{}`: secret key, readable by you alone\n`{}`: {} evaluation keys, {} MiB",
            self.secret.display(),
            self.eval.display(),
            plan.schedule.keys.len(),
            size >> 20,
        ))
    }
}

/// Says so where a plan's parameters are weaker than 128 bits.
pub(super) fn warn_insecure(plan: &Plan) {
    if plan.insecure {
        say("note: the plan's parameters are insecure: it is for tests only");
    }
}

/// The tensor of a picture, as the plan wants it; notes go to standard error.
pub(super) fn tensor_of(plan: &Plan, picture: &Picture) -> Result<Vec<f32>, Error> {
    let layout = &plan.input.layout;
    let shape = [layout.channels, layout.height, layout.width];
    let (tensor, note) = image::to_tensor(picture, &plan.preprocess, shape)?;
    if let Some(note) = note {
        say(&format!("note: {note}"));
    }
    Ok(tensor)
}

/// Encrypt an image for a plan.
#[derive(Debug, clap::Args)]
pub(super) struct Encrypt {
    #[command(flatten)]
    plan: PlanFile,
    /// The secret key from `heddle keygen`.
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// A PNG or JPEG, an `.npy` tensor, or one image of a batch as `batch.bin#17`.
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where the encrypted image goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Encrypt {
    pub(super) fn execute(self) -> Result<(), Error> {
        let (plan, context) = files::plan::open(&self.plan.plan)?;
        warn_insecure(&plan);
        let sources = image::sources(&self.image)?;
        let picture = match (sources.len(), sources.get(0)) {
            (1, Some(picture)) => picture?,
            (count, _) => {
                return Err(Error::Input {
                    what: format!("`{}`", self.image),
                    message: format!(
                        "it holds {count} images, one is encrypted at a time\nhelp: name one as `{}#0`",
                        self.image
                    ),
                });
            }
        };
        let tensor = tensor_of(&plan, &picture)?;
        let client = open_client(&self.secret, &plan, &context)?;
        let ciphertext = client.encrypt(&picture.name, &tensor)?;
        files::ciphertext::write_seeded(&self.output, &plan, &context, &ciphertext)?;
        print(&format!(
            "`{}`: `{}`, encrypted",
            self.output.display(),
            picture.name
        ))
    }
}

fn open_client<'a>(
    secret: &Path,
    plan: &'a Plan,
    context: &Arc<Context>,
) -> Result<Client<'a>, Error> {
    let secret = files::keys::read_secret(secret, plan, context)?;
    Ok(Client::new(plan, context, secret))
}

/// Decrypt the logits and name the class.
#[derive(Debug, clap::Args)]
pub(super) struct Decrypt {
    #[command(flatten)]
    plan: PlanFile,
    /// The secret key from `heddle keygen`.
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// The encrypted logits from `heddle run`.
    #[arg(value_name = "LOGITS.ct")]
    input: PathBuf,
    /// How many classes to show.
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Print one JSON object with all logits.
    #[arg(long)]
    json: bool,
    /// Add noise, so that the result can be shown to others: BITS bits of the logits' range stay [default: 10].
    ///
    /// An exact decryption carries the ciphertext's noise, which depends on the secret key. The noise that is added is
    /// Gaussian with a standard deviation of 2^-BITS of the output's range.
    #[arg(long, value_name = "BITS", num_args = 0..=1, require_equals = true, default_missing_value = "10",
          value_parser = clap::value_parser!(u32).range(1..=30))]
    share: Option<u32>,
}

#[derive(Serialize)]
struct Scored {
    class: usize,
    label: Option<String>,
    logit: f64,
}

#[derive(Serialize)]
struct Decrypted {
    class: usize,
    label: Option<String>,
    logits: Vec<f64>,
    top: Vec<Scored>,
}

impl Decrypt {
    pub(super) fn execute(self) -> Result<(), Error> {
        const { assert!(SHARED_BITS == 10, "the option's default and its text") };
        let (plan, context) = files::plan::open(&self.plan.plan)?;
        warn_insecure(&plan);
        let ciphertext = files::ciphertext::read_output(&self.input, &plan, &context)?;
        let client = open_client(&self.secret, &plan, &context)?;
        let share = self
            .share
            .map_or(Share::Private, |bits| Share::Noisy { bits });
        let logits = client.decrypt(&ciphertext, share)?;
        let label = |class: usize| plan.labels.get(class).cloned();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        let top: Vec<Scored> = order
            .into_iter()
            .take(self.top)
            .map(|class| Scored {
                class,
                label: label(class),
                logit: logits[class],
            })
            .collect();
        if self.json {
            let class = class_of(&logits);
            return print(&json(&Decrypted {
                class,
                label: label(class),
                logits,
                top,
            })?);
        }
        let lines: Vec<String> = top
            .iter()
            .map(|scored| {
                let name = name_of(&plan, scored.class);
                format!("{name:<16} {:>10.4}", scored.logit)
            })
            .collect();
        print(&lines.join("\n"))
    }
}

/// A class by its label, or by its number where the plan has none.
pub(super) fn name_of(plan: &Plan, class: usize) -> String {
    plan.labels
        .get(class)
        .cloned()
        .unwrap_or_else(|| format!("class {class}"))
}
