//! The schedule on ciphertexts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use heddle_ckks::circuits::polynomial::{self, ChebyshevPolynomial};
use heddle_ckks::{Bootstrapper, Ciphertext, Context, EvaluationKeys, Evaluator};
use heddle_ir::ValueId;
use heddle_ir::ckks::{LinearMapId, Op, PolynomialId, Schedule};
use heddle_ir::plan::Plan;
use heddle_params::bootstrap::BootstrapVariant;
use heddle_params::scale;
use rayon::prelude::*;

use super::Backend;
use crate::Error;
use crate::executor::Step;
use crate::memory::Memory;
use crate::progress::{Progress, Show};

mod weights;

pub use weights::{EncodedBias, EncodedMap};

/// Executes one plan's schedule on ciphertexts. Holds the plan's weights, encoded, and evaluation
/// keys; nothing secret.
pub struct CkksBackend<'a> {
    plan: &'a Plan,
    evaluator: Evaluator,
    /// Those that found room; the others are encoded at each use.
    maps: BTreeMap<ValueId, EncodedMap>,
    biases: BTreeMap<ValueId, EncodedBias>,
    polynomials: Vec<ChebyshevPolynomial>,
    bootstrappers: BTreeMap<(u32, BootstrapVariant), Bootstrapper>,
}

enum Part {
    Map(ValueId, EncodedMap),
    Bias(ValueId, EncodedBias),
    Bootstrapper((u32, BootstrapVariant), Box<Bootstrapper>),
}

impl<'p> CkksBackend<'p> {
    /// Prepares the bootstraps of a plan and encodes its weights, as many as `memory` has room for, in parallel.
    ///
    /// # Errors
    /// If keys that the schedule uses are missing, a weight or step does not fit, or `memory` is too little.
    pub fn load(
        plan: &'p Plan,
        context: &Arc<Context>,
        keys: Arc<EvaluationKeys>,
        memory: Memory,
        show: Show,
    ) -> Result<Self, Error> {
        let schedule = &plan.schedule;
        for key_use in plan.required_keys()? {
            keys.get(key_use.kind, key_use.level)?;
        }
        let key_bytes = keys.bytes() as u64;
        let evaluator = Evaluator::new(context, keys);
        let (first, second) = work(schedule);
        let progress = Progress::new("encoding weights", first.len() + second.len(), show);
        let prepare = |work: Vec<Work>| -> Result<Vec<Part>, Error> {
            work.into_par_iter()
                .map(|work| {
                    let part = work.prepare(plan, &evaluator)?;
                    progress.step();
                    Ok(part)
                })
                .collect()
        };
        let mut parts = prepare(first)?;
        if memory != Memory::FullSpeed {
            for part in &mut parts {
                if let Part::Bootstrapper(_, bootstrapper) = part {
                    bootstrapper.shrink();
                }
            }
        }
        let transforms = parts.iter().map(Part::transform_bytes).sum();
        let largest = second.iter().map(|work| match work {
            Work::Map(value) => EncodedMap::bytes_of(plan, *value),
            Work::Bias(..) | Work::Bootstrapper(..) => 0,
        });
        let largest = largest.max().unwrap_or(0);
        let mut room = memory.room(context, key_bytes, transforms, largest)?;
        let fitting = second.into_iter().filter(|work| match work {
            Work::Map(value) => room.take(EncodedMap::bytes_of(plan, *value)),
            Work::Bias(..) | Work::Bootstrapper(..) => true,
        });
        parts.extend(prepare(fitting.collect())?);
        let polynomials = schedule
            .polynomials
            .iter()
            .map(|polynomial| ChebyshevPolynomial::new(polynomial.coefficients.clone()))
            .collect();
        let mut backend = Self {
            plan,
            evaluator,
            maps: BTreeMap::new(),
            biases: BTreeMap::new(),
            polynomials,
            bootstrappers: BTreeMap::new(),
        };
        for part in parts {
            match part {
                Part::Map(value, map) => drop(backend.maps.insert(value, map)),
                Part::Bias(value, bias) => drop(backend.biases.insert(value, bias)),
                Part::Bootstrapper(key, bootstrapper) => {
                    drop(backend.bootstrappers.insert(key, *bootstrapper));
                }
            }
        }
        Ok(backend)
    }

    /// The tables of the plan's parameters.
    pub fn context(&self) -> &Arc<Context> {
        self.evaluator.context()
    }

    /// Whether a result has the type that the schedule gives it; declares the schedule's period.
    fn typed(
        step: &Step<'_>,
        result: Result<Ciphertext, heddle_ckks::Error>,
    ) -> Result<Ciphertext, Error> {
        let mut result = result.map_err(|source| Error::Operation {
            value: step.value,
            node: step.name.into(),
            source,
        })?;
        let fits =
            result.level() == step.ty.level && scale::same_scale(result.scale(), step.ty.scale());
        if !fits {
            let message = format!(
                "the schedule says level {} and scale 2^{}, the result is at level {} and scale 2^{}",
                step.ty.level,
                step.ty.log_scale,
                result.level(),
                result.scale().log2()
            );
            return Err(Error::Schedule {
                value: step.value,
                node: step.name.into(),
                message,
            });
        }
        result.set_log_slots(step.ty.log_slots);
        Ok(result)
    }

