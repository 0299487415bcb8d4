//! Text form of the tensor graph.

use std::fmt::Write;

use serde_json::Value;

use super::cursor::{Cursor, quoted, to_value};
use super::line::{Call, lines, parse_operation, parse_outputs, print_graph};
use super::tables::{linear_call, linear_op};
use crate::error::Error;
use crate::graph::Graph;
use crate::nn::{Activation, AxisOrder, Model, Op, Region, TensorType};
use crate::note::Note;
use crate::printable::hex;
use crate::weights::{Tensor, WeightId, Weights};

fn print_weight(index: usize, tensor: &Tensor) -> String {
    let ty = TensorType::new(tensor.shape.clone());
    let hash = tensor.short_hash();
    format!(
        "weight w{index} : {ty} {{hash={}}}  @{}",
        quoted(&hash),
        quoted(&tensor.name)
    )
}

/// The regions of a model whose text names none: one input that takes the whole image.
fn implied_regions(graph: &Graph<Op, TensorType>) -> Vec<Region> {
    let mut inputs = graph.select(|op| matches!(op, Op::Input));
    match (inputs.next(), inputs.next()) {
        (Some(input), None) => vec![Region::whole(graph.ty(input).chw())],
        _ => Vec::new(),
    }
}

/// A model as text: its notes, the regions of its inputs unless one takes the whole image, weights
/// by name, shape and hash, and operations.
pub fn print_nn(model: &Model) -> String {
    let mut out = format!(
        "nn graph {} {{digest={}, input_order={}}}\n",
        quoted(&model.name),
        quoted(&hex(&model.digest)),
        to_value(&model.input_order).as_str().unwrap_or_default(),
    );
    for note in &model.notes {
        let _ = writeln!(out, "note {}", quoted(&note.to_string()));
    }
    if model.input_regions != implied_regions(&model.graph) {
        for region in &model.input_regions {
            let _ = writeln!(out, "region {region}");
        }
    }
    for (id, tensor) in model.weights.iter() {
        let _ = writeln!(out, "{}", print_weight(id.0 as usize, tensor));
    }
    print_graph(&model.graph, call, |_| None, &mut out);
    out
}

fn call(op: &Op) -> Call {
    match op {
        Op::Linear(linear) => linear_call(linear),
        Op::Activation {
            function: activation,
            ..
        } => Call::of_variant(to_value(activation)),
        Op::Multiply { .. } => Call::of_variant("multiply".into()),
        Op::Input | Op::Add | Op::MaxPool { .. } | Op::Identity => Call::of_variant(to_value(op)),
    }
}

/// The activations that have parameters, and with them attributes.
const WITH_PARAMETERS: [&str; 11] = [
    "leaky_relu",
    "clip",
    "hard_sigmoid",
    "gelu",
    "monomial",
    "elu",
    "thresholded_relu",
    "shrink",
    "exp",
    "log",
    "power",
];

fn op(cursor: &Cursor<'_>, call: Call) -> Result<Op, Error> {
    let word = call.word.as_str();
    if call.attributes.is_none() {
        match word {
            "input" => return Ok(Op::Input),
            "add" => return Ok(Op::Add),
            "multiply" => return Ok(Op::multiply()),
            "identity" => return Ok(Op::Identity),
            word => {
                if let Ok(activation) = serde_json::from_value::<Activation>(word.into()) {
                    return Ok(Op::activation(activation));
                }
            }
        }
    }
    if call.word == "max_pool" {
        return cursor.decode("`max_pool`", call.into_variant());
    }
    if WITH_PARAMETERS.contains(&word) {
        let what = format!("`{word}`");
        return cursor
            .decode(&what, call.into_variant())
            .map(Op::activation);
    }
    linear_op(cursor, call).map(Op::Linear)
}

