//! Typed readers of a node's attributes.
//!
//! The default of an optional attribute is given where it is read, as ONNX's text states it.
//! [`Attributes::finish`] refuses attributes that nothing has read, so that none is ignored.

use std::cell::RefCell;
use std::collections::BTreeSet;

use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::{AttributeProto, NodeProto, TensorProto};

/// The attributes of one node.
pub(super) struct Attributes<'a> {
    node: &'a NodeProto,
    read: RefCell<BTreeSet<&'a str>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(node: &'a NodeProto) -> Self {
        Self {
            node,
            read: RefCell::default(),
        }
    }

    fn get(&self, name: &str) -> Option<&'a AttributeProto> {
        let attribute = self
            .node
            .attribute
            .iter()
            .find(|attribute| attribute.name == name)?;
        self.read.borrow_mut().insert(&attribute.name);
        Some(attribute)
    }

    /// The attribute, checked against the fields that older files fill without naming the type.
    fn typed(
        &self,
        name: &str,
        wanted: AttributeType,
    ) -> Result<Option<&'a AttributeProto>, String> {
        let Some(attribute) = self.get(name) else {
            return Ok(None);
        };
        if !attribute.ref_attr_name.is_empty() {
            return Err(format!(
                "attribute `{name}` refers to a function's parameter"
            ));
        }
        match attribute.type_.enum_value() {
            Ok(found) if found == wanted || found == AttributeType::UNDEFINED => {
                Ok(Some(attribute))
            }
            found => {
                let found = found.map_or_else(|number| number.to_string(), |ty| format!("{ty:?}"));
                Err(format!(
                    "attribute `{name}` has type {found}, expected {wanted:?}"
                ))
            }
        }
    }

    /// An integer.
    pub(super) fn int(&self, name: &str) -> Result<Option<i64>, String> {
        Ok(self
            .typed(name, AttributeType::INT)?
            .map(|attribute| attribute.i))
    }

    /// A flag, stored as 0 or 1.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(format!("attribute `{name}` is {other}, expected 0 or 1")),
        }
    }

    /// A list of integers.
    pub(super) fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, String> {
        Ok(self
            .typed(name, AttributeType::INTS)?
            .map(|attribute| attribute.ints.as_slice()))
    }

    /// A list of `N` integers of at least `least`.
    pub(super) fn extents<const N: usize>(
        &self,
        name: &str,
        least: usize,
    ) -> Result<Option<[usize; N]>, String> {
        let Some(values) = self.ints(name)? else {
            return Ok(None);
        };
        let extents: Vec<usize> = values
            .iter()
            .filter_map(|value| usize::try_from(*value).ok().filter(|value| *value >= least))
            .collect();
        if values.len() != N || extents.len() != N {
            return Err(format!(
                "attribute `{name}` is {values:?}, expected {N} numbers of at least {least} (1-D \
                 and 2-D layers only)"
            ));
        }
        Ok(extents.try_into().ok())
    }

    /// A finite float.
    pub(super) fn float(&self, name: &str) -> Result<Option<f32>, String> {
        let value = self
            .typed(name, AttributeType::FLOAT)?
            .map(|attribute| attribute.f);
        match value {
            Some(value) if value.is_nan() => Err(format!("attribute `{name}` is NaN")),
            value => Ok(value),
        }
    }

    /// A list of floats.
    pub(super) fn floats(&self, name: &str) -> Result<Option<&'a [f32]>, String> {
        Ok(self
            .typed(name, AttributeType::FLOATS)?
            .map(|attribute| attribute.floats.as_slice()))
    }

    /// A string.
    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, String> {
        let Some(attribute) = self.typed(name, AttributeType::STRING)? else {
            return Ok(None);
        };
        std::str::from_utf8(&attribute.s)
            .map(Some)
            .map_err(|_| format!("attribute `{name}` is not text"))
    }

    /// A tensor.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<&'a TensorProto>, String> {
        let attribute = self.typed(name, AttributeType::TENSOR)?;
        Ok(attribute.and_then(|attribute| attribute.t.as_ref()))
    }

    /// Marks attributes that have no bearing on inference as read.
    pub(super) fn ignore(&self, names: &[&str]) {
        for name in names {
            self.get(name);
        }
    }

    /// Refuses attributes that nothing has read.
    pub(super) fn finish(&self) -> Result<(), String> {
        let read = self.read.borrow();
        let unread: Vec<String> = self
            .node
            .attribute
            .iter()
            .filter(|attribute| !read.contains(attribute.name.as_str()))
            .map(|attribute| format!("`{}`", attribute.name))
            .collect();
        if unread.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "attribute {} is not supported here",
                unread.join(", ")
            ))
        }
    }
}
