//! From a parsed file to a model: what is needed, in which order, and all that is wrong with it.

mod order;

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use heddle_ir::nn::{AxisOrder, Model, Op, Region, TensorType};
use heddle_ir::{Note, verify};
use indexmap::IndexSet;
use onnx_protobuf::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use onnx_protobuf::{tensor_shape_proto, type_proto};
use sha2::Digest;

use super::attr::Attributes;
use super::build::Graph;
use super::call::{Call, Traced, Value};
use super::external::ExternalData;
use super::tensor::{Const, ElementType, check_rank};
use super::view::View;
use super::{ImportOptions, Parsed};
use super::{fold, ops, opset};
use crate::error::{Problem, Problems};

/// Most problems that are kept, and most bytes of a sentence in one.
const MAX_PROBLEMS: usize = 1000;
const MAX_MESSAGE: usize = 1000;

/// Work of a node, its constants apart.
const NODE: usize = 64;

/// Bytes that an axis of a value takes.
const AXIS: usize = 64;

/// Bytes that a folded constant takes, its elements and its name apart.
const CONSTANT: usize = 256;

/// Imports a parsed model.
pub(super) fn import(
    name: &str,
    parsed: &Parsed,
    external: ExternalData,
    options: &ImportOptions,
) -> Result<Model, Problems> {
    let Parsed { proto, digest, .. } = parsed;
    let mut importer = Importer::new(parsed, external, options);
    importer.run(proto);
    if !importer.problems.is_empty() {
        return Err(importer.problems());
    }
    let mut digest = digest.clone();
    for file in importer.external.files() {
        digest.update(file);
    }
    let graph_name = proto.graph.name.as_str();
    let graph = importer.graph.inner.pruned(|op| matches!(op, Op::Input));
    let inputs = graph.select(|op| matches!(op, Op::Input));
    let input_regions = inputs.map(|input| Region::whole(graph.ty(input).chw()));
    let mut model = Model {
        input_regions: input_regions.collect(),
        name: if graph_name.is_empty() {
            name
        } else {
            graph_name
        }
        .to_string(),
        digest: digest.finalize().into(),
        graph,
        weights: importer.graph.weights,
        input_order: importer.input_order,
        notes: importer.notes,
    };
    model.make_printable();
    let violations = verify::nn::verify(&model);
    if violations.is_empty() {
        return Ok(model);
    }
    let more = violations.len().saturating_sub(MAX_PROBLEMS);
    let problem = |violation: verify::Violation| Problem {
        subject: violation
            .value
            .map_or_else(|| "graph".into(), |value| value.to_string()),
        kind: "model".into(),
        message: violation.message,
    };
    let first = violations.into_iter().take(MAX_PROBLEMS);
    Err(Problems {
        list: first.map(problem).collect(),
        more,
    })
}

/// The beginning of a text that may be any length.
fn shortened(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

/// What has become of an ONNX tensor.
enum Slot {
    Ready(Value),
    /// Something that it depends on has been reported.
    Failed,
}

struct Importer<'a> {
    options: &'a ImportOptions,
    external: ExternalData,
    /// Bytes of the model's file.
    length: usize,
    proto: &'a GraphProto,
    opset: i64,
    graph: Graph,
    slots: HashMap<&'a str, Slot>,
    /// Elements of folded constants so far.
    folded: usize,
    input_order: AxisOrder,
    notes: Vec<Note>,
    problems: IndexSet<Problem>,
    /// Problems that are not kept.
    more: usize,
}

impl<'a> Importer<'a> {
    fn new(parsed: &'a Parsed, external: ExternalData, options: &'a ImportOptions) -> Self {
        Self {
            options,
            external,
            length: parsed.length,
            proto: &parsed.proto.graph,
            opset: opset::NEWEST,
            graph: Graph::default(),
            slots: HashMap::new(),
            folded: 0,
            input_order: AxisOrder::Chw,
            notes: Vec::new(),
            problems: IndexSet::new(),
            more: 0,
        }
    }

