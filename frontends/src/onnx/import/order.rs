//! Which nodes a model's output depends on, and in which order they come.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use heddle_ir::Note;

use super::{Importer, node_name};
use crate::onnx::opset;

/// Most notes for the user.
const MAX_NOTES: usize = 20;

/// Most outputs of a model that are looked at for being the same one.
const MAX_OUTPUTS: usize = 64;

/// What an output depends on.
pub(super) struct Live<'a> {
    pub(super) nodes: BTreeSet<usize>,
    pub(super) tensors: BTreeSet<&'a str>,
}

impl<'a> Importer<'a> {
    /// The node that produces each tensor.
    pub(super) fn producers(&mut self) -> HashMap<&'a str, usize> {
        let mut producers = HashMap::new();
        for (index, node) in self.proto.node.iter().enumerate() {
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                if producers.insert(output.as_str(), index).is_some() {
                    self.problem(output, "tensor", "is produced by two nodes");
                }
            }
        }
        producers
    }

    /// The one tensor that the model is about: its output, classification layers cut off.
    pub(super) fn output(&mut self, producers: &HashMap<&'a str, usize>) -> Option<&'a str> {
        let mut logits: Vec<&str> = Vec::new();
        let count = self.proto.output.len();
        if count > MAX_OUTPUTS {
            self.problem(
                "graph",
                "model",
                format!("has {count} outputs; one is supported"),
            );
            return None;
        }
        let mut cut = HashSet::new();
        for output in &self.proto.output {
            let logit = self.cut(output.name.as_str(), producers, &mut cut);
            if !logits.contains(&logit) {
                logits.push(logit);
            }
        }
        match logits[..] {
            [output] => Some(output),
            [] => {
                self.problem("graph", "model", "has no output");
                None
            }
            _ => {
                let names: Vec<String> = logits.iter().map(|name| format!("`{name}`")).collect();
                let message = format!("has {} outputs; one is supported", names.join(", "));
                self.problem("graph", "model", message);
                None
            }
        }
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
            let Some(node) = producers.get(name).map(|index| &self.proto.node[*index]) else {
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

    /// Nodes and tensors that `output` depends on.
    pub(super) fn live(&self, producers: &HashMap<&'a str, usize>, output: &'a str) -> Live<'a> {
        let mut live = Live {
            nodes: BTreeSet::new(),
            tensors: BTreeSet::from([output]),
        };
        let mut pending = vec![output];
        while let Some(tensor) = pending.pop() {
            let Some(index) = producers.get(tensor) else {
                continue;
            };
            if live.nodes.insert(*index) {
                for input in self.proto.node[*index]
                    .input
                    .iter()
                    .filter(|name| !name.is_empty())
                {
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
            let inputs = self.proto.node[*index].input.iter();
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
            let node = &self.proto.node[*stuck];
            self.problem(node_name(node), &node.op_type, "depends on its own output");
        }
        order
    }
}
