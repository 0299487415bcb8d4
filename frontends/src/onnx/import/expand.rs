//! Nodes that stand for several: calls of the model's own functions, and fused operators.
//!
//! Both are replaced by what they stand for before anything else looks at the graph. A value of a
//! function's body is named after the node that calls it, `call/value`. Whatever is copied is
//! charged to the budget first: functions that call others twice each would grow without bound.

mod fused;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use onnx_protobuf::{AttributeProto, FunctionProto, Message, ModelProto, NodeProto};

use super::node_name;
use crate::onnx::budget::Budget;
use crate::onnx::opset;
use crate::onnx::wire::MAX_NAME;

/// Deepest nesting of calls.
const MAX_DEPTH: usize = 64;

/// Bytes that a copied node or attribute takes beyond its length in a file.
const COPY: usize = 512;

/// A node of the expanded graph.
pub(super) struct Node<'a> {
    pub(super) proto: Cow<'a, NodeProto>,
    /// Version of the default operator set that it is written in.
    pub(super) opset: i64,
    /// Why it was not replaced by what it stands for.
    pub(super) refused: Option<String>,
}

/// The nodes of a model with every call replaced by its body, in the order of the file.
pub(super) fn expand<'a>(model: &'a ModelProto, opset: i64, budget: &mut Budget) -> Vec<Node<'a>> {
    let mut functions = HashMap::new();
    for function in &model.functions {
        functions
            .entry(key(&function.domain, &function.name, &function.overload))
            .or_insert(function);
    }
    let mut expander = Expander {
        functions,
        budget,
        taken: HashSet::new(),
        fresh: 0,
        nodes: Vec::with_capacity(model.graph.node.len()),
        calls: Vec::new(),
    };
    let replaced = |node: &NodeProto| {
        node.domain == opset::FUSED || expander.functions.contains_key(&key_of(node))
    };
    if model.graph.node.iter().any(replaced) {
        let values = model.graph.node.iter().flat_map(|node| &node.output);
        let inputs = model.graph.input.iter().map(|input| &input.name);
        let tensors = model.graph.initializer.iter().map(|tensor| &tensor.name);
        let all = values.chain(inputs).chain(tensors);
        expander.taken = all.map(|name| Cow::Borrowed(name.as_str())).collect();
    }
    for node in &model.graph.node {
        expander.node(Cow::Borrowed(node), opset);
    }
    expander.nodes
}

/// What a function is found by: domain, name and overload.
type Key<'a> = (&'a str, &'a str, &'a str);

fn key<'a>(domain: &'a str, name: &'a str, overload: &'a str) -> Key<'a> {
    let domain = match opset::is_default(domain) {
        true => "",
        false => domain,
    };
    (domain, name, overload)
}

fn key_of(node: &NodeProto) -> Key<'_> {
    key(&node.domain, &node.op_type, &node.overload)
}

struct Expander<'a, 'b> {
    functions: HashMap<Key<'a>, &'a FunctionProto>,
    budget: &'b mut Budget,
    /// Names of values that exist; empty if nothing is expanded.
    taken: HashSet<Cow<'a, str>>,
    /// Counts names that had to be told apart.
    fresh: usize,
    nodes: Vec<Node<'a>>,
    /// The functions whose bodies are being copied, outermost first.
    calls: Vec<Key<'a>>,
}

