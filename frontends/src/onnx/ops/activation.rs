//! Activations, and what exporters write for them.

use heddle_ir::nn::{Activation, GeluForm, Op};

use crate::onnx::build::{Graph, Placeholder};
use crate::onnx::call::{Call, Traced, Value};

pub(super) fn relu(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    clipped(graph, call, call.traced(0)?, Some(0.0), None)
}

pub(super) fn leaky_relu(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let slope = f64::from(call.attributes.float("alpha")?.unwrap_or(0.01));
    slotwise(graph, call, Activation::LeakyRelu { slope })
}

/// One slope is a leaky ReLU; a slope for every channel or element is `(1 − slope)·ReLU(x) +
/// slope·x`.
pub(super) fn prelu(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let constant = call.constant(1, "the slopes")?;
    let slopes = graph.coefficients(x, constant)?;
    if let Some(slope) = uniform(&slopes) {
        return slotwise(graph, call, Activation::LeakyRelu { slope });
    }
    let rest: Vec<f32> = slopes.iter().map(|slope| 1.0 - slope).collect();
    let rectified = graph.emit(Op::activation(Activation::Relu), &[x.id], call.name)?;
    let mut scaled = |from, scale: Vec<f32>, suffix: &str| {
        let stem = format!("{}{suffix}", constant.name);
        graph.scale_and_shift(from, [Some(scale), None], &stem, call.name)
    };
    let positive = scaled(rectified, rest, ".rest")?;
    let through = scaled(x.id, slopes, ".slope")?;
    graph.traced(Op::Add, &[positive, through], x.view.clone(), call.name)
}

/// Bounds are attributes before operator set 11 and inputs from there on; either may be absent.
pub(super) fn clip(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let bound = |index: usize, name: &str| -> Result<Option<f64>, String> {
        if call.opset < 11 {
            return Ok(call.attributes.float(name)?.map(f64::from));
        }
        call.optional_constant(index, name)?
            .map(|bound| bound.scalar())
            .transpose()
    };
    let (low, high) = (bound(1, "min")?, bound(2, "max")?);
    clipped(graph, call, call.traced(0)?, low, high)
}

pub(super) fn sigmoid(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    slotwise(graph, call, Activation::Sigmoid)
}

/// A hyperbolic tangent, unless its argument is that of GELU's approximation.
pub(super) fn tanh(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    match graph.gelu_argument(x.id, call.name)? {
        Some(u) => graph.placeholder(Placeholder::GeluTanh, u, x.view.clone(), call.name),
        None => slotwise(graph, call, Activation::Tanh),
    }
}

pub(super) fn hard_sigmoid(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let alpha = f64::from(call.attributes.float("alpha")?.unwrap_or(0.2));
    let beta = f64::from(call.attributes.float("beta")?.unwrap_or(0.5));
    slotwise(graph, call, Activation::HardSigmoid { alpha, beta })
}

pub(super) fn hard_swish(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    slotwise(graph, call, Activation::HardSwish)
}

pub(super) fn gelu(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let form = match call.attributes.string("approximate")?.unwrap_or("none") {
        "none" => GeluForm::Erf,
        "tanh" => GeluForm::Tanh,
        other => return Err(format!("attribute `approximate` is `{other}`")),
    };
    slotwise(graph, call, Activation::Gelu { form })
}

/// `x·σ(alpha·x)`, which is SiLU of `alpha·x` over `alpha`.
pub(super) fn swish(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let alpha = f64::from(call.attributes.float("alpha")?.unwrap_or(1.0));
    let x = call.traced(0)?;
    if alpha == 0.0 {
        return graph.scaled(x, 0.5, call.name);
    }
    let argument = graph.affine(x.id, alpha, 0.0, call.name)?;
    let id = graph.emit(Op::activation(Activation::Silu), &[argument], call.name)?;
    let view = x.view.clone();
    graph.scaled(&Traced { id, view }, 1.0 / alpha, call.name)
}

/// The error function, which GELU is written with.
pub(super) fn erf(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    graph.placeholder(Placeholder::Erf, x.id, x.view.clone(), call.name)
}

/// A power with a constant exponent: the square; the cube is part of GELU's approximation.
pub(super) fn pow(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let Value::Traced(x) = call.input(0)? else {
        return Err("a power whose exponent depends on the image".into());
    };
    let exponents = graph.per_channel(x, call.constant(1, "the exponent")?)?;
    match uniform(&exponents) {
        Some(1.0) => super::identity::identity(graph, call),
        Some(2.0) => slotwise(graph, call, Activation::Square),
        Some(3.0) => graph.placeholder(Placeholder::Cube, x.id, x.view.clone(), call.name),
        Some(exponent) => Err(format!(
            "a power of {exponent}; squares are supported, and cubes inside GELU"
        )),
        None => Err("a power with an exponent for every channel; squares are supported".into()),
    }
}

fn slotwise(graph: &mut Graph, call: &Call<'_>, function: Activation) -> Result<Value, String> {
    let x = call.traced(0)?;
    graph.traced(Op::activation(function), &[x.id], x.view.clone(), call.name)
}

/// The one number that all elements are.
pub(super) fn uniform(elements: &[f32]) -> Option<f64> {
    let (first, rest) = elements.split_first()?;
    let same = rest.iter().all(|element| element == first);
    same.then_some(f64::from(*first))
}

/// `x` clipped to bounds, of which infinite ones are none. Clipping what is clipped already narrows
/// its bounds.
pub(super) fn clipped(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    low: Option<f64>,
    high: Option<f64>,
) -> Result<Value, String> {
    const LARGEST: f64 = f32::MAX as f64;
    let mut low = low.unwrap_or(f64::NEG_INFINITY);
    let mut high = high.unwrap_or(f64::INFINITY);
    if low.is_nan() || high.is_nan() || low > high {
        return Err(format!("clipping to {low}…{high}, which holds no number"));
    }
    let mut from = x.id;
    let inner = match graph.inner.node(from).op {
        Op::Activation {
            function: Activation::Relu,
            ..
        } => Some((Some(0.0), None)),
        Op::Activation {
            function: Activation::Clip { low, high },
            ..
        } => Some((low, high)),
        _ => None,
    };
    if let Some((inner_low, inner_high)) = inner {
        let narrowed = |bound: f64| bound.clamp(low, high);
        (low, high) = (
            narrowed(inner_low.unwrap_or(f64::NEG_INFINITY)),
            narrowed(inner_high.unwrap_or(f64::INFINITY)),
        );
        from = graph.inner.operands(from)[0];
    }
    let low = (low > -LARGEST).then_some(low);
    let high = (high < LARGEST).then_some(high);
    let op = match (low, high) {
        (None, None) => Op::Identity,
        (Some(0.0), None) => Op::activation(Activation::Relu),
        _ => Op::activation(Activation::Clip { low, high }),
    };
    graph.traced(op, &[from], x.view.clone(), call.name)
}
