//! The model's inputs: the image, and those that are given as constants.

use std::collections::BTreeSet;
use std::rc::Rc;

use heddle_ir::nn::{Op, TensorType};
use heddle_ir::{Note, verify};
use onnx_protobuf::{ValueInfoProto, tensor_shape_proto, type_proto};

use super::axes::{self, Axes};
use super::{Importer, Slot};
use crate::onnx::call::{Traced, Value};
use crate::onnx::options::{FixedInput, InputShape};
use crate::onnx::tensor::{Const, ElementType, Elements, check_rank, element_count};
use crate::onnx::view::View;

/// Most inputs that one sentence names.
const MAX_NAMES: usize = 20;

impl<'a> Importer<'a> {
    /// Makes constants of the inputs that the caller gives.
    pub(super) fn fix_inputs(&mut self) {
        for fixed in &self.options.fixed_inputs {
            let mut declared = self.proto.input.iter();
            let declared = declared.find(|input| input.name == fixed.input);
            let made = match declared {
                Some(input) => self.fixed(input, fixed),
                None => Err(format!(
                    "is no input of the model; its inputs are {}",
                    self.names(self.proto.input.iter())
                )),
            };
            match (made, declared) {
                (Ok(constant), Some(input)) => {
                    self.define(&input.name, Value::Const(Rc::new(constant)));
                }
                (Err(message), declared) => {
                    self.problem(&fixed.input, "input", message);
                    if let Some(input) = declared {
                        self.fail(&input.name, Dependence::Constants);
                    }
                }
                (Ok(_), None) => {}
            }
        }
    }

    fn fixed(&mut self, input: &ValueInfoProto, fixed: &FixedInput) -> Result<Const, String> {
        check_rank(fixed.shape.len())?;
        let count = element_count(&fixed.shape)?;
        if count != fixed.elements.len() {
            return Err(format!(
                "is given {} elements for the shape {:?}",
                fixed.elements.len(),
                fixed.shape
            ));
        }
        let bytes = count.saturating_mul(size_of::<f64>());
        self.given = self.given.saturating_add(bytes);
        let budget = &mut self.graph.budget;
        budget.load(count, bytes, self.length.saturating_add(self.given))?;
        let (kind, declared) = declared(input)?;
        if let Some(dims) = &declared {
            let fits = dims.len() == fixed.shape.len()
                && dims
                    .iter()
                    .zip(&fixed.shape)
                    .all(|(dim, given)| dim.is_none_or(|dim| dim == *given));
            if !fits {
                return Err(format!(
                    "has shape {}, but is given a tensor of shape {:?}",
                    shown_shape(input),
                    fixed.shape
                ));
            }
        }
        let doubles = Const::new(
            fixed.shape.clone(),
            Elements::Double(fixed.elements.clone()),
        );
        let mut constant = doubles.cast(kind)?;
        constant.name.clone_from(&input.name);
        Ok(constant)
    }

    /// Makes the image of the one live input that is not a constant.
    pub(super) fn bind_inputs(&mut self, live: &BTreeSet<&'a str>, order: &[usize]) {
        let free: Vec<&'a ValueInfoProto> = self
            .proto
            .input
            .iter()
            .filter(|input| !self.slots.contains_key(input.name.as_str()))
            .filter(|input| live.contains(input.name.as_str()))
            .collect();
        self.check_shapes(&free);
        match free[..] {
            [input] => {
                if let Err(message) = self.bind(input, order) {
                    self.problem(&input.name, "input", message);
                    self.fail(&input.name, Dependence::Image);
                }
            }
            [] => self.problem("graph", "model", "the output does not depend on any input"),
            _ => {
                let names = self.names(free.iter().copied());
                let message = format!(
                    "has inputs {names}; one image is supported: give the others as constants with \
                     `--input NAME=FILE.npy`"
                );
                self.problem("graph", "model", message);
                // The largest is taken for the image, so that what comes behind is reported, too.
                let largest = free.iter().enumerate().max_by_key(|(index, input)| {
                    let extents = declared(input).ok().and_then(|(_, extents)| extents);
                    let extents = extents.unwrap_or_default();
                    let known = extents.iter().flatten();
                    let elements = known.fold(1_usize, |all, extent| all.saturating_mul(*extent));
                    (extents.len(), elements, std::cmp::Reverse(*index))
                });
                let image = largest.map(|(index, _)| index);
                for (index, input) in free.into_iter().enumerate() {
                    if Some(index) != image {
                        self.fail(&input.name, Dependence::Constants);
                    } else if let Err(message) = self.bind(input, order) {
                        self.problem(&input.name, "input", message);
                        self.fail(&input.name, Dependence::Image);
                    }
                }
            }
        }
    }