    /// The map of an operation: the one kept, or one made for this use.
    fn map(&self, step: &Step<'_>) -> Result<Cow<'_, EncodedMap>, Error> {
        match self.maps.get(&step.value) {
            Some(map) => Ok(Cow::Borrowed(map)),
            None => EncodedMap::of(self.plan, step.value, &self.evaluator).map(Cow::Owned),
        }
    }

    fn absent(step: &Step<'_>, what: &str) -> Error {
        Error::Schedule {
            value: step.value,
            node: step.name.into(),
            message: format!("{what} was not loaded"),
        }
    }
}

impl Part {
    fn transform_bytes(&self) -> u64 {
        match self {
            Self::Bootstrapper(_, bootstrapper) => bootstrapper.bytes() as u64,
            Self::Map(..) | Self::Bias(..) => 0,
        }
    }
}

/// What is prepared at load, one piece of parallel work each.
enum Work {
    Bootstrapper(u32, BootstrapVariant),
    Map(ValueId),
    Bias(ValueId, LinearMapId),
}

/// The bootstraps, which must be in memory, and the weights, which may.
fn work(schedule: &Schedule) -> (Vec<Work>, Vec<Work>) {
    let graph = &schedule.graph;
    let (mut bootstraps, mut weights) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for value in graph.values() {
        let node = graph.node(value);
        if let Op::Bootstrap { variant } = node.op
            && !seen.contains(&(node.ty.log_slots, variant))
        {
            seen.push((node.ty.log_slots, variant));
            bootstraps.push(Work::Bootstrapper(node.ty.log_slots, variant));
        }
    }
    for value in graph.values() {
        match graph.node(value).op {
            Op::LinearTransform { .. } | Op::MultiplyAccumulate { .. } => {
                weights.push(Work::Map(value));
            }
            Op::AddBias { map } => weights.push(Work::Bias(value, map)),
            _ => {}
        }
    }
    (bootstraps, weights)
}

impl Work {
    fn prepare(self, plan: &Plan, evaluator: &Evaluator) -> Result<Part, Error> {
        Ok(match self {
            Self::Bootstrapper(log_slots, variant) => {
                let context = evaluator.context();
                let bootstrapper = Bootstrapper::new(context, &plan.bootstrap, log_slots, variant)?;
                Part::Bootstrapper((log_slots, variant), Box::new(bootstrapper))
            }
            Self::Map(value) => Part::Map(value, EncodedMap::of(plan, value, evaluator)?),
            Self::Bias(value, map) => {
                Part::Bias(value, EncodedBias::of(plan, value, map, evaluator)?)
            }
        })
    }
}

impl Backend for CkksBackend<'_> {
    type Value = Ciphertext;

    fn linear_transform(
        &self,
        step: &Step<'_>,
        _: LinearMapId,
        operands: &[&Ciphertext],
    ) -> Result<Ciphertext, Error> {
        let map = self.map(step)?;
        Self::typed(step, self.evaluator.linear_transform(&map.with(operands)))
    }

    fn linear_transform_rescaled(
        &self,
        step: &Step<'_>,
        rescale: &Step<'_>,
        _: LinearMapId,
        operands: &[&Ciphertext],
    ) -> Result<Ciphertext, Error> {
        let map = self.map(step)?;
        let terms = map.with(operands);
        Self::typed(rescale, self.evaluator.linear_transform_rescale(&terms))
    }

    fn multiply_rescaled(
        &self,
        _: &Step<'_>,
        rescale: &Step<'_>,
        x: &Ciphertext,
        y: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        Self::typed(rescale, self.evaluator.mul_rescale(x, y))
    }

    fn add_bias(
        &self,
        step: &Step<'_>,
        _: LinearMapId,
        x: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        let bias = self
            .biases
            .get(&step.value)
            .ok_or_else(|| Self::absent(step, "the bias"))?;
        match bias.plaintext() {
            Some(bias) => Self::typed(step, self.evaluator.add_plain(x, bias)),
            None => Self::typed(step, Ok(x.clone())),
        }
    }

    fn rotate(&self, step: &Step<'_>, by: usize, x: &Ciphertext) -> Result<Ciphertext, Error> {
        Self::typed(step, self.evaluator.rotate(x, by as i64))
    }

    fn add(&self, step: &Step<'_>, x: &Ciphertext, y: &Ciphertext) -> Result<Ciphertext, Error> {
        Self::typed(step, self.evaluator.add(x, y))
    }

    fn multiply(
        &self,
        step: &Step<'_>,
        x: &Ciphertext,
        y: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        Self::typed(step, self.evaluator.mul(x, y))
    }

    fn rescale(&self, step: &Step<'_>, x: &Ciphertext) -> Result<Ciphertext, Error> {
        Self::typed(step, self.evaluator.rescale(x.clone()))
    }

    fn drop_level(&self, step: &Step<'_>, x: &Ciphertext) -> Result<Ciphertext, Error> {
        Self::typed(step, self.evaluator.drop_to_level(x, step.ty.level))
    }

    fn polynomial(
        &self,
        step: &Step<'_>,
        polynomial: PolynomialId,
        x: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        let polynomial = self
            .polynomials
            .get(polynomial.0 as usize)
            .ok_or_else(|| Self::absent(step, "the polynomial"))?;
        Self::typed(
            step,
            polynomial::evaluate(&self.evaluator, x, polynomial, step.ty.scale()),
        )
    }

    fn bootstrap(
        &self,
        step: &Step<'_>,
        variant: BootstrapVariant,
        x: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        let bootstrapper = self
            .bootstrappers
            .get(&(step.ty.log_slots, variant))
            .ok_or_else(|| Self::absent(step, "the bootstrap"))?;
        Self::typed(step, bootstrapper.bootstrap(&self.evaluator, x))
    }
}