fn parse_type(cursor: &mut Cursor<'_>) -> Result<TensorType, Error> {
    cursor.keyword("tensor")?;
    cursor.expect("<")?;
    let mut shape = Vec::new();
    while !cursor.eat(">") {
        if !shape.is_empty() {
            cursor.expect("x")?;
        }
        shape.push(cursor.unsigned()?);
    }
    Ok(TensorType { shape })
}

fn parse_digest(cursor: &Cursor<'_>, text: &str) -> Result<[u8; 32], Error> {
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| cursor.error("the digest must be 64 hexadecimal digits"))
}

#[derive(serde::Deserialize, serde::Serialize)]
struct Header {
    digest: String,
    input_order: AxisOrder,
}

/// Parses what [`print_nn`] printed. Notes come back as [`Note::Sentence`].
///
/// # Errors
/// [`Error::Parse`] with the line, also where `weights` are not the ones that the text names.
pub fn parse_nn(text: &str, weights: Weights) -> Result<Model, Error> {
    let (mut header, lines) = lines(text, &["nn", "graph"])?;
    let name = header.string()?;
    let attributes: Value = header.value()?;
    header.end()?;
    let attributes: Header = header.decode("header", attributes)?;
    let digest = parse_digest(&header, &attributes.digest)?;
    let mut graph = Graph::new();
    let mut notes = Vec::new();
    let mut input_regions = Vec::new();
    let mut stored = 0..weights.len();
    for mut cursor in lines {
        if cursor.keyword("note").is_ok() {
            notes.push(Note::Sentence(cursor.string()?));
            cursor.end()?;
        } else if cursor.keyword("region").is_ok() {
            input_regions.push(parse_region(&mut cursor)?);
        } else if cursor.keyword("weight").is_ok() {
            let id = stored.next().map(|index| WeightId(index as u32));
            parse_weight(&mut cursor, id.map(|id| weights.get(id)))?;
        } else if cursor.peek("%") {
            parse_operation(&mut graph, &mut cursor, op, parse_type)?;
        } else {
            parse_outputs(&mut graph, &mut cursor)?;
        }
    }
    if let Some(index) = stored.next() {
        return Err(header.error(format!("the text lacks weight w{index}")));
    }
    if input_regions.is_empty() {
        input_regions = implied_regions(&graph);
    }
    let input_order = attributes.input_order;
    Ok(Model {
        name,
        digest,
        graph,
        weights,
        input_regions,
        input_order,
        notes,
    })
}

fn parse_region(cursor: &mut Cursor<'_>) -> Result<Region, Error> {
    let range = |cursor: &mut Cursor<'_>, what: &str| {
        cursor.keyword(what)?;
        let start = cursor.unsigned()?;
        cursor.expect("..")?;
        Ok::<_, Error>(start..cursor.unsigned()?)
    };
    let channels = range(cursor, "channels")?;
    let rows = range(cursor, "rows")?;
    cursor.end()?;
    Ok(Region { channels, rows })
}

