//! Opening plan files.

use std::path::Path;
use std::sync::Arc;

use heddle_ckks::Context;
use heddle_ir::plan::Plan;
use heddle_params::{Insecure, Parameters, ParametersLiteral};

use crate::Error;

/// Reads a plan and prepares the engine for its parameters.
///
/// # Errors
/// If the file is no valid plan or its parameters are refused.
pub fn open(path: &Path) -> Result<(Plan, Arc<Context>), Error> {
    let plan = Plan::read_file(path)?;
    let context = Context::new(parameters(&plan)?)?;
    Ok((plan, context))
}

/// The checked parameters of a plan.
///
/// # Errors
/// As [`checked`].
pub fn parameters(plan: &Plan) -> Result<Parameters, Error> {
    checked(plan.parameters.clone(), plan.insecure)
}

/// Checks parameters that come from a file.
///
/// # Errors
/// If they are malformed, or below 128 bits in a file that does not say that it is insecure.
pub fn checked(literal: ParametersLiteral, insecure: bool) -> Result<Parameters, Error> {
    Ok(if insecure {
        Parameters::insecure(literal, Insecure::acknowledged())?
    } else {
        Parameters::new(literal)?
    })
}
