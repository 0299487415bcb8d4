//! Scale assignment and scheduling: from packed operations with levels to the operations that the
//! runtime executes, every value typed with level and scale.
//!
//! Between operations every ciphertext has the network's scale Δ exactly. The diagonals of a linear
//! map are encoded at the scale that rescales to Δ, and the last stage of a gate ends at the scale
//! whose product with its factor rescales to Δ, and so does one operand of a product of two values.
//! All other types follow from those of the operands,
//! by [`Target::expected_type`].

use std::collections::BTreeMap;

use heddle_ir::ckks::{
    CiphertextType, LinearMapId, Op, PolynomialId, Schedule, Target, TransformSteps,
};
use heddle_ir::linear::LinearMap;
use heddle_ir::slot::{ApproximatedActivation, Chebyshev, GatedTerm, Op as SlotOp, SlotGraph};
use heddle_ir::weights::Weights;
use heddle_ir::{Graph, ValueId};
use heddle_params::bootstrap::BootstrapVariant;
use heddle_params::scale::same_log_scale;

use crate::error::Error;
use crate::passes::place_bootstraps::Placement;

mod normalise;
mod parallel;
mod product;
mod siso;

use siso::Shared;

/// The pass's name.
pub const NAME: &str = "schedule";

/// Lowers a packed graph along a placement, for `target` and with bootstraps of one variant.
///
/// # Errors
/// If a weight is missing or its shape does not fit.
pub fn run(
    packed: &SlotGraph,
    rotations: &[Vec<TransformSteps>],
    placement: &Placement,
    weights: &Weights,
    target: Target<'_>,
    variant: BootstrapVariant,
) -> Result<Schedule, Error> {
    let mut scheduler = Scheduler {
        target,
        variant,
        log_scale: f64::from(target.bootstrap.log_scale),
        graph: Graph::new(),
        linear_maps: Vec::new(),
        polynomials: Vec::new(),
        shared: BTreeMap::new(),
    };
    // The scales of linear maps that a product asks for.
    let fitted: BTreeMap<ValueId, f64> = packed
        .values()
        .filter_map(|product| {
            let operand = placement.fitted[product.index()]?;
            let level = placement.levels[product.index()];
            Some((operand, target.log_q(level)))
        })
        .collect();
    // The ciphertext that holds each packed value now: refreshing replaces it.
    let mut holders: Vec<ValueId> = Vec::with_capacity(packed.len());
    for value in packed.values() {
        let node = packed.node(value);
        let level = placement.levels[value.index()];
        for operand in &placement.refreshed[value.index()] {
            let holder = &mut holders[operand.index()];
            *holder = scheduler.refresh(*holder, &packed.node(*operand).name);
        }
        if matches!(node.op, SlotOp::Multiply) {
            let operands = packed.operands(value).into_iter();
            let operands: Vec<ValueId> = operands.map(|x| holders[x.index()]).collect();
            holders.push(scheduler.product([operands[0], operands[1]], level, &node.name));
            continue;
        }
        let shared = matches!(node.op, SlotOp::SisoConvolution(_));
        let operands: Vec<ValueId> = packed
            .operands(value)
            .iter()
            .map(|operand| match shared {
                true => scheduler.shared_drop(holders[operand.index()], level, &node.name),
                false => scheduler.drop_to(holders[operand.index()], level, &node.name),
            })
            .collect();
        holders.push(match &node.op {
            SlotOp::Input => {
                let log_slots = node.ty.layout.period().trailing_zeros();
                let ty = CiphertextType {
                    log_slots,
                    level,
                    log_scale: scheduler.log_scale,
                };
                scheduler.push(Op::Input, &[], ty, &node.name)
            }
            SlotOp::Linear(map) => {
                let rotations = rotations[value.index()].clone();
                let log_scale = fitted.get(&value).copied().unwrap_or(scheduler.log_scale);
                scheduler.linear(map, rotations, &operands, weights, log_scale, &node.name)?
            }
            SlotOp::ParallelConvolution { map, slots } => {
                scheduler.parallel_convolution(map, *slots, operands[0], weights, &node.name)?
            }
            SlotOp::SisoConvolution(map) => {
                scheduler.siso_convolution(map, &operands, weights, &node.name)?
            }
            SlotOp::Multiply => unreachable!("products choose their operands' levels above"),
            SlotOp::Add => scheduler.sum(operands[0], operands[1], &node.name),
            SlotOp::Activation(activation) => {
                scheduler.activation(activation, operands[0], &node.name)
            }
            SlotOp::RotateSum { rotations } => rotations.iter().fold(operands[0], |sum, by| {
                scheduler.add_rotated(sum, *by, &node.name)
            }),
            SlotOp::Normalise(division) => scheduler.normalise(division, operands[0], &node.name),
        });
    }
    let outputs = packed
        .outputs()
        .iter()
        .map(|output| holders[output.index()])
        .collect();
    scheduler.graph.set_outputs(outputs);
    Ok(Schedule {
        graph: scheduler.graph,
        linear_maps: scheduler.linear_maps,
        polynomials: scheduler.polynomials,
    })
}

