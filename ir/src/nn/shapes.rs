//! Rules for shapes that several operations share. An error is a sentence that says what does not
//! fit.

use super::{TensorType, Window};
use crate::weights::{Tensor, WeightId, Weights};

/// Most elements that one value may have; keeps every product of extents far from overflow.
pub const MAX_ELEMENTS: usize = 1 << 28;

/// Largest stride, dilation, extent or padding of a window.
const MAX_WINDOW: usize = 1 << 16;

pub(crate) fn check_type(ty: &TensorType) -> Result<(), String> {
    if !matches!(ty.shape.len(), 1 | 3) {
        return Err(format!("{ty} is neither `C×H×W` nor a vector"));
    }
    let elements = ty
        .shape
        .iter()
        .try_fold(1_usize, |all, extent| all.checked_mul(*extent));
    match elements {
        Some(0) => Err(format!("{ty} is empty")),
        Some(1..=MAX_ELEMENTS) => Ok(()),
        _ => Err(format!("{ty} has more than {MAX_ELEMENTS} elements")),
    }
}

pub(crate) fn check_feature_map(operand: &TensorType) -> Result<(), String> {
    if operand.shape.len() == 3 {
        Ok(())
    } else {
        Err(format!("expected a `C×H×W` operand, found {operand}"))
    }
}

/// Height and width of what a window makes of a feature map.
pub(crate) fn slide(
    window: &Window,
    [channels, height, width]: [usize; 3],
) -> Result<[usize; 2], String> {
    let sizes = window
        .kernel
        .iter()
        .chain(&window.stride)
        .chain(&window.dilation);
    if sizes.clone().any(|size| *size == 0)
        || sizes.chain(&window.pads).any(|size| *size > MAX_WINDOW)
    {
        return Err(format!(
            "a window with an extent of 0 or above {MAX_WINDOW}"
        ));
    }
    let [top, left, bottom, right] = window.pads;
    check_type(&TensorType::new([
        channels,
        height + top + bottom,
        width + left + right,
    ]))?;
    window.output(height, width).ok_or_else(|| {
        format!(
            "a window of {:?} does not fit into {height}×{width}",
            window.kernel
        )
    })
}

/// The operand's rank with new extents; a vector must stay one.
pub(crate) fn with_extents(operand: &TensorType, shape: [usize; 3]) -> Result<TensorType, String> {
    match (operand.shape.len(), shape) {
        (3, _) => Ok(TensorType::new(shape)),
        (_, [features, 1, 1]) => Ok(TensorType::new([features])),
        _ => Err(format!("{operand} has no height and width")),
    }
}

pub(crate) fn existing(weights: &Weights, id: WeightId) -> Result<&Tensor, String> {
    weights
        .try_get(id)
        .ok_or_else(|| format!("weight {id} does not exist"))
}

/// Checks that a weight, where there is one, has one axis of `extent` elements.
pub(crate) fn check_vector(
    weights: &Weights,
    id: Option<WeightId>,
    extent: usize,
    role: &str,
) -> Result<(), String> {
    let Some(id) = id else { return Ok(()) };
    let found = existing(weights, id)?;
    if found.shape == [extent] {
        Ok(())
    } else {
        Err(format!(
            "{role} `{}` has shape {:?}, expected [{extent}]",
            found.name, found.shape
        ))
    }
}