fn parse_weight(cursor: &mut Cursor<'_>, stored: Option<&Tensor>) -> Result<(), Error> {
    let index = cursor.reference('w')?;
    cursor.expect(":")?;
    let shape = parse_type(cursor)?.shape;
    let hash = cursor.value()?;
    cursor.expect("@")?;
    let name = cursor.string()?;
    cursor.end()?;
    let same = stored.is_some_and(|tensor| {
        tensor.name == name && tensor.shape == shape && hash["hash"] == tensor.short_hash()
    });
    if same {
        Ok(())
    } else {
        Err(cursor.error(format!(
            "w{index} `{name}` is not the weight that was given"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{
        AveragePool, BatchNorm, Conv, ElementAffine, LinearOp, PaddingInMean, Rearrange, Separable,
        Window,
    };

    fn model() -> Model {
        let mut weights = Weights::default();
        let weight = weights.push(Tensor::new(
            "conv.weight",
            vec![2, 1, 1, 1],
            vec![0.5, -0.25],
        ));
        let bias = weights.push(Tensor::new("odd \"name\"", vec![2], vec![1.0, 2.0]));
        let matrix = weights.push(Tensor::new("taps", vec![3, 1], vec![1.0, -1.0, 0.5]));
        let window = Window::square(1, 2);
        let mut graph = Graph::new();
        let large = TensorType::new([1, 4, 4]);
        let small = TensorType::new([2, 2, 2]);
        let x = graph.add(Op::Input, &[], large, "image");
        let conv = LinearOp::Conv(Conv {
            weight,
            bias: Some(bias),
            window,
            groups: 1,
        });
        let conv = graph.add(Op::Linear(conv), &[x], small.clone(), "conv1");
        let relu = graph.add(
            Op::activation(Activation::Relu),
            &[conv],
            small.clone(),
            "relu",
        );
        let norm = LinearOp::BatchNorm(BatchNorm {
            scale: bias,
            bias,
            mean: bias,
            variance: bias,
            epsilon: 1e-5,
        });
        let norm = graph.add(Op::Linear(norm), &[relu], small.clone(), "");
        let mask = weights.push(Tensor::new("mask", vec![2, 2, 2], vec![0.5; 8]));
        let masked = LinearOp::ElementAffine(ElementAffine {
            scale: Some(mask),
            shift: None,
        });
        let norm = graph.add(Op::Linear(masked), &[norm], small.clone(), "masked");
        let sum = graph.add(Op::Add, &[norm, relu], small.clone(), "add");
        let product = graph.add(Op::multiply(), &[sum, relu], small.clone(), "product");
        let pool = LinearOp::AveragePool(AveragePool {
            window,
            padding: PaddingInMean::Excluded,
        });
        let pool = graph.add(
            Op::Linear(pool),
            &[product],
            TensorType::new([2, 1, 1]),
            "pool",
        );
        let separable = LinearOp::Separable(Separable {
            rows: Some(matrix),
            columns: None,
            stride: [1, 2],
        });
        let separable = Op::Linear(separable);
        let pool = graph.add(separable, &[pool], TensorType::new([2, 3, 1]), "taps");
        let maximum = Op::MaxPool {
            window: Window {
                kernel: [3, 1],
                ..window
            },
        };
        let pool = graph.add(maximum, &[pool], TensorType::new([2, 1, 1]), "maximum");
        let picked = Rearrange::whole(vec![vec![Some(1), None]], [2, 1, 1], [2, 1, 1]);
        let picked = Op::Linear(picked.into());
        let picked = graph.add(picked, &[pool], TensorType::new([2, 1, 1]), "picked");
        let flat = Op::Linear(LinearOp::Flatten);
        let flat = graph.add(
            flat,
            &[picked],
            TensorType::new([2]),
            "flatten # not a comment",
        );
        graph.set_outputs(vec![flat]);
        let notes = vec![Note::Sentence("cut `Softmax`".into())];
        let input_order = AxisOrder::Hwc;
        Model {
            name: "m".into(),
            digest: [7; 32],
            graph,
            weights,
            input_regions: vec![Region::whole([1, 4, 4])],
            input_order,
            notes,
        }
    }

    #[test]
    fn round_trips() {
        let model = model();
        let text = print_nn(&model);
        assert!(
            text.contains("%2 = relu %1 : tensor<2x2x2>  @\"relu\"\n"),
            "{text}"
        );
        assert!(text.contains("%1 = conv %0 {bias=w1, groups=1, weight=w0, window={dilation="));
        assert!(text.contains("= multiply %") && text.contains(" : tensor<2x2x2>  @\"product\"\n"));
        assert!(
            text.contains("= max_pool %") && text.contains(" {window={dilation="),
            "{text}"
        );
        assert_eq!(parse_nn(&text, model.weights.clone()).unwrap(), model);
    }

    #[test]
    fn regions_round_trip_where_one_input_does_not_take_all() {
        let whole = model();
        assert!(!print_nn(&whole).contains("region"));
        let ty = TensorType::new([2, 3, 4]);
        let mut graph = Graph::new();
        let upper = graph.add(Op::Input, &[], ty.clone(), "x");
        let lower = graph.add(Op::Input, &[], ty.clone(), "x");
        let sum = graph.add(Op::Add, &[upper, lower], ty, "sum");
        graph.set_outputs(vec![sum]);
        let region = |rows| Region {
            channels: 0..2,
            rows,
        };
        let halves = Model {
            graph,
            weights: Weights::default(),
            input_regions: vec![region(0..3), region(3..6)],
            ..whole
        };
        let text = print_nn(&halves);
        assert!(
            text.contains("region channels 0..2 rows 0..3\nregion channels 0..2 rows 3..6\n"),
            "{text}"
        );
        assert_eq!(parse_nn(&text, Weights::default()).unwrap(), halves);
        for (odd, said) in [("rows 3..6", "rows 3"), ("channels 0", "rows 0")] {
            let odd = text.replacen(odd, said, 1);
            assert!(parse_nn(&odd, Weights::default()).is_err());
        }
    }

    #[test]
    fn other_weights_are_refused() {
        let model = model();
        let text = print_nn(&model);
        let mut other = Weights::default();
        other.push(Tensor::new(
            "conv.weight",
            vec![2, 1, 1, 1],
            vec![0.5, 0.25],
        ));
        let message = parse_nn(&text, other).unwrap_err().to_string();
        assert!(
            message.contains("line 3: w0 `conv.weight` is not"),
            "{message}"
        );
        let short = text.replace("weight w1", "# w1");
        assert!(parse_nn(&short, model.weights).is_err());
    }

    #[test]
    fn activations_round_trip_with_their_parameters() {
        let clip = |low, high| Activation::Clip { low, high };
        let activations = [
            Activation::Relu,
            Activation::LeakyRelu { slope: 0.1 },
            clip(Some(0.0), Some(6.0)),
            clip(None, Some(1.5)),
            clip(None, None),
            Activation::HardSigmoid {
                alpha: 0.2,
                beta: 0.5,
            },
            Activation::HardSwish,
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::Silu,
            Activation::Gelu {
                form: crate::nn::GeluForm::Tanh,
            },
            Activation::Square,
            Activation::Monomial { degree: 3 },
            Activation::Abs,
            Activation::Elu {
                alpha: 1.673,
                gamma: 1.0507,
                width: 1.0,
            },
            Activation::Softplus,
            Activation::Softsign,
            Activation::Mish,
            Activation::Erf,
            Activation::ThresholdedRelu { threshold: 1.5 },
            Activation::Shrink {
                threshold: 0.5,
                bias: 0.25,
            },
            Activation::Exp { offset: -0.5 },
            Activation::Log { offset: 2.0 },
            Activation::Power {
                offset: 1.0,
                exponent: -0.75,
            },
        ];
        let mut graph = Graph::new();
        let ty = TensorType::new([2, 4, 4]);
        let mut last = graph.add(Op::Input, &[], ty.clone(), "x");
        for activation in activations {
            last = graph.add(Op::activation(activation), &[last], ty.clone(), "a");
        }
        graph.set_outputs(vec![last]);
        let model = Model {
            name: "m".into(),
            digest: [0; 32],
            graph,
            weights: Weights::default(),
            input_regions: vec![Region::whole([2, 4, 4])],
            input_order: AxisOrder::Chw,
            notes: Vec::new(),
        };
        let text = print_nn(&model);
        assert!(text.contains("clip %2 {high=6.0, low=0.0}"), "{text}");
        assert_eq!(parse_nn(&text, Weights::default()).unwrap(), model);
        let odd = text.replace("slope=", "tilt=");
        let message = parse_nn(&odd, Weights::default()).unwrap_err().to_string();
        assert!(message.contains("`leaky_relu`"), "{message}");
    }
}
