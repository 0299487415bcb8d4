//! `heddle keygen`, `heddle encrypt` and `heddle decrypt`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};
use heddle_frontends::image::{self, Picture};
use heddle_ir::file::{Content, Kind, Outputs, Overwrite, commit_together};
use heddle_ir::plan::InputPacking;
use heddle_ir::preprocess::Preprocess;
use heddle_ir::printable;
use heddle_runtime::client::{Client, DISCLOSED_BITS, Disclosure, KeyLimit};
use heddle_runtime::files;
use heddle_runtime::packing::{InputTensor, class_of};
use heddle_terminal::{note, print, say};
use serde::Serialize;

use super::json::print_json;
use super::progress::Bars;
use super::sizes::parse_size;
use super::{ClientPlanFile, overwrite};

/// Make a secret key and the evaluation keys that a plan needs.
#[derive(Debug, clap::Args)]
pub(super) struct Keygen {
    #[command(flatten)]
    plan: ClientPlanFile,
    /// Where the secret key goes; keep it to yourself. An existing one is never replaced.
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// Where the evaluation keys go; give them to the server.
    #[arg(long, value_name = "FILE")]
    eval: PathBuf,
    /// Where a public key goes, if one is wanted: whoever has it can encrypt images, and decrypt
    /// nothing.
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
    /// Most bytes that the evaluation keys may take [default: 8GiB].
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_keys: Option<u64>,
    /// Replace evaluation keys and a public key that exist.
    #[arg(long)]
    force: bool,
}

impl Keygen {
    pub(super) fn execute(self) -> Result<()> {
        let protocol = self.plan.open()?;
        let mut outputs = Outputs::new([&self.plan.path]);
        let overwrite = overwrite(self.force);
        let mut check =
            |path, kind, overwrite| outputs.check(path, Content::Heddle(kind), overwrite);
        check(&self.secret, Kind::SecretKey, Overwrite::Refuse)?;
        let eval_existing = check(&self.eval, Kind::EvaluationKeys, overwrite)?;
        let public = match &self.public {
            Some(path) => Some((path, check(path, Kind::PublicKey, overwrite)?)),
            None => None,
        };
        let limit = self.max_keys.map_or_else(KeyLimit::default, KeyLimit);
        let (count, bytes) = Client::key_count_and_bytes(&protocol, limit)?;
        say(&format!("{count} evaluation keys, {} MiB", bytes >> 20));
        check_free_space(&self.eval, bytes)?;
        let client = Client::generate(&protocol)?;
        let bars = Bars::default();
        let eval = files::keys::stage_evaluation(
            &self.eval,
            eval_existing,
            &protocol,
            client.id(),
            |sink| client.generate_keys(limit, &bars, sink),
        )?;
        // The secret key cannot be made again, so it is written first, in case the machine dies.
        let secret = files::keys::stage_secret(&self.secret, &client)?;
        let mut lines = vec![
            format!("key {}", client.id()),
            format!(
                "`{}`: secret key, readable by you alone",
                printable::path(&self.secret)
            ),
            format!(
                "`{}`: {count} evaluation keys, {} MiB",
                printable::path(&self.eval),
                bytes >> 20
            ),
        ];
        match (public, client.image_key()) {
            (Some((path, existing)), Some(key)) => {
                let public = files::keys::stage_public(path, existing, &protocol, &key)?;
                commit_together([secret, public, eval])?;
                lines.push(format!("`{}`: public key", printable::path(path)));
            }
            _ => commit_together([secret, eval])?,
        }
        print(&lines.join("\n"))?;
        Ok(())
    }
}

/// Refuses keys that do not fit on the disk.
fn check_free_space(path: &Path, bytes: u64) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Where the system does not tell, a full disk shows while the keys are written.
    let free = free_space(folder).unwrap_or(u64::MAX);
    if bytes <= free {
        return Ok(());
    }
    bail!(
        "`{}`: the evaluation keys take {} MiB, {} MiB are free there\nhelp: name a file on another disk, or make room",
        printable::path(path),
        bytes >> 20,
        free >> 20
    )
}

#[cfg(unix)]
fn free_space(folder: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(folder).ok()?;
    system.f_bavail.checked_mul(system.f_frsize)
}

#[cfg(not(unix))]
fn free_space(_folder: &Path) -> Option<u64> {
    None
}

/// The tensor of a picture, preprocessed for a plan's input; remarks go to standard error.
pub(super) fn tensor_of(
    input: &InputPacking,
    preprocess: &Preprocess,
    picture: &Picture,
) -> Result<InputTensor> {
    let (elements, remark) = image::to_tensor(picture, preprocess, input.shape)?;
    if let Some(remark) = remark {
        note(&remark);
    }
    Ok(InputTensor {
        name: picture.name.clone(),
        elements,
    })
}

/// Encrypt an image for a plan.
#[derive(Debug, clap::Args)]
pub(super) struct Encrypt {
    #[command(flatten)]
    plan: ClientPlanFile,
    #[command(flatten)]
    key: EncryptionKey,
    /// A PNG or JPEG, an `.npy` tensor, or one image of a batch as `batch.bin#17`.
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Where the encrypted image goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace an encrypted image that exists.
    #[arg(long)]
    force: bool,
}

