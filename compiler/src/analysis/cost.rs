//! What an operation costs at a level, as the sum of its transforms and multiply-accumulates.
//!
//! The figures steer choices between schedules; only their ratios matter. The unit is one
//! number-theoretic transform of one limb.

use heddle_ir::linear::parallel::ParallelConvolution;
use heddle_ir::slot::{ApproximatedActivation, Chebyshev, Normalisation};
use heddle_params::Parameters;
use heddle_params::bootstrap::BootstrapParameters;

/// A pointwise multiply-accumulate of one limb.
const ACCUMULATE: f64 = 0.12;

/// The rotations and products that one term of a linear transform takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransformCounts {
    /// Non-zero diagonals.
    pub diagonals: usize,
    /// Rotations of the operand.
    pub baby: usize,
    /// Rotations of the partial sums.
    pub giant: usize,
}

/// The cost of operations under one parameter set.
#[derive(Clone, Copy, Debug)]
pub struct CostModel<'a> {
    parameters: &'a Parameters,
    bootstrap: &'a BootstrapParameters,
}

impl<'a> CostModel<'a> {
    /// Costs under the given parameters.
    pub fn new(parameters: &'a Parameters, bootstrap: &'a BootstrapParameters) -> Self {
        Self {
            parameters,
            bootstrap,
        }
    }

    /// One key switch.
    pub fn key_switch(&self, level: usize) -> f64 {
        self.parameters
            .key_switch_layout(level)
            .map_or(f64::INFINITY, |layout| layout.cost())
    }

    /// One rotation of an operand that is decomposed already.
    fn hoisted_rotation(&self, level: usize) -> f64 {
        self.parameters
            .key_switch_layout(level)
            .map_or(f64::INFINITY, |layout| {
                ACCUMULATE * (layout.key_limbs() + 2 * layout.total_limbs()) as f64
            })
    }

    /// A product of two ciphertexts with relinearisation and rescale.
    pub fn multiply(&self, level: usize) -> f64 {
        let limbs = (level + 1) as f64;
        self.key_switch(level) + 4.0 * ACCUMULATE * limbs + 2.0 * limbs
    }

    /// A double-hoisted linear transform with its rescale, and the sum of its shares behind that.
    pub fn linear(&self, level: usize, terms: &[TransformCounts], log_shares: u32) -> f64 {
        let Ok(layout) = self.parameters.key_switch_layout(level) else {
            return f64::INFINITY;
        };
        let limbs = layout.total_limbs() as f64;
        let terms: f64 = terms
            .iter()
            .map(|term| {
                let products = 2.0 * ACCUMULATE * limbs * term.diagonals as f64;
                let babies = self.hoisted_rotation(level) * term.baby as f64;
                let giants = self.key_switch(level) * term.giant as f64;
                products + babies + giants
            })
            .sum();
        let sums = self.rotate_sum(level.saturating_sub(1), log_shares as usize);
        terms + 2.0 * self.key_switch(level) + sums
    }

    /// A multiplexed parallel convolution with its two rescales.
    pub fn parallel(&self, level: usize, convolution: &ParallelConvolution) -> f64 {
        let rotations = convolution.rotations();
        let at =
            |down: usize, rotations: usize| self.rotate_sum(level.saturating_sub(down), rotations);
        let limbs = 2.0 * (level + 1) as f64;
        let rescales = limbs * (convolution.rounds() + 1) as f64;
        at(0, rotations.taps)
            + at(1, rotations.sums + rotations.selection)
            + at(2, rotations.replication)
            + ACCUMULATE * limbs * convolution.products() as f64
            + rescales
    }

    /// One output channel of a SISO convolution with its rescale; `fraction` is the part of its
    /// rotations that is booked here, not under other output channels.
    pub fn siso(&self, level: usize, products: usize, fraction: f64) -> f64 {
        let limbs = 2.0 * (level + 1) as f64;
        self.key_switch(level) * fraction + ACCUMULATE * limbs * products as f64 + limbs
    }

    /// Rotations with additions.
    pub fn rotate_sum(&self, level: usize, rotations: usize) -> f64 {
        self.key_switch(level) * rotations as f64
    }

    /// A polynomial: baby rotations, doublings and recombinations, at descending levels; one of
    /// degree 1 takes a rescale alone.
    pub fn polynomial(&self, level: usize, polynomial: &Chebyshev) -> f64 {
        if polynomial.degree() <= 1 {
            return 2.0 * (level + 1) as f64;
        }
        let depth = polynomial.depth();
        let products = depth as f64 + (polynomial.degree() as f64 + 1.0).sqrt().ceil();
        products * self.multiply(level.saturating_sub(depth / 2))
    }

    /// An approximated activation: the stages of its gates, the products and the free polynomial.
    pub fn activation(&self, level: usize, activation: &ApproximatedActivation) -> f64 {
        let product_level = (level + 1).saturating_sub(activation.depth());
        let mut cost = 0.0;
        for term in &activation.terms {
            let mut level = level;
            for stage in &term.gate {
                cost += self.polynomial(level, stage);
                level = level.saturating_sub(stage.depth());
            }
            if !term.factor.is_identity() {
                cost += self.polynomial(product_level + term.factor.depth(), &term.factor);
            }
            cost += self.multiply(product_level);
        }
        if let Some(free) = &activation.free
            && !free.is_identity()
        {
            cost += self.polynomial(product_level.saturating_sub(1) + free.depth(), free);
        }
        cost
    }

    /// A division by a sum: its polynomials, rotations and products at descending levels.
    pub fn normalise(&self, level: usize, division: &Normalisation) -> f64 {
        let polynomials = division.polynomials().map(|p| self.polynomial(level, p));
        let sum_level = level.saturating_sub(division.denominator.depth());
        let products = 3.0 * division.iterations as f64;
        polynomials.iter().sum::<f64>()
            + self.rotate_sum(sum_level, division.rotations.len())
            + products * self.multiply(level.saturating_sub(division.depth() / 2))
    }

    /// One bootstrap: CoeffToSlot's and SlotToCoeff's rotations, EvalMod's products.
    pub fn bootstrap(&self, log_slots: u32) -> f64 {
        let top = self.parameters.max_level();
        let eval_mod = (self.bootstrap.output_level(self.parameters) + top) / 2;
        let rotations_per_factor = 2.0 * f64::from(log_slots.div_ceil(3)).exp2().sqrt() + 4.0;
        let to_slots = 3.0 * rotations_per_factor * self.key_switch(top);
        let to_coefficients =
            3.0 * rotations_per_factor * self.key_switch(self.bootstrap.input_level());
        to_slots + to_coefficients + 20.0 * self.multiply(eval_mod)
    }
}
