//! Products of two values that depend on the image, first of all the ones that are an activation
//! written out.
//!
//! A product is recognised when one factor is an affine function of a sigmoid, a clipped line or an
//! error function and the other is a multiple of that function's argument, whatever constants the
//! exporter moved where: SiLU, HardSwish, GELU, Mish. A product of powers of one value is a power.
//! The functions that products take are activations of their own where no product takes them.

use std::f64::consts::{FRAC_2_PI, SQRT_2};

use heddle_ir::ValueId;
use heddle_ir::nn::{Activation, ChannelAffine, GeluForm, LinearOp, MAX_POWER, Op};

use crate::onnx::build::Graph;
use crate::onnx::call::{Call, Traced, Value};

/// Relative difference up to which constants of a pattern agree; files hold them as 32-bit floats,
/// some rounded to six digits.
const TOLERANCE: f64 = 1e-5;

/// Relative difference up to which a factor is 1.
const ROUNDING: f64 = 1e-6;

/// Most values that are looked at on the way back from one; patterns have fewer than ten.
const MAX_CHAIN: usize = 64;

/// Up to this degree, a power of a power is one polynomial: fewer levels, and results on images
/// that lie 2^8 below those at the ends of a range at most.
const MAX_MERGED: u32 = 8;

/// The coefficient of the cube in GELU's approximation.
const GELU_CUBE: f64 = 0.044_715;

/// `scale·id + shift`.
#[derive(Clone, Copy, Debug)]
struct Scaled {
    id: ValueId,
    scale: f64,
    shift: f64,
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() <= TOLERANCE * a.abs().max(b.abs())
}

/// The product of two values, which are broadcast to each other.
pub(super) fn product(
    graph: &mut Graph,
    call: &Call<'_>,
    x: &Traced,
    y: &Traced,
) -> Result<Value, String> {
    let name = call.name;
    if x.view == y.view
        && let Some(activation) = activation(graph, name, x, y)?
    {
        return Ok(activation);
    }
    let [left, right] = graph.alike(x, y, name)?;
    // What is broadcast comes second: a product lies where its first operand lies.
    let operands = match left.id == x.id || right.id != y.id {
        true => [left.id, right.id],
        false => [right.id, left.id],
    };
    graph.traced(Op::multiply(), &operands, left.view, name)
}

/// The product of two values of one shape as an activation, if it is one.
fn activation(
    graph: &mut Graph,
    name: &str,
    x: &Traced,
    y: &Traced,
) -> Result<Option<Value>, String> {
    for (factor, gate) in [(x, y), (y, x)] {
        if let Some((op, argument, scale)) = graph.gated(factor.id, gate.id, name)? {
            let id = graph.emit(op, &[argument], name)?;
            let view = x.view.clone();
            return graph.scaled(&Traced { id, view }, scale, name).map(Some);
        }
    }
    let Some((base, degree, scale)) = graph.product_of_powers(x.id, y.id) else {
        return Ok(None);
    };
    let id = graph.emit(Op::activation(power(degree)), &[base], name)?;
    let view = x.view.clone();
    graph.scaled(&Traced { id, view }, scale, name).map(Some)
}

/// `x^degree` as an activation.
pub(super) fn power(degree: u32) -> Activation {
    match degree {
        2 => Activation::Square,
        degree => Activation::Monomial { degree },
    }
}

fn powi(x: f64, degree: u32) -> f64 {
    x.powi(degree.min(MAX_POWER) as i32)
}

/// The exponent of a power with an integral one.
fn degree(function: Activation) -> Option<u32> {
    match function {
        Activation::Square => Some(2),
        Activation::Monomial { degree } => Some(degree),
        _ => None,
    }
}

impl Graph {
    /// `scale·x`.
    pub(super) fn scaled(&mut self, x: &Traced, scale: f64, name: &str) -> Result<Value, String> {
        let id = self.affine(x.id, scale, 0.0, name)?;
        let view = x.view.clone();
        Ok(Value::Traced(Traced { id, view }))
    }

    /// `scale·x + shift` as a value that exists already, if there is one that `x` was made from, or
    /// as a new one.
    pub(super) fn affine(
        &mut self,
        x: ValueId,
        scale: f64,
        shift: f64,
        name: &str,
    ) -> Result<ValueId, String> {
        let same = |from: &Scaled| {
            let offset = scale * from.shift + shift;
            (scale * from.scale - 1.0).abs() <= ROUNDING && offset.abs() <= ROUNDING
        };
        if let Some(known) = self.chain(x).into_iter().find(same) {
            return Ok(known.id);
        }
        let scale = self.of_channels(x, scale as f32)?;
        let shift = match shift {
            0.0 => None,
            _ => Some(self.of_channels(x, shift as f32)?),
        };
        self.scale_and_shift(x, [Some(scale), shift], name, name)
    }