impl<'a> Expander<'a, '_> {
    /// Appends a node, or what it stands for.
    fn node(&mut self, node: Cow<'a, NodeProto>, opset: i64) {
        let expanded = match self.functions.get(&key_of(&node)).copied() {
            Some(function) => self.call(function, &node, opset).map(|()| true),
            None if node.domain == opset::FUSED => self.fused(&node, opset),
            None => Ok(false),
        };
        let refused = match expanded {
            Ok(true) => return,
            Ok(false) => None,
            Err(message) => Some(message),
        };
        self.nodes.push(Node {
            proto: node,
            opset,
            refused,
        });
    }

    /// Appends a node that was made here.
    fn push(&mut self, node: NodeProto, opset: i64) -> Result<(), String> {
        self.charge(&node)?;
        self.nodes.push(Node {
            proto: Cow::Owned(node),
            opset,
            refused: None,
        });
        Ok(())
    }

    /// Pays for a copy of `message`.
    fn charge(&mut self, message: &impl Message) -> Result<(), String> {
        let bytes = usize::try_from(message.compute_size()).unwrap_or(usize::MAX);
        self.budget.work(bytes)?;
        self.budget
            .take(bytes.saturating_mul(2).saturating_add(COPY))
    }

    /// A name for a value inside `call` that no other one has.
    fn name(&mut self, call: &str, inner: &str) -> Result<String, String> {
        let mut name = inside(call, inner);
        while self.taken.contains(name.as_str()) {
            self.fresh += 1;
            name = match call.len() + inner.len() + 32 > MAX_NAME {
                true => format!("call#{}", self.fresh),
                false => format!("{call}/{inner}#{}", self.fresh),
            };
        }
        self.budget.take(COPY + 2 * name.len())?;
        self.taken.insert(Cow::Owned(name.clone()));
        Ok(name)
    }

    /// Copies the body of a function in place of the node that calls it.
    fn call(
        &mut self,
        function: &'a FunctionProto,
        node: &NodeProto,
        opset: i64,
    ) -> Result<(), String> {
        let key = key(&function.domain, &function.name, &function.overload);
        if self.calls.contains(&key) {
            return Err(format!(
                "the function `{}` calls itself; export the network with its functions inlined",
                function.name
            ));
        }
        if self.calls.len() == MAX_DEPTH {
            return Err(format!(
                "functions call each other more than {MAX_DEPTH} deep; export the network with its \
                 functions inlined"
            ));
        }
        for (given, known, what) in [
            (node.input.len(), function.input.len(), "inputs"),
            (node.output.len(), function.output.len(), "outputs"),
        ] {
            if given > known {
                return Err(format!(
                    "gives {given} {what} to the function `{}`, which has {known}",
                    function.name
                ));
            }
        }
        let names = function.input.len()
            + function.output.len()
            + function.attribute.len()
            + function.attribute_proto.len();
        let work = names.saturating_mul(1 + node.attribute.len());
        self.budget.work(work)?;
        let attributes = attributes_of(function, node)?;
        let own = function
            .opset_import
            .iter()
            .filter(|import| opset::is_default(&import.domain))
            .map(|import| import.version)
            .max();
        let opset = match own {
            Some(version) => opset::readable(version)?,
            None => opset,
        };
        let start = self.nodes.len();
        self.calls.push(key);
        let copied = self.body(function, node, &attributes, opset);
        self.calls.pop();
        if copied.is_err() {
            self.nodes.truncate(start);
        }
        copied
    }

    fn body(
        &mut self,
        function: &'a FunctionProto,
        node: &NodeProto,
        attributes: &HashMap<&str, &AttributeProto>,
        opset: i64,
    ) -> Result<(), String> {
        let call = node_name(node);
        let formal = function.input.iter().enumerate();
        let mut names: HashMap<&str, String> = formal
            .map(|(index, name)| {
                let given = node.input.get(index).cloned().unwrap_or_default();
                (name.as_str(), given)
            })
            .collect();
        // An output that is an input, or that two outputs share, is copied by an identity.
        let mut copies = Vec::new();
        for (formal, given) in function.output.iter().zip(&node.output) {
            if given.is_empty() {
                continue;
            }
            match names.contains_key(formal.as_str()) {
                true => copies.push((formal.as_str(), given)),
                false => {
                    names.insert(formal, given.clone());
                }
            }
        }
        for inner in &function.node {
            self.charge(inner)?;
            let mut copy = inner.clone();
            if !inner.name.is_empty() {
                copy.name = inside(call, &inner.name);
                self.budget.take(copy.name.len())?;
            }
            let values = copy.input.iter_mut().zip(&inner.input);
            for (value, own) in values.chain(copy.output.iter_mut().zip(&inner.output)) {
                if own.is_empty() {
                    continue;
                }
                if !names.contains_key(own.as_str()) {
                    names.insert(own, self.name(call, own)?);
                }
                value.clone_from(&names[own.as_str()]);
                self.budget.take(value.len())?;
            }
            copy.attribute.clear();
            for attribute in &inner.attribute {
                if attribute.ref_attr_name.is_empty() {
                    copy.attribute.push(attribute.clone());
                } else if let Some(given) = attributes.get(attribute.ref_attr_name.as_str()) {
                    // One that the call leaves out is left out in the body, too.
                    self.charge(*given)?;
                    let mut given = AttributeProto::clone(given);
                    given.name.clone_from(&attribute.name);
                    copy.attribute.push(given);
                }
            }
            self.node(Cow::Owned(copy), opset);
        }
        for (formal, given) in copies {
            let mut identity = NodeProto::new();
            identity.op_type = "Identity".into();
            identity.name = inside(call, "Identity");
            identity.input = vec![names[formal].clone()];
            identity.output = vec![given.clone()];
            self.push(identity, opset)?;
        }
        Ok(())
    }
}

/// The name of a node or value inside a call.
fn inside(call: &str, inner: &str) -> String {
    match call.len() + inner.len() < MAX_NAME {
        true => format!("{call}/{inner}"),
        false => "call".into(),
    }
}

/// The attributes of a call by name: those that the node gives, else the function's defaults.
fn attributes_of<'n>(
    function: &'n FunctionProto,
    node: &'n NodeProto,
) -> Result<HashMap<&'n str, &'n AttributeProto>, String> {
    let defaults = function.attribute_proto.iter();
    let mut attributes: HashMap<&str, &AttributeProto> = defaults
        .map(|attribute| (attribute.name.as_str(), attribute))
        .collect();
    for attribute in &node.attribute {
        let name = attribute.name.as_str();
        let known = attributes.contains_key(name)
            || function.attribute.iter().any(|declared| declared == name);
        if !known {
            return Err(format!(
                "attribute `{name}` is none of the function `{}`",
                function.name
            ));
        }
        attributes.insert(name, attribute);
    }
    Ok(attributes)
}
