//! The third stage: the levelled CKKS schedule, the operations that the runtime executes in the
//! order of their ids.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::bsgs::{BsgsPlan, Giant};
use heddle_params::keys::{self, KeyNeed, KeyUse};
use heddle_params::{Parameters, failure};
use serde::{Deserialize, Serialize};

use crate::graph::{Graph, ValueId};
use crate::linear::{LinearMap, ProductPhase};
use crate::slot::Chebyshev;

mod target;

pub use target::Target;

/// The type of a ciphertext.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CiphertextType {
    /// log2 of the period of the slot vector.
    pub log_slots: u32,
    /// Rescales that remain.
    pub level: usize,
    /// log2 of the scale.
    pub log_scale: f64,
}

impl CiphertextType {
    /// The period of the slot vector, in slots.
    pub fn slots(&self) -> usize {
        1 << self.log_slots
    }

    /// The scale Δ.
    pub fn scale(&self) -> f64 {
        self.log_scale.exp2()
    }
}

impl fmt::Display for CiphertextType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ct<slots=2^{}, level={}, scale=2^{}>",
            self.log_slots, self.level, self.log_scale
        )
    }
}

/// Index into [`Schedule::linear_maps`]. Printed as `m3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LinearMapId(pub u32);

/// Index into [`Schedule::polynomials`]. Printed as `p3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PolynomialId(pub u32);

/// Rotations by which one term of a linear transform is evaluated (double-hoisted baby-step
/// giant-step): every diagonal `d` of the term is `baby + giant` modulo its period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransformSteps {
    /// Number of non-zero diagonals.
    pub diagonals: usize,
    /// Rotations of the operand, in slots, ascending; 0 needs no key.
    pub baby: Vec<usize>,
    /// Rotations of the partial sums, in slots, ascending; 0 needs no key.
    pub giant: Vec<usize>,
}

impl TransformSteps {
    /// The rotations of a plan.
    pub fn of(plan: &BsgsPlan) -> Self {
        Self {
            diagonals: plan.diagonal_count(),
            baby: plan.baby.clone(),
            giant: plan.giants.iter().map(|giant| giant.shift).collect(),
        }
    }

    /// The pairs of a baby and a giant rotation that evaluate `diagonals`, each their sum modulo
    /// the operand's `period`; the first giant rotation that reaches a diagonal is taken. Rotations
    /// are in ciphertexts of `slots` slots.
    ///
    /// # Errors
    /// A diagonal that no pair reaches.
    pub fn plan(
        &self,
        diagonals: impl IntoIterator<Item = usize>,
        period: usize,
        slots: usize,
    ) -> Result<BsgsPlan, usize> {
        // By residue: the first baby rotation that has it. There are 10^4 diagonals in a wide map.
        let mut babies = vec![None; period];
        for (index, baby) in self.baby.iter().enumerate().rev() {
            babies[baby % period] = Some(index);
        }
        let giant = |shift: &usize| Giant {
            shift: *shift,
            diagonals: Vec::new(),
        };
        let mut giants: Vec<Giant> = self.giant.iter().map(giant).collect();
        let behind: Vec<usize> = giants.iter().map(|g| period - g.shift % period).collect();
        for diagonal in diagonals {
            let mut pairs = giants.iter_mut().zip(&behind);
            let reached = pairs.find_map(|(giant, behind)| {
                let baby = babies[(diagonal + behind) % period]?;
                giant.diagonals.push((baby, diagonal));
                Some(())
            });
            reached.ok_or(diagonal)?;
        }
        giants.retain(|giant| !giant.diagonals.is_empty());
        Ok(BsgsPlan {
            period: slots,
            baby: self.baby.clone(),
            giants,
        })
    }
}