/// The key that encrypts.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct EncryptionKey {
    /// The secret key from `heddle keygen`; gives the smallest ciphertext.
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// The public key from `heddle keygen --public`, for those who may not decrypt.
    #[arg(long, value_name = "FILE")]
    public: Option<PathBuf>,
}

impl Encrypt {
    pub(super) fn execute(self) -> Result<()> {
        let mut inputs = vec![self.plan.path.clone(), image::path_of(&self.image)];
        inputs.extend(self.key.secret.iter().chain(&self.key.public).cloned());
        let existing = Outputs::new(inputs).check(
            &self.output,
            Content::Heddle(Kind::Ciphertext),
            overwrite(self.force),
        )?;
        let protocol = self.plan.open()?;
        let shape = protocol.plan().input.packing.shape;
        let images = image::image_set_for(&self.image, shape)?;
        let picture = match (images.len(), images.get(0)) {
            (1, Some(picture)) => picture?,
            (count, _) => {
                let image = printable::line(&self.image);
                bail!(
                    "`{image}`: it holds {count} images, one is encrypted at a time\nhelp: name one as `{image}#0`"
                );
            }
        };
        let plan = protocol.plan();
        let tensor = tensor_of(&plan.input.packing, &plan.preprocess, &picture)?;
        let (name, elements) = (&tensor.name, &tensor.elements);
        let encrypted = match (&self.key.secret, &self.key.public) {
            (Some(secret), _) => {
                files::keys::read_secret(secret, &protocol)?.encrypt(name, elements)?
            }
            (None, Some(public)) => {
                files::keys::read_public(public, &protocol)?.encrypt(name, elements)?
            }
            (None, None) => {
                bail!("no key was named\nhelp: pass `--secret FILE` or `--public FILE`")
            }
        };
        files::ciphertext::write_image(&self.output, existing, &protocol, &encrypted)?;
        print(&format!(
            "`{}`: `{}`, encrypted with key {}",
            printable::path(&self.output),
            tensor.name,
            encrypted.key
        ))?;
        Ok(())
    }
}

/// Decrypt an answer and name the class.
#[derive(Debug, clap::Args)]
pub(super) struct Decrypt {
    #[command(flatten)]
    plan: ClientPlanFile,
    /// The secret key from `heddle keygen`.
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// The encrypted answer from `heddle run`.
    #[arg(value_name = "ANSWER.ct")]
    input: PathBuf,
    /// How many classes to show.
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// Print one JSON object with all logits.
    #[arg(long)]
    json: bool,
    /// Make a result that others may see: `class` for the class alone, or BITS for all numbers with
    /// noise, so that BITS bits of the range are kept [default: 6].
    ///
    /// An exact decryption carries the ciphertext's error, which depends on the secret key. The
    /// noise is Gaussian with a standard deviation of 2^-BITS of the output's range, and the same
    /// for the same answer.
    #[arg(long, value_name = "class|BITS", num_args = 0..=1, default_missing_value = "6")]
    share: Option<Published>,
}

/// What `--share` takes.
#[derive(Clone, Copy, Debug)]
enum Published {
    Class,
    Bits(u32),
}

impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "class" {
            return Ok(Self::Class);
        }
        let bits = text.parse().ok().filter(|bits| (1..=30).contains(bits));
        bits.map(Self::Bits).ok_or_else(|| {
            "expected `class`, or 1 to 30 bits; give `--share` after the file".into()
        })
    }
}

#[derive(Serialize)]
struct Class {
    class: usize,
    label: Option<String>,
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
    pub(super) fn execute(self) -> Result<()> {
        const { assert!(DISCLOSED_BITS == 6, "the option's default and its text") };
        let protocol = self.plan.open()?;
        let plan = protocol.plan();
        let answer = files::ciphertext::read_answer(&self.input, &protocol)?;
        let client = files::keys::read_secret(&self.secret, &protocol)?;
        let label = |class: usize| plan.labels.get(class).cloned();
        let logits = match self.share {
            Some(Published::Class) => {
                let class = client.classify(&answer)?;
                return match self.json {
                    true => print_json(&Class {
                        class,
                        label: label(class),
                    }),
                    false => Ok(print(&name_of(&plan.labels, class))?),
                };
            }
            Some(Published::Bits(bits)) => client.decrypt(&answer, Disclosure::Noisy { bits })?,
            None => client.decrypt(&answer, Disclosure::Private)?,
        };
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
            return print_json(&Decrypted {
                class,
                label: label(class),
                logits,
                top,
            });
        }
        let lines: Vec<String> = top
            .iter()
            .map(|scored| {
                let name = name_of(&plan.labels, scored.class);
                format!("{name:<16} {:>10.4}", scored.logit)
            })
            .collect();
        print(&lines.join("\n"))?;
        Ok(())
    }
}

/// A class by its label, or by its number where there is none.
pub(super) fn name_of(labels: &[String], class: usize) -> String {
    labels
        .get(class)
        .cloned()
        .unwrap_or_else(|| format!("class {class}"))
}
