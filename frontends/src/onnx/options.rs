//! What a caller says about a model, most of all what its file leaves open.

use std::path::Path;
use std::str::FromStr;

use heddle_ir::nn::AxisOrder;

use super::tensor::MAX_RANK;
use crate::image;

/// Limits of an import, and what the caller says about the model.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportOptions {
    /// Most elements that all constants made by evaluating nodes may have together, beyond two
    /// for every element of the file's own tensors. Those do not count: they cannot be larger than
    /// their file.
    pub max_folded_elements: usize,
    /// The value that a plan computes: the name of an output, or of any value or node inside the
    /// graph, where the network is cut. `None` means the model's one output.
    pub output: Option<String>,
    /// Inputs that are constants from now on. All but one of a model's inputs must be.
    pub fixed_inputs: Vec<FixedInput>,
    /// Extents that the file leaves open.
    pub input_shapes: Vec<InputShape>,
    /// The axis order of the image; `None` lets the network's operations decide.
    pub input_order: Option<AxisOrder>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            max_folded_elements: 1 << 24,
            output: None,
            fixed_inputs: Vec::new(),
            input_shapes: Vec::new(),
            input_order: None,
        }
    }
}

/// A model's input that is given as a constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedInput {
    /// The input's name.
    pub input: String,
    /// The tensor's extents, batch included.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub elements: Vec<f64>,
}

impl FixedInput {
    /// Reads the tensor from an `.npy` file.
    ///
    /// # Errors
    /// If the file cannot be read, is no `.npy` tensor of numbers or too large.
    pub fn read(input: &str, path: &Path) -> Result<Self, image::Error> {
        let (shape, elements) = image::read_tensor(path)?;
        let input = input.to_owned();
        Ok(Self {
            input,
            shape,
            elements,
        })
    }
}

/// The shape of an input whose file leaves extents open.
///
/// As text it is `1,3,224,224`, or `NAME=1,3,224,224` where the model has several inputs. A `?`
/// leaves an extent as the model has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputShape {
    /// The input's name; `None` means the only one that is not fixed.
    pub input: Option<String>,
    /// All extents, batch included; `None` leaves one as it is.
    pub extents: Vec<Option<usize>>,
}

impl FromStr for InputShape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (input, list) = match text.rsplit_once('=') {
            Some(("", _)) => return Err("the input's name is missing in front of `=`".into()),
            Some((name, list)) => (Some(name.to_owned()), list),
            None => (None, text),
        };
        let extents = list
            .split(',')
            .map(|extent| match extent.trim() {
                "?" => Ok(None),
                number => number
                    .parse::<usize>()
                    .ok()
                    .filter(|extent| *extent > 0)
                    .map(Some)
                    .ok_or_else(|| {
                        format!(
                            "`{number}` is no extent; write a shape as `1,3,224,224`, or \
                             `NAME=1,3,224,224`"
                        )
                    }),
            })
            .collect::<Result<Vec<_>, String>>()?;
        if extents.len() > MAX_RANK {
            return Err(format!(
                "it has {} extents; at most {MAX_RANK} are read",
                extents.len()
            ));
        }
        Ok(Self { input, extents })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_with_and_without_a_name() {
        let plain: InputShape = "1, 3,224,?".parse().unwrap();
        assert_eq!(plain.input, None);
        assert_eq!(plain.extents, [Some(1), Some(3), Some(224), None]);
        let named: InputShape = "a=b=2".parse().unwrap();
        assert_eq!(named.input.as_deref(), Some("a=b"));
        assert_eq!(named.extents, [Some(2)]);
        for wrong in ["", "1,", "x", "0", "-1", "=1", "n=", &"1,".repeat(40)] {
            assert!(wrong.parse::<InputShape>().is_err(), "{wrong}");
        }
        let long = vec!["1"; MAX_RANK + 1].join(",");
        assert!(long.parse::<InputShape>().unwrap_err().contains("at most"));
    }
}
