//! From arguments to a plan file.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use heddle_compiler::analysis::ranges::IMAGE_MARGIN;
use heddle_compiler::approx::sign::ReluPrecision;
use heddle_compiler::{Explain, ImageKind, Observer, Options, PassRecord, Ring, compile};
use heddle_frontends::image::Pixels;
use heddle_frontends::onnx::{FixedInput, ImportOptions};
use heddle_frontends::{image, onnx};
use heddle_ir::Note;
use heddle_ir::file::{
    Access, Content, Existing, Kind, MAX_TEXT, Outputs, Overwrite, Staged, commit_together,
    read_text,
};
use heddle_ir::nn::{AxisOrder, Model};
use heddle_ir::plan::{OutputKind, Plan};
use heddle_ir::preprocess::{CIFAR10_CLASSES, Preprocess};
use heddle_ir::printable;
use heddle_params::bootstrap::BootstrapVariant;
use heddle_terminal::{Spinner, note};

use crate::args::{Args, Bootstrap, Convolution, InputOrder};
use crate::report::report;

/// Compiles as the arguments say.
pub(crate) fn run(args: Args) -> Result<()> {
    let outputs = check_outputs(&args)?;
    let spinner = Spinner::new();
    spinner.say("reading the model");
    let model = onnx::import(&args.model, &import_options(&args)?)?;
    let shape = model.image_shape();
    let preprocess = match &args.preprocess {
        Some(name) => Preprocess::named_or_file(name)?,
        None => assumed_preprocess(&model, shape),
    };
    spinner.say("reading calibration images");
    let (samples, images) = match &args.calibrate {
        Some(spec) => samples(spec, &preprocess, shape)?,
        None => (Vec::new(), ImageKind::default()),
    };
    let options = Options {
        labels: labels(&args, &model, shape)?,
        preprocess,
        samples,
        images,
        margin: args.margin.unwrap_or(IMAGE_MARGIN),
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
    spinner.say("compiling");
    let compilation = compile(model, &options, &Shown(&spinner))?;
    if let Some((path, existing)) = &outputs {
        spinner.say("writing the plan");
        write_plans(&compilation.plan, path, *existing)?;
    }
    drop(spinner);
    report(&args, &compilation)
}

/// What the arguments say about the model.
fn import_options(args: &Args) -> Result<ImportOptions> {
    let fixed = args.input.iter();
    let fixed = fixed.map(|(name, path)| FixedInput::read(name, path));
    Ok(ImportOptions {
        output: args.output_name.clone(),
        fixed_inputs: fixed.collect::<Result<_, _>>()?,
        input_shapes: args.input_shape.clone(),
        input_order: args.input_order.map(|order| match order {
            InputOrder::Chw => AxisOrder::Chw,
            InputOrder::Hwc => AxisOrder::Hwc,
        }),
        ..ImportOptions::default()
    })
}

/// A compilation whose progress is shown.
struct Shown<'a>(&'a Spinner);

impl Observer for Shown<'_> {
    fn pass_finished(&self, pass: &PassRecord) {
        self.0.say(&format!("compiling: {} is done", pass.name));
    }

    fn images_calibrated(&self, done: usize, total: usize) {
        self.0
            .say(&format!("calibrating: {done} of {total} images"));
    }
}

/// Refuses outputs that would replace an input or a file of another kind. A plan may replace a
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
    let fixed = args.input.iter().map(|(_, path)| path.clone());
    let inputs = inputs.into_iter().chain(named).flatten().chain(fixed);
    let mut outputs = Outputs::new(inputs);
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
pub(crate) fn client_plan_path(plan: &Path) -> PathBuf {
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

/// The data set that an image of this shape most likely belongs to; a note says which. A model that
/// takes integers takes pixels as they are.
fn assumed_preprocess(model: &Model, shape: [usize; 3]) -> Preprocess {
    let mut notes = model.notes.iter();
    let name = match shape {
        _ if notes.any(|note| matches!(note, Note::IntegerInput { .. })) => "none",
        [3, 32, 32] => "cifar10",
        [1, 28, 28] => "mnist",
        [3, 224, 224] => "imagenet",
        _ => "unit",
    };
    note(&format!("assuming --preprocess {name}"));
    Preprocess::named(name).expect("the assumed sets are built in")
}

/// The calibration images, and what they are: tensors where one holds floats, which no
/// preprocessing bounds.
fn samples(
    spec: &str,
    preprocess: &Preprocess,
    shape: [usize; 3],
) -> Result<(Vec<Vec<f32>>, ImageKind)> {
    let (mut samples, mut kind) = (Vec::new(), ImageKind::Pixels);
    for picture in image::image_set_for(spec, shape)?.iter() {
        let picture = picture?;
        if matches!(picture.pixels, Pixels::Floats { .. }) {
            kind = ImageKind::Tensors;
        }
        let (sample, remark) = image::to_tensor(&picture, preprocess, shape)?;
        if let Some(remark) = remark {
            note(&remark);
        }
        samples.push(sample);
    }
    Ok((samples, kind))
}

/// The class names given, or CIFAR-10's where the model looks like it.
fn labels(args: &Args, model: &Model, shape: [usize; 3]) -> Result<Vec<String>> {
    let classes = model.graph.ty(model.output()).elements();
    let Some(path) = &args.labels else {
        let cifar10 = shape == [3, 32, 32] && classes == CIFAR10_CLASSES.len();
        let built_in: &[&str] = if cifar10 { &CIFAR10_CLASSES } else { &[] };
        return Ok(built_in.iter().map(ToString::to_string).collect());
    };
    let text = read_text(path, MAX_TEXT)
        .map_err(|error| anyhow!("`{}`: {error}", printable::path(path)))?;
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
