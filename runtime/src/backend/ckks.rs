//! The schedule on ciphertexts.

use std::collections::BTreeMap;
use std::sync::Arc;

use heddle_ckks::Context;
use heddle_ckks::bootstrap::Bootstrapper;
use heddle_ckks::ciphertext::Ciphertext;
use heddle_ckks::eval::Evaluator;
use heddle_ckks::eval::linear::LinearTransform;
use heddle_ckks::eval::polynomial::{self, ChebyshevPolynomial};
use heddle_ckks::keys::EvaluationKeys;
use heddle_ir::ValueId;
use heddle_ir::ckks::{LinearMapId, Op, PolynomialId, Schedule};
use heddle_ir::plan::Plan;
use heddle_params::bootstrap::BootstrapVariant;
use rayon::prelude::*;

use super::Backend;
use crate::Error;
use crate::executor::Step;
use crate::progress::{Progress, Show};

mod weights;

pub use weights::{EncodedBias, EncodedMap};

/// By how much a result's scale may differ from the schedule's.
const SCALE_TOLERANCE: f64 = 1.0 / (1u64 << 30) as f64;

/// Executes one plan's schedule on ciphertexts. Holds the plan's weights, encoded, and evaluation
/// keys; nothing secret.
pub struct CkksBackend {
    evaluator: Evaluator,
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

impl CkksBackend {
    /// Encodes the weights of a plan, in parallel, and prepares its bootstraps.
    ///
    /// # Errors
    /// If keys that the schedule uses are missing, or a weight or step does not fit.
    pub fn load(
        plan: &Plan,
        context: &Arc<Context>,
        keys: Arc<EvaluationKeys>,
        show: Show,
    ) -> Result<Self, Error> {
        let schedule = &plan.schedule;
        for key_use in &schedule.keys {
            keys.get(key_use.kind, key_use.level)?;
        }
        let evaluator = Evaluator::new(context, keys);
        let work = work(schedule);
        let progress = Progress::new("encoding weights", work.len(), show);
        let parts: Vec<Part> = work
            .into_par_iter()
            .map(|work| {
                let part = work.prepare(plan, &evaluator)?;
                progress.step();
                Ok(part)
            })
            .collect::<Result<_, Error>>()?;
        let polynomials = schedule
            .polynomials
            .iter()
            .map(|polynomial| ChebyshevPolynomial::new(polynomial.coefficients.clone()))
            .collect();
        let mut backend = Self {
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
        let fits = result.level() == step.ty.level
            && (result.scale() / step.ty.scale() - 1.0).abs() <= SCALE_TOLERANCE;
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

    /// Every operand of a linear transform with the term that it belongs to.
    fn terms<'a>(
        &'a self,
        step: &Step<'_>,
        operands: &[&'a Ciphertext],
    ) -> Result<Vec<(&'a Ciphertext, &'a LinearTransform)>, Error> {
        let map = self
            .maps
            .get(&step.value)
            .ok_or_else(|| Self::absent(step, "the map"))?;
        Ok(operands.iter().copied().zip(map.terms()).collect())
    }

    fn absent(step: &Step<'_>, what: &str) -> Error {
        Error::Schedule {
            value: step.value,
            node: step.name.into(),
            message: format!("{what} was not loaded"),
        }
    }
}

/// What is prepared at load, one piece of parallel work each; bootstrappers first, as they take
/// longest.
enum Work {
    Bootstrapper(u32, BootstrapVariant),
    Map(ValueId),
    Bias(ValueId, LinearMapId),
}

fn work(schedule: &Schedule) -> Vec<Work> {
    let graph = &schedule.graph;
    let mut work = Vec::new();
    let mut seen = Vec::new();
    for value in graph.values() {
        let node = graph.node(value);
        if let Op::Bootstrap { variant } = node.op
            && !seen.contains(&(node.ty.log_slots, variant))
        {
            seen.push((node.ty.log_slots, variant));
            work.push(Work::Bootstrapper(node.ty.log_slots, variant));
        }
    }
    for value in graph.values() {
        match graph.node(value).op {
            Op::LinearTransform { .. } => work.push(Work::Map(value)),
            Op::AddBias { map } => work.push(Work::Bias(value, map)),
            _ => {}
        }
    }
    work
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

impl Backend for CkksBackend {
    type Value = Ciphertext;

    fn linear_transform(
        &self,
        step: &Step<'_>,
        _: LinearMapId,
        operands: &[&Ciphertext],
    ) -> Result<Ciphertext, Error> {
        Self::typed(
            step,
            self.evaluator
                .linear_transform(&self.terms(step, operands)?),
        )
    }

    fn linear_transform_rescaled(
        &self,
        step: &Step<'_>,
        rescale: &Step<'_>,
        _: LinearMapId,
        operands: &[&Ciphertext],
    ) -> Result<Ciphertext, Error> {
        let terms = self.terms(step, operands)?;
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
