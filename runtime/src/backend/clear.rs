//! The schedule on plain numbers: same layout, same polynomials, EvalMod's sine included.

use heddle_ir::ckks::{LinearMapId, PolynomialId};
use heddle_ir::eval::ckks::ClearInterpreter;
use heddle_ir::plan::Plan;
use heddle_params::bootstrap::BootstrapVariant;

use super::Backend;
use crate::Error;
use crate::executor::Step;

/// Executes a schedule on one period of plain slots a value. Differs from the encrypted execution
/// by noise alone.
#[derive(Debug)]
pub struct ClearBackend {
    machine: ClearInterpreter,
}

impl ClearBackend {
    /// A backend for a plan, its linear maps expanded.
    ///
    /// # Errors
    /// If a weight does not fit.
    pub fn load(plan: &Plan) -> Result<Self, Error> {
        let machine = ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap)?;
        Ok(Self { machine })
    }

    /// The machine, which also runs many images at once.
    pub fn machine(&self) -> &ClearInterpreter {
        &self.machine
    }

    fn apply(&self, step: &Step<'_>, operands: &[&Vec<f64>]) -> Result<Vec<f64>, Error> {
        let operands: Vec<&[f64]> = operands.iter().map(|operand| operand.as_slice()).collect();
        Ok(self.machine.apply(step.value, &operands)?)
    }
}

impl Backend for ClearBackend {
    type Value = Vec<f64>;

    fn linear_transform(
        &self,
        step: &Step<'_>,
        _: LinearMapId,
        operands: &[&Vec<f64>],
    ) -> Result<Vec<f64>, Error> {
        self.apply(step, operands)
    }

    fn add_bias(&self, step: &Step<'_>, _: LinearMapId, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.apply(step, &[x])
    }

    fn rotate(&self, step: &Step<'_>, _: usize, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.apply(step, &[x])
    }

    fn add(&self, step: &Step<'_>, x: &Vec<f64>, y: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.apply(step, &[x, y])
    }

    fn multiply(&self, step: &Step<'_>, x: &Vec<f64>, y: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.apply(step, &[x, y])
    }

    fn rescale(&self, step: &Step<'_>, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.apply(step, &[x])
    }

    fn drop_level(&self, step: &Step<'_>, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.apply(step, &[x])
    }

    fn polynomial(
        &self,
        step: &Step<'_>,
        _: PolynomialId,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.apply(step, &[x])
    }

    fn bootstrap(
        &self,
        step: &Step<'_>,
        _: BootstrapVariant,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.apply(step, &[x])
    }
}
