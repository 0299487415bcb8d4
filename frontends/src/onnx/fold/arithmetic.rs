//! Elementwise operators and reductions on constants.
//!
//! Floats are computed in 64 bits and rounded once, which for +, −, ×, ÷ and √ of 32-bit floats is
//! the correctly rounded result. Integers are checked, not wrapped.

use super::{broadcast_indices, strided, strides, within};
use crate::onnx::build::Call;
use crate::onnx::dims;
use crate::onnx::tensor::{Const, ElementType, Elements};

/// Elements of the type that 64-bit results are rounded to.
fn rounded(doubles: Vec<f64>, double: bool) -> Elements {
    if double {
        Elements::Double(doubles)
    } else {
        Elements::Float(doubles.into_iter().map(|x| x as f32).collect())
    }
}

pub(super) fn unary(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let x = call.constant(0, "the operand")?;
    let elements = match &x.elements {
        Elements::Bool(data) if call.op == "Not" => {
            Elements::Bool(data.iter().map(|x| !x).collect())
        }
        Elements::Int(data) if matches!(call.op, "Neg" | "Abs") => {
            let overflow = || format!("{} overflows", call.op);
            let negate = call.op == "Neg";
            let apply = |x: &i64| {
                if negate {
                    x.checked_neg()
                } else {
                    x.checked_abs()
                }
            };
            let data: Option<Vec<i64>> = data.iter().map(apply).collect();
            Elements::Int(data.ok_or_else(overflow)?)
        }
        Elements::Float(_) | Elements::Double(_) => {
            let apply: fn(f64) -> f64 = match call.op {
                "Abs" => f64::abs,
                "Ceil" => f64::ceil,
                "Exp" => f64::exp,
                "Floor" => f64::floor,
                "Log" => f64::ln,
                "Neg" => std::ops::Neg::neg,
                "Reciprocal" => f64::recip,
                "Round" => f64::round_ties_even,
                "Sqrt" => f64::sqrt,
                _ => return Err("is not defined on floats".into()),
            };
            let data = x.to_doubles().into_iter().map(apply).collect();
            rounded(data, x.element_type() == ElementType::Double)
        }
        _ => return Err(format!("is not defined on {:?}", x.element_type())),
    };
    Ok(Const::new(x.shape.clone(), elements))
}

/// Operators of two tensors; `Max` and `Min` take any number.
pub(super) fn binary(call: &Call<'_>, limit: usize) -> Result<Const, String> {
    let wrap = if call.op == "Mod" && !call.attributes.flag("fmod", false)? {
        Remainder::Floored
    } else {
        Remainder::Truncated
    };
    let variadic = matches!(call.op, "Max" | "Min");
    if call.inputs.is_empty() || !variadic && call.inputs.len() != 2 {
        return Err(format!("has {} operands", call.inputs.len()));
    }
    let mut result = Const::clone(call.constant(0, "the first operand")?);
    for index in 1..call.inputs.len() {
        let next = call.constant(index, "an operand")?;
        result = pair(call.op, wrap, &result, next, limit)?;
    }
    result.name.clear();
    Ok(result)
}

/// The sign of a remainder: the divisor's or the dividend's.
#[derive(Clone, Copy, PartialEq)]
enum Remainder {
    Floored,
    Truncated,
}

fn pair(
    op: &str,
    remainder: Remainder,
    a: &Const,
    b: &Const,
    limit: usize,
) -> Result<Const, String> {
    let shape = dims::broadcast(&a.shape, &b.shape)?;
    within(&shape, limit)?;
    let (left, right) = (
        broadcast_indices(&a.shape, &shape),
        broadcast_indices(&b.shape, &shape),
    );
    let indices = left.into_iter().zip(right);
    let elements = match (&a.elements, &b.elements) {
        (Elements::Bool(x), Elements::Bool(y)) => {
            let apply: fn(bool, bool) -> bool = match op {
                "And" => |x, y| x & y,
                "Or" => |x, y| x | y,
                "Equal" => |x, y| x == y,
                _ => return Err("is not defined on booleans".into()),
            };
            Elements::Bool(indices.map(|(i, j)| apply(x[i], y[j])).collect())
        }
        (Elements::Int(x), Elements::Int(y)) => {
            if let Some(compare) = comparison::<i64>(op) {
                Elements::Bool(indices.map(|(i, j)| compare(&x[i], &y[j])).collect())
            } else {
                let apply = |(i, j): (usize, usize)| integers(op, remainder, x[i], y[j]);
                Elements::Int(indices.map(apply).collect::<Result<_, String>>()?)
            }
        }
        _ => {
            let double = [a, b]
                .iter()
                .any(|x| x.element_type() == ElementType::Double);
            let (x, y) = (a.to_doubles(), b.to_doubles());
            if let Some(compare) = comparison::<f64>(op) {
                Elements::Bool(indices.map(|(i, j)| compare(&x[i], &y[j])).collect())
            } else {
                let apply: fn(f64, f64) -> f64 = match op {
                    "Add" => |x, y| x + y,
                    "Sub" => |x, y| x - y,
                    "Mul" => |x, y| x * y,
                    "Div" => |x, y| x / y,
                    "Pow" => f64::powf,
                    "Max" => f64::max,
                    "Min" => f64::min,
                    "Mod" => |x, y| x % y,
                    _ => return Err("is not defined on floats".into()),
                };
                rounded(indices.map(|(i, j)| apply(x[i], y[j])).collect(), double)
            }
        }
    };
    Ok(Const::new(shape, elements))
}

