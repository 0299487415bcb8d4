//! Activations, and what exporters write for them.

use heddle_ir::ValueId;
use heddle_ir::nn::{Activation, GeluForm, MAX_POWER, Op};

use super::gated::power;
use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Traced, Value};
use crate::onnx::tensor::{Const, ElementType};

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

/// A hyperbolic tangent; one of the argument that GELU's approximation has is remembered.
pub(super) fn tanh(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let u = graph.gelu_argument(x.id, call.name)?;
    let result = slotwise(graph, call, Activation::Tanh)?;
    if let (Some(u), Value::Traced(tanh)) = (u, &result) {
        graph.gelu_tanh.insert(tanh.id, u);
    }
    Ok(result)
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
    slotwise(graph, call, Activation::Erf)
}

pub(super) fn abs(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    slotwise(graph, call, Activation::Abs)
}

pub(super) fn elu(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let function = Activation::Elu {
        alpha: f64::from(call.attributes.float("alpha")?.unwrap_or(1.0)),
        gamma: 1.0,
        width: 1.0,
    };
    slotwise(graph, call, function)
}

pub(super) fn selu(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let function = Activation::Elu {
        alpha: f64::from(call.attributes.float("alpha")?.unwrap_or(1.673_263_2)),
        gamma: f64::from(call.attributes.float("gamma")?.unwrap_or(1.050_701)),
        width: 1.0,
    };
    slotwise(graph, call, function)
}

pub(super) fn celu(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let alpha = f64::from(call.attributes.float("alpha")?.unwrap_or(1.0));
    let function = Activation::Elu {
        alpha,
        gamma: 1.0,
        width: alpha,
    };
    slotwise(graph, call, function)
}

pub(super) fn softplus(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    slotwise(graph, call, Activation::Softplus)
}

pub(super) fn softsign(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    slotwise(graph, call, Activation::Softsign)
}

pub(super) fn mish(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    slotwise(graph, call, Activation::Mish)
}

pub(super) fn thresholded_relu(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let threshold = f64::from(call.attributes.float("alpha")?.unwrap_or(1.0));
    slotwise(graph, call, Activation::ThresholdedRelu { threshold })
}

pub(super) fn shrink(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let function = Activation::Shrink {
        threshold: f64::from(call.attributes.float("lambd")?.unwrap_or(0.5)),
        bias: f64::from(call.attributes.float("bias")?.unwrap_or(0.0)),
    };
    slotwise(graph, call, function)
}

pub(super) fn exp(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    slotwise(graph, call, Activation::Exp { offset: 0.0 })
}

/// A logarithm. That of a sigmoid of u is `−softplus(−u)`, and `ln(b + a·e^u)` is
/// `ln(b) + softplus(u + ln(a/b))`: both are defined everywhere.
pub(super) fn log(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let sigmoid = graph.of_function(x.id, |function| function == Activation::Sigmoid);
    if let Some((u, [scale, 0.0])) = sigmoid
        && scale > 0.0
    {
        let negative = graph.affine(u, -1.0, 0.0, call.name)?;
        let op = Op::activation(Activation::Softplus);
        let softplus = graph.emit(op, &[negative], call.name)?;
        return affine_result(graph, call, x, softplus, [-1.0, scale.ln()]);
    }
    if let Some((u, [scale, shift])) = graph.of_function(x.id, is_exponential)
        && scale > 0.0
        && shift > 0.0
    {
        let argument = graph.affine(u, 1.0, (scale / shift).ln(), call.name)?;
        let op = Op::activation(Activation::Softplus);
        let softplus = graph.emit(op, &[argument], call.name)?;
        return affine_result(graph, call, x, softplus, [1.0, shift.ln()]);
    }
    slotwise(graph, call, Activation::Log { offset: 0.0 })
}

pub(super) fn sqrt(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    real_power(graph, call, call.traced(0)?, 0.5)
}

pub(super) fn reciprocal(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = call.traced(0)?;
    let id = reciprocal_of(graph, call, x)?;
    let view = x.view.clone();
    Ok(Value::Traced(Traced { id, view }))
}

