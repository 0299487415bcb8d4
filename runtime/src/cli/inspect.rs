//! `heddle inspect`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use heddle_ckks::Context;
use heddle_ckks::keys::KeySwitchKey;
use heddle_ir::file::{self, BlockReader, Kind};
use heddle_ir::plan::{Plan, RangeRecord};
use heddle_ir::text::plan_summary;
use heddle_params::{Parameters, ParametersLiteral, Secret};

use super::print;
use crate::Error;
use crate::files::ciphertext::CiphertextHeader;
use crate::files::keys::{EvaluationKeysHeader, SecretKeyHeader};
use crate::files::{self, Artifact};

/// Say what a plan, key file or ciphertext is.
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// A plan, a secret key, evaluation keys or a ciphertext.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Inspect {
    pub(super) fn execute(self) -> Result<(), Error> {
        print(describe(&self.file)?.trim_end())
    }
}

/// Lines of a name and what it is.
struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{name:<12}{value}");
    }

    fn parameters(&mut self, parameters: &Parameters) {
        let secret = match parameters.secret() {
            Secret::DenseTernary => "dense ternary secret".to_string(),
            Secret::SparseTernary(weight) => format!("ternary secret of weight {weight}"),
        };
        self.line(
            "parameters",
            format_args!(
                "N = 2^{}, log2 QP = {:.0} ({} ciphertext and {} special primes), {secret}",
                parameters.log_n(),
                parameters.log_qp(),
                parameters.q().len(),
                parameters.p().len()
            ),
        );
        let security = parameters.security();
        let encapsulation = security
            .encapsulation_bits
            .map_or_else(String::new, |bits| {
                format!("; {bits:.1} bits for the sparse secret of bootstrapping")
            });
        let insecure = if parameters.is_insecure() {
            " INSECURE, for tests only:"
        } else {
            ""
        };
        self.line(
            "security",
            format_args!("{insecure} {:.1} bits{encapsulation}", security.bits)
                .to_string()
                .trim_start(),
        );
    }

    fn artifact(&mut self, path: &Path, artifact: &Artifact) -> Result<(), Error> {
        let name = &artifact.plan_name;
        self.line(
            "plan",
            format_args!("`{name}`, digest {}", files::short(&artifact.plan_digest)),
        );
        let literal: ParametersLiteral =
            serde_json::from_str(&artifact.parameters).map_err(|error| {
                files::content(
                    path,
                    format!("its parameters do not parse ({error})"),
                    "make it again",
                )
            })?;
        self.parameters(&files::plan::checked(literal, artifact.insecure)?);
        Ok(())
    }
}

fn size_of(path: &Path) -> Result<String, Error> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::Io {
        file: path.display().to_string(),
        source,
    })?;
    Ok(bytes(metadata.len()))
}

fn bytes(count: u64) -> String {
    match count {
        0..=9_999 => format!("{count} bytes"),
        10_000..=9_999_999 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / f64::from(1 << 20)),
    }
}

/// What a file is, in lines.
fn describe(path: &Path) -> Result<String, Error> {
    let mut lines = Lines(String::new());
    let kind = file::kind_of(path)?;
    lines.line("file", format_args!("`{}`, {kind}", path.display()));
    lines.line("size", size_of(path)?);
    match kind {
        Kind::Plan => describe_plan(path, &mut lines)?,
        Kind::SecretKey => {
            let (_, header) = BlockReader::open::<SecretKeyHeader>(path, kind)?;
            lines.artifact(path, &header.artifact)?;
            lines.line(
                "note",
                "whoever has this file can decrypt: keep it to yourself",
            );
        }
        Kind::EvaluationKeys => {
            let (mut reader, header) = BlockReader::open::<EvaluationKeysHeader>(path, kind)?;
            lines.artifact(path, &header.artifact)?;
            lines.line("keys", header.keys);
            check_blocks(&mut reader)?;
        }
        Kind::Ciphertext => {
            let (mut reader, header) = BlockReader::open::<CiphertextHeader>(path, kind)?;
            lines.artifact(path, &header.artifact)?;
            let form = if header.seeded {
                ", uniform part as a seed"
            } else {
                ""
            };
            lines.line(
                "ciphertext",
                format_args!(
                    "2^{} slots, level {}, scale 2^{:.3}{form}",
                    header.log_slots, header.level, header.log_scale
                ),
            );
            check_blocks(&mut reader)?;
        }
        other => {
            let message = format!("is a {other}, which this program does not use");
            return Err(heddle_ir::Error::File {
                file: path.display().to_string(),
                message,
            }
            .into());
        }
    }
    Ok(lines.0)
}