fn comparison<T: PartialOrd>(op: &str) -> Option<fn(&T, &T) -> bool> {
    Some(match op {
        "Equal" => |x, y| x == y,
        "Greater" => |x, y| x > y,
        "GreaterOrEqual" => |x, y| x >= y,
        "Less" => |x, y| x < y,
        "LessOrEqual" => |x, y| x <= y,
        _ => return None,
    })
}

fn integers(op: &str, remainder: Remainder, x: i64, y: i64) -> Result<i64, String> {
    let result = match op {
        "Add" => x.checked_add(y),
        "Sub" => x.checked_sub(y),
        "Mul" => x.checked_mul(y),
        "Div" => x.checked_div(y),
        "Max" => Some(x.max(y)),
        "Min" => Some(x.min(y)),
        "Mod" => x.checked_rem(y).map(|rest| {
            let wraps = remainder == Remainder::Floored && rest != 0 && (rest < 0) != (y < 0);
            if wraps { rest + y } else { rest }
        }),
        "Pow" => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
        _ => return Err("is not defined on integers".into()),
    };
    result.ok_or_else(|| format!("{op} of {x} and {y} has no result"))
}

/// `Where`.
pub(super) fn select(call: &Call<'_>, limit: usize) -> Result<Const, String> {
    let condition = call.constant(0, "the condition")?;
    let (x, y) = (
        call.constant(1, "the first choice")?,
        call.constant(2, "the other choice")?,
    );
    let Elements::Bool(chosen) = &condition.elements else {
        return Err("the condition is not boolean".into());
    };
    let shape = dims::broadcast(&dims::broadcast(&condition.shape, &x.shape)?, &y.shape)?;
    within(&shape, limit)?;
    let [chosen_at, left, right] =
        [condition, x, y].map(|tensor| broadcast_indices(&tensor.shape, &shape));
    let pick = |i: usize| chosen[chosen_at[i]];
    let elements = match (&x.elements, &y.elements) {
        (Elements::Int(x), Elements::Int(y)) => Elements::Int(
            (0..left.len())
                .map(|i| if pick(i) { x[left[i]] } else { y[right[i]] })
                .collect(),
        ),
        (Elements::Bool(_), _) | (_, Elements::Bool(_)) => {
            return Err("is not evaluated on booleans".into());
        }
        _ => {
            let double = [x, y]
                .iter()
                .any(|x| x.element_type() == ElementType::Double);
            let (x, y) = (x.to_doubles(), y.to_doubles());
            let data = (0..left.len())
                .map(|i| if pick(i) { x[left[i]] } else { y[right[i]] })
                .collect();
            rounded(data, double)
        }
    };
    Ok(Const::new(shape, elements))
}

/// `ReduceSum` and its kin.
pub(super) fn reduce(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let x = call.constant(0, "the operand")?;
    let since = if call.op == "ReduceSum" { 13 } else { 18 };
    let axes = call.axes_since(since, 1)?;
    let no_axes_is_identity = call.attributes.flag("noop_with_empty_axes", false)?;
    let keep = call.attributes.flag("keepdims", true)?;
    let rank = x.shape.len();
    let reduced = match axes {
        Some(axes) if !axes.is_empty() => dims::axis_set(&axes, rank)?,
        _ => vec![!no_axes_is_identity; rank],
    };
    let kept: Vec<usize> = (0..rank)
        .map(|axis| if reduced[axis] { 1 } else { x.shape[axis] })
        .collect();
    let steps: Vec<isize> = strides(&kept)
        .into_iter()
        .zip(&reduced)
        .map(|(step, reduced)| if *reduced { 0 } else { step })
        .collect();
    let targets = strided(&x.shape, &steps, 0);
    let count: usize = kept.iter().product();
    if x.len() == 0 || count == 0 {
        return Err("reduces an empty constant".into());
    }
    let elements = match &x.elements {
        Elements::Int(data) if call.op != "ReduceMean" => {
            let mut results: Vec<Option<i64>> = vec![None; count];
            for (target, element) in targets.into_iter().zip(data) {
                let combine = |so_far: i64| {
                    let op = match call.op {
                        "ReduceSum" => "Add",
                        "ReduceProd" => "Mul",
                        "ReduceMax" => "Max",
                        _ => "Min",
                    };
                    integers(op, Remainder::Truncated, so_far, *element)
                };
                results[target] = Some(results[target].map_or(Ok(*element), combine)?);
            }
            Elements::Int(results.into_iter().flatten().collect())
        }
        Elements::Float(_) | Elements::Double(_) => {
            let mut results: Vec<Option<f64>> = vec![None; count];
            for (target, element) in targets.into_iter().zip(x.to_doubles()) {
                let combined = match (results[target], call.op) {
                    (None, _) => element,
                    (Some(so_far), "ReduceSum" | "ReduceMean") => so_far + element,
                    (Some(so_far), "ReduceProd") => so_far * element,
                    (Some(so_far), "ReduceMax") => so_far.max(element),
                    (Some(so_far), _) => so_far.min(element),
                };
                results[target] = Some(combined);
            }
            let each = if call.op == "ReduceMean" {
                (x.len() / count) as f64
            } else {
                1.0
            };
            let data = results.into_iter().flatten().map(|x| x / each).collect();
            rounded(data, x.element_type() == ElementType::Double)
        }
        _ => return Err(format!("is not evaluated on {:?}", x.element_type())),
    };
    let shape = if keep {
        kept
    } else {
        (0..rank)
            .filter(|axis| !reduced[*axis])
            .map(|axis| x.shape[axis])
            .collect()
    };
    Ok(Const::new(shape, elements))
}
