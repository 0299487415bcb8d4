//! From a parsed file to a model: what is needed, in which order, and all that is wrong with it.

mod axes;
mod expand;
mod inputs;
mod order;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use heddle_ir::nn::{AxisOrder, Model, Op, Region};
use heddle_ir::{Note, verify};
use indexmap::IndexSet;
use onnx_protobuf::{GraphProto, NodeProto, TensorProto};
use sha2::Digest;

use expand::{Node, expand};
use inputs::{Dependence, shown_shape};
use order::Output;

use super::attr::Attributes;
use super::budget::Budget;
use super::build::Graph;
use super::call::{Call, Value};
use super::external::ExternalData;
use super::tensor::{Const, check_rank};
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
    let mut budget = Budget::default();
    let version = opset::version(proto);
    let opset = version.as_ref().map_or(opset::NEWEST, |version| *version);
    let nodes = expand(proto, opset.min(opset::NEWEST), &mut budget);
    let mut importer = Importer::new(parsed, &nodes, external, options);
    importer.graph.budget = budget;
    match version {
        Ok(version) => importer.run(version),
        Err(message) => importer.problem("opset_import", "model", message),
    }
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
    /// It, or something that it depends on, has been reported.
    Failed(Dependence),
}

struct Importer<'a> {
    options: &'a ImportOptions,
    external: ExternalData,
    /// Bytes of the model's file.
    length: usize,
    /// Bytes of inputs that are given as constants.
    given: usize,
    proto: &'a GraphProto,
    /// The graph's nodes, functions expanded.
    nodes: &'a [Node<'a>],
    graph: Graph,
    slots: HashMap<&'a str, Slot>,
    /// Values that stand for others of their shape, which have been reported.
    stand_ins: HashSet<&'a str>,
    /// Elements of folded constants so far.
    folded: usize,
    input_order: AxisOrder,
    notes: Vec<Note>,
    problems: IndexSet<Problem>,
    /// Problems that are not kept.
    more: usize,
}

