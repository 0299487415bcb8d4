//! Linear maps and biases, encoded for evaluation on ciphertexts.

use heddle_ckks::{Ciphertext, Evaluator, LinearTransform, Plaintext};
use heddle_ir::ValueId;
use heddle_ir::ckks::{LinearMapId, Op};
use heddle_ir::linear::LinearMap;
use heddle_ir::linear::products::ProductConvolution;
use heddle_ir::plan::Plan;
use heddle_params::bsgs::{BsgsPlan, Giant};

use crate::Error;
use crate::backend::Operation;

/// The encoded linear map of one operation: for every operand, the transform that it goes through.
#[derive(Clone)]
pub struct EncodedMap {
    terms: Vec<LinearTransform>,
}

impl EncodedMap {
    /// Expands and encodes the map of the linear transform `value`.
    ///
    /// # Errors
    /// If the map or a weight is missing, a diagonal is reached by none of the operation's
    /// rotations, or an entry cannot be encoded.
    pub fn transform(plan: &Plan, value: ValueId, evaluator: &Evaluator) -> Result<Self, Error> {
        let operation = Operation::at(&plan.schedule, value);
        let Op::LinearTransform { map, steps } = operation.op else {
            return Err(operation.contradiction("it is no linear transform"));
        };
        let map = linear_map(plan, operation, *map)?;
        let operands = plan.schedule.graph.operands(value);
        if operands.len() != map.terms.len() || steps.len() != map.terms.len() {
            return Err(operation.contradiction(format!(
                "its map has {} terms, but it has {} operands and {} sets of rotations",
                map.terms.len(),
                operands.len(),
                steps.len()
            )));
        }
        let scale = operation.ty.scale() / operation.operand.scale();
        let ring_slots = evaluator.context().n() / 2;
        let mut terms = Vec::with_capacity(steps.len());
        for (term, steps) in steps.iter().enumerate() {
            let diagonals = map.diagonals(term, &plan.weights)?;
            let indices = diagonals.entries.keys().copied();
            let bsgs = steps
                .plan(indices, diagonals.input_period, ring_slots)
                .map_err(|diagonal| {
                    operation.contradiction(format!(
                        "no rotation of term {term} reaches diagonal {diagonal}"
                    ))
                })?;
            let transform = LinearTransform::new_real(
                evaluator.encoder(),
                bsgs,
                diagonals.work_period.trailing_zeros(),
                scale,
                |diagonal| {
                    diagonals
                        .entries
                        .get(&diagonal)
                        .cloned()
                        .unwrap_or_default()
                },
            );
            terms.push(transform.map_err(|source| operation.refused(source))?);
        }
        Ok(Self { terms })
    }

    /// The plaintexts of the round of products `value`, each as a transform by its main diagonal.
    ///
    /// # Errors
    /// If the map or a weight is missing, the operation does not have one operand for each
    /// plaintext, or an entry cannot be encoded.
    pub fn products(plan: &Plan, value: ValueId, evaluator: &Evaluator) -> Result<Self, Error> {
        let operation = Operation::at(&plan.schedule, value);
        let Op::MultiplyAccumulate { map, part, round } = *operation.op else {
            return Err(operation.contradiction("it is no sum of products"));
        };
        let map = linear_map(plan, operation, map)?;
        let convolution = ProductConvolution::new(map, part, operation.ty.slots(), &plan.weights)?;
        let plaintexts = convolution.plaintexts(part, round);
        let operands = plan.schedule.graph.operands(value);
        if operands.is_empty() || operands.len() != plaintexts.len() {
            let (plaintexts, operands) = (plaintexts.len(), operands.len());
            return Err(operation.contradiction(format!(
                "it has {operands} operands for {plaintexts} plaintexts"
            )));
        }
        let scale = operation.ty.scale() / operation.operand.scale();
        let bsgs = BsgsPlan {
            period: evaluator.context().n() / 2,
            baby: vec![0],
            giants: vec![Giant {
                shift: 0,
                diagonals: vec![(0, 0)],
            }],
        };
        let encode = |plaintext: &Vec<f64>| {
            LinearTransform::new_real(
                evaluator.encoder(),
                bsgs.clone(),
                plaintext.len().trailing_zeros(),
                scale,
                |_| plaintext.clone(),
            )
        };
        let terms = plaintexts.iter().map(encode).collect::<Result<_, _>>();
        let terms = terms.map_err(|source| operation.refused(source))?;
        Ok(Self { terms })
    }

    /// Every operand with the transform that it goes through.
    pub fn with<'a>(
        &'a self,
        operands: &[&'a Ciphertext],
    ) -> Vec<(&'a Ciphertext, &'a LinearTransform)> {
        operands.iter().copied().zip(&self.terms).collect()
    }

    /// Bytes of the encoded linear transform `value`: eight for each coefficient. Two real
    /// diagonals share one plaintext.
    pub fn transform_bytes(plan: &Plan, value: ValueId) -> u64 {
        let graph = &plan.schedule.graph;
        let node = graph.node(value);
        let Op::LinearTransform { steps, .. } = &node.op else {
            return 0;
        };
        let terms = steps.iter().zip(graph.operands(value));
        let terms = terms.map(|(steps, operand)| {
            let log_slots = node.ty.log_slots.max(graph.ty(operand).log_slots);
            (steps.diagonals as u64).div_ceil(2) * (16 << log_slots)
        });
        terms.sum()
    }

    /// Bytes of the encoded plaintexts of the round of products `value`.
    pub fn product_bytes(plan: &Plan, value: ValueId) -> u64 {
        let graph = &plan.schedule.graph;
        let log_slots = graph.ty(value).log_slots;
        let operands = graph.operands(value).into_iter();
        let plaintexts =
            operands.map(|operand| 16_u64 << log_slots.max(graph.ty(operand).log_slots));
        plaintexts.sum()
    }
}

/// The linear map that an operation refers to.
fn linear_map<'a>(
    plan: &'a Plan,
    operation: Operation<'_>,
    id: LinearMapId,
) -> Result<&'a LinearMap, Error> {
    let map = plan.schedule.linear_map(id);
    map.ok_or_else(|| operation.contradiction("its linear map is missing"))
}

/// The encoded bias of one operation.
pub struct EncodedBias {
    plaintext: Option<Plaintext>,
}

impl EncodedBias {
    /// Encodes the bias of `map` at the scale of the operation `value`.
    ///
    /// # Errors
    /// If the map or a weight is missing, or an entry cannot be encoded.
    pub fn of(
        plan: &Plan,
        value: ValueId,
        map: LinearMapId,
        evaluator: &Evaluator,
    ) -> Result<Self, Error> {
        let operation = Operation::at(&plan.schedule, value);
        let scale = operation.ty.scale();
        let plaintext = linear_map(plan, operation, map)?
            .bias(&plan.weights)?
            .map(|bias| Plaintext::encode_real(evaluator.encoder(), &bias, scale))
            .transpose()
            .map_err(|source| operation.refused(source))?;
        Ok(Self { plaintext })
    }

    /// The plaintext; `None` where the bias is zero.
    pub fn plaintext(&self) -> Option<&Plaintext> {
        self.plaintext.as_ref()
    }
}