    /// The values that `id` follows from by one factor and one offset for all channels, `id` first.
    fn chain(&self, id: ValueId) -> Vec<Scaled> {
        let mut last = Scaled {
            id,
            scale: 1.0,
            shift: 0.0,
        };
        let mut chain = vec![last];
        while chain.len() < MAX_CHAIN {
            let (scale, shift) = match self.inner.node(last.id).op {
                Op::Identity => (1.0, 0.0),
                Op::Linear(LinearOp::ChannelAffine(ChannelAffine { scale, shift })) => {
                    let uniform = |id: Option<heddle_ir::WeightId>, default: f64| match id {
                        None => Some(default),
                        Some(id) => self.uniform(id),
                    };
                    match (uniform(scale, 1.0), uniform(shift, 0.0)) {
                        (Some(scale), Some(shift)) => (scale, shift),
                        _ => return chain,
                    }
                }
                _ => return chain,
            };
            last = Scaled {
                id: self.inner.operands(last.id)[0],
                scale: last.scale * scale,
                shift: last.scale * shift + last.shift,
            };
            chain.push(last);
        }
        chain
    }

    /// The factor by which `x` is a multiple of `y`, if it is known to be one.
    pub(super) fn multiple(&self, x: ValueId, y: ValueId) -> Option<f64> {
        let (x, y) = (self.chain(x), self.chain(y));
        let (x, y) = x
            .iter()
            .find_map(|x| Some((x, y.iter().find(|y| x.id == y.id)?)))?;
        if y.scale == 0.0 {
            return None;
        }
        let ratio = x.scale / y.scale;
        let offset = (x.shift - ratio * y.shift).abs();
        (offset <= TOLERANCE * (x.shift.abs() + x.scale.abs())).then_some(ratio)
    }

    /// `factor·gate` as an activation, the value that it takes and a multiplier.
    fn gated(
        &mut self,
        factor: ValueId,
        gate: ValueId,
        name: &str,
    ) -> Result<Option<(Op, ValueId, f64)>, String> {
        for Scaled { id, scale, shift } in self.chain(gate) {
            let Some((function, [slope, offset], multiplier)) = self.gate(id, scale, shift) else {
                continue;
            };
            let operand = match function {
                Activation::Gelu {
                    form: GeluForm::Tanh,
                } => self.gelu_tanh.get(&id).copied(),
                Activation::Mish => self.softplus_operand(id),
                _ => None,
            };
            let operand = operand.unwrap_or_else(|| self.inner.operands(id)[0]);
            let argument = self.affine(operand, slope, offset, name)?;
            if let Some(ratio) = self.multiple(factor, argument) {
                return Ok(Some((
                    Op::activation(function),
                    argument,
                    ratio * multiplier,
                )));
            }
        }
        Ok(None)
    }

    /// What u times `scale·id + shift` is, when `id` is a function of v: an activation of
    /// u = slope·v + offset, those two, and a multiplier.
    fn gate(&self, id: ValueId, scale: f64, shift: f64) -> Option<(Activation, [f64; 2], f64)> {
        let unshifted = shift.abs() <= TOLERANCE * scale.abs();
        let Op::Activation { function, .. } = self.inner.node(id).op else {
            return None;
        };
        match function {
            Activation::Erf if close(scale, shift) => {
                let form = GeluForm::Erf;
                Some((Activation::Gelu { form }, [SQRT_2, 0.0], 2.0 * scale))
            }
            Activation::Tanh if close(scale, shift) && self.gelu_tanh.contains_key(&id) => {
                let form = GeluForm::Tanh;
                Some((Activation::Gelu { form }, [1.0, 0.0], 2.0 * scale))
            }
            Activation::Tanh if unshifted && self.softplus_operand(id).is_some() => {
                Some((Activation::Mish, [1.0, 0.0], scale))
            }
            Activation::Sigmoid if unshifted => Some((Activation::Silu, [1.0, 0.0], scale)),
            Activation::HardSigmoid { alpha, beta } if unshifted && alpha != 0.0 => Some((
                Activation::HardSwish,
                [6.0 * alpha, 6.0 * beta - 3.0],
                scale,
            )),
            // A clipped line is a hard sigmoid between its bounds.
            Activation::Clip {
                low: Some(low),
                high: Some(high),
            } if high > low && (shift + scale * low).abs() <= TOLERANCE * scale.abs() => {
                let slope = 6.0 / (high - low);
                let offset = -slope * low - 3.0;
                Some((Activation::HardSwish, [slope, offset], scale * (high - low)))
            }
            _ => None,
        }
    }

