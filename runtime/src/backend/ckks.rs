//! The schedule on ciphertexts.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use heddle_ckks::circuits::polynomial::{self, ChebyshevPolynomial};
use heddle_ckks::{Bootstrapper, Ciphertext, Context, EvaluationKeys, Evaluator};
use heddle_ir::ValueId;
use heddle_ir::ckks::{LinearMapId, Op, PolynomialId, Schedule};
use heddle_ir::plan::Plan;
use heddle_params::bootstrap::BootstrapVariant;
use heddle_params::scale;
use rayon::prelude::*;

use super::{Backend, Operation};
use crate::Error;
use crate::memory::{Memory, Needs, live_bytes};
use crate::message::mismatch;
use crate::observer::{Activity, Observed, Observer};

mod weights;

use weights::{EncodedBias, EncodedMap};

/// Executes one plan's schedule on ciphertexts. Holds the plan's weights, encoded, and evaluation
/// keys; nothing secret.
pub struct CkksBackend {
    plan: Arc<Plan>,
    evaluator: Evaluator,
    /// Those that fit into memory; the others are encoded in use.
    maps: BTreeMap<ValueId, EncodedMap>,
    biases: BTreeMap<ValueId, EncodedBias>,
    polynomials: Vec<ChebyshevPolynomial>,
    bootstrappers: BTreeMap<(u32, BootstrapVariant), Bootstrapper>,
}

impl fmt::Debug for CkksBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CkksBackend")
            .field("plan", &self.plan.name)
            .field("maps", &self.maps.len())
            .finish_non_exhaustive()
    }
}