    /// Reports shapes that belong to no input.
    fn check_shapes(&mut self, free: &[&ValueInfoProto]) {
        for shape in &self.options.input_shapes {
            match &shape.input {
                Some(name) if free.iter().any(|input| input.name == *name) => {}
                None if free.len() <= 1 => {}
                Some(name) => {
                    let message = format!(
                        "is given a shape, but is no input that the output depends on and that is \
                         not fixed; those are {}",
                        self.names(free.iter().copied())
                    );
                    self.problem(name, "input", message);
                }
                None => {
                    let message = "a shape is given without a name; write \
                                   `--input-shape NAME=1,3,224,224`";
                    self.problem("graph", "model", message);
                }
            }
        }
    }

    /// Inputs with their shapes, in a list for a sentence.
    fn names<'i>(&self, inputs: impl Iterator<Item = &'i ValueInfoProto> + Clone) -> String {
        let count = inputs.clone().count();
        let shown = inputs.take(MAX_NAMES);
        let mut names: Vec<String> = shown
            .map(|input| format!("`{}` {}", input.name, shown_shape(input)))
            .collect();
        match count {
            0 => return "none".into(),
            1..=MAX_NAMES => {}
            _ => names.push(format!("{} more", count - MAX_NAMES)),
        }
        names.join(", ")
    }

    /// Makes an input the image.
    fn bind(&mut self, input: &'a ValueInfoProto, order: &[usize]) -> Result<(), String> {
        let value = self.image(input, order)?;
        self.define(&input.name, value);
        Ok(())
    }

    fn image(&mut self, input: &'a ValueInfoProto, order: &[usize]) -> Result<Value, String> {
        let (kind, mut extents) = declared(input)?;
        if kind == ElementType::Bool {
            return Err("holds booleans; export the network with an input of numbers".into());
        }
        let mut shapes = self.options.input_shapes.iter();
        let given = shapes.find(|shape| match &shape.input {
            Some(name) => *name == input.name,
            None => true,
        });
        if let Some(given) = given {
            extents = Some(completed(input, extents, given)?);
        }
        let extents = extents.ok_or(
            "declares no shape; give it as `--input-shape 1,3,224,224` (batch, channels, height, \
             width)",
        )?;
        let nodes = self.nodes;
        let in_order = order.iter().map(|index| &nodes[*index]);
        let seen = axes::follow(self.proto, in_order, &input.name, extents.len());
        let axes = axes::decide(&extents, seen, self.options.input_order).ok_or_else(|| {
            format!(
                "has shape {}; an image of [batch, channels, height, width] is expected, a grey one \
                 of [batch, height, width], a signal of [batch, channels, time], or a vector of \
                 [batch, features]",
                shown_shape(input)
            )
        })?;
        let dims = self.fixed_extents(input, &extents, &axes)?;
        let shape = axes.chw().map(|axis| axis.map_or(1, |axis| dims[axis]));
        let ty = TensorType::new(shape);
        // The input's own type is checked as that of an operation that leaves it alone.
        verify::nn::infer(&Op::Identity, &[&ty], &self.graph.weights)?;
        if kind == ElementType::Int {
            self.check_casts(&input.name, order)?;
            let input = input.name.clone();
            self.notes.push(Note::IntegerInput { input });
        }
        let id = self
            .graph
            .inner
            .add(Op::Input, &[], ty.clone(), &*input.name);
        self.input_order = axes.order();
        let behind = |axis: usize| {
            let inner = axes.chw().iter().position(|own| *own == Some(axis));
            inner
                .filter(|inner| shape[*inner] != 1)
                .into_iter()
                .collect()
        };
        let behind = (0..dims.len()).map(behind).collect();
        let view = View::of_axes(dims, behind);
        self.graph.flattened(Traced { id, view }, &input.name)
    }

    /// All extents; a batch that is open becomes 1.
    fn fixed_extents(
        &mut self,
        input: &ValueInfoProto,
        extents: &[Option<usize>],
        axes: &Axes,
    ) -> Result<Vec<usize>, String> {
        let mut dims = Vec::with_capacity(extents.len());
        let mut open = false;
        for (axis, extent) in extents.iter().enumerate() {
            let is_content = axes.chw().contains(&Some(axis));
            match extent {
                Some(extent) if is_content || *extent == 1 => dims.push(*extent),
                Some(batch) if axes.batch == Some(axis) => {
                    return Err(format!(
                        "has a batch of {batch}; export the network with a batch of 1 or a dynamic \
                         one"
                    ));
                }
                Some(extent) => {
                    return Err(format!(
                        "has shape {}, of which axis {axis} with {extent} elements is neither \
                         channels, height nor width",
                        shown_shape(input)
                    ));
                }
                None if is_content => {
                    open = true;
                    dims.push(1);
                }
                None => {
                    dims.push(1);
                    let input = input.name.clone();
                    let note = Note::BatchFixed { input };
                    if !self.notes.contains(&note) {
                        self.notes.push(note);
                    }
                }
            }
        }
        if !open {
            return Ok(dims);
        }
        let example: Vec<String> = extents
            .iter()
            .enumerate()
            .map(|(axis, extent)| match extent {
                Some(extent) => extent.to_string(),
                None if axes.batch == Some(axis) => "1".into(),
                None if axes.channels == Some(axis) => "CHANNELS".into(),
                None if axes.height == Some(axis) => "HEIGHT".into(),
                None => "WIDTH".into(),
            })
            .collect();
        Err(format!(
            "has shape {}; channels, height and width must be fixed: give them with \
             `--input-shape {}`, or export the network for one size (only the batch may be dynamic)",
            shown_shape(input),
            example.join(",")
        ))
    }

    /// Refuses what computes with integers before they are cast to floats: a division or an
    /// overflow would differ.
    fn check_casts(&self, input: &str, order: &[usize]) -> Result<(), String> {
        let mut integers = BTreeSet::from([input]);
        for node in order.iter().map(|index| &self.nodes[*index].proto) {
            let reads = node.input.iter();
            if !reads
                .map(String::as_str)
                .any(|name| integers.contains(name))
            {
                continue;
            }
            match node.op_type.as_str() {
                "Cast" | "CastLike" | "Shape" | "Size" | "DequantizeLinear" => {}
                "Identity" | "Reshape" | "Transpose" | "Squeeze" | "Unsqueeze" | "Flatten"
                | "Slice" | "Split" | "Concat" | "Gather" | "Pad" | "Dropout" => {
                    integers.extend(node.output.iter().map(String::as_str));
                }
                op => {
                    return Err(format!(
                        "holds integers, and {op} `{}` computes with them; cast the input to \
                         float32 first in the network",
                        super::node_name(node)
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What a failed value depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dependence {
    Image,
    Constants,
}

impl<'a> Importer<'a> {
    /// Marks a tensor as unknown; why has been reported.
    pub(super) fn fail(&mut self, name: &'a str, of: Dependence) {
        self.slots.insert(name, Slot::Failed(of));
    }
}

/// Extents, as far as they are fixed.
type Extents = Vec<Option<usize>>;

/// Element type and extents of an input; no extents without a shape.
fn declared(input: &ValueInfoProto) -> Result<(ElementType, Option<Extents>), String> {
    let Some(type_proto::Value::TensorType(tensor)) = &input.type_.value else {
        return Err("is not a tensor".into());
    };
    let kind = ElementType::from_onnx(tensor.elem_type.into())?;
    let Some(shape) = tensor.shape.as_ref() else {
        return Ok((kind, None));
    };
    check_rank(shape.dim.len())?;
    Ok((kind, Some(shape.dim.iter().map(extent).collect())))
}

/// The declared extents, with those that `given` adds.
fn completed(
    input: &ValueInfoProto,
    declared: Option<Extents>,
    given: &InputShape,
) -> Result<Extents, String> {
    let Some(declared) = declared else {
        return Ok(given.extents.clone());
    };
    if declared.len() != given.extents.len() {
        return Err(format!(
            "has shape {}, but `--input-shape` gives {} extents",
            shown_shape(input),
            given.extents.len()
        ));
    }
    let pairs = declared.iter().zip(&given.extents).enumerate();
    pairs
        .map(|(axis, pair)| match pair {
            (Some(own), Some(given)) if own != given => Err(format!(
                "has shape {}, but `--input-shape` gives {given} for axis {axis}; only dynamic \
                 extents can be chosen",
                shown_shape(input)
            )),
            (own, given) => Ok(own.or(*given)),
        })
        .collect()
}

/// An extent, if it is fixed.
fn extent(dim: &tensor_shape_proto::Dimension) -> Option<usize> {
    match &dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(extent)) => {
            usize::try_from(*extent).ok().filter(|extent| *extent > 0)
        }
        _ => None,
    }
}

/// The declared shape of an input or output, for a sentence.
pub(super) fn shown_shape(value: &ValueInfoProto) -> String {
    let Some(type_proto::Value::TensorType(tensor)) = &value.type_.value else {
        return "(no tensor)".into();
    };
    let Some(shape) = tensor.shape.as_ref() else {
        return "of unknown shape".into();
    };
    let dims: Vec<String> = shape.dim.iter().take(32).map(show_dim).collect();
    format!("[{}]", dims.join(", "))
}

fn show_dim(dim: &tensor_shape_proto::Dimension) -> String {
    match &dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(extent)) => extent.to_string(),
        Some(tensor_shape_proto::dimension::Value::DimParam(name)) => name.clone(),
        _ => "?".into(),
    }
}
