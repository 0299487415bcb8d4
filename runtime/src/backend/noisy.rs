//! The schedule on plain numbers with modelled errors of encoding, key switching, rescaling and
//! bootstrapping. Its results are like those of an encrypted execution, in far less time.

use std::cell::RefCell;

use heddle_ckks::circuits::bootstrap::Cosine;
use heddle_ckks::circuits::noise::{NoiseModel, Simulated, Simulator};
use heddle_ckks::circuits::polynomial::{self, ChebyshevPolynomial};
use heddle_ir::ckks::{LinearMapId, Op, PolynomialId};
use heddle_ir::eval::ckks::{ClearInterpreter, RangeStatistic};
use heddle_ir::plan::Plan;
use heddle_params::Parameters;
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};

use super::{Backend, Operation, check_slots};
use crate::Error;

/// A plan made ready for noisy executions.
#[derive(Debug)]
pub struct NoisyInterpreter {
    clear: ClearInterpreter,
    parameters: Parameters,
    bootstrap: BootstrapParameters,
    model: NoiseModel,
    cosine: Cosine,
    polynomials: Vec<ChebyshevPolynomial>,
}

impl NoisyInterpreter {
    /// An interpreter for a plan, its linear maps expanded.
    ///
    /// # Errors
    /// If a weight does not fit, or the parameters do not hold.
    pub fn load(plan: &Plan) -> Result<Self, Error> {
        let parameters = plan.checked_parameters()?;
        let polynomials = plan.schedule.polynomials.iter();
        Ok(Self {
            clear: ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap)?,
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
            interpreter: self,
            simulator: Simulator::new(&self.model, seed),
            ranges: RefCell::new(self.clear.fresh_statistics()),
        }
    }
}

/// Executes a schedule once, with errors of its own. A value is one period of slots.
#[derive(Debug)]
pub struct NoisyBackend<'a> {
    interpreter: &'a NoisyInterpreter,
    simulator: Simulator<'a>,
    ranges: RefCell<Vec<RangeStatistic>>,
}

impl NoisyBackend<'_> {
    /// What the slots before every non-linear function reached, in schedule order.
    pub fn into_ranges(self) -> Vec<RangeStatistic> {
        self.ranges.into_inner()
    }

    /// Records the range of the operand of a non-linear function.
    fn watch(&self, operation: &Operation<'_>, slots: &[f64]) {
        let schedule = self.interpreter.clear.schedule();
        let operands = schedule.graph.operands(operation.value);
        for range in self.ranges.borrow_mut().iter_mut() {
            if operands.first() == Some(&range.value) {
                range.observe(slots);
            }
        }
    }

    /// An encrypted piece of the image: its slots with the errors of encryption.
    pub fn encrypted(&self, mut slots: Vec<f64>, scale: f64) -> Vec<f64> {
        let deviation = self.simulator.model().encryption() / scale;
        self.simulator.disturb(&mut slots, deviation);
        slots
    }

    /// The operation without errors, then errors of its own for each copy of a slot.
    fn disturbed(
        &self,
        operation: &Operation<'_>,
        operands: &[&Vec<f64>],
        deviation: f64,
    ) -> Result<Vec<f64>, Error> {
        let operands: Vec<&[f64]> = operands.iter().map(|operand| operand.as_slice()).collect();
        let mut slots = self.interpreter.clear.apply(operation.value, &operands)?;
        if deviation > 0.0 {
            self.simulator.disturb(&mut slots, deviation);
        }
        Ok(slots)
    }

    /// A linear map with the errors of the rounded coefficients of its diagonals, and those of key
    /// switches and of the division by the special primes. The first grow with the operands, the
    /// others do not; both are relative to the product's scale.
    fn weighted_sum(
        &self,
        operation: &Operation<'_>,
        counts: impl Iterator<Item = Counts>,
        operands: &[&Vec<f64>],
    ) -> Result<Vec<f64>, Error> {
        let model = self.simulator.model();
        let (mut encoded, mut switched) = (0.0, 0.0);
        for (counts, operand) in counts.zip(operands) {
            let square = operand.iter().map(|x| x * x).sum::<f64>() / operand.len().max(1) as f64;
            let slots = operation.ty.slots().max(operand.len());
            encoded += counts.diagonals as f64 * square * model.encoding(slots).powi(2);
            switched += counts.rotations as f64;
        }
        let diagonals = operation.ty.scale() / operation.operand.scale();
        let rounded = model
            .rounding()
            .hypot(self.key_switch(operation) * switched.sqrt());
        let deviation = rounded / operation.ty.scale();
        let mut slots = self.disturbed(operation, operands, deviation)?;
        self.simulator
            .disturb_all(&mut slots, encoded.sqrt() / diagonals);
        Ok(slots)
    }

    fn key_switch(&self, operation: &Operation<'_>) -> f64 {
        self.simulator.model().key_switch(operation.ty.level)
    }
}

