//! From resolved arguments to a plan file.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use heddle_compiler::approx::sign::ReluPrecision;
use heddle_compiler::{Compilation, Explain, Options, Ring, compile};
use heddle_frontends::{image, onnx};
use heddle_ir::file::{
    Access, Content, Existing, Kind, MAX_TEXT, Outputs, Overwrite, Staged, commit_together,
    read_text,
};
use heddle_ir::nn::Model;
use heddle_ir::plan::{OutputKind, Plan};
use heddle_ir::preprocess::{CIFAR10_CLASSES, Preprocess};
use heddle_ir::{printable, text};
use heddle_params::bootstrap::BootstrapVariant;
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{Args, Bootstrap, Convolution, Emit};

/// Compiles as the arguments say.
pub fn run(args: Args) -> Result<()> {
    let outputs = check_outputs(&args)?;
    let progress = progress();
    progress.set_message("reading the model");
    let model = onnx::import(&args.model, &onnx::ImportOptions::default())?;
    let shape = model.graph.ty(model.input()).chw();
    let preprocess = match &args.preprocess {
        Some(name) => Preprocess::named_or_file(name)?,
        None => assumed_preprocess(shape),
    };
    progress.set_message("reading calibration images");
    let samples = match &args.calibrate {
        Some(spec) => samples(spec, &preprocess, shape)?,
        None => Vec::new(),
    };
    let options = Options {
        labels: labels(&args, &model, shape)?,
        preprocess,
        samples,
        range_overrides: args.range.clone(),
        ring: args
            .insecure_log_n
            .map_or(Ring::Secure, |log_n| Ring::Insecure { log_n }),
        convolution: match args.convolution {
            Convolution::SingleLevel => heddle_compiler::Convolution::SingleLevel,
            Convolution::MultiplexedParallel => heddle_compiler::Convolution::MultiplexedParallel,
            Convolution::Siso => heddle_compiler::Convolution::Siso,
        },
        variant: match args.bootstrap {
            Bootstrap::Real => BootstrapVariant::Real,
            Bootstrap::Complex => BootstrapVariant::Complex,
        },
        relu: relu_precision(&args)?,
        eval_mod: args.eval_mod,
        output_kind: match args.softmax {
            true => OutputKind::Probabilities,
            false => OutputKind::Logits,
        },
        explain: if args.explain {
            Explain::Graphs
        } else {
            Explain::Remarks
        },
    };
    progress.set_message("compiling");
    let compilation = compile(model, &options, &())?;
    if let Some((path, existing)) = &outputs {
        progress.set_message("writing the plan");
        write_plans(&compilation.plan, path, *existing)?;
    }
    progress.finish_and_clear();
    report(&args, &compilation)
}

/// Refuses outputs that would take the place of an input or of a file of another kind. A plan takes the place of a
/// plan.
fn check_outputs(args: &Args) -> Result<Option<(PathBuf, [Existing; 2])>> {
    let Some(path) = &args.output else {
        return Ok(None);
    };
    let inputs = [Some(args.model.clone()), args.labels.clone()];
    let named = [
        args.calibrate.as_deref().map(image::path_of),
        args.preprocess.as_deref().map(PathBuf::from),
    ];
    let mut outputs = Outputs::new(inputs.into_iter().chain(named).flatten());
    let mut check =
        |path: &Path, kind| outputs.check(path, Content::Heddle(kind), Overwrite::Allow);
    let plan = check(path, Kind::Plan)?;
    let client = check(&client_plan_path(path), Kind::ClientPlan)?;
    Ok(Some((path.clone(), [plan, client])))
}

/// Writes a plan and its client plan, both or neither.
fn write_plans(plan: &Plan, path: &Path, [of_plan, of_client]: [Existing; 2]) -> Result<()> {
    let stage = |path: &Path, existing| Staged::create(path, Access::Default, existing);
    let client_path = client_plan_path(path);
    let staged = plan.write(stage(path, of_plan)?, &printable::path(path))?;
    let client = plan.client_plan()?;
    let client = client.write(
        stage(&client_path, of_client)?,
        &printable::path(&client_path),
    )?;
    Ok(commit_together([staged, client])?)
}

/// `model.client.plan` beside `model.plan`.
fn client_plan_path(plan: &Path) -> PathBuf {
    match plan.extension() {
        Some(extension) if extension == "plan" => plan.with_extension("client.plan"),
        _ => {
            let mut name = plan.as_os_str().to_owned();
            name.push(".client.plan");
            name.into()
        }
    }
}

/// The precision and the degrees given; degrees without a precision need not reach any.
fn relu_precision(args: &Args) -> Result<ReluPrecision> {
    let of_alpha = args.relu_precision.map(ReluPrecision::of_alpha);
    let precision = of_alpha.transpose()?;
    Ok(match &args.relu_degrees {
        Some(degrees) => ReluPrecision {
            alpha: args.relu_precision,
            degrees: degrees.clone(),
        },
        None => precision.unwrap_or_default(),
    })
}