struct Scheduler<'a> {
    target: Target<'a>,
    variant: BootstrapVariant,
    /// log2 of the network's scale Δ.
    log_scale: f64,
    graph: Graph<Op, CiphertextType>,
    linear_maps: Vec<LinearMap>,
    polynomials: Vec<Chebyshev>,
    /// What SISO convolutions made of a value for all of them.
    shared: BTreeMap<(ValueId, Shared), ValueId>,
}

impl Scheduler<'_> {
    fn log_q(&self, level: usize) -> f64 {
        self.target.log_q(level)
    }

    /// Adds an operation. Its type follows from its operands; `chosen` says what it leaves open.
    ///
    /// # Panics
    /// If an operand has too few levels, which the placement rules out.
    fn push(
        &mut self,
        op: Op,
        operands: &[ValueId],
        chosen: CiphertextType,
        name: &str,
    ) -> ValueId {
        let types: Vec<CiphertextType> = operands.iter().map(|x| *self.graph.ty(*x)).collect();
        let expected = self
            .target
            .expected_type(&op, &types, chosen, &self.polynomials);
        let ty = expected.unwrap_or_else(|message| panic!("`{name}`: {message}"));
        self.graph.add(op, operands, ty, name)
    }

    /// Adds an operation whose operands leave nothing open.
    fn derive(&mut self, op: Op, operands: &[ValueId], name: &str) -> ValueId {
        let chosen = *self.graph.ty(operands[0]);
        self.push(op, operands, chosen, name)
    }

    fn drop_to(&mut self, value: ValueId, level: usize, name: &str) -> ValueId {
        let ty = *self.graph.ty(value);
        if ty.level == level {
            return value;
        }
        let chosen = CiphertextType { level, ..ty };
        self.push(Op::DropLevel, &[value], chosen, name)
    }

    /// The value rescaled to the network's scale, which its scale was chosen for.
    fn rescale(&mut self, value: ValueId, name: &str) -> ValueId {
        self.rescale_to(value, self.log_scale, name)
    }

    /// The value rescaled to a scale that its own was chosen for.
    fn rescale_to(&mut self, value: ValueId, log_scale: f64, name: &str) -> ValueId {
        let rescaled = self.derive(Op::Rescale, &[value], name);
        let found = &mut self.graph.node_mut(rescaled).ty.log_scale;
        debug_assert!(same_log_scale(*found, log_scale), "`{name}`");
        // The logarithms are rounded; stating the scale keeps it exact.
        *found = log_scale;
        rescaled
    }

    fn refresh(&mut self, value: ValueId, name: &str) -> ValueId {
        let lowered = self.drop_to(value, self.target.bootstrap.input_level(), name);
        let variant = self.variant;
        self.derive(Op::Bootstrap { variant }, &[lowered], name)
    }

    /// A linear map that ends at the given scale, bias included.
    fn linear(
        &mut self,
        map: &LinearMap,
        rotations: Vec<TransformSteps>,
        operands: &[ValueId],
        weights: &Weights,
        log_scale: f64,
        name: &str,
    ) -> Result<ValueId, Error> {
        let id = LinearMapId(self.linear_maps.len() as u32);
        self.linear_maps.push(map.clone());
        let level = self.graph.ty(operands[0]).level;
        let ty = CiphertextType {
            log_slots: map.shared_period().trailing_zeros(),
            level,
            log_scale: log_scale + self.log_q(level),
        };
        let op = Op::LinearTransform {
            map: id,
            steps: rotations,
        };
        let sum = self.push(op, operands, ty, name);
        let mut sum = self.rescale_to(sum, log_scale, name);
        for log_shares in (0..map.log_shares).rev() {
            sum = self.halve_period(sum, map.output.period() << log_shares, name);
        }
        self.add_bias(id, map, sum, weights, name)
    }

    /// The value with a map's bias, where the map has one.
    fn add_bias(
        &mut self,
        id: LinearMapId,
        map: &LinearMap,
        value: ValueId,
        weights: &Weights,
        name: &str,
    ) -> Result<ValueId, Error> {
        if map.bias(weights)?.is_none() {
            return Ok(value);
        }
        Ok(self.derive(Op::AddBias { map: id }, &[value], name))
    }

    /// The value plus its rotation by half of its slots, which repeats with that half.
    fn halve_period(&mut self, value: ValueId, half: usize, name: &str) -> ValueId {
        let rotated = self.rotate(value, half, name);
        let ty = *self.graph.ty(value);
        let chosen = CiphertextType {
            log_slots: ty.log_slots - 1,
            ..ty
        };
        self.push(Op::Add, &[value, rotated], chosen, name)
    }

    fn add_rotated(&mut self, value: ValueId, by: usize, name: &str) -> ValueId {
        let rotated = self.rotate(value, by, name);
        self.sum(value, rotated, name)
    }

    /// The value rotated; itself where its period makes that nothing.
    fn rotate(&mut self, value: ValueId, by: usize, name: &str) -> ValueId {
        if by.is_multiple_of(self.graph.ty(value).slots()) {
            return value;
        }
        self.derive(Op::Rotate { by }, &[value], name)
    }

    fn sum(&mut self, x: ValueId, y: ValueId, name: &str) -> ValueId {
        self.derive(Op::Add, &[x, y], name)
    }

    /// The free polynomial and the gated terms, each as low as it can run, summed where the deepest
    /// of them ends. Terms are summed before their one rescale.
    fn activation(
        &mut self,
        activation: &ApproximatedActivation,
        x: ValueId,
        name: &str,
    ) -> ValueId {
        let end = self.graph.ty(x).level - activation.depth();
        let terms: Vec<ValueId> = activation
            .terms
            .iter()
            .map(|term| self.gated(term, x, end + 1, name))
            .collect();
        let products = terms
            .into_iter()
            .reduce(|sum, term| self.sum(sum, term, name))
            .map(|sum| self.rescale(sum, name));
        let free = activation.free.as_ref().map(|free| {
            let x = self.drop_to(x, end + free.depth(), name);
            self.polynomial(free.clone(), x, end, self.log_scale, name)
        });
        match (products, free) {
            (Some(products), Some(free)) => self.sum(products, free, name),
            (Some(value), None) | (None, Some(value)) => value,
            (None, None) => x,
        }
    }

    /// `factor(x)·gate(x)` at `level`, not rescaled; the gate's scale is such that a rescale leaves
    /// the network's.
    fn gated(&mut self, term: &GatedTerm, x: ValueId, level: usize, name: &str) -> ValueId {
        let GatedTerm { factor, gate } = term;
        let mut gated = x;
        for (index, stage) in gate.iter().enumerate() {
            let ends = self.graph.ty(gated).level - stage.depth();
            let log_scale = if index + 1 < gate.len() {
                self.log_scale
            } else {
                self.log_scale + self.log_q(level) - self.graph.ty(x).log_scale
            };
            gated = self.polynomial(stage.clone(), gated, ends, log_scale, name);
        }
        let gated = self.drop_to(gated, level, name);
        let factor = if factor.is_identity() {
            self.drop_to(x, level, name)
        } else {
            let x = self.drop_to(x, level + factor.depth(), name);
            let log_scale = self.graph.ty(x).log_scale;
            self.polynomial(factor.clone(), x, level, log_scale, name)
        };
        self.derive(Op::Multiply, &[factor, gated], name)
    }

    fn polynomial(
        &mut self,
        polynomial: Chebyshev,
        operand: ValueId,
        level: usize,
        log_scale: f64,
        name: &str,
    ) -> ValueId {
        let known = self
            .polynomials
            .iter()
            .position(|known| *known == polynomial);
        let index = known.unwrap_or_else(|| {
            self.polynomials.push(polynomial);
            self.polynomials.len() - 1
        });
        let ty = CiphertextType {
            level,
            log_scale,
            ..*self.graph.ty(operand)
        };
        let op = Op::Polynomial {
            polynomial: PolynomialId(index as u32),
        };
        self.push(op, &[operand], ty, name)
    }
}