    fn problem(&mut self, subject: &str, kind: &str, message: impl Into<String>) {
        if self.problems.len() == MAX_PROBLEMS {
            self.more += 1;
            return;
        }
        self.problems.insert(Problem {
            subject: shortened(subject.into(), MAX_MESSAGE),
            kind: shortened(kind.into(), MAX_MESSAGE),
            message: shortened(message.into(), MAX_MESSAGE),
        });
    }

    fn problems(self) -> Problems {
        Problems {
            list: self.problems.into_iter().collect(),
            more: self.more,
        }
    }

    fn run(&mut self, model: &'a ModelProto) {
        match opset::version(model) {
            Ok(version) => {
                if version > opset::NEWEST {
                    self.notes.push(Note::NewOperatorSet {
                        version,
                        read_as: opset::NEWEST,
                    });
                }
                self.opset = version.min(opset::NEWEST);
            }
            Err(message) => return self.problem("opset_import", "model", message),
        }
        let producers = self.producers();
        let Some(output) = self.output(&producers) else {
            return;
        };
        let live = self.live(&producers, output);
        self.load_initializers(&live.tensors);
        self.bind_inputs(&live.tensors);
        for index in self.in_order(&producers, &live.nodes) {
            self.node(&self.proto.node[index], &live.tensors);
        }
        if self.problems.is_empty() {
            self.finish(output);
        }
    }

    fn load_initializers(&mut self, live: &BTreeSet<&'a str>) {
        for proto in &self.proto.initializer {
            if live.contains(proto.name.as_str()) {
                match self.load(proto) {
                    Some(constant) => self.define(&proto.name, Value::Const(Rc::new(constant))),
                    None => {
                        self.slots.insert(&proto.name, Slot::Failed);
                    }
                }
            }
        }
        for sparse in &self.proto.sparse_initializer {
            let name = sparse.values.name.as_str();
            if live.contains(name) {
                self.problem(name, "initializer", "is sparse; store it densely");
                self.slots.insert(name, Slot::Failed);
            }
        }
    }

    /// Reads a tensor of the file, or reports why it cannot be read.
    fn load(&mut self, proto: &TensorProto) -> Option<Const> {
        let (subject, kind, message) = match self.external.bytes(proto) {
            Ok((bytes, read)) => {
                let [elements, size] = Const::size_of_load(proto, bytes);
                let budget = &mut self.graph.budget;
                let room = budget.load(elements, size, self.length + read);
                match room.and_then(|()| Const::load(proto, bytes)) {
                    Ok(constant) => return Some(constant),
                    Err(message) => (proto.name.clone(), "initializer", message),
                }
            }
            Err(failure) => match failure.file {
                Some(file) => (file, "external data", failure.message),
                None => (proto.name.clone(), "initializer", failure.message),
            },
        };
        self.problem(&subject, kind, message);
        None
    }

    fn define(&mut self, name: &'a str, value: Value) {
        self.slots.insert(name, Slot::Ready(value));
    }

    /// Makes the image of the one graph input that is not an initialiser.
    fn bind_inputs(&mut self, live: &BTreeSet<&'a str>) {
        let inputs: Vec<&'a ValueInfoProto> = self
            .proto
            .input
            .iter()
            .filter(|input| !self.slots.contains_key(input.name.as_str()))
            .filter(|input| live.contains(input.name.as_str()))
            .collect();
        if let [input] = inputs[..] {
            match self.image(input) {
                Ok(value) => self.define(&input.name, value),
                Err(message) => {
                    self.problem(&input.name, "input", message);
                    self.slots.insert(&input.name, Slot::Failed);
                }
            }
            return;
        }
        for input in &inputs {
            self.slots.insert(&input.name, Slot::Failed);
        }
        let names: Vec<String> = inputs
            .iter()
            .map(|input| format!("`{}`", input.name))
            .collect();
        let message = if names.is_empty() {
            "the output does not depend on any input".into()
        } else {
            format!("has inputs {}; one image is supported", names.join(", "))
        };
        self.problem("graph", "model", message);
    }