/// What adds errors to a linear map, for one operand.
#[derive(Clone, Copy)]
struct Counts {
    diagonals: usize,
    /// Rotations that switch keys in this operation.
    rotations: usize,
}

impl Backend for NoisyBackend<'_> {
    type Value = Vec<f64>;

    fn input(&self, operation: &Operation<'_>, input: Vec<f64>) -> Result<Vec<f64>, Error> {
        check_slots(operation, &input)?;
        Ok(input)
    }

    fn linear_transform(
        &self,
        operation: &Operation<'_>,
        _: LinearMapId,
        operands: &[&Vec<f64>],
    ) -> Result<Vec<f64>, Error> {
        let Op::LinearTransform { steps, .. } = operation.op else {
            return Err(operation.contradiction("it is no linear transform"));
        };
        let counts = steps.iter().map(|steps| Counts {
            diagonals: steps.diagonals,
            rotations: steps.baby.len() + steps.giant.len(),
        });
        self.weighted_sum(operation, counts, operands)
    }

    fn multiply_accumulate(
        &self,
        operation: &Operation<'_>,
        _: LinearMapId,
        operands: &[&Vec<f64>],
    ) -> Result<Vec<f64>, Error> {
        let product = Counts {
            diagonals: 1,
            rotations: 0,
        };
        let counts = std::iter::repeat_n(product, operands.len());
        self.weighted_sum(operation, counts, operands)
    }

    fn add_bias(
        &self,
        operation: &Operation<'_>,
        _: LinearMapId,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        let mut slots = self.disturbed(operation, &[x], 0.0)?;
        let deviation = self.simulator.model().encoding(slots.len()) / operation.ty.scale();
        self.simulator.disturb_all(&mut slots, deviation);
        Ok(slots)
    }

    fn rotate(&self, operation: &Operation<'_>, _: usize, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let rounded = self.simulator.model().rounding();
        let deviation = rounded.hypot(self.key_switch(operation)) / operation.ty.scale();
        self.disturbed(operation, &[x], deviation)
    }

    fn add(
        &self,
        operation: &Operation<'_>,
        x: &Vec<f64>,
        y: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.disturbed(operation, &[x, y], 0.0)
    }

    fn multiply(
        &self,
        operation: &Operation<'_>,
        x: &Vec<f64>,
        y: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        let rounded = self.simulator.model().rounding();
        let deviation = rounded.hypot(self.key_switch(operation)) / operation.ty.scale();
        self.disturbed(operation, &[x, y], deviation)
    }

    fn rescale(&self, operation: &Operation<'_>, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        let deviation = self.simulator.model().rounding() / operation.ty.scale();
        self.disturbed(operation, &[x], deviation)
    }

    fn drop_level(&self, operation: &Operation<'_>, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.disturbed(operation, &[x], 0.0)
    }

    fn polynomial(
        &self,
        operation: &Operation<'_>,
        id: PolynomialId,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        let polynomial = self.interpreter.polynomials.get(id.0 as usize);
        let polynomial =
            polynomial.ok_or_else(|| operation.contradiction("the polynomial is missing"))?;
        self.watch(operation, x);
        let x = Simulated {
            slots: x.clone(),
            level: operation.operand.level,
            scale: operation.operand.scale(),
        };
        polynomial::evaluate(&self.simulator, &x, polynomial, operation.ty.scale())
            .map(|result| result.slots)
            .map_err(|source| operation.refused(source))
    }

    fn bootstrap(
        &self,
        operation: &Operation<'_>,
        _: BootstrapVariant,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.watch(operation, x);
        let NoisyInterpreter {
            parameters,
            bootstrap,
            cosine,
            ..
        } = self.interpreter;
        self.simulator
            .bootstrap(x, parameters, bootstrap, cosine)
            .map(|result| result.slots)
            .map_err(|source| operation.refused(source))
    }
}
