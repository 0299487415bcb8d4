//! One node as the evaluators of constants and the builders of operators see it.

use std::rc::Rc;

use heddle_ir::ValueId;

use super::attr::Attributes;
use super::dims::{self, Span};
use super::tensor::Const;
use super::view::View;

/// What an ONNX tensor is to the importer.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Known without an image.
    Const(Rc<Const>),
    /// Depends on the image.
    Traced(Traced),
}

impl Value {
    /// The ONNX tensor's shape.
    pub(super) fn dims(&self) -> &[usize] {
        match self {
            Self::Const(constant) => &constant.shape,
            Self::Traced(traced) => traced.view.dims(),
        }
    }
}

/// A value of the graph, seen as an ONNX tensor.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    pub(super) id: ValueId,
    pub(super) view: View,
}

/// One ONNX node with its inputs resolved.
pub(super) struct Call<'a> {
    /// The node's name, or its first output's.
    pub(super) name: &'a str,
    pub(super) op: &'a str,
    /// Version of the default operator set.
    pub(super) opset: i64,
    pub(super) attributes: Attributes<'a>,
    /// Number of outputs that the node names.
    pub(super) outputs: usize,
    /// One entry an input; `None` where an optional one is left out.
    pub(super) inputs: Vec<Option<Value>>,
}

impl Call<'_> {
    fn optional(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    pub(super) fn input(&self, index: usize) -> Result<&Value, String> {
        self.optional(index)
            .ok_or_else(|| format!("input {index} is missing"))
    }

    /// An input that depends on the image.
    pub(super) fn traced(&self, index: usize) -> Result<&Traced, String> {
        match self.input(index)? {
            Value::Traced(traced) => Ok(traced),
            Value::Const(constant) => {
                Err(format!("input {index} (`{}`) is a constant", constant.name))
            }
        }
    }

    /// An input that must be known without an image; `role` says what it is to the operator.
    pub(super) fn constant(&self, index: usize, role: &str) -> Result<&Rc<Const>, String> {
        self.optional_constant(index, role)?
            .ok_or_else(|| format!("input {index} ({role}) is missing"))
    }

    pub(super) fn optional_constant(
        &self,
        index: usize,
        role: &str,
    ) -> Result<Option<&Rc<Const>>, String> {
        match self.optional(index) {
            None => Ok(None),
            Some(Value::Const(constant)) => Ok(Some(constant)),
            Some(Value::Traced(_)) => Err(format!(
                "input {index} ({role}) depends on the image; it must be constant"
            )),
        }
    }

    pub(super) fn optional_ints(
        &self,
        index: usize,
        role: &str,
    ) -> Result<Option<Vec<i64>>, String> {
        let constant = self.optional_constant(index, role)?;
        constant.map(|constant| list(constant)).transpose()
    }

    pub(super) fn ints(&self, index: usize, role: &str) -> Result<Vec<i64>, String> {
        list(self.constant(index, role)?)
    }

    /// Axes that are an attribute before operator set `since` and input `index` from there on.
    pub(super) fn axes_since(&self, since: i64, index: usize) -> Result<Option<Vec<i64>>, String> {
        if self.opset < since {
            return Ok(self.attributes.ints("axes")?.map(<[i64]>::to_vec));
        }
        self.optional_ints(index, "the axes")
    }

    /// What a slice keeps of every axis, from attributes before operator set 10 and from inputs
    /// since.
    pub(super) fn spans(&self, extents: &[usize]) -> Result<Vec<Span>, String> {
        let list = |name: &str, index: usize| -> Result<Option<Vec<i64>>, String> {
            if self.opset < 10 {
                return Ok(self.attributes.ints(name)?.map(<[i64]>::to_vec));
            }
            self.optional_ints(index, name)
        };
        let starts = list("starts", 1)?.ok_or("the starts are missing")?;
        let ends = list("ends", 2)?.ok_or("the ends are missing")?;
        let axes = list("axes", 3)?;
        let steps = match self.opset {
            ..10 => None,
            _ => list("steps", 4)?,
        };
        dims::spans(extents, &starts, &ends, axes.as_deref(), steps.as_deref())
    }
}

/// Most entries of a list of axes, extents, pads or sizes.
const MAX_LIST: usize = 1 << 12;

/// The elements of a constant that lists axes, extents, pads or sizes.
fn list(constant: &Const) -> Result<Vec<i64>, String> {
    let ints = constant.as_ints()?;
    if ints.len() > MAX_LIST {
        return Err(format!(
            "`{}` has {} elements, at most {MAX_LIST} are read of a list",
            constant.name,
            ints.len()
        ));
    }
    Ok(ints.to_vec())
}
