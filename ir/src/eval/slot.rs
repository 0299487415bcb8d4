//! The packed graph on plain numbers: what the schedule approximates, before levels, scales and
//! bootstraps.

use rayon::prelude::*;

use super::ckks::ExpandedMap;
use crate::error::Error;
use crate::graph::ValueId;
use crate::linear::ProductPhase;
use crate::slot::{Op, SlotGraph, rotate_sum};
use crate::weights::Weights;

/// How activations are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// The function itself.
    Exact,
    /// The polynomials that approximate it.
    Approximated,
}

/// A packed graph with its linear maps expanded, ready to run.
#[derive(Clone, Debug)]
pub struct SlotInterpreter {
    graph: SlotGraph,
    /// For every value, its linear map, if it is one's result.
    maps: Vec<Option<ExpandedMap>>,
}

/// Adds a map's bias to one period of slots.
fn add_bias(slots: &mut [f64], map: &ExpandedMap) {
    for (slot, bias) in slots.iter_mut().zip(map.bias.iter().flatten()) {
        *slot += bias;
    }
}

impl SlotInterpreter {
    /// Expands every linear map once; `graph` has passed its verifier with these weights.
    ///
    /// # Errors
    /// If a weight is missing or does not fit.
    pub fn new(graph: &SlotGraph, weights: &Weights) -> Result<Self, Error> {
        let expand = |value: ValueId| match &graph.node(value).op {
            Op::Linear(map) => ExpandedMap::new(map, weights).map(Some),
            Op::ParallelConvolution { map, slots } => {
                ExpandedMap::by_products(map, ProductPhase::Weights, *slots, weights).map(Some)
            }
            Op::SisoConvolution(map) => {
                let slots = map.output.period();
                ExpandedMap::by_products(map, ProductPhase::Taps, slots, weights).map(Some)
            }
            _ => Ok(None),
        };
        let values: Vec<ValueId> = graph.values().collect();
        let maps = values
            .into_par_iter()
            .map(expand)
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            graph: graph.clone(),
            maps,
        })
    }

    /// One period of the output's slots for one period of the input's; slots hold element over
    /// range. `observe` sees every value.
    ///
    /// # Errors
    /// [`Error::Shape`] if the input does not have its layout's period, or nothing is an output.
    pub fn run(
        &self,
        input: &[f64],
        activations: Activations,
        mut observe: impl FnMut(ValueId, &[f64]),
    ) -> Result<Vec<f64>, Error> {
        let mut values: Vec<Vec<f64>> = Vec::with_capacity(self.graph.len());
        for value in self.graph.values() {
            let operands = self.graph.operands(value);
            let operand = |index: usize| values[operands[index].index()].as_slice();
            let ty = self.graph.ty(value);
            let period = ty.layout.period();
            let slots = match &self.graph.node(value).op {
                Op::Input if input.len() == period => input.to_vec(),
                Op::Input => {
                    return Err(Error::Shape {
                        what: "the packed image".into(),
                        expected: format!("{period} slots"),
                        found: input.len().to_string(),
                    });
                }
                Op::Linear(_) => {
                    let mut sum = vec![0.0; period];
                    if let Some(map) = &self.maps[value.index()] {
                        for (index, term) in map.terms.iter().enumerate() {
                            term.apply_add(operand(index), &mut sum);
                        }
                        add_bias(&mut sum, map);
                    }
                    sum
                }
                Op::ParallelConvolution { .. } | Op::SisoConvolution(_) => {
                    let mut sum = vec![0.0; period];
                    if let Some(map) = &self.maps[value.index()]
                        && let Some(convolution) = &map.products
                    {
                        let operands: Vec<&[f64]> = (0..operands.len()).map(operand).collect();
                        sum = convolution.apply(&operands);
                        add_bias(&mut sum, map);
                    }
                    sum
                }
                Op::Add => {
                    let pairs = operand(0).iter().zip(operand(1));
                    pairs.map(|(x, y)| x + y).collect()
                }
                Op::Multiply => {
                    let pairs = operand(0).iter().zip(operand(1));
                    pairs.map(|(x, y)| x * y).collect()
                }
                Op::Activation(activation) => {
                    let bound = self.graph.ty(operands[0]).range;
                    let apply = |x: &f64| match activations {
                        Activations::Approximated => activation.eval(*x),
                        Activations::Exact => activation.function.apply(x * bound) / ty.range,
                    };
                    operand(0).iter().map(apply).collect()
                }
                Op::RotateSum { rotations } => rotate_sum(operand(0).to_vec(), rotations),
                Op::Normalise(division) => match activations {
                    Activations::Approximated => division.eval(operand(0)),
                    Activations::Exact => division.exact(operand(0)),
                },
            };
            observe(value, &slots);
            values.push(slots);
        }
        let output = self.graph.outputs().first().ok_or_else(|| Error::Invalid {
            stage: "slot",
            violations: "a packed graph needs an output".into(),
        })?;
        Ok(std::mem::take(&mut values[output.index()]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckks::Target;
    use crate::eval::ckks::ClearInterpreter;
    use crate::graph::Graph;
    use crate::test_support::{
        parallel_schedule, parallel_slot_graph, parameters, schedule, slot_graph,
    };
    use crate::verify;

    fn image() -> Vec<f64> {
        (0..16)
            .map(|i| f64::from(i * 7 % 13) / 6.5 - 0.95)
            .collect()
    }

    #[test]
    fn the_schedule_approximates_the_packed_graph() {
        let (graph, weights) = slot_graph();
        let packed = SlotInterpreter::new(&graph, &weights).unwrap();
        let approximated = packed
            .run(&image(), Activations::Approximated, |_, _| {})
            .unwrap();
        let (schedule, weights) = schedule();
        let mut bootstrap = parameters().1;
        // A ratio this large leaves nothing of the sine's cubic term.
        bootstrap.log_message_ratio = 20;
        let clear = ClearInterpreter::new(&schedule, &weights, &bootstrap).unwrap();
        let executed = clear.run(&image(), |_, _| {}).unwrap();
        for (a, b) in approximated.iter().zip(&executed) {
            assert!((a - b).abs() < 1e-9, "{approximated:?} {executed:?}");
        }
        let exact = packed.run(&image(), Activations::Exact, |_, _| {}).unwrap();
        assert_ne!(exact, approximated);
    }

    #[test]
    fn a_parallel_convolution_is_the_same_in_both_stages() {
        let (graph, weights) = parallel_slot_graph();
        assert!(verify::slot::verify(&graph, &weights).is_empty());
        let packed = SlotInterpreter::new(&graph, &weights).unwrap();
        let expected = packed.run(&image(), Activations::Exact, |_, _| {}).unwrap();
        let (schedule, weights) = parallel_schedule();
        let (parameters, bootstrap) = parameters();
        let target = Target {
            parameters: &parameters,
            bootstrap: &bootstrap,
        };
        let violations = verify::ckks::verify(&schedule, target, Some(&weights));
        assert!(violations.is_empty(), "{violations:?}");
        let clear = ClearInterpreter::new(&schedule, &weights, &bootstrap).unwrap();
        let executed = clear.run(&image(), |_, _| {}).unwrap();
        assert_eq!(executed.len(), expected.len());
        for (a, b) in expected.iter().zip(&executed) {
            assert!((a - b).abs() < 1e-9, "{expected:?} {executed:?}");
        }
    }

    #[test]
    fn exact_activations_do_not_depend_on_ranges() {
        let (graph, weights) = slot_graph();
        let run = |graph: &SlotGraph| {
            let packed = SlotInterpreter::new(graph, &weights).unwrap();
            let output = packed.run(&image(), Activations::Exact, |_, _| {}).unwrap();
            let range = graph.ty(graph.outputs()[0]).range;
            output
                .into_iter()
                .map(|slot| slot * range)
                .collect::<Vec<_>>()
        };
        let mut wider = graph.clone();
        for value in graph.values().skip(1) {
            let node = wider.node_mut(value);
            node.ty.range *= 2.0;
            if let Op::Linear(map) = &mut node.op {
                map.bias_factor /= 2.0;
            }
        }
        if let Op::Linear(map) = &mut wider.node_mut(ValueId(1)).op {
            map.terms[0].factor /= 2.0;
        }
        for (a, b) in run(&graph).iter().zip(run(&wider)) {
            assert!((a - b).abs() < 1e-12);
        }
    }

    #[test]
    fn rotate_sum_adds_every_combination() {
        let (graph, _) = slot_graph();
        let ty = graph.ty(ValueId(0)).clone();
        let mut graph = Graph::new();
        let x = graph.add(Op::Input, &[], ty.clone(), "");
        let rotations = vec![1, 4];
        let y = graph.add(Op::RotateSum { rotations }, &[x], ty, "");
        graph.set_outputs(vec![y]);
        let packed = SlotInterpreter::new(&graph, &Weights::default()).unwrap();
        let input: Vec<f64> = (0..16).map(f64::from).collect();
        let output = packed.run(&input, Activations::Exact, |_, _| {}).unwrap();
        assert_eq!(output[0], 0.0 + 1.0 + 4.0 + 5.0);
        assert_eq!(output[15], 15.0 + 0.0 + 3.0 + 4.0);
        assert!(
            packed
                .run(&input[..3], Activations::Exact, |_, _| {})
                .is_err()
        );
    }
}