/// An operation of the schedule. Levels and scales are those of the result's type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// An encrypted piece of the image.
    Input,
    /// A linear map by its diagonals, not rescaled; one operand per term, all at one level and
    /// scale. The result holds the shares of the map's sums, see [`LinearMap::log_shares`]. The
    /// diagonals are encoded at the scale that is the quotient of the result's and the operands'.
    LinearTransform {
        /// Which map.
        map: LinearMapId,
        /// The rotations, one entry for every term.
        steps: Vec<TransformSteps>,
    },
    /// `Σᵢ xᵢ·wᵢ` over the plaintexts `wᵢ` of one phase of a convolution, multiplexed parallel or
    /// SISO, not rescaled; one operand per plaintext, all at one level and scale. The plaintexts
    /// fill the result's slots, or those of an operand that has more, and are encoded at the scale
    /// that is the quotient of the result's and the operands'.
    MultiplyAccumulate {
        /// Which convolution.
        map: LinearMapId,
        /// Its weights or its masks.
        part: ProductPhase,
        /// Which of its rounds; 0 for a SISO convolution.
        round: usize,
    },
    /// Adds the bias of a linear map, encoded at the operand's scale.
    AddBias {
        /// Which map's bias.
        map: LinearMapId,
    },
    /// The operand rotated left.
    Rotate {
        /// Distance in slots, below all those of a ciphertext, so that values of different periods
        /// share keys; not a multiple of the operand's period.
        by: usize,
    },
    /// The sum of two operands of one level and scale. The sum of a value and its rotation by half
    /// of its slots repeats with that half: its type has one doubling of slots less.
    Add,
    /// The product of two operands of one level, relinearised, not rescaled.
    Multiply,
    /// Divides by the last prime and drops it.
    Rescale,
    /// Drops primes without dividing.
    DropLevel,
    /// Evaluates a polynomial in the Chebyshev basis; takes as many levels as it is deep and ends
    /// at exactly the result's scale.
    Polynomial {
        /// Which polynomial.
        polynomial: PolynomialId,
    },
    /// Refreshes the levels of a value whose slots lie in [−1, 1].
    Bootstrap {
        /// Whether the imaginary part is removed.
        variant: BootstrapVariant,
    },
}

/// A schedule with what it refers to.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// The operations, in execution order.
    pub graph: Graph<Op, CiphertextType>,
    /// Linear maps by id.
    pub linear_maps: Vec<LinearMap>,
    /// Polynomials by id.
    pub polynomials: Vec<Chebyshev>,
}

/// How likely the modular reduction of a bootstrap fails, see [`heddle_params::failure`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailureProbability {
    /// log2 of the probability of the bootstrap that is likeliest to fail.
    pub bootstrap_log2: f64,
    /// log2 of the probability that at least one of an inference fails.
    pub inference_log2: f64,
    /// Number of bootstraps of an inference.
    pub bootstraps: usize,
}

impl fmt::Display for FailureProbability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a bootstrap fails with probability 2^{:.1}, one of an inference's {} with 2^{:.1}",
            self.bootstrap_log2, self.bootstraps, self.inference_log2
        )
    }
}

impl Schedule {
    /// For every operation, the values that are not needed after it, ascending.
    pub fn frees(&self) -> Vec<Vec<ValueId>> {
        let mut frees = vec![Vec::new(); self.graph.len()];
        for (index, last) in self.graph.last_uses().into_iter().enumerate() {
            if let Some(last) = last {
                frees[last.index()].push(ValueId(index as u32));
            }
        }
        frees
    }

    /// Whether an addition halves the period of its operands: it adds a value and its rotation by
    /// half of its slots.
    pub fn halves_period(&self, value: ValueId) -> bool {
        let graph = &self.graph;
        let [x, y] = graph.operands(value)[..] else {
            return false;
        };
        let half = graph.ty(x).slots() / 2;
        let rotated = |of: ValueId, rotation: ValueId| {
            matches!(graph.node(rotation).op, Op::Rotate { by } if by == half)
                && graph.operands(rotation) == [of]
        };
        matches!(graph.node(value).op, Op::Add) && (rotated(x, y) || rotated(y, x))
    }

    /// The values that hold the image, one for each of its pieces, in order.
    pub fn inputs(&self) -> impl Iterator<Item = ValueId> {
        self.graph.select(|op| matches!(op, Op::Input))
    }

    /// The linear map behind an id, if there is one.
    pub fn linear_map(&self, id: LinearMapId) -> Option<&LinearMap> {
        self.linear_maps.get(id.0 as usize)
    }