/// Reads to the end, so that damage shows.
fn check_blocks<R: std::io::Read>(reader: &mut BlockReader<R>) -> Result<(), Error> {
    while reader.next_block()?.is_some() {}
    Ok(())
}

fn describe_plan(path: &Path, lines: &mut Lines) -> Result<(), Error> {
    let plan = Plan::read_file(path)?;
    let parameters = files::plan::parameters(&plan)?;
    let full = |digest: &[u8]| {
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    lines.line(
        "model",
        format_args!("`{}`, SHA-256 {}", plan.name, full(&plan.model_digest)),
    );
    lines.line("digest", full(&plan.digest()));
    lines.parameters(&parameters);
    let layout = &plan.input.layout;
    lines.line(
        "input",
        format_args!(
            "{}×{}×{}, values up to {:.4}; scale {}, mean {:?}, std {:?}",
            layout.channels,
            layout.height,
            layout.width,
            plan.input.range,
            plan.preprocess.scale,
            plan.preprocess.mean,
            plan.preprocess.std
        ),
    );
    let layout = &plan.output.layout;
    let classes = layout.channels * layout.height * layout.width;
    let labels = if plan.labels.is_empty() {
        "no labels".into()
    } else {
        plan.labels.join(", ")
    };
    lines.line(
        "output",
        format_args!(
            "{classes} {} up to {:.4}; {labels}",
            plan.outcome.plural(),
            plan.output.range
        ),
    );
    let weights: usize = plan
        .weights
        .iter()
        .map(|(_, tensor)| tensor.data.len())
        .sum();
    lines.line(
        "weights",
        format_args!("{} tensors, {weights} numbers", plan.weights.len()),
    );
    lines.line("keys", key_sizes(&plan, parameters)?);
    for note in &plan.notes {
        lines.line("note", note);
    }
    lines.0.push('\n');
    lines.0.push_str(&activations(&plan));
    lines.0.push_str(&plan_summary(&plan)?);
    Ok(())
}

/// A table of the activations: function, range, head-room over calibration, precision as a share of
/// the result's bound, and levels; empty where a plan records none.
fn activations(plan: &Plan) -> String {
    let head_room = |range: &RangeRecord| {
        range
            .head_room()
            .map_or_else(|| "–".to_owned(), |times| format!("{times:.2}×"))
    };
    let known = plan.ranges.iter().filter_map(|range| {
        let activation = range.activation.as_ref()?;
        Some([
            range.name.clone(),
            activation.function.clone(),
            format!("±{:.4}", range.bound),
            head_room(range),
            format!("{:.1} bits", activation.precision_bits),
            activation.depth.to_string(),
        ])
    });
    let header = [
        "activation",
        "function",
        "range",
        "head-room",
        "precision",
        "levels",
    ];
    let rows: Vec<[String; 6]> = [header.map(str::to_owned)]
        .into_iter()
        .chain(known)
        .collect();
    if rows.len() == 1 {
        return String::new();
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..6).filter_map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out.push('\n');
    out
}

/// Number and file size of the evaluation keys that a plan needs.
fn key_sizes(plan: &Plan, parameters: Parameters) -> Result<String, Error> {
    let context = Context::new(parameters)?;
    let mut total = 0;
    for key_use in &plan.schedule.keys {
        total += KeySwitchKey::body_bytes(&context, *key_use)? as u64;
    }
    Ok(format!(
        "{} evaluation keys, {} as a file",
        plan.schedule.keys.len(),
        bytes(total)
    ))
}
