//! From images to the slots of a plan's input, and from the slots of its output to classes.

use heddle_ir::plan::{InputPacking, InputPiece};
use heddle_ir::slot::SlotType;
use zeroize::Zeroizing;

use crate::Error;

/// How far beyond its range an element of the input may lie, for the rounding of the preprocessing.
const SLACK: f64 = 1e-6;

/// How far beyond its range a number of an answer may lie, as a fraction of it: probabilities reach
/// their range, a range that the user gave may be the largest logit itself, and activations are
/// approximated.
const ANSWER_SLACK: f64 = 1.0 / 16.0;

/// Whether a number of an answer, over the plan's range, is one: what is further out, infinite or
/// NaN comes from a polynomial that diverged, from other keys, or from a server that made it up.
pub(crate) fn is_in_range(slot: f64) -> bool {
    slot.abs() <= 1.0 + ANSWER_SLACK
}

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
/// If the tensor has another size than the input, or, as [`Error::InputRange`], an element is not
/// within the input's range.
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
    let within = |x: &f32| f64::from(x.abs()) <= range * (1.0 + SLACK);
    // The furthest one says how much wider the range must be; a NaN is further than any number.
    let outside = tensor.iter().copied().filter(|x| !within(x));
    if let Some(element) = outside.max_by(|a, b| a.abs().total_cmp(&b.abs())) {
        return Err(Error::InputRange {
            image: name.to_owned(),
            element,
            range,
        });
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
/// If there are fewer slots than the output's layout takes, or, as [`Error::OutOfRange`], a number
/// is beyond the plan's range: then none of them is an answer.
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
    let mut values = layout.unpack(slots);
    // Every number is compared, so that the time does not tell which one is out of range.
    if !values
        .iter()
        .fold(true, |all, slot| all & is_in_range(*slot))
    {
        return Err(Error::OutOfRange {
            what: "the answer".into(),
        });
    }
    values.iter_mut().for_each(|slot| *slot *= output.range);
    Ok(values)
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