    /// The polynomial behind an id, if there is one.
    pub fn polynomial(&self, id: PolynomialId) -> Option<&Chebyshev> {
        self.polynomials.get(id.0 as usize)
    }

    /// The probability that a bootstrap fails, at worst and in a whole inference; `None` without
    /// bootstraps. The bootstrapping parameters have passed their check.
    pub fn failure(
        &self,
        parameters: &Parameters,
        bootstrap: &BootstrapParameters,
    ) -> Option<FailureProbability> {
        let mut known = BTreeMap::new();
        let each: Vec<f64> = self
            .graph
            .values()
            .filter_map(|value| match self.graph.node(value).op {
                Op::Bootstrap { variant } => {
                    let log_slots = self.graph.ty(value).log_slots;
                    let of_one = || bootstrap.failure_log2(parameters, log_slots, variant);
                    Some(*known.entry((log_slots, variant)).or_insert_with(of_one))
                }
                _ => None,
            })
            .collect();
        Some(FailureProbability {
            bootstrap_log2: each.iter().copied().reduce(f64::max)?,
            inference_log2: failure::any_log2(each.iter().copied()),
            bootstraps: each.len(),
        })
    }

    /// What the operations need evaluation keys for.
    pub fn key_needs(&self) -> BTreeSet<KeyNeed> {
        let mut needs = BTreeSet::new();
        let graph = &self.graph;
        for value in graph.values() {
            let ty = graph.ty(value);
            let level = ty.level;
            match &graph.node(value).op {
                Op::LinearTransform { steps, .. } => {
                    let rotations = steps
                        .iter()
                        .flat_map(|step| step.baby.iter().chain(&step.giant));
                    needs.extend(
                        rotations
                            .filter(|by| **by != 0)
                            .map(|by| KeyNeed::Rotation { by: *by, level }),
                    );
                }
                Op::Rotate { by } => {
                    needs.insert(KeyNeed::Rotation { by: *by, level });
                }
                Op::Multiply => {
                    needs.insert(KeyNeed::Product { level });
                }
                Op::Polynomial { .. } => {
                    // Products run from just below the operand's level down to the result's.
                    let top = graph
                        .operands(value)
                        .first()
                        .map_or(0, |x| graph.ty(*x).level);
                    needs.extend((level + 1..=top).map(|level| KeyNeed::Product { level }));
                }
                Op::Bootstrap { variant } => {
                    needs.insert(KeyNeed::Bootstrap {
                        log_slots: ty.log_slots,
                        variant: *variant,
                    });
                }
                Op::Input
                | Op::MultiplyAccumulate { .. }
                | Op::AddBias { .. }
                | Op::Add
                | Op::Rescale
                | Op::DropLevel => {}
            }
        }
        needs
    }

    /// The evaluation keys that an execution uses, ascending and without repetition.
    ///
    /// # Errors
    /// If an operation does not fit the parameters.
    pub fn required_keys(
        &self,
        parameters: &Parameters,
        bootstrap: &BootstrapParameters,
    ) -> Result<Vec<KeyUse>, heddle_params::Error> {
        keys::required(parameters, bootstrap, self.key_needs())
    }

    /// Number of bootstraps.
    pub fn bootstraps(&self) -> usize {
        self.graph
            .values()
            .filter(|value| matches!(self.graph.node(*value).op, Op::Bootstrap { .. }))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_diagonal_gets_a_pair_of_rotations() {
        // Rotations modulo the ring's slots stand for those modulo the period.
        let steps = TransformSteps {
            diagonals: 4,
            baby: vec![0, 1, 511],
            giant: vec![0, 8, 504],
        };
        let plan = steps.plan([0, 1, 7, 15], 16, 512).unwrap();
        for giant in &plan.giants {
            for (baby, diagonal) in &giant.diagonals {
                assert_eq!((plan.baby[*baby] + giant.shift) % 16, *diagonal);
            }
        }
        assert_eq!(plan.diagonal_count(), 4);
        assert_eq!(steps.plan([0, 4], 16, 512), Err(4));
    }
}
