//! Weights that are stored as integers with a scale.

use crate::onnx::call::Call;
use crate::onnx::dims;
use crate::onnx::tensor::{Const, ElementType, Elements};

/// `DequantizeLinear`: `(x - zero)·scale`, with one scale, one for every index along an axis, or
/// one for every block of them.
pub(super) fn dequantize(call: &Call<'_>, _: usize) -> Result<Const, String> {
    let x = call.constant(0, "the integers")?;
    let scale = call.constant(1, "the scale")?;
    let zero = call.optional_constant(2, "the zero point")?;
    // The element type of the result, which the scale has, too.
    call.attributes.ignore(&["output_dtype"]);
    let given_axis = call.attributes.int("axis")?.unwrap_or(1);
    let block = call.attributes.int("block_size")?.unwrap_or(0);
    let block = usize::try_from(block).map_err(|_| format!("`block_size` is {block}"))?;
    let Elements::Int(integers) = &x.elements else {
        return Err(format!("`{}` should hold integers", x.name));
    };
    if !scale.element_type().is_float() {
        return Err(format!("the scale `{}` should hold floats", scale.name));
    }
    if zero.is_some_and(|zero| zero.element_type() != ElementType::Int || zero.len() != scale.len())
    {
        return Err(format!(
            "the zero point should hold as many integers as the scale `{}` has elements",
            scale.name
        ));
    }
    let scales = Scales::of(&x.shape, &scale.shape, given_axis, block)?.ok_or_else(|| {
        format!(
            "the scale `{}` of shape {:?} does not fit `{}` of shape {:?}",
            scale.name, scale.shape, x.name, x.shape
        )
    })?;
    let numbers = integers.iter().enumerate().map(|(index, integer)| {
        let place = scales.place(index);
        let zero = zero.map_or(0.0, |zero| zero.double(place));
        (*integer as f64 - zero) * scale.double(place)
    });
    let elements = match scale.element_type() {
        ElementType::Double => Elements::Double(numbers.collect()),
        _ => Elements::Float(numbers.map(|number| number as f32).collect()),
    };
    let mut result = Const::new(x.shape.clone(), elements);
    result.name.clone_from(&x.name);
    Ok(result)
}

/// Which elements share a scale.
enum Scales {
    /// All.
    One,
    /// Those of one index along an axis of `extent`; `inner` elements lie between two indices.
    Axis { extent: usize, inner: usize },
    /// Those of one index of the other axes and of `block` indices along one.
    Blocks {
        extent: usize,
        inner: usize,
        block: usize,
        /// Number of blocks along the axis.
        count: usize,
    },
}

impl Scales {
    /// Scales of the shape `scales` for a tensor of the shape `shape`; `None` if they do not fit.
    fn of(
        shape: &[usize],
        scales: &[usize],
        axis: i64,
        block: usize,
    ) -> Result<Option<Self>, String> {
        if block == 0 && scales.len() <= 1 && scales.iter().all(|extent| *extent == 1) {
            return Ok(Some(Self::One));
        }
        let axis = dims::axis(axis, shape.len())?;
        let extent = shape[axis];
        let inner = shape[axis + 1..].iter().product::<usize>().max(1);
        if block == 0 {
            return Ok((scales == [extent]).then_some(Self::Axis { extent, inner }));
        }
        let count = extent.div_ceil(block);
        let mut wanted = shape.to_vec();
        wanted[axis] = count;
        Ok((scales == wanted).then_some(Self::Blocks {
            extent,
            inner,
            block,
            count,
        }))
    }

    /// The index of the scale of the element `index`.
    fn place(&self, index: usize) -> usize {
        match *self {
            Self::One => 0,
            Self::Axis { extent, inner } => index / inner % extent,
            Self::Blocks {
                extent,
                inner,
                block,
                count,
            } => {
                let (row, column) = (index / inner, index % inner);
                (row / extent * count + row % extent / block) * inner + column
            }
        }
    }
}