impl<'a> Importer<'a> {
    fn new(
        parsed: &'a Parsed,
        nodes: &'a [Node<'a>],
        external: ExternalData,
        options: &'a ImportOptions,
    ) -> Self {
        Self {
            options,
            external,
            length: parsed.length,
            given: 0,
            proto: &parsed.proto.graph,
            nodes,
            graph: Graph::default(),
            slots: HashMap::new(),
            stand_ins: HashSet::new(),
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

    fn run(&mut self, version: i64) {
        if version > opset::NEWEST {
            self.notes.push(Note::NewOperatorSet {
                version,
                read_as: opset::NEWEST,
            });
        }
        let producers = self.producers();
        let outputs = self.outputs(&producers);
        if outputs.is_empty() {
            return;
        }
        let live = self.live(&producers, &outputs);
        self.fix_inputs();
        self.load_initializers(&live.tensors);
        let order = self.in_order(&producers, &live.nodes);
        self.bind_inputs(&live.tensors, &order);
        for index in order {
            self.node(&self.nodes[index], &live.tensors);
        }
        match outputs[..] {
            [output] if self.problems.is_empty() => self.finish(output.logits),
            [_] => {}
            _ => self.report_outputs(&outputs),
        }
    }

    /// Asks which of several outputs is meant.
    fn report_outputs(&mut self, outputs: &[Output<'a>]) {
        let shown: Vec<String> = outputs
            .iter()
            .map(|output| {
                let mut declared = self.proto.output.iter();
                let declared = declared.find(|declared| declared.name == output.name);
                let shape = match self.slots.get(output.logits) {
                    Some(Slot::Ready(value)) => format!("{:?}", value.dims()),
                    _ => declared.map_or_else(String::new, shown_shape),
                };
                format!("`{}` {shape}", output.name)
            })
            .collect();
        let message = format!(
            "has the outputs {}; say which with `--output-name NAME`",
            shown.join(", ")
        );
        self.problem("graph", "model", message);
    }

    fn node_at(&self, index: usize) -> &'a NodeProto {
        let nodes = self.nodes;
        &nodes[index].proto
    }

    fn load_initializers(&mut self, live: &BTreeSet<&'a str>) {
        for proto in &self.proto.initializer {
            let name = proto.name.as_str();
            if live.contains(name) && !self.slots.contains_key(name) {
                match self.load(proto) {
                    Some(constant) => self.define(&proto.name, Value::Const(Rc::new(constant))),
                    None => self.fail(name, Dependence::Constants),
                }
            }
        }
        for sparse in &self.proto.sparse_initializer {
            let name = sparse.values.name.as_str();
            if live.contains(name) {
                self.problem(name, "initializer", "is sparse; store it densely");
                self.fail(name, Dependence::Constants);
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

    fn node(&mut self, node: &'a Node<'a>, live: &BTreeSet<&'a str>) {
        let (opset, refused, node) = (node.opset, &node.refused, &*node.proto);
        let name = node_name(node);
        let known = opset::is_default(&node.domain);
        let evaluated = known && fold::evaluator(&node.op_type).is_some();
        let built = known
            && (ops::builder(&node.op_type).is_some() || ops::splitter(&node.op_type).is_some());
        let dependence = self.dependence(node);
        let result = match refused {
            Some(message) => Err(Some(message.clone())),
            None if evaluated || built => match self.inputs(node) {
                Ok(inputs) => self.apply(node, opset, inputs).map_err(Some),
                // Behind something unknown this is a problem of its own.
                Err(None) if !built && dependence == Dependence::Image && !self.follows(node) => {
                    Err(Some(opset::refusal_on_image(&node.op_type)))
                }
                Err(message) => Err(message),
            },
            None => Err(Some(opset::refusal(&node.domain, &node.op_type))),
        };
        let values = match result {
            Ok(values) => values,
            Err(message) => {
                let reported = message.is_some() && !self.follows(node);
                if let Some(message) = message.filter(|_| reported) {
                    self.problem(name, &node.op_type, message);
                }
                self.stand_in(node, dependence);
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
                    self.fail(output, dependence);
                }
                None => {}
            }
        }
    }

    /// Whether a node is the second half of a pair whose first half has been reported.
    fn follows(&self, node: &NodeProto) -> bool {
        let input = node.input.first().map(String::as_str);
        node.op_type == "DequantizeLinear"
            && input.is_some_and(|input| match self.slots.get(input) {
                Some(Slot::Failed(_)) => true,
                _ => self.stand_ins.contains(input),
            })
    }

    /// What a node that cannot be built leaves for the report: where its result has the shape of
    /// its operand, the operand in its place, else nothing.
    fn stand_in(&mut self, node: &'a NodeProto, dependence: Dependence) {
        let operand = node
            .input
            .first()
            .map(|input| self.slots.get(input.as_str()));
        let keeps_shape = opset::is_default(&node.domain)
            && (self.follows(node) || opset::SHAPE_KEEPING.contains(&node.op_type.as_str()));
        let value = match operand {
            Some(Some(Slot::Ready(value @ Value::Traced(_)))) if keeps_shape => Some(value.clone()),
            _ => None,
        };
        for (index, output) in node.output.iter().enumerate() {
            match &value {
                Some(value) if index == 0 => {
                    self.define(output, value.clone());
                    self.stand_ins.insert(output);
                }
                _ => self.fail(output, dependence),
            }
        }
    }

    /// What the outputs of a node depend on.
    fn dependence(&self, node: &NodeProto) -> Dependence {
        let on_image = node.input.iter().any(|input| {
            matches!(
                self.slots.get(input.as_str()),
                Some(Slot::Ready(Value::Traced(_)) | Slot::Failed(Dependence::Image))
            )
        });
        match on_image {
            true => Dependence::Image,
            false => Dependence::Constants,
        }
    }

    /// The node's inputs; `Err(None)` if one has failed, which has been reported.
    fn inputs(&self, node: &'a NodeProto) -> Result<Vec<Option<Value>>, Option<String>> {
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match self.slots.get(name.as_str()) {
                _ if name.is_empty() => None,
                Some(Slot::Ready(value)) => Some(value.clone()),
                Some(Slot::Failed(_)) => return Err(None),
                None => return Err(Some(format!("input `{name}` is not available"))),
            });
        }
        Ok(inputs)
    }

    /// The node's outputs; only the first, unless the operator is known to have more.
    fn apply(
        &mut self,
        node: &'a NodeProto,
        opset: i64,
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
            opset,
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
            _ => return Err(opset::refusal_on_image(call.op)),
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
