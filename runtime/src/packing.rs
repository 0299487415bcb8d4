//! From images to the slots of a plan's input, and from the slots of its output to classes.

use heddle_ir::plan::{InputPacking, InputPiece};
use heddle_ir::slot::SlotType;
use zeroize::Zeroizing;

use crate::Error;

/// How far beyond its range an element of the input may lie, for the rounding of the preprocessing.
const SLACK: f64 = 1e-6;

/// A preprocessed image.
#[derive(Clone, Debug, PartialEq)]
pub struct InputTensor {
    /// What errors call it.
    pub name: String,
    /// Row-major `C, H, W`.
    pub elements: Vec<f32>,
}

/// What a plan says of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The index of the largest value.
    pub class: usize,
    /// One value for each class: logits or probabilities.
    pub values: Vec<f64>,
}

impl Prediction {
    /// The prediction of these logits or probabilities.
    pub fn of(values: Vec<f64>) -> Self {
        Self {
            class: class_of(&values),
            values,
        }
    }
}

/// One period of slots for each piece of the input, of a row-major `C, H, W` tensor.
///
/// # Errors
/// If the tensor has another size than the input, or an element is not within the input's range.
pub fn pack(input: &InputPacking, name: &str, tensor: &[f32]) -> Result<Vec<Vec<f64>>, Error> {
    let fail = |message: String| Error::Input {
        what: format!("`{name}`"),
        message,
    };
    let elements = input.elements();
    if tensor.len() != elements {
        return Err(fail(format!(
            "it has {} elements, but the plan takes {elements}",
            tensor.len()
        )));
    }
    let range = input.range;
    let within = |x: &&f32| f64::from(x.abs()) <= range * (1.0 + SLACK);
    if let Some(outside) = tensor.iter().find(|x| !within(x)) {
        return Err(fail(format!(
            "an element is {outside}, but the plan takes values up to {range}\nhelp: preprocess the tensor as the \
             model wants it, or compile with the right `--preprocess`"
        )));
    }
    let scaled: Vec<f64> = tensor.iter().map(|x| f64::from(*x) / range).collect();
    let scaled = Zeroizing::new(scaled);
    let pack = |InputPiece { region, layout }: &InputPiece| {
        let elements = Zeroizing::new(region.cut(&scaled, input.shape));
        layout.pack(&elements)
    };
    Ok(input.pieces.iter().map(pack).collect())
}

/// The tensor that one period of the output's slots holds: the logits.
///
/// # Errors
/// If there are fewer slots than the output's layout takes.
pub fn unpack(output: &SlotType, slots: &[f64]) -> Result<Vec<f64>, Error> {
    let layout = &output.layout;
    if slots.len() < layout.period() {
        return Err(Error::Input {
            what: "the result".into(),
            message: format!(
                "it has {} slots, but the plan's has {}",
                slots.len(),
                layout.period()
            ),
        });
    }
    Ok(layout
        .unpack(slots)
        .into_iter()
        .map(|slot| slot * output.range)
        .collect())
}

/// The index of the largest logit; the first of equals, 0 for none.
pub fn class_of(logits: &[f64]) -> usize {
    let mut best = 0;
    for (index, logit) in logits.iter().enumerate() {
        if logits[best] < *logit {
            best = index;
        }
    }
    best
}
