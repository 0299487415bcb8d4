//! Elementwise operators and reductions on constants.
//!
//! Floats are computed in 64 bits and rounded once, which for +, −, ×, ÷ and √ of 32-bit floats is
//! the correctly rounded result. Integers are checked, not wrapped.

use super::{broadcast_indices, strided, strides, within};
use crate::onnx::call::Call;
use crate::onnx::dims;
use crate::onnx::tensor::{Const, ElementType, Elements};

/// Elements of the type that 64-bit results are rounded to.
fn rounded(doubles: impl Iterator<Item = f64>, double: bool) -> Elements {
    if double {
        Elements::Double(doubles.collect())
    } else {
        Elements::Float(doubles.map(|x| x as f32).collect())
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
            rounded(
                x.doubles().map(apply),
                x.element_type() == ElementType::Double,
            )
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
    let indices = left.zip(right);
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
            if let Some(compare) = comparison::<f64>(op) {
                let apply = |(i, j)| compare(&a.double(i), &b.double(j));
                Elements::Bool(indices.map(apply).collect())
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
                rounded(
                    indices.map(|(i, j)| apply(a.double(i), b.double(j))),
                    double,
                )
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
    let picks = chosen_at.map(|at| chosen[at]).zip(left.zip(right));
    let elements = match (&x.elements, &y.elements) {
        (Elements::Int(x), Elements::Int(y)) => Elements::Int(
            picks
                .map(|(pick, (i, j))| if pick { x[i] } else { y[j] })
                .collect(),
        ),
        (Elements::Bool(_), _) | (_, Elements::Bool(_)) => {
            return Err("is not evaluated on booleans".into());
        }
        _ => {
            let double = [x, y]
                .iter()
                .any(|x| x.element_type() == ElementType::Double);
            let either = |(pick, (i, j))| if pick { x.double(i) } else { y.double(j) };
            rounded(picks.map(either), double)
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
            // Each starts with the number that changes no other.
            let (op, start) = match call.op {
                "ReduceSum" => ("Add", 0),
                "ReduceProd" => ("Mul", 1),
                "ReduceMax" => ("Max", i64::MIN),
                _ => ("Min", i64::MAX),
            };
            let mut results = vec![start; count];
            for (target, element) in targets.zip(data) {
                results[target] = integers(op, Remainder::Truncated, results[target], *element)?;
            }
            Elements::Int(results)
        }
        Elements::Float(_) | Elements::Double(_) => {
            let (combine, start): (fn(f64, f64) -> f64, f64) = match call.op {
                "ReduceSum" | "ReduceMean" => (|x, y| x + y, -0.0),
                "ReduceProd" => (|x, y| x * y, 1.0),
                "ReduceMax" => (f64::max, f64::NAN),
                _ => (f64::min, f64::NAN),
            };
            let mut results = vec![start; count];
            for (target, element) in targets.zip(x.doubles()) {
                results[target] = combine(results[target], element);
            }
            let each = if call.op == "ReduceMean" {
                (x.len() / count) as f64
            } else {
                1.0
            };
            let results = results.into_iter().map(|x| x / each);
            rounded(results, x.element_type() == ElementType::Double)
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
