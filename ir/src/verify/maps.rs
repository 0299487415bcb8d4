//! What holds for linear maps and layouts in both the packed graph and the schedule.

use crate::layout::MultiplexedLayout;
use crate::linear::parallel::ParallelConvolution;
use crate::linear::siso::SisoConvolution;
use crate::linear::{LinearMap, LinearTerm};
use crate::nn::{LinearOp, TensorType};
use crate::slot::Chebyshev;
use crate::verify::nn;
use crate::weights::Weights;

/// Most slots that a packed value may have: those of the largest ring.
pub(super) const MAX_SLOTS: usize = 1 << 16;

/// Largest extent of a layout; keeps products of extents far from overflow.
const MAX_EXTENT: usize = 1 << 16;

/// Most elements between two operations of a chain.
const MAX_ELEMENTS: usize = 1 << 22;

/// Most entries of one operation's matrix.
const MAX_ENTRIES: usize = 1 << 28;

/// Largest extent of a window and of its pads inside a linear map; bounds the work of expanding it.
const MAX_WINDOW: usize = 1 << 10;

/// Highest degree of a polynomial.
const MAX_DEGREE: usize = 1 << 10;

/// Checks that every element has a slot of its own and that the period fits `max_slots`.
pub(super) fn check_layout(layout: &MultiplexedLayout, max_slots: usize) -> Result<(), String> {
    let MultiplexedLayout {
        gap,
        height,
        width,
        channels,
        grid_height,
        grid_width,
    } = *layout;
    let [down, right] = gap;
    let extents = [
        down,
        right,
        height,
        width,
        channels,
        grid_height,
        grid_width,
    ];
    if extents
        .iter()
        .any(|extent| !(1..=MAX_EXTENT).contains(extent))
    {
        return Err(format!("{layout} has an extent of 0 or above {MAX_EXTENT}"));
    }
    if !layout.is_consistent() {
        return Err(format!("{layout} does not fit its grid"));
    }
    if layout.period() > max_slots {
        return Err(format!(
            "{layout} needs {} slots; there are {max_slots}",
            layout.period()
        ));
    }
    Ok(())
}

/// Whether all layouts of a map pass [`check_layout`], and its shares [`check_shares`].
pub(super) fn layouts_are_sound(map: &LinearMap, max_slots: usize) -> bool {
    let inputs = map.terms.iter().map(|term| &term.input);
    let mut layouts = inputs.chain([&map.output]);
    layouts.all(|layout| check_layout(layout, max_slots).is_ok())
        && check_shares(map, max_slots).is_ok()
}

/// What is wrong with the number of shares of a map whose layouts are sound.
fn check_shares(map: &LinearMap, max_slots: usize) -> Result<(), String> {
    let shares = 1usize.checked_shl(map.log_shares);
    let period = shares.and_then(|shares| shares.checked_mul(map.output.period()));
    match period {
        Some(period) if period <= max_slots => Ok(()),
        _ => Err(format!(
            "2^{} shares of {} slots; there are {max_slots}",
            map.log_shares,
            map.output.period()
        )),
    }
}

/// Everything that is wrong with a map; chains are followed only when the weights are given.
pub(super) fn check_map(
    map: &LinearMap,
    weights: Option<&Weights>,
    max_slots: usize,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if map.terms.is_empty() {
        wrong.push("has no terms".to_owned());
    }
    if !map.bias_factor.is_finite() {
        wrong.push(format!("has the bias factor {}", map.bias_factor));
    }
    let output = check_layout(&map.output, max_slots);
    let output_fits = output.is_ok();
    match output {
        Ok(()) => wrong.extend(check_shares(map, max_slots).err()),
        Err(message) => wrong.push(format!("result: {message}")),
    }
    for (index, term) in map.terms.iter().enumerate() {
        let mut complain = |message: String| wrong.push(format!("term {index}: {message}"));
        if !term.factor.is_finite() {
            complain(format!("the factor is {}", term.factor));
        }
        if let Err(message) = check_layout(&term.input, max_slots) {
            complain(message);
        } else if let Some(weights) = weights.filter(|_| output_fits)
            && let Err(message) = check_chain(term, &map.output, weights)
        {
            complain(message);
        }
    }
    wrong
}

/// Everything that is wrong with a map that is to be a multiplexed parallel convolution in
/// ciphertexts of `slots` slots.
pub(super) fn check_parallel(
    map: &LinearMap,
    weights: Option<&Weights>,
    slots: usize,
) -> Vec<String> {
    if slots > MAX_SLOTS {
        return vec![format!("{slots} slots are above {MAX_SLOTS}")];
    }
    let mut wrong = check_map(map, weights, slots);
    wrong.extend(check_whole(map));
    if wrong.is_empty()
        && let Err(error) = ParallelConvolution::of(map, slots)
    {
        wrong.push(error.to_string());
    }
    wrong
}

/// What is wrong with the shares of a map that is not evaluated by its diagonals.
fn check_whole(map: &LinearMap) -> Option<String> {
    (map.log_shares > 0).then(|| {
        format!(
            "has 2^{} shares, which diagonals alone have",
            map.log_shares
        )
    })
}

/// Everything that is wrong with a map that is to be a SISO convolution.
pub(super) fn check_siso(map: &LinearMap, weights: Option<&Weights>) -> Vec<String> {
    let mut wrong = check_map(map, weights, MAX_SLOTS);
    wrong.extend(check_whole(map));
    if wrong.is_empty()
        && let Err(error) = SisoConvolution::of(map)
    {
        wrong.push(error.to_string());
    }
    wrong
}

fn check_chain(
    term: &LinearTerm,
    output: &MultiplexedLayout,
    weights: &Weights,
) -> Result<(), String> {
    let mut ty = TensorType::new([term.input.channels, term.input.height, term.input.width]);
    for op in &term.ops {
        // Packed values have no rank: a vector is a feature map of one pixel a channel.
        ty = match op {
            LinearOp::Gemm(_) => TensorType::new([ty.elements()]),
            _ => TensorType::new(ty.chw()),
        };
        let operation = op.as_operation();
        if let Some(window) = operation.window() {
            let largest = window.kernel.iter().chain(&window.pads).max();
            if largest.is_some_and(|extent| *extent > MAX_WINDOW) {
                return Err(format!("a window with an extent above {MAX_WINDOW}"));
            }
        }
        ty = nn::infer_linear(op, &ty, weights)?;
        if ty.elements() > MAX_ELEMENTS {
            return Err(format!("{ty} has more than {MAX_ELEMENTS} elements"));
        }
        if ty.elements().saturating_mul(operation.row_entries(weights)) > MAX_ENTRIES {
            return Err(format!("its matrix has more than {MAX_ENTRIES} entries"));
        }
    }
    let elements = output.channels * output.height * output.width;
    if ty.elements() == elements {
        Ok(())
    } else {
        Err(format!(
            "ends in {ty}, the result's layout holds {elements} elements"
        ))
    }
}

/// Checks that a polynomial has coefficients, all finite, and a degree that can be evaluated.
pub(super) fn check_polynomial(polynomial: &Chebyshev) -> Result<(), String> {
    let coefficients = &polynomial.coefficients;
    if coefficients.is_empty() {
        return Err("has no coefficients".to_owned());
    }
    if polynomial.degree() > MAX_DEGREE {
        return Err(format!(
            "has degree {}; at most {MAX_DEGREE}",
            polynomial.degree()
        ));
    }
    match coefficients
        .iter()
        .find(|coefficient| !coefficient.is_finite())
    {
        Some(coefficient) => Err(format!("has the coefficient {coefficient}")),
        None => Ok(()),
    }
}
