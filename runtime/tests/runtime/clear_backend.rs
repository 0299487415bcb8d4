//! A backend from outside of the crate: the executor on plain numbers, without errors.

use heddle_ir::ckks::{LinearMapId, PolynomialId};
use heddle_ir::eval::ckks::ClearInterpreter;
use heddle_ir::plan::Plan;
use heddle_params::bootstrap::BootstrapVariant;

use heddle_runtime::Error;
use heddle_runtime::backend::{Backend, Operation, check_slots};

/// Executes a schedule on plain numbers. A value is one period of slots.
pub struct ClearBackend {
    interpreter: ClearInterpreter,
}

impl ClearBackend {
    pub fn load(plan: &Plan) -> Self {
        let interpreter = ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap);
        Self {
            interpreter: interpreter.unwrap(),
        }
    }

    fn apply(&self, operation: &Operation<'_>, operands: &[&Vec<f64>]) -> Result<Vec<f64>, Error> {
        let operands: Vec<&[f64]> = operands.iter().map(|operand| operand.as_slice()).collect();
        Ok(self.interpreter.apply(operation.value, &operands)?)
    }
}

impl Backend for ClearBackend {
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
        self.apply(operation, operands)
    }

    fn multiply_accumulate(
        &self,
        operation: &Operation<'_>,
        _: LinearMapId,
        operands: &[&Vec<f64>],
    ) -> Result<Vec<f64>, Error> {
        self.apply(operation, operands)
    }

    fn add_bias(
        &self,
        operation: &Operation<'_>,
        _: LinearMapId,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.apply(operation, &[x])
    }

    fn rotate(&self, operation: &Operation<'_>, _: usize, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.apply(operation, &[x])
    }

    fn add(
        &self,
        operation: &Operation<'_>,
        x: &Vec<f64>,
        y: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.apply(operation, &[x, y])
    }

    fn multiply(
        &self,
        operation: &Operation<'_>,
        x: &Vec<f64>,
        y: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.apply(operation, &[x, y])
    }

    fn rescale(&self, operation: &Operation<'_>, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.apply(operation, &[x])
    }

    fn drop_level(&self, operation: &Operation<'_>, x: &Vec<f64>) -> Result<Vec<f64>, Error> {
        self.apply(operation, &[x])
    }

    fn polynomial(
        &self,
        operation: &Operation<'_>,
        _: PolynomialId,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.apply(operation, &[x])
    }

    fn bootstrap(
        &self,
        operation: &Operation<'_>,
        _: BootstrapVariant,
        x: &Vec<f64>,
    ) -> Result<Vec<f64>, Error> {
        self.apply(operation, &[x])
    }
}