/// A spinner on a terminal, nothing elsewhere.
fn progress() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::default_spinner());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// The data set that an image of this shape most likely belongs to; the caller is told.
fn assumed_preprocess(shape: [usize; 3]) -> Preprocess {
    let name = match shape {
        [3, 32, 32] => "cifar10",
        [1, 28, 28] => "mnist",
        [3, 224, 224] => "imagenet",
        _ => "unit",
    };
    say(&format!("note: assuming --preprocess {name}"));
    Preprocess::named(name).expect("the assumed sets are built in")
}

fn samples(spec: &str, preprocess: &Preprocess, shape: [usize; 3]) -> Result<Vec<Vec<f32>>> {
    let mut samples = Vec::new();
    for picture in image::image_set(spec)?.iter() {
        let (sample, note) = image::to_tensor(&picture?, preprocess, shape)?;
        if let Some(note) = note {
            say(&format!("note: {note}"));
        }
        samples.push(sample);
    }
    Ok(samples)
}

/// The class names given, or CIFAR-10's where the model looks like it.
fn labels(args: &Args, model: &Model, shape: [usize; 3]) -> Result<Vec<String>> {
    let classes = model.graph.ty(model.output()).elements();
    let Some(path) = &args.labels else {
        let cifar10 = shape == [3, 32, 32] && classes == CIFAR10_CLASSES.len();
        let built_in: &[&str] = if cifar10 { &CIFAR10_CLASSES } else { &[] };
        return Ok(built_in.iter().map(ToString::to_string).collect());
    };
    let text = read_text(path, MAX_TEXT).with_context(|| format!("`{}`", printable::path(path)))?;
    let labels: Vec<String> = text.lines().map(str::trim).map(str::to_owned).collect();
    if labels.len() != classes {
        bail!(
            "`{}` names {} classes, but the model has {classes}\nhelp: give one name a line",
            printable::path(path),
            labels.len()
        );
    }
    Ok(labels)
}

/// Prints what was asked for and what must be said. A reader that closes the pipe early is not an error.
fn report(args: &Args, compilation: &Compilation) -> Result<()> {
    match write_report(args, compilation, &mut io::stdout().lock()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(error).context("standard output");
        }
        _ => {}
    }
    let plan = &compilation.plan;
    for note in &plan.notes {
        say(&format!("note: {note}"));
    }
    if let Some(path) = &args.output {
        let parameters = plan.checked_parameters()?;
        let security = parameters.security();
        say(&format!(
            "{}: {} bootstraps, {} evaluation keys, {:.0}-bit security{}",
            printable::path(path),
            plan.schedule.bootstraps(),
            plan.required_keys()?.len(),
            security.bits,
            if plan.insecure { " (INSECURE)" } else { "" }
        ));
        let client = client_plan_path(path);
        say(&format!(
            "{}: what clients get, without weights",
            printable::path(&client)
        ));
        if let Some(worst) = least_precise(plan) {
            say(&worst);
        }
        if let Some(failure) = plan.schedule.failure(&parameters, &plan.bootstrap) {
            say(&format!("EvalMod by {}", text::eval_mod(&plan.bootstrap)));
            say(&failure.to_string());
        }
    }
    Ok(())
}

/// A line on standard error, with whatever a terminal would obey escaped.
pub fn say(line: &str) {
    // There is nobody left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "heddlec: {}", printable::lines(line));
}

/// What goes to standard output. Line breaks in it are ours: names have none.
fn write_report(args: &Args, compilation: &Compilation, out: &mut impl Write) -> io::Result<()> {
    let plan = &compilation.plan;
    let mut write = |text: &str| out.write_all(printable::lines(text).as_bytes());
    if args.explain {
        for record in compilation.log.records() {
            let unchanged = match record.text {
                Some(_) => "",
                None => ", unchanged",
            };
            write(&format!(
                "== {} ({:?}{unchanged})\n",
                record.name, record.stage
            ))?;
            for remark in &record.remarks {
                write(&format!("   {remark}\n"))?;
            }
            if let Some(text) = &record.text {
                write(&format!("{text}\n"))?;
            }
        }
    }
    match args.emit {
        Some(Emit::Nn) => write(&text::print_nn(&compilation.model)),
        Some(Emit::Slot) => write(&text::print_slot(&compilation.packed)),
        Some(Emit::Ckks) => {
            write(&text::print_ckks(&plan.schedule))?;
            let keys = plan.required_keys().map_err(io::Error::other)?;
            write(&text::print_keys(&keys))
        }
        Some(Emit::Schedule) => write(&text::plan_summary(plan).map_err(io::Error::other)?),
        None => Ok(()),
    }
}

/// The activations, and which of them is the least precise; `None` where there are none.
fn least_precise(plan: &Plan) -> Option<String> {
    let known = plan
        .ranges
        .iter()
        .filter_map(|range| Some((&range.name, range.activation.as_ref()?)));
    let count = known.clone().count();
    let (name, worst) =
        known.min_by(|(_, a), (_, b)| a.precision_bits.total_cmp(&b.precision_bits))?;
    Some(format!(
        "{count} activations, precise to {:.1} bits of their range or better (least: {} `{name}`)",
        worst.precision_bits, worst.function
    ))
}
