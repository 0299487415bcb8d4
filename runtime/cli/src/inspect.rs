//! `heddle inspect`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use heddle_ir::file::{self, BlockReader, Kind};
use heddle_ir::plan::{InputPort, Plan, RangeRecord};
use heddle_ir::printable;
use heddle_ir::text::plan_summary;
use heddle_params::{Accept, Parameters, Secret};
use heddle_runtime::Error;
use heddle_runtime::files::Artifact;
use heddle_runtime::files::ciphertext::{CiphertextHeader, Role};
use heddle_runtime::files::keys::{EvaluationKeysHeader, KeyHeader};
use heddle_runtime::protocol::{Protocol, hex, short};
use heddle_terminal::print;

use super::Acceptance;

/// Say what a plan, key file or ciphertext is.
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// A plan, a secret key, evaluation keys or a ciphertext.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    acceptance: Acceptance,
}

impl Inspect {
    pub(super) fn execute(self) -> anyhow::Result<()> {
        print(describe(&self.file, self.acceptance.accept())?.trim_end())?;
        Ok(())
    }
}

/// Lines of a name and a value.
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

    fn artifact(&mut self, path: &Path, artifact: &Artifact, accept: Accept) -> Result<(), Error> {
        let name = printable::line(&artifact.plan_name);
        self.line(
            "plan",
            format_args!("`{name}`, client plan {}", short(&artifact.plan_digest)),
        );
        self.line("key", short(&artifact.key));
        self.parameters(&artifact.parameters(path, accept)?);
        Ok(())
    }
}

