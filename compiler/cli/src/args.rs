//! The command line of `heddlec`.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use heddle_compiler::analysis::ranges::RangeOverride;
use heddle_compiler::approx::sign::Degrees;
use heddle_frontends::onnx::InputShape;
use heddle_params::eval_mod::EvalMod;

/// Compile a pretrained ONNX model to an encrypted-inference plan
#[derive(Debug, Parser)]
#[command(name = "heddlec", version)]
pub struct Args {
    /// The model
    pub model: PathBuf,

    /// The plan to write
    #[arg(
        short,
        long,
        value_name = "MODEL.plan",
        required_unless_present = "emit"
    )]
    pub output: Option<PathBuf>,

    /// The value to compute: one of several outputs, or any value or node inside the model, where
    /// the network is cut
    #[arg(long, value_name = "NAME")]
    pub output_name: Option<String>,

    /// An input that is a constant, from an `.npy` file; all inputs but the image must be; may be
    /// repeated
    #[arg(long, value_name = "NAME=FILE.npy", value_parser = fixed_input)]
    pub input: Vec<(String, PathBuf)>,

    /// The shape of an input whose extents the model leaves open: 1,3,224,224, or NAME=1,3,224,224
    /// where there are several inputs; `?` keeps an extent; may be repeated
    #[arg(long, value_name = "[NAME=]SHAPE")]
    pub input_shape: Vec<InputShape>,

    /// The axis order of the image, where the network's operations do not show it
    #[arg(long, value_enum)]
    pub input_order: Option<InputOrder>,

    /// From pixels to the model's input: cifar10, cifar100, imagenet, mnist, unit (x/255), none
    /// (0…255) or a JSON file {scale, mean, std, channels}
    #[arg(long, value_name = "SET|FILE.json")]
    pub preprocess: Option<String>,

    /// Images to calibrate ranges with: a batch, a folder, or one with `#0..1000`
    #[arg(long, value_name = "IMAGES")]
    pub calibrate: Option<String>,

    /// Ranges are this many times the largest value on the images of `--calibrate` [default: 2].
    /// An image beyond a range has no answer; each doubling costs one bit of precision. The range
    /// of the input has the margin too where the images are tensors of floats; that of pixels
    /// follows from `--preprocess`
    #[arg(long, value_name = "FACTOR")]
    pub margin: Option<f64>,

    /// Range of the activations whose name matches: `*` stands for anything; may be repeated. The
    /// model's input has a range too, by its own name
    #[arg(long, value_name = "PATTERN=B")]
    pub range: Vec<RangeOverride>,

    /// Class names, one a line, in the order of the logits
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Print a stage's text to standard output
    #[arg(long, value_enum)]
    pub emit: Option<Emit>,

    /// Print what every pass did, with the graph after each that changed it
    #[arg(long)]
    pub explain: bool,

    /// Precision of ReLU, clipping and hard sigmoids in bits, 7 to 14 [default: 13]: least depth,
    /// then fewest products
    #[arg(long, value_name = "ALPHA")]
    pub relu_precision: Option<u32>,

    /// Degrees of the sign polynomials that ReLU is made of, such as 15,15,27; alpha13 (15,15,27)
    /// and alpha14 (15,27,29) are those of Lee et al.
    #[arg(long, value_name = "DEGREES")]
    pub relu_degrees: Option<Degrees>,

    /// How convolutions are evaluated
    #[arg(long, value_enum, default_value_t = Convolution::SingleLevel)]
    pub convolution: Convolution,

    /// How bootstraps treat the imaginary part
    #[arg(long, value_enum, default_value_t = Bootstrap::Real)]
    pub bootstrap: Bootstrap,

    /// How bootstraps remove multiples of the lowest modulus: cosine, or arcsine:3, arcsine:5,
    /// arcsine:7 for a cosine and an inverse sine of that degree, deeper and more precise
    #[arg(long, value_name = "CHOICE", default_value_t = EvalMod::Cosine)]
    pub eval_mod: EvalMod,

    /// End in probabilities: softmax under encryption, so that the client does not learn the logits
    #[arg(long)]
    pub softmax: bool,

    /// INSECURE: plan for a ring of degree 2^LOG_N, for tests and studies only
    #[arg(long, value_name = "LOG_N")]
    pub insecure_log_n: Option<u32>,
}

/// `NAME=FILE`.
fn fixed_input(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Err("write the input's name, `=` and an `.npy` file".into()),
    }
}

/// What `--input-order` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum InputOrder {
    /// Channels, height, width; channels, time
    Chw,
    /// Height, width, channels; time, channels
    Hwc,
}

/// What `--emit` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Emit {
    /// The tensor graph
    Nn,
    /// The packed graph
    Slot,
    /// The levelled schedule, operation by operation
    Ckks,
    /// The schedule's summary: levels, rotations, bootstraps
    Schedule,
}

/// What `--convolution` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Convolution {
    /// As one sparse matrix by its diagonals: one level
    SingleLevel,
    /// By rotations of the whole ciphertext, sums and selection (Lee et al., ICML 2022): two
    /// levels, parameter set A
    MultiplexedParallel,
    /// One channel a ciphertext (arXiv 2106.07229): one level, parameter set S, which is INSECURE
    /// and needs --insecure-log-n 16 (or a smaller ring)
    Siso,
}

/// What `--bootstrap` chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Bootstrap {
    /// Remove it: one sine evaluation
    Real,
    /// Keep it: two sine evaluations, for comparison
    Complex,
}
