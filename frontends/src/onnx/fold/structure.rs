//! Operators that make, move, select or convert elements of constants.

use super::{broadcast_indices, strided, strides, within};
use crate::onnx::call::{Call, Value};
use crate::onnx::dims;
use crate::onnx::tensor::{Const, ElementType, Elements, check_rank};
use crate::onnx::wire::MAX_NAME;

fn data<'a>(call: &'a Call<'_>) -> Result<&'a Const, String> {
    Ok(call.constant(0, "the data")?)
}

pub(super) fn identity(call: &Call<'_>, _: usize) -> Result<Const, String> {
    call.attributes.ignore(&["ratio", "seed", "is_test"]);
    Ok(data(call)?.clone())
}

pub(super) fn constant(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let attributes = &call.attributes;
    let scalar = |elements| Const::new(Vec::new(), elements);
    if let Some(tensor) = attributes.tensor("value")? {
        let mut constant = Const::load(tensor, None).map_err(|error| format!("value {error}"))?;
        constant.name.clear();
        Ok(constant)
    } else if let Some(float) = attributes.float("value_float")? {
        Ok(scalar(Elements::Float(vec![float])))
    } else if let Some(int) = attributes.int("value_int")? {
        Ok(scalar(Elements::Int(vec![int])))
    } else if let Some(floats) = attributes.floats("value_floats")? {
        Ok(Const::new(
            vec![floats.len()],
            Elements::Float(floats.to_vec()),
        ))
    } else if let Some(ints) = attributes.ints("value_ints")? {
        Ok(Const::ints(ints.to_vec()))
    } else {
        Err("holds no dense tensor of numbers".into())
    }
}

pub(super) fn constant_of_shape(call: &Call<'_>, limit: usize) -> Result<Const, String> {
    let shape = extents(&call.ints(0, "the shape")?)?;
    let count = within(&shape, limit)?;
    let value = match call.attributes.tensor("value")? {
        Some(tensor) => Const::load(tensor, None)?,
        None => Const::new(vec![1], Elements::Float(vec![0.0])),
    };
    if value.len() != 1 {
        return Err(format!("attribute `value` has shape {:?}", value.shape));
    }
    let mut result = value.select(shape, std::iter::repeat_n(0, count));
    result.name.clear();
    Ok(result)
}

fn extents(ints: &[i64]) -> Result<Vec<usize>, String> {
    check_rank(ints.len())?;
    ints.iter()
        .map(|extent| usize::try_from(*extent))
        .collect::<Result<_, _>>()
        .map_err(|_| format!("shape {ints:?} is negative"))
}

/// The element type that a Cast or CastLike leads to; a traced tensor counts as floats.
pub(in crate::onnx) fn cast_target(call: &Call<'_>) -> Result<ElementType, String> {
    call.attributes.ignore(&["saturate", "round_mode"]);
    if call.op == "CastLike" {
        return Ok(match call.input(1)? {
            Value::Const(like) => like.element_type(),
            Value::Traced(_) => ElementType::Float,
        });
    }
    let to = call.attributes.int("to")?;
    ElementType::from_onnx(to.ok_or("attribute `to` is missing")?)
}

pub(super) fn cast(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let to = cast_target(call)?;
    data(call)?.cast(to)
}