    fn image(&mut self, input: &ValueInfoProto) -> Result<Value, String> {
        let Some(type_proto::Value::TensorType(tensor)) = &input.type_.value else {
            return Err("is not a tensor".into());
        };
        if !ElementType::from_onnx(tensor.elem_type.into()).is_ok_and(ElementType::is_float) {
            return Err("does not hold floats; export the network with a float input".into());
        }
        let shape = tensor.shape.as_ref().ok_or("declares no shape")?;
        let extents: Vec<Option<usize>> = shape.dim.iter().map(extent).collect();
        let shown = || {
            let dims: Vec<String> = shape.dim.iter().map(show_dim).collect();
            format!("[{}]", dims.join(", "))
        };
        // What comes behind the batch, with leading extents of 1 that ONNX leaves out.
        let one = Some(1);
        let (batch, rest) = match extents[..] {
            [batch, a, b, c] => (Some(batch), [a, b, c]),
            [None, height, width] => (Some(None), [one, height, width]),
            [a, b, c] => (None, [a, b, c]),
            [batch, features] => (Some(batch), [one, one, features]),
            _ => {
                return Err(format!(
                    "has shape {}; an image of [batch, channels, height, width] is expected, a grey one \
                     of [batch, height, width], or a vector of [batch, features]",
                    shown()
                ));
            }
        };
        let [Some(a), Some(b), Some(c)] = rest else {
            return Err(format!(
                "has shape {}; channels, height and width must be fixed: export the network for \
                 one image size (only the batch may be dynamic)",
                shown()
            ));
        };
        match batch {
            None | Some(Some(1)) => {}
            Some(None) => {
                let input = input.name.clone();
                self.notes.push(Note::BatchFixed { input });
            }
            Some(Some(batch)) => {
                return Err(format!(
                    "has a batch of {batch}; export the network with a batch of 1 or a dynamic one"
                ));
            }
        }
        // An image has few channels and larger planes.
        let last = c <= 4 && a > 4;
        let (order, shape) = if last {
            (AxisOrder::Hwc, [c, a, b])
        } else {
            (AxisOrder::Chw, [a, b, c])
        };
        let ty = TensorType::new(shape);
        // The input's own type is checked as that of an operation that leaves it alone.
        verify::nn::infer(&Op::Identity, &[&ty], &self.graph.weights)?;
        let id = self
            .graph
            .inner
            .add(Op::Input, &[], ty.clone(), &*input.name);
        self.input_order = order;
        let batch_axis: &[usize] = if batch.is_some() { &[1] } else { &[] };
        let image = Traced {
            id,
            view: View::image(&ty, order, batch_axis),
        };
        if extents.len() == image.view.dims().len() {
            return Ok(Value::Traced(image));
        }
        let dims: Vec<usize> = extents.iter().map(|extent| extent.unwrap_or(1)).collect();
        self.graph.reshaped(&image, &dims, &input.name)
    }

    fn node(&mut self, node: &'a NodeProto, live: &BTreeSet<&'a str>) {
        let name = node_name(node);
        let supported = opset::is_default(&node.domain)
            && (ops::builder(&node.op_type).is_some()
                || ops::splitter(&node.op_type).is_some()
                || fold::evaluator(&node.op_type).is_some());
        let result = if supported {
            self.inputs(node)
                .and_then(|inputs| self.apply(node, inputs).map_err(Some))
        } else {
            Err(Some(opset::refusal(&node.domain, &node.op_type)))
        };
        let values = match result {
            Ok(values) => values,
            Err(message) => {
                if let Some(message) = message {
                    self.problem(name, &node.op_type, message);
                }
                for output in &node.output {
                    self.slots.insert(output, Slot::Failed);
                }
                return;
            }
        };
        let mut values = values.into_iter();
        for output in &node.output {
            match values.next() {
                Some(value) => self.define(output, value),
                None if live.contains(output.as_str()) => {
                    let message =
                        format!("its output `{output}` is used; only the first is supported");
                    self.problem(name, &node.op_type, message);
                    self.slots.insert(output, Slot::Failed);
                }
                None => {}
            }
        }
    }