/// `1/x`; `1/(b + a·e^u)` is `σ(−u − ln(a/b))/b`.
pub(super) fn reciprocal_of(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
) -> Result<ValueId, String> {
    if let Some((u, [scale, shift])) = graph.of_function(x.id, is_exponential)
        && scale > 0.0
        && shift > 0.0
    {
        let argument = graph.affine(u, -1.0, -(scale / shift).ln(), call.name)?;
        let op = Op::activation(Activation::Sigmoid);
        let sigmoid = graph.emit(op, &[argument], call.name)?;
        return graph.affine(sigmoid, 1.0 / shift, 0.0, call.name);
    }
    let function = Activation::Power {
        offset: 0.0,
        exponent: -1.0,
    };
    graph.emit(Op::activation(function), &[x.id], call.name)
}

/// `x/y` where y is `b + a·|u|` and x a multiple of u: a softsign of `a·u/b`.
pub(super) fn softsign_written_out(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    y: &Traced,
) -> Result<Option<Value>, String> {
    let found = graph.of_function(y.id, |function| function == Activation::Abs);
    let Some((u, [scale, shift])) = found.filter(|_| x.view == y.view) else {
        return Ok(None);
    };
    let Some(ratio) = graph.multiple(x.id, u) else {
        return Ok(None);
    };
    if shift == 0.0 || scale / shift <= 0.0 {
        return Ok(None);
    }
    let argument = graph.affine(u, scale / shift, 0.0, call.name)?;
    let op = Op::activation(Activation::Softsign);
    let softsign = graph.emit(op, &[argument], call.name)?;
    affine_result(graph, call, x, softsign, [ratio / scale, 0.0]).map(Some)
}

/// A power, with one constant exponent or of one constant base.
pub(super) fn pow(graph: &mut Graph, call: &Call<'_>) -> Result<Value, String> {
    let x = match (call.input(0)?, call.input(1)?) {
        (Value::Traced(x), Value::Const(_)) => x,
        (Value::Const(base), Value::Traced(exponent)) => {
            return power_of_constant(graph, call, base, exponent);
        }
        _ => return Err("a power whose base and exponent depend on the image".into()),
    };
    // Exponents may be integers where the base holds floats.
    let exponents = call.constant(1, "the exponent")?.cast(ElementType::Float)?;
    let exponents = graph.per_channel(x, &exponents)?;
    let Some(exponent) = uniform(&exponents) else {
        return Err("a power with an exponent for every channel; one exponent is supported".into());
    };
    if exponent == 0.0 {
        return affine_result(graph, call, x, x.id, [0.0, 1.0]);
    }
    if exponent == 1.0 {
        return super::identity::identity(graph, call);
    }
    if exponent.fract() != 0.0 || exponent < 0.0 {
        return real_power(graph, call, x, exponent);
    }
    if exponent > f64::from(MAX_POWER) {
        return Err(format!(
            "a power of {exponent}; exponents up to {MAX_POWER} are supported"
        ));
    }
    let degree = exponent as u32;
    let (base, degree, scale) = graph
        .power_of_power(x.id, degree)
        .unwrap_or((x.id, degree, 1.0));
    let id = graph.emit(Op::activation(power(degree)), &[base], call.name)?;
    affine_result(graph, call, x, id, [scale, 0.0])
}

/// `base^x`, an exponential of a multiple of x.
fn power_of_constant(
    graph: &mut Graph,
    call: &Call<'_>,
    base: &Const,
    x: &Traced,
) -> Result<Value, String> {
    let base = base.cast(ElementType::Float)?;
    let bases = graph.per_channel(x, &base)?;
    match uniform(&bases) {
        Some(base) if base > 0.0 => {
            let multiple = graph.affine(x.id, base.ln(), 0.0, call.name)?;
            let op = Op::activation(Activation::Exp { offset: 0.0 });
            graph.traced(op, &[multiple], x.view.clone(), call.name)
        }
        Some(base) => Err(format!("a power of the base {base}; it must be positive")),
        None => Err("a power with a base for every channel; one base is supported".into()),
    }
}

fn real_power(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    exponent: f64,
) -> Result<Value, String> {
    let function = Activation::Power {
        offset: 0.0,
        exponent,
    };
    graph.traced(Op::activation(function), &[x.id], x.view.clone(), call.name)
}

fn is_exponential(function: Activation) -> bool {
    function == Activation::Exp { offset: 0.0 }
}

/// `scale·id + shift`, seen as `like` is.
fn affine_result(
    graph: &mut Graph,
    call: &Call<'_>,
    like: &Traced,
    id: ValueId,
    [scale, shift]: [f64; 2],
) -> Result<Value, String> {
    let id = graph.affine(id, scale, shift, call.name)?;
    let view = like.view.clone();
    Ok(Value::Traced(Traced { id, view }))
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