fn size_of(path: &Path) -> Result<String, Error> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::Io {
        file: printable::path(path),
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
fn describe(path: &Path, accept: Accept) -> Result<String, Error> {
    let mut lines = Lines(String::new());
    let kind = file::kind_of(path)?;
    lines.line("file", format_args!("`{}`, {kind}", printable::path(path)));
    lines.line("size", size_of(path)?);
    match kind {
        Kind::Plan => describe_plan(path, accept, &mut lines)?,
        Kind::ClientPlan => describe_client_plan(path, accept, &mut lines)?,
        Kind::SecretKey => {
            let (_, header) = BlockReader::open::<KeyHeader>(path, kind)?;
            lines.artifact(path, &header.artifact, accept)?;
            lines.line(
                "note",
                "whoever has this file can decrypt: keep it to yourself",
            );
        }
        Kind::EvaluationKeys => {
            let (mut reader, header) = BlockReader::open::<EvaluationKeysHeader>(path, kind)?;
            lines.artifact(path, &header.artifact, accept)?;
            lines.line("keys", header.keys);
            check_blocks(&mut reader)?;
        }
        Kind::Ciphertext => {
            let (mut reader, header) = BlockReader::open::<CiphertextHeader>(path, kind)?;
            lines.artifact(path, &header.artifact, accept)?;
            let form = if header.seeded {
                ", uniform part as a seed"
            } else {
                ""
            };
            let role = Role::try_from(header.role);
            let role =
                role.map_err(|_| reader.damaged("what kind of ciphertext it is is unknown"))?;
            lines.line("ciphertext", format_args!("{}{form}", role.noun()));
            check_blocks(&mut reader)?;
        }
        Kind::PublicKey => {
            let (mut reader, header) = BlockReader::open::<KeyHeader>(path, kind)?;
            lines.artifact(path, &header.artifact, accept)?;
            lines.line(
                "note",
                "whoever has this file can encrypt images, and decrypt nothing",
            );
            check_blocks(&mut reader)?;
        }
        other => {
            let message = format!("is a {other}, which this program does not use");
            return Err(heddle_ir::Error::File {
                file: printable::path(path),
                message,
            }
            .into());
        }
    }
    Ok(lines.0)
}

/// Reads to the end: damage anywhere is an error.
fn check_blocks<R: std::io::Read>(reader: &mut BlockReader<R>) -> Result<(), Error> {
    while reader.next_block()?.is_some() {}
    Ok(())
}

/// What a plan and its client plan both say.
fn describe_protocol(protocol: &Protocol, lines: &mut Lines) -> Result<(), Error> {
    let plan = protocol.plan();
    lines.line("digest", hex(&plan.plan_digest));
    lines.line("client plan", hex(protocol.digest()));
    lines.parameters(protocol.context().parameters());
    let [channels, height, width] = plan.input.packing.shape;
    lines.line(
        "input",
        format_args!(
            "{channels}×{height}×{width}, values up to {:.4}; scale {}, mean {:?}, std {:?}; {}",
            plan.input.packing.range,
            plan.preprocess.scale,
            plan.preprocess.mean,
            plan.preprocess.std,
            ciphertexts(&plan.input)
        ),
    );
    let layout = &plan.output.packing.layout;
    let classes = layout.channels * layout.height * layout.width;
    let labels = if plan.labels.is_empty() {
        "no labels".into()
    } else {
        plan.labels.join(", ")
    };
    lines.line(
        "output",
        format_args!(
            "{classes} {} up to {:.4}; {labels}; {}",
            plan.output_kind.plural(),
            plan.output.packing.range,
            plan.output.ciphertext
        ),
    );
    lines.line(
        "keys",
        format_args!(
            "{} evaluation keys, {} as a file",
            protocol.keys().len(),
            bytes(protocol.key_bytes()?)
        ),
    );
    Ok(())
}

/// The ciphertexts of an image; of several, which piece each holds, up to a number of lines.
fn ciphertexts(input: &InputPort) -> String {
    const SHOWN: usize = 20;
    if let [ciphertext] = &input.ciphertexts[..] {
        return ciphertext.to_string();
    }
    let count = input.ciphertexts.len();
    let mut text = format!("{count} ciphertexts");
    let pieces = input.packing.pieces.iter().zip(&input.ciphertexts);
    for (piece, ciphertext) in pieces.take(SHOWN) {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{:<12}{}: {ciphertext}", "", piece.region);
    }
    if count > SHOWN {
        let _ = write!(text, "\n{:<12}and {} more", "", count - SHOWN);
    }
    text
}

fn describe_client_plan(path: &Path, accept: Accept, lines: &mut Lines) -> Result<(), Error> {
    let protocol = Protocol::open(path, accept)?;
    lines.line("model", format_args!("`{}`", protocol.plan().name));
    describe_protocol(&protocol, lines)
}

fn describe_plan(path: &Path, accept: Accept, lines: &mut Lines) -> Result<(), Error> {
    let plan = Plan::read_file(path, accept)?;
    lines.line(
        "model",
        format_args!("`{}`, SHA-256 {}", plan.name, hex(&plan.model_digest)),
    );
    describe_protocol(&*Protocol::of(&plan, accept)?, lines)?;
    let weights: usize = plan
        .weights
        .iter()
        .map(|(_, tensor)| tensor.data.len())
        .sum();
    lines.line(
        "weights",
        format_args!("{} tensors, {weights} numbers", plan.weights.len()),
    );
    for note in &plan.notes {
        lines.line("note", note);
    }
    lines.0.push('\n');
    lines.0.push_str(&activations(&plan));
    lines.0.push_str(&plan_summary(&plan)?);
    Ok(())
}

/// A table of the activations: function, range, margin over calibration, precision relative to the
/// result's bound, and levels. Empty where a plan records none.
fn activations(plan: &Plan) -> String {
    let margin = |range: &RangeRecord| {
        range
            .margin()
            .map_or_else(|| "–".to_owned(), |times| format!("{times:.2}×"))
    };
    let known = plan.ranges.iter().filter_map(|range| {
        let activation = range.activation.as_ref()?;
        Some([
            printable::cell(&range.name).into_owned(),
            printable::cell(&activation.function).into_owned(),
            format!("±{:.4}", range.bound),
            margin(range),
            format!("{:.1} bits", activation.precision_bits),
            activation.depth.to_string(),
        ])
    });
    let header = [
        "activation",
        "function",
        "range",
        "margin",
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
    let mut out = printable::table(&rows);
    out.push('\n');
    out
}