impl CkksBackend {
    /// Prepares the bootstraps of a plan and encodes its weights, as many as `memory` allows, in
    /// parallel.
    ///
    /// # Errors
    /// If keys that the schedule uses are missing, a weight does not fit its operation, or `memory`
    /// is too little.
    pub fn load(
        plan: Arc<Plan>,
        context: &Arc<Context>,
        keys: Arc<EvaluationKeys>,
        memory: Memory,
        observer: &dyn Observer,
    ) -> Result<Self, Error> {
        let schedule = &plan.schedule;
        for key_use in plan.required_keys()? {
            keys.get(key_use.kind, key_use.level)?;
        }
        let key_bytes = keys.bytes() as u64;
        let evaluator = Evaluator::new(context, keys);
        let (bootstraps, weights) = items(schedule);
        let total = bootstraps.len() + weights.len();
        let observed = Observed::begin(observer, Activity::EncodingWeights, total);
        let prepare = |items: Vec<Item>| -> Result<Vec<Prepared>, Error> {
            items
                .into_par_iter()
                .map(|item| {
                    let prepared = item.prepare(&plan, &evaluator)?;
                    observed.advance();
                    Ok(prepared)
                })
                .collect()
        };
        let mut all = prepare(bootstraps)?;
        if memory != Memory::FullSpeed {
            for prepared in &mut all {
                if let Prepared::Bootstrapper(_, bootstrapper) = prepared {
                    bootstrapper.shrink();
                }
            }
        }
        let transforms = all.iter().map(Prepared::transform_bytes).sum();
        let sizes = weights.iter().map(|item| item.use_bytes(&plan));
        let needs = Needs {
            keys: key_bytes,
            transforms,
            largest_map: sizes.max().unwrap_or(0),
            live: live_bytes(schedule, context.n()),
        };
        let mut budget = memory.budget(context, needs)?;
        budget.bound_pool(context);
        let fitting = weights.into_iter().filter(|item| match item {
            Item::Transform(_) | Item::Products(_) => budget.take(item.map_bytes(&plan)),
            Item::Bias(..) | Item::Bootstrapper(..) => true,
        });
        all.extend(prepare(fitting.collect())?);
        drop(observed);
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
        for prepared in all {
            match prepared {
                Prepared::Map(value, map) => drop(backend.maps.insert(value, map)),
                Prepared::Bias(value, bias) => drop(backend.biases.insert(value, bias)),
                Prepared::Bootstrapper(key, bootstrapper) => {
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

    /// The result, if it has the type that the schedule gives it, with the schedule's period.
    fn typed(
        operation: &Operation<'_>,
        result: Result<Ciphertext, heddle_ckks::Error>,
    ) -> Result<Ciphertext, Error> {
        let mut result = result.map_err(|source| operation.refused(source))?;
        let fits = result.level() == operation.ty.level
            && scale::same_scale(result.scale(), operation.ty.scale());
        if !fits {
            return Err(operation.contradiction(format!(
                "the schedule says level {} and scale 2^{}, the result is at level {} and scale 2^{}",
                operation.ty.level,
                operation.ty.log_scale,
                result.level(),
                result.scale().log2()
            )));
        }
        result.set_log_slots(operation.ty.log_slots);
        Ok(result)
    }

    /// The linear transform of an operation: the one kept, or one that is encoded in use.
    fn transform(&self, operation: &Operation<'_>) -> Result<Cow<'_, EncodedMap>, Error> {
        self.map(operation, EncodedMap::streamed)
    }

    /// The plaintexts of a round of products: those kept, or some made for this use.
    fn products(&self, operation: &Operation<'_>) -> Result<Cow<'_, EncodedMap>, Error> {
        self.map(operation, EncodedMap::products)
    }

    fn map(
        &self,
        operation: &Operation<'_>,
        encode: fn(&Arc<Plan>, ValueId, &Evaluator) -> Result<EncodedMap, Error>,
    ) -> Result<Cow<'_, EncodedMap>, Error> {
        match self.maps.get(&operation.value) {
            Some(map) => Ok(Cow::Borrowed(map)),
            None => encode(&self.plan, operation.value, &self.evaluator).map(Cow::Owned),
        }
    }

    fn absent(operation: &Operation<'_>, what: &str) -> Error {
        operation.contradiction(format!("{what} was not loaded"))
    }
}

/// What is prepared at load; each is one parallel job.
enum Item {
    Bootstrapper(u32, BootstrapVariant),
    Transform(ValueId),
    Products(ValueId),
    Bias(ValueId, LinearMapId),
}

/// An item that is prepared.
enum Prepared {
    Bootstrapper((u32, BootstrapVariant), Box<Bootstrapper>),
    Map(ValueId, EncodedMap),
    Bias(ValueId, EncodedBias),
}

/// The bootstraps, which must be in memory, and the weights, which may.
fn items(schedule: &Schedule) -> (Vec<Item>, Vec<Item>) {
    let graph = &schedule.graph;
    let (mut bootstraps, mut weights) = (Vec::new(), Vec::new());
    let mut seen = Vec::new();
    for value in graph.values() {
        let node = graph.node(value);
        match node.op {
            Op::Bootstrap { variant } if !seen.contains(&(node.ty.log_slots, variant)) => {
                seen.push((node.ty.log_slots, variant));
                bootstraps.push(Item::Bootstrapper(node.ty.log_slots, variant));
            }
            Op::LinearTransform { .. } => weights.push(Item::Transform(value)),
            Op::MultiplyAccumulate { .. } => weights.push(Item::Products(value)),
            Op::AddBias { map } => weights.push(Item::Bias(value, map)),
            _ => {}
        }
    }
    (bootstraps, weights)
}

impl Item {
    fn prepare(self, plan: &Arc<Plan>, evaluator: &Evaluator) -> Result<Prepared, Error> {
        Ok(match self {
            Self::Bootstrapper(log_slots, variant) => {
                let context = evaluator.context();
                let bootstrapper = Bootstrapper::new(context, &plan.bootstrap, log_slots, variant)?;
                Prepared::Bootstrapper((log_slots, variant), Box::new(bootstrapper))
            }
            Self::Transform(value) => {
                Prepared::Map(value, EncodedMap::transform(plan, value, evaluator)?)
            }
            Self::Products(value) => {
                Prepared::Map(value, EncodedMap::products(plan, value, evaluator)?)
            }
            Self::Bias(value, map) => {
                Prepared::Bias(value, EncodedBias::of(plan, value, map, evaluator)?)
            }
        })
    }

    /// Bytes of the encoded linear map; 0 for anything else.
    fn map_bytes(&self, plan: &Plan) -> u64 {
        match self {
            Self::Transform(value) => EncodedMap::transform_bytes(plan, *value),
            Self::Products(value) => EncodedMap::product_bytes(plan, *value),
            Self::Bias(..) | Self::Bootstrapper(..) => 0,
        }
    }
}

impl Item {
    /// Bytes of a linear map that are encoded at a time where it is not kept; 0 for anything else.
    fn use_bytes(&self, plan: &Plan) -> u64 {
        match self {
            Self::Transform(value) => EncodedMap::streamed_bytes(plan, *value),
            Self::Products(value) => EncodedMap::product_bytes(plan, *value),
            Self::Bias(..) | Self::Bootstrapper(..) => 0,
        }
    }
}

impl Prepared {
    /// Bytes of a bootstrap's transforms; 0 for anything else.
    fn transform_bytes(&self) -> u64 {
        match self {
            Self::Bootstrapper(_, bootstrapper) => bootstrapper.bytes() as u64,
            Self::Map(..) | Self::Bias(..) => 0,
        }
    }
}

impl Backend for CkksBackend {
    type Value = Ciphertext;

    fn input(&self, operation: &Operation<'_>, input: Ciphertext) -> Result<Ciphertext, Error> {
        match mismatch(&input, operation.ty) {
            None => Ok(input),
            Some(message) => Err(Error::Input {
                what: "the input".into(),
                message: format!("{message}\nhelp: encrypt the image for this plan"),
            }),
        }
    }

    fn linear_transform(
        &self,
        operation: &Operation<'_>,
        _: LinearMapId,
        operands: &[&Ciphertext],
    ) -> Result<Ciphertext, Error> {
        let map = self.transform(operation)?;
        let sum = self.evaluator.linear_transform(&map.with(operands));
        Self::typed(operation, sum)
    }

    fn linear_transform_rescaled(
        &self,
        operation: &Operation<'_>,
        rescale: &Operation<'_>,
        _: LinearMapId,
        operands: &[&Ciphertext],
    ) -> Result<Ciphertext, Error> {
        let map = self.transform(operation)?;
        let sum = self.evaluator.linear_transform_rescale(&map.with(operands));
        Self::typed(rescale, sum)
    }

    fn multiply_accumulate(
        &self,
        operation: &Operation<'_>,
        _: LinearMapId,
        operands: &[&Ciphertext],
    ) -> Result<Ciphertext, Error> {
        let map = self.products(operation)?;
        let sum = self.evaluator.linear_transform(&map.with(operands));
        Self::typed(operation, sum)
    }

    fn multiply_accumulate_rescaled(
        &self,
        operation: &Operation<'_>,
        rescale: &Operation<'_>,
        _: LinearMapId,
        operands: &[&Ciphertext],
    ) -> Result<Ciphertext, Error> {
        let map = self.products(operation)?;
        let sum = self.evaluator.linear_transform_rescale(&map.with(operands));
        Self::typed(rescale, sum)
    }

    fn multiply_rescaled(
        &self,
        _: &Operation<'_>,
        rescale: &Operation<'_>,
        x: &Ciphertext,
        y: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        Self::typed(rescale, self.evaluator.mul_rescale(x, y))
    }

    fn add_bias(
        &self,
        operation: &Operation<'_>,
        _: LinearMapId,
        x: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        let bias = self
            .biases
            .get(&operation.value)
            .ok_or_else(|| Self::absent(operation, "the bias"))?;
        match bias.plaintext() {
            Some(bias) => Self::typed(operation, self.evaluator.add_plain(x, bias)),
            None => Self::typed(operation, Ok(x.clone())),
        }
    }

    fn rotate(
        &self,
        operation: &Operation<'_>,
        by: usize,
        x: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        Self::typed(operation, self.evaluator.rotate(x, by as i64))
    }

    fn add(
        &self,
        operation: &Operation<'_>,
        x: &Ciphertext,
        y: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        Self::typed(operation, self.evaluator.add(x, y))
    }

    fn multiply(
        &self,
        operation: &Operation<'_>,
        x: &Ciphertext,
        y: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        Self::typed(operation, self.evaluator.mul(x, y))
    }

    fn rescale(&self, operation: &Operation<'_>, x: &Ciphertext) -> Result<Ciphertext, Error> {
        Self::typed(operation, self.evaluator.rescale(x.clone()))
    }

    fn drop_level(&self, operation: &Operation<'_>, x: &Ciphertext) -> Result<Ciphertext, Error> {
        Self::typed(
            operation,
            self.evaluator.drop_to_level(x, operation.ty.level),
        )
    }

    fn polynomial(
        &self,
        operation: &Operation<'_>,
        polynomial: PolynomialId,
        x: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        let polynomial = self
            .polynomials
            .get(polynomial.0 as usize)
            .ok_or_else(|| Self::absent(operation, "the polynomial"))?;
        Self::typed(
            operation,
            polynomial::evaluate(&self.evaluator, x, polynomial, operation.ty.scale()),
        )
    }

    fn bootstrap(
        &self,
        operation: &Operation<'_>,
        variant: BootstrapVariant,
        x: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        let bootstrapper = self
            .bootstrappers
            .get(&(operation.ty.log_slots, variant))
            .ok_or_else(|| Self::absent(operation, "the bootstrap"))?;
        Self::typed(operation, bootstrapper.bootstrap(&self.evaluator, x))
    }
}
