//! How far bounds go beyond what calibration images show.

use std::ops::RangeInclusive;

use heddle_ir::nn::Model;

use super::{Bound, BoundOrigin, IMAGE_MARGIN};
use crate::error::Error;

/// The margins that a [`Policy`] may have.
pub const MARGINS: RangeInclusive<f64> = 1.0..=1000.0;

/// How far beyond its bound a pixel's element may lie before it counts as no pixel: the rounding of
/// the preprocessing.
const ROUNDING: f64 = 1e-6;

/// How bounds follow from calibration images.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// A bound is this factor times the largest |value| among the images; within [`MARGINS`].
    pub margin: f64,
    /// What is known of the input without calibration.
    pub input: InputBound,
}

/// What is known of the input's elements before any image is seen. Both bounds are positive and
/// finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InputBound {
    /// Images are pixels, and the preprocessing gives no |element| above this. The bound is exact,
    /// unless a calibration image shows that it does not hold: then it is as for tensors.
    Pixels(f64),
    /// Images are tensors of any numbers. The input gets the margin of all ranges, and at least
    /// this bound.
    Tensors(f64),
}

impl From<f64> for Policy {
    /// Pixels of this bound, with the margin [`IMAGE_MARGIN`].
    fn from(pixels: f64) -> Self {
        Self {
            margin: IMAGE_MARGIN,
            input: InputBound::Pixels(pixels),
        }
    }
}

impl Policy {
    /// # Errors
    /// [`Error::Margin`] if the margin is not within [`MARGINS`].
    pub(super) fn check(&self) -> Result<(), Error> {
        match MARGINS.contains(&self.margin) {
            true => Ok(()),
            false => Err(Error::Margin {
                margin: self.margin,
            }),
        }
    }

    /// The bound of the input's elements; `given` is the user's.
    ///
    /// # Errors
    /// [`Error::RangeTooSmall`] if a calibration image exceeds the user's bound.
    pub(super) fn input_range(
        &self,
        model: &Model,
        images: &[Vec<f32>],
        given: Option<f64>,
    ) -> Result<f64, Error> {
        let largest = images.iter().flatten().fold(0.0, |largest: f64, element| {
            largest.max(f64::from(element.abs()))
        });
        if let Some(value) = given {
            let bound = Bound {
                value,
                origin: BoundOrigin::User,
            };
            let input = model.inputs().next();
            let name = input.map(|input| model.graph.node(input).name.clone());
            let name = name.unwrap_or_default();
            return Ok(bound.checked(name, Some(largest), self.margin)?.bound);
        }
        Ok(match self.input {
            InputBound::Pixels(bound) if largest <= bound * (1.0 + ROUNDING) => bound.max(largest),
            InputBound::Pixels(bound) | InputBound::Tensors(bound) => {
                bound.max(self.margin * largest)
            }
        })
    }
}
