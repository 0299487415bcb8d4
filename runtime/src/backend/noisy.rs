//! The schedule on plain numbers with modelled errors of encoding, key switching, rescaling and bootstrapping: what an
//! encrypted execution gives, without its time.

use std::cell::RefCell;

use heddle_ckks::circuits::bootstrap::Cosine;
use heddle_ckks::circuits::noise::{NoiseModel, Simulated, Simulator};
use heddle_ckks::circuits::polynomial::{self, ChebyshevPolynomial};
use heddle_ir::ckks::{LinearMapId, Op, PolynomialId};
use heddle_ir::eval::ckks::RangeStatistic;
use heddle_ir::plan::Plan;
use heddle_params::Parameters;
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};

use super::Backend;
use super::clear::ClearBackend;
use crate::Error;
use crate::executor::Step;

/// A plan made ready for noisy executions.
#[derive(Debug)]
pub struct NoisyMachine {
    clear: ClearBackend,
    parameters: Parameters,
    bootstrap: BootstrapParameters,
    model: NoiseModel,
    cosine: Cosine,
    polynomials: Vec<ChebyshevPolynomial>,
}

impl NoisyMachine {
    /// A machine for a plan, its linear maps expanded.
    ///
    /// # Errors
    /// If a weight does not fit, or the parameters do not hold.
    pub fn load(plan: &Plan) -> Result<Self, Error> {
        let parameters = plan.checked_parameters()?;
        let polynomials = plan.schedule.polynomials.iter();
        Ok(Self {
            clear: ClearBackend::load(plan)?,
            model: NoiseModel::new(&parameters),
            cosine: Cosine::fit(&plan.bootstrap),
            bootstrap: plan.bootstrap.clone(),
            polynomials: polynomials
                .map(|p| ChebyshevPolynomial::new(p.coefficients.clone()))
                .collect(),
            parameters,
        })
    }

    /// The execution of one image: the same seed gives the same errors.
    pub fn execution(&self, seed: u64) -> NoisyBackend<'_> {
        NoisyBackend {
            machine: self,
            simulator: Simulator::new(&self.model, seed),
            ranges: RefCell::new(self.clear.machine().fresh_statistics()),
        }
    }
}

/// Executes a schedule once, on one period of slots a value, with errors of its own.
#[derive(Debug)]
pub struct NoisyBackend<'a> {
    machine: &'a NoisyMachine,
    simulator: Simulator<'a>,
    ranges: RefCell<Vec<RangeStatistic>>,
}

impl NoisyBackend<'_> {
    /// What the slots before every non-linear function reached, in schedule order.
    pub fn into_ranges(self) -> Vec<RangeStatistic> {
        self.ranges.into_inner()
    }

    /// Notes the slots of an operation's operand where their range counts.
    fn watch(&self, step: &Step<'_>, slots: &[f64]) {
        let schedule = self.machine.clear.machine().schedule();
        let operands = schedule.graph.operands(step.value);
        for range in self.ranges.borrow_mut().iter_mut() {
            if operands.first() == Some(&range.value) {
                range.observe(slots);
            }
        }
    }

    /// The encrypted image: its slots with the errors of encryption.
    pub fn encrypted(&self, mut slots: Vec<f64>, scale: f64) -> Vec<f64> {
        let deviation = self.simulator.model().encryption() / scale;
        self.simulator.disturb(&mut slots, deviation);
        slots
    }

    /// The operation without errors, then errors that each copy has its own of.
    fn disturbed(
        &self,
        step: &Step<'_>,
        operands: &[&Vec<f64>],
        deviation: f64,
    ) -> Result<Vec<f64>, Error> {
        let operands: Vec<&[f64]> = operands.iter().map(|operand| operand.as_slice()).collect();
        let mut slots = self.machine.clear.machine().apply(step.value, &operands)?;
        if deviation > 0.0 {
            self.simulator.disturb(&mut slots, deviation);
        }
        Ok(slots)
    }

    fn key_switch(&self, step: &Step<'_>) -> f64 {
        self.simulator.model().key_switch(step.ty.level)
    }
}

