//! Which nodes a model's output depends on, and in which order they come.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use heddle_ir::Note;

use super::{Importer, node_name};
use crate::onnx::opset;

/// Most notes for the user.
const MAX_NOTES: usize = 20;

/// Most outputs of a model that are looked at for being the same one.
const MAX_OUTPUTS: usize = 64;

/// An output of the model.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    pub(super) name: &'a str,
    /// What it follows from by softmax and the like: the tensor that is computed.
    pub(super) logits: &'a str,
}

/// What outputs depend on.
pub(super) struct Live<'a> {
    pub(super) nodes: BTreeSet<usize>,
    pub(super) tensors: BTreeSet<&'a str>,
}

impl<'a> Importer<'a> {
    /// The node that produces each tensor.
    pub(super) fn producers(&mut self) -> HashMap<&'a str, usize> {
        let mut producers = HashMap::new();
        let nodes = self.nodes;
        for (index, node) in nodes.iter().enumerate() {
            for output in node.proto.output.iter().filter(|output| !output.is_empty()) {
                if producers.insert(output.as_str(), index).is_some() {
                    self.problem(output, "tensor", "is produced by two nodes");
                }
            }
        }
        producers
    }

    /// The tensors that the model may be about: its outputs by name, or the one that the caller
    /// chose, with classification layers cut off. If there are several, one must be chosen.
    pub(super) fn outputs(&mut self, producers: &HashMap<&'a str, usize>) -> Vec<Output<'a>> {
        let mut cut = HashSet::new();
        if let Some(chosen) = &self.options.output {
            let Some(name) = self.value(chosen, producers) else {
                let mut names: Vec<String> = self.declared_outputs();
                let more = names.len().saturating_sub(MAX_OUTPUTS);
                names.truncate(MAX_OUTPUTS);
                if more > 0 {
                    names.push(format!("{more} more"));
                }
                let message = format!(
                    "is no value of the model; its outputs are {}",
                    names.join(", ")
                );
                self.problem(chosen, "output", message);
                return Vec::new();
            };
            let logits = self.cut(name, producers, &mut cut);
            return vec![Output { name, logits }];
        }
        let count = self.proto.output.len();
        if count > MAX_OUTPUTS {
            let message = format!("has {count} outputs; say which with `--output-name NAME`");
            self.problem("graph", "model", message);
            return Vec::new();
        }
        let mut outputs: Vec<Output<'a>> = Vec::new();
        for output in &self.proto.output {
            let name = output.name.as_str();
            let logits = self.cut(name, producers, &mut cut);
            if outputs.iter().all(|known| known.logits != logits) {
                outputs.push(Output { name, logits });
            }
        }
        if outputs.is_empty() {
            self.problem("graph", "model", "has no output");
        }
        outputs
    }

    fn declared_outputs(&self) -> Vec<String> {
        let outputs = self.proto.output.iter();
        outputs.map(|output| format!("`{}`", output.name)).collect()
    }

    /// The value of this name, or the first output of the node of this name.
    fn value(&self, name: &str, producers: &HashMap<&'a str, usize>) -> Option<&'a str> {
        if let Some((name, _)) = producers.get_key_value(name) {
            return Some(name);
        }
        let inputs = self.proto.input.iter().map(|input| input.name.as_str());
        let outputs = self.proto.output.iter().map(|output| output.name.as_str());
        if let Some(name) = inputs.chain(outputs).find(|own| *own == name) {
            return Some(name);
        }
        let nodes = self.nodes;
        let node = nodes.iter().find(|node| node.proto.name == name)?;
        node.proto.output.first().map(String::as_str)
    }

    /// Goes back from an output over softmax and the like to the logits. `cut` are the nodes that
    /// have been noted.
    fn cut(
        &mut self,
        output: &'a str,
        producers: &HashMap<&'a str, usize>,
        cut: &mut HashSet<&'a str>,
    ) -> &'a str {
        let (mut name, mut logits) = (output, output);
        // Every step goes to another node unless the graph is cyclic.
        for _ in 0..producers.len() {
            let Some(node) = producers.get(name).map(|index| self.node_at(*index)) else {
                break;
            };
            let Some(input) = node.input.first() else {
                break;
            };
            match node.op_type.as_str() {
                op if opset::FINAL.contains(&op) && opset::is_default(&node.domain) => {
                    if cut.insert(name) && self.notes.len() < MAX_NOTES {
                        let note = Note::FinalCut {
                            op: node.op_type.clone(),
                            node: node_name(node).to_owned(),
                        };
                        if !self.notes.contains(&note) {
                            self.notes.push(note);
                        }
                    }
                    logits = input;
                }
                "Identity" | "Cast" | "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => {}
                _ => break,
            }
            name = input;
        }
        logits
    }

    /// Nodes and tensors that `outputs` depend on.
    pub(super) fn live(
        &self,
        producers: &HashMap<&'a str, usize>,
        outputs: &[Output<'a>],
    ) -> Live<'a> {
        let mut pending: Vec<&str> = outputs.iter().map(|output| output.logits).collect();
        let mut live = Live {
            nodes: BTreeSet::new(),
            tensors: pending.iter().copied().collect(),
        };
        while let Some(tensor) = pending.pop() {
            let Some(index) = producers.get(tensor) else {
                continue;
            };
            if live.nodes.insert(*index) {
                let inputs = self.node_at(*index).input.iter();
                for input in inputs.filter(|name| !name.is_empty()) {
                    if live.tensors.insert(input) {
                        pending.push(input);
                    }
                }
            }
        }
        live
    }

    /// The live nodes, every one behind those that it depends on, else as in the file.
    pub(super) fn in_order(
        &mut self,
        producers: &HashMap<&'a str, usize>,
        live: &BTreeSet<usize>,
    ) -> Vec<usize> {
        let mut waiting: BTreeMap<usize, usize> = BTreeMap::new();
        let mut users: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for index in live {
            let inputs = self.node_at(*index).input.iter();
            let needed: BTreeSet<usize> = inputs
                .filter_map(|input| producers.get(input.as_str()).copied())
                .collect();
            waiting.insert(*index, needed.len());
            for needed in needed {
                users.entry(needed).or_default().push(*index);
            }
        }
        let mut ready: BTreeSet<usize> = waiting
            .iter()
            .filter(|(_, count)| **count == 0)
            .map(|(index, _)| *index)
            .collect();
        let mut order = Vec::with_capacity(live.len());
        while let Some(index) = ready.pop_first() {
            order.push(index);
            for user in users.remove(&index).unwrap_or_default() {
                if let Some(count) = waiting.get_mut(&user) {
                    *count -= 1;
                    if *count == 0 {
                        ready.insert(user);
                    }
                }
            }
        }
        if let Some((stuck, _)) = waiting.iter().find(|(_, count)| **count > 0) {
            let node = self.node_at(*stuck);
            self.problem(node_name(node), &node.op_type, "depends on its own output");
        }
        order
    }
}