    /// The operand v of `tanh(softplus(v))`, where `id` is that.
    fn softplus_operand(&self, id: ValueId) -> Option<ValueId> {
        let inner = self.inner.operands(id)[0];
        let exact = |value: &Scaled| {
            let is_softplus = matches!(
                self.inner.node(value.id).op,
                Op::Activation {
                    function: Activation::Softplus,
                    ..
                }
            );
            let same = (value.scale - 1.0).abs() <= ROUNDING && value.shift.abs() <= ROUNDING;
            is_softplus && same
        };
        let softplus = self.chain(inner).into_iter().find(exact)?;
        Some(self.inner.operands(softplus.id)[0])
    }

    /// The powers that `x` is a multiple of: bases, exponents and factors, `x` itself first.
    fn powers(&self, x: ValueId) -> Vec<(ValueId, u32, f64)> {
        let mut found = vec![(x, 1, 1.0)];
        found.extend(self.chain(x).into_iter().filter_map(|value| {
            let Op::Activation { function, .. } = self.inner.node(value.id).op else {
                return None;
            };
            let unshifted = value.shift.abs() <= TOLERANCE * value.scale.abs();
            let degree = degree(function).filter(|_| unshifted)?;
            Some((self.inner.operands(value.id)[0], degree, value.scale))
        }));
        found
    }

    /// `x·y` as a base, an exponent and a factor, where both are multiples of powers of one value.
    fn product_of_powers(&self, x: ValueId, y: ValueId) -> Option<(ValueId, u32, f64)> {
        let mut products = Vec::new();
        for (left, left_degree, left_scale) in self.powers(x) {
            for (base, degree, scale) in self.powers(y) {
                let Some(ratio) = self.multiple(left, base) else {
                    continue;
                };
                let sum = left_degree.saturating_add(degree);
                let factor = left_scale * scale * powi(ratio, left_degree);
                if sum <= MAX_POWER && factor.is_finite() {
                    products.push((base, sum, factor));
                }
            }
        }
        let best = |(_, degree, _): &(ValueId, u32, f64)| match *degree {
            0..=MAX_MERGED => MAX_MERGED - degree,
            degree => degree,
        };
        products.into_iter().min_by_key(best)
    }

    /// `x^exponent` as a base, an exponent and a factor, where `x` is a multiple of a power and the
    /// whole is still a low one.
    pub(super) fn power_of_power(&self, x: ValueId, exponent: u32) -> Option<(ValueId, u32, f64)> {
        self.powers(x)
            .into_iter()
            .find_map(|(base, degree, scale)| {
                let product = degree.checked_mul(exponent)?;
                let factor = powi(scale, exponent);
                (degree > 1 && product <= MAX_MERGED && factor.is_finite())
                    .then_some((base, product, factor))
            })
    }

    /// The operand u and the numbers `[scale, shift]` where `x` is `scale·f(u) + shift`.
    pub(super) fn of_function(
        &self,
        x: ValueId,
        is: impl Fn(Activation) -> bool,
    ) -> Option<(ValueId, [f64; 2])> {
        self.chain(x).into_iter().find_map(|value| {
            let Op::Activation { function, .. } = self.inner.node(value.id).op else {
                return None;
            };
            let operand = self.inner.operands(value.id)[0];
            is(function).then_some((operand, [value.scale, value.shift]))
        })
    }

    /// The value u when `x` is `√(2/π)·(u + 0.044715·u³)`.
    pub(super) fn gelu_argument(
        &mut self,
        x: ValueId,
        name: &str,
    ) -> Result<Option<ValueId>, String> {
        let chain = self.chain(x);
        let Some(sum) = chain
            .into_iter()
            .find(|value| matches!(self.inner.node(value.id).op, Op::Add))
        else {
            return Ok(None);
        };
        if sum.shift != 0.0 {
            return Ok(None);
        }
        let summands = self.inner.operands(sum.id);
        for (linear, cubic) in [(0, 1), (1, 0)] {
            let is_cube = |value: &Scaled| match self.inner.node(value.id).op {
                Op::Activation { function, .. } => degree(function) == Some(3),
                _ => false,
            };
            let Some(cube) = self.chain(summands[cubic]).into_iter().find(is_cube) else {
                continue;
            };
            let base = self.inner.operands(cube.id)[0];
            let Some(ratio) = self.multiple(summands[linear], base) else {
                continue;
            };
            // With u = stretch·base, the sum is a·base + b·base³.
            let (a, b) = (sum.scale * ratio, sum.scale * cube.scale);
            let stretch = a / FRAC_2_PI.sqrt();
            let expected = FRAC_2_PI.sqrt() * GELU_CUBE * stretch.powi(3);
            if cube.shift == 0.0 && close(b, expected) {
                return self.affine(base, stretch, 0.0, name).map(Some);
            }
        }
        Ok(None)
    }
}