impl Backend for NoisyBackend<'_> {
    type Value = Vec<f64>;

    /// Adds the errors of the diagonals' rounded coefficients, which grow with the operands, and those of the key switches
    /// and of dividing their special primes away, which do not: both relative to the product's scale.
    fn linear_transform(
        &self,
        step: &Step<'_>,
        _: LinearMapId,
        operands: &[&Vec<f64>],
    ) -> Result<Vec<f64>, Error> {
        let model = self.simulator.model();
        // For every operand, its diagonals and the rotations that switch keys here.
        let counts: Vec<(usize, usize)> = match step.op {
            Op::LinearTransform { steps, .. } => steps
                .iter()
                .map(|steps| (steps.diagonals, steps.baby.len() + steps.giant.len()))
                .collect(),
            Op::MultiplyAccumulate { .. } => vec![(1, 0); operands.len()],
            _ => return self.disturbed(step, operands, 0.0),
        };
        let (mut encoded, mut switched) = (0.0, 0.0);
        for ((diagonals, rotations), operand) in counts.into_iter().zip(operands) {
            let square = operand.iter().map(|x| x * x).sum::<f64>() / operand.len().max(1) as f64;
            let slots = step.ty.slots().max(operand.len());
            encoded += diagonals as f64 * square * model.encoding(slots).powi(2);
            switched += rotations as f64;
        }
        let diagonals = step.ty.scale() / step.operand.scale();
        let rounded = model
            .rounding()
            .hypot(self.key_switch(step) * switched.sqrt());
        let mut slots = self.disturbed(step, operands, rounded / step.ty.scale())?;
        self.simulator
            .disturb_all(&mut slots, encoded.sqrt() / diagonals);
        Ok(slots)
    }

    fn add_bias(&self, step: &Step<'_>, _: LinearMapId, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let mut slots = self.disturbed(step, &[x], 0.0)?;
        let deviation = self.simulator.model().encoding(slots.len()) / step.ty.scale();
        self.simulator.disturb_all(&mut slots, deviation);
        Ok(slots)
    }

    fn rotate(&self, step: &Step<'_>, _: usize, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let rounded = self.simulator.model().rounding();
        let deviation = rounded.hypot(self.key_switch(step)) / step.ty.scale();
        self.disturbed(step, &[x], deviation)
    }

    fn add(&self, step: &Step<'_>, x: &Vec<f64>, y: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.disturbed(step, &[x, y], 0.0)
    }

    fn multiply(&self, step: &Step<'_>, x: &Vec<f64>, y: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let rounded = self.simulator.model().rounding();
        let deviation = rounded.hypot(self.key_switch(step)) / step.ty.scale();
        self.disturbed(step, &[x, y], deviation)
    }

    fn rescale(&self, step: &Step<'_>, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let deviation = self.simulator.model().rounding() / step.ty.scale();
        self.disturbed(step, &[x], deviation)
    }

    fn drop_level(&self, step: &Step<'_>, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.disturbed(step, &[x], 0.0)
    }

    fn polynomial(
        &self,
        step: &Step<'_>,
        id: PolynomialId,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        let fail = |message: String| Error::Schedule {
            value: step.value,
            node: step.name.into(),
            message,
        };
        let polynomial = (self.machine.polynomials.get(id.0 as usize))
            .ok_or_else(|| fail("the polynomial is missing".into()))?;
        self.watch(step, x);
        let x = Simulated {
            slots: x.clone(),
            level: step.operand.level,
            scale: step.operand.scale(),
        };
        polynomial::evaluate(&self.simulator, &x, polynomial, step.ty.scale())
            .map(|result| result.slots)
            .map_err(|source| Error::Operation {
                value: step.value,
                node: step.name.into(),
                source,
            })
    }

    fn bootstrap(
        &self,
        step: &Step<'_>,
        _: BootstrapVariant,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.watch(step, x);
        let NoisyMachine {
            parameters,
            bootstrap,
            cosine,
            ..
        } = self.machine;
        self.simulator
            .bootstrap(x, parameters, bootstrap, cosine)
            .map(|result| result.slots)
            .map_err(|source| Error::Operation {
                value: step.value,
                node: step.name.into(),
                source,
            })
    }
}
