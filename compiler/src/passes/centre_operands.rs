//! Centring: exponentials, logarithms and powers get operands that lie around 0.
//!
//! A range is symmetric, but the operands of these functions may lie far from 0 or on one side of
//! it: half of a range would be wasted, and that of a logarithm would reach its pole. They can
//! absorb a shift, so the operand is shifted by the middle of what calibration images show, and
//! the function by as much the other way. The shift joins the linear map in front.

use heddle_ir::eval::nn::run_with;
use heddle_ir::nn::{Activation, ChannelAffine, LinearOp, Model, Op};
use heddle_ir::{Graph, Tensor, ValueId};
use rayon::prelude::*;

use crate::error::Error;
use crate::pass::Changed;

/// The pass's name.
pub const NAME: &str = "centre-operands";

/// The least and the greatest operand.
type Interval = [f64; 2];

/// Shifts the operand of every function that has an [offset](Activation::offset) by the middle of
/// what `images` show, preprocessed and row-major `C, H, W`. Without images nothing changes.
///
/// # Errors
/// If an image has the wrong size, or gives an operand that the function is not defined on.
pub fn run(mut model: Model, images: &[Vec<f32>]) -> Result<(Model, Changed), Error> {
    let targets: Vec<(ValueId, Activation)> = model
        .activations()
        .filter_map(|value| match model.graph.node(value).op {
            Op::Activation { function, .. } => function.offset().map(|_| (value, function)),
            _ => None,
        })
        .collect();
    if targets.is_empty() || images.is_empty() {
        return Ok((model, Changed::No));
    }
    let intervals = observe(&model, images, &targets)?;
    let mut shifts = vec![None; model.graph.len()];
    for ((value, function), interval) in targets.iter().zip(intervals) {
        let name = || model.graph.node(*value).name.clone();
        let [least, greatest] = interval;
        if !(least.is_finite() && greatest.is_finite()) {
            // Calibration reports the image.
            continue;
        }
        if let Some(pole) = function.pole().filter(|pole| least <= *pole) {
            return Err(Error::Pole {
                node: name(),
                function: function.to_string(),
                pole,
                least,
            });
        }
        shifts[value.index()] = Some(middle(*function, interval));
    }
    let mut graph = Graph::new();
    let mut renumbered: Vec<ValueId> = Vec::with_capacity(model.graph.len());
    for value in model.graph.values() {
        let node = model.graph.node(value);
        let mut operands = model.graph.renumbered_operands(value, &renumbered);
        let mut op = node.op.clone();
        if let (Some(shift), Op::Activation { function, .. }) = (shifts[value.index()], &mut op) {
            // Weights are 32-bit floats, and the function absorbs exactly what they hold.
            let stored = -(shift as f32);
            let name = format!("{}.centre", node.name);
            let channels = node.ty.chw()[0];
            let tensor = Tensor::new(&*name, vec![channels], vec![stored; channels]);
            let centre = LinearOp::ChannelAffine(ChannelAffine {
                scale: None,
                shift: Some(model.weights.push(tensor)),
            });
            operands = vec![graph.add(Op::Linear(centre), &operands, node.ty.clone(), name)];
            *function = function.shifted(-f64::from(stored));
        }
        renumbered.push(graph.add(op, &operands, node.ty.clone(), node.name.clone()));
    }
    let outputs = model.graph.outputs().iter();
    graph.set_outputs(outputs.map(|output| renumbered[output.index()]).collect());
    Ok((Model { graph, ..model }, Changed::Yes))
}

/// The middle of the range that the function gets: half the spread of the operands to either side,
/// but no more than half of the way to its pole.
fn middle(function: Activation, [least, greatest]: Interval) -> f64 {
    let margin = (greatest - least) / 2.0;
    let below = match function.pole() {
        Some(pole) => margin.min((least - pole) / 2.0),
        None => margin,
    };
    (least - below + greatest + margin) / 2.0
}

/// What the images show of every target's operand, not a number where one of them is.
fn observe(
    model: &Model,
    images: &[Vec<f32>],
    targets: &[(ValueId, Activation)],
) -> Result<Vec<Interval>, Error> {
    let operands: Vec<ValueId> = targets
        .iter()
        .map(|(value, _)| model.graph.operands(*value)[0])
        .collect();
    let of_image = |image: &Vec<f32>| -> Result<Vec<Interval>, Error> {
        let mut found = vec![[f64::INFINITY, f64::NEG_INFINITY]; operands.len()];
        run_with(model, image, |value, elements| {
            for (operand, interval) in operands.iter().zip(&mut found) {
                if *operand == value {
                    *interval = elements
                        .iter()
                        .fold(*interval, |all, x| widened(all, [f64::from(*x); 2]));
                }
            }
        })?;
        Ok(found)
    };
    let all: Vec<Result<Vec<Interval>, Error>> = images.par_iter().map(of_image).collect();
    let mut joined = vec![[f64::INFINITY, f64::NEG_INFINITY]; operands.len()];
    for of_image in all {
        for (interval, found) in joined.iter_mut().zip(of_image?) {
            *interval = widened(*interval, found);
        }
    }
    Ok(joined)
}

/// The smallest interval that holds both, not a number where one is not.
fn widened([low, high]: Interval, [least, greatest]: Interval) -> Interval {
    let pick = |a: f64, b: f64, first: bool| match (a.is_nan() || b.is_nan(), first) {
        (true, _) => f64::NAN,
        (false, true) => a,
        (false, false) => b,
    };
    [
        pick(low, least, low <= least),
        pick(high, greatest, high >= greatest),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_reach_half_the_spread_further_but_not_to_the_pole() {
        let exp = Activation::Exp { offset: 0.0 };
        assert_eq!(middle(exp, [2.0, 6.0]), 4.0);
        // From 0.5 to 8: half the way to the pole at 0, half the spread upwards.
        let log = Activation::Log { offset: 0.0 };
        assert_eq!(middle(log, [1.0, 5.0]), 3.75);
        assert_eq!(middle(log, [4.0, 6.0]), 5.0);
    }

    #[test]
    fn intervals_grow_and_keep_what_is_not_a_number() {
        let empty = [f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(widened(empty, [1.0; 2]), [1.0; 2]);
        assert_eq!(widened([1.0, 2.0], [-1.0, 1.5]), [-1.0, 2.0]);
        assert!(
            widened([1.0, 2.0], [f64::NAN; 2])
                .iter()
                .all(|x| x.is_nan())
        );
    }
}