pub(super) fn concat(call: &Call<'_>, limit: usize) -> Result<Const, String> {
    let parts = (0..call.inputs.len())
        .map(|index| call.constant(index, "a part").map(|part| &**part))
        .collect::<Result<Vec<&Const>, String>>()?;
    let first = parts.first().ok_or("has no parts")?;
    let axis = call
        .attributes
        .int("axis")?
        .ok_or("attribute `axis` is missing")?;
    let axis = dims::axis(axis, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for part in &parts {
        let fits = part.shape.len() == shape.len()
            && part.element_type() == first.element_type()
            && (0..shape.len()).all(|other| other == axis || part.shape[other] == shape[other]);
        if !fits {
            return Err(format!(
                "parts of shapes {:?} and {:?}",
                first.shape, part.shape
            ));
        }
        shape[axis] = shape[axis]
            .checked_add(part.shape[axis])
            .ok_or("the parts are too large")?;
    }
    // Rows of nothing are not walked: there may be any number of them.
    let outer: usize = match within(&shape, limit)? {
        0 => 0,
        _ => shape[..axis].iter().product(),
    };
    macro_rules! joined {
        ($kind:ident) => {{
            let mut data = Vec::new();
            for row in 0..outer {
                for part in &parts {
                    if let Elements::$kind(elements) = &part.elements {
                        let width = elements.len() / outer;
                        data.extend_from_slice(&elements[row * width..][..width]);
                    }
                }
            }
            Elements::$kind(data)
        }};
    }
    let elements = match first.element_type() {
        ElementType::Float => joined!(Float),
        ElementType::Double => joined!(Double),
        ElementType::Int => joined!(Int),
        ElementType::Bool => joined!(Bool),
    };
    Ok(Const::new(shape, elements))
}

pub(super) fn expand(call: &Call<'_>, limit: usize) -> Result<Const, String> {
    let x = data(call)?;
    let shape = dims::broadcast(&x.shape, &extents(&call.ints(1, "the shape")?)?)?;
    within(&shape, limit)?;
    Ok(x.select(shape.clone(), broadcast_indices(&x.shape, &shape)))
}

pub(super) fn tile(call: &Call<'_>, limit: usize) -> Result<Const, String> {
    let x = data(call)?;
    let repeats = extents(&call.ints(1, "the repeats")?)?;
    if repeats.len() != x.shape.len() {
        return Err(format!(
            "{} repeats for {} axes",
            repeats.len(),
            x.shape.len()
        ));
    }
    // A repeated axis is a new axis of stride 0 in front of it.
    let (mut split, mut steps, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for ((extent, repeat), step) in x.shape.iter().zip(&repeats).zip(strides(&x.shape)) {
        split.extend([*repeat, *extent]);
        steps.extend([0, step]);
        shape.push(
            extent
                .checked_mul(*repeat)
                .ok_or("the repeats are too large")?,
        );
    }
    within(&shape, limit)?;
    Ok(x.select(shape, strided(&split, &steps, 0)))
}

pub(super) fn gather(call: &Call<'_>, limit: usize) -> Result<Const, String> {
    let x = data(call)?;
    let indices = call.constant(1, "the indices")?;
    let axis = dims::axis(call.attributes.int("axis")?.unwrap_or(0), x.shape.len())?;
    let extent = x.shape[axis];
    let picks = indices
        .as_ints()?
        .iter()
        .map(|index| dims::axis(*index, extent))
        .collect::<Result<Vec<usize>, String>>()
        .map_err(|_| format!("an index is outside of axis {axis} of {:?}", x.shape))?;
    let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
    let outer: usize = match within(&shape, limit)? {
        0 => 0,
        _ => x.shape[..axis].iter().product(),
    };
    let inner: usize = x.shape[axis + 1..].iter().product();
    let runs = (0..outer).flat_map(|row| picks.iter().map(move |pick| row * extent + pick));
    Ok(x.select(shape, runs.flat_map(|run| run * inner..(run + 1) * inner)))
}

pub(super) fn range(call: &Call<'_>, limit: usize) -> Result<Const, String> {
    let [start, end, step] = [
        call.constant(0, "start")?,
        call.constant(1, "limit")?,
        call.constant(2, "delta")?,
    ];
    if step.is_all(0.0) {
        return Err("a range with step 0".into());
    }
    if let (Elements::Int(first), Elements::Int(end), Elements::Int(step)) =
        (&start.elements, &end.elements, &step.elements)
    {
        let [[first], [end], [step]] = [&first[..], &end[..], &step[..]] else {
            return Err("bounds that are not single numbers".into());
        };
        let distance = i128::from(*end) - i128::from(*first);
        let step = i128::from(*step);
        let signed = if step > 0 { distance } else { -distance };
        let count = (signed.max(0) + step.abs() - 1) / step.abs();
        let count = usize::try_from(count).map_err(|_| "the range is too long")?;
        within(&[count], limit)?;
        let element = |index: usize| (i128::from(*first) + index as i128 * step) as i64;
        return Ok(Const::ints((0..count).map(element).collect()));
    }
    let double = start.element_type() == ElementType::Double;
    let (first, end, step) = (start.scalar()?, end.scalar()?, step.scalar()?);
    let count = ((end - first) / step).ceil().max(0.0);
    if count.is_nan() || count > limit as f64 {
        return Err("the range is too long".into());
    }
    let count = count as usize;
    let values = (0..count).map(|index| first + index as f64 * step);
    let elements = if double {
        Elements::Double(values.collect())
    } else {
        Elements::Float(values.map(|x| x as f32).collect())
    };
    Ok(Const::new(vec![count], elements))
}

pub(super) fn slice(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let x = data(call)?;
    let spans = call.spans(&x.shape)?;
    let shape: Vec<usize> = spans.iter().map(|span| span.len).collect();
    if shape.contains(&0) {
        return Ok(x.select(shape, std::iter::empty()));
    }
    let (mut start, mut steps) = (0, Vec::with_capacity(spans.len()));
    for (span, stride) in spans.iter().zip(strides(&x.shape)) {
        start += span.start * stride as usize;
        steps.push(if span.len == 1 {
            0
        } else {
            span.step as isize * stride
        });
    }
    Ok(x.select(shape.clone(), strided(&shape, &steps, start)))
}

pub(super) fn transpose(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let x = data(call)?;
    let permutation = dims::permutation(call.attributes.ints("perm")?, x.shape.len())?;
    let all = strides(&x.shape);
    let shape: Vec<usize> = permutation.iter().map(|axis| x.shape[*axis]).collect();
    let steps: Vec<isize> = permutation.iter().map(|axis| all[*axis]).collect();
    let mut result = x.select(shape.clone(), strided(&shape, &steps, 0));
    if !result.name.is_empty() && result.name.len() < MAX_NAME {
        result.name.push_str(".transposed");
    }
    Ok(result)
}

pub(super) fn reshape(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let x = data(call)?;
    let keep_zeros = call.attributes.flag("allowzero", false)?;
    Ok(x.reshaped(dims::reshape(
        &x.shape,
        &call.ints(1, "the shape")?,
        keep_zeros,
    )?))
}

pub(super) fn flatten(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let x = data(call)?;
    Ok(x.reshaped(dims::flatten(
        &x.shape,
        call.attributes.int("axis")?.unwrap_or(1),
    )?))
}

pub(super) fn squeeze(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let x = data(call)?;
    Ok(x.reshaped(dims::squeeze(&x.shape, call.axes_since(13, 1)?.as_deref())?))
}

pub(super) fn unsqueeze(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let x = data(call)?;
    let axes = call.axes_since(13, 1)?.ok_or("the axes are missing")?;
    Ok(x.reshaped(dims::unsqueeze(&x.shape, &axes)?))
}