    /// The node's inputs; `Err(None)` if one has failed, which has been reported.
    fn inputs(&self, node: &'a NodeProto) -> Result<Vec<Option<Value>>, Option<String>> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match self.slots.get(name.as_str()) {
                _ if name.is_empty() => None,
                Some(Slot::Ready(value)) => Some(value.clone()),
                Some(Slot::Failed) => return Err(None),
                None => return Err(Some(format!("input `{name}` is not available"))),
            });
        }
        Ok(inputs)
    }

    /// The node's outputs; only the first, unless the operator is known to have more.
    fn apply(
        &mut self,
        node: &'a NodeProto,
        inputs: Vec<Option<Value>>,
    ) -> Result<Vec<Value>, String> {
        let mut inputs = inputs;
        if !ops::takes_any_view(&node.op_type) {
            for input in inputs.iter_mut().flatten() {
                if let Value::Traced(x) = input {
                    *x = self.graph.settled(x, node_name(node))?;
                }
            }
        }
        let constant = inputs
            .iter()
            .flatten()
            .all(|input| matches!(input, Value::Const(_)));
        let touched = inputs.iter().flatten().map(|input| match input {
            Value::Const(constant) => constant.len(),
            Value::Traced(_) => 0,
        });
        self.graph.budget.work(NODE + touched.sum::<usize>())?;
        let call = Call {
            name: node_name(node),
            op: &node.op_type,
            opset: self.opset,
            attributes: Attributes::new(node),
            outputs: node.output.len(),
            inputs,
        };
        if let Some(split) = ops::splitter(call.op) {
            let values = split(&mut self.graph, &call)?;
            call.attributes.finish()?;
            return Ok(values);
        }
        let value = match (fold::evaluator(call.op), ops::builder(call.op)) {
            (Some(evaluate), _) if constant => {
                let mut result = self.folded(evaluate, &call)?;
                if result.name.is_empty() {
                    result.name = node.output.first().cloned().unwrap_or_default();
                }
                let bytes = CONSTANT + result.name.len();
                self.graph.budget.take(bytes)?;
                Value::Const(Rc::new(result))
            }
            (_, Some(build)) => build(&mut self.graph, &call)?,
            _ => return Err("supported on constants only, but depends on the image".into()),
        };
        call.attributes.finish()?;
        self.graph.budget.take(AXIS * value.dims().len())?;
        Ok(vec![value])
    }

    /// Evaluates a node within what is left for constants.
    fn folded(&mut self, evaluate: fold::Evaluator, call: &Call<'_>) -> Result<Const, String> {
        let budget = &mut self.graph.budget;
        if call.op == "Constant"
            && let Some(tensor) = call.attributes.tensor("value")?
        {
            // The file's own elements, as an initialiser's.
            let [elements, bytes] = Const::size_of_load(tensor, None);
            budget.load(elements, bytes, self.length)?;
            return evaluate(call, elements);
        }
        let most = budget.loaded_elements().saturating_mul(2);
        let most = most.saturating_add(self.options.max_folded_elements);
        let left = most.saturating_sub(self.folded);
        let result = evaluate(call, left)?;
        check_rank(result.shape.len())?;
        if result.len() > left {
            return Err(format!(
                "a constant of shape {:?} is too large to be evaluated",
                result.shape
            ));
        }
        budget.work(result.len())?;
        self.folded += result.len();
        Ok(result)
    }

    fn finish(&mut self, output: &'a str) {
        match self.slots.get(output) {
            Some(Slot::Ready(Value::Traced(x))) => {
                let x = x.clone();
                let id = match self.graph.is_in_order(&x) {
                    true => Ok(x.id),
                    false => self.graph.in_order(&x, output),
                };
                match id {
                    Ok(id) => self.graph.inner.set_outputs(vec![id]),
                    Err(message) => self.problem(output, "output", message),
                }
            }
            Some(Slot::Ready(Value::Const(_))) => {
                self.problem(output, "output", "does not depend on the image");
            }
            _ => self.problem(output, "output", "is not produced by any node"),
        }
    }
}

fn node_name(node: &NodeProto) -> &str {
    if node.name.is_empty() {
        node.output.first().map_or("", String::as_str)
    } else {
        &node.name
    }
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

fn show_dim(dim: &tensor_shape_proto::Dimension) -> String {
    match &dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(extent)) => extent.to_string(),
        Some(tensor_shape_proto::dimension::Value::DimParam(name)) => name.clone(),
        _ => "?".into(),
    }
}
