//! Linear maps and biases, encoded for evaluation on ciphertexts.

use std::sync::Arc;

use heddle_ckks::circuits::linear::GROUP_BYTES;
use heddle_ckks::{Ciphertext, Evaluator, LinearTransform, Plaintext};
use heddle_ir::ValueId;
use heddle_ir::ckks::{LinearMapId, Op, TransformSteps};
use heddle_ir::linear::products::ProductConvolution;
use heddle_ir::linear::{DiagonalSource, LinearMap};
use heddle_ir::plan::Plan;
use heddle_params::bsgs::{BsgsPlan, Giant};

use crate::Error;
use crate::backend::Operation;

/// A term of a linear transform that is to be encoded.
struct Term {
    source: DiagonalSource,
    bsgs: BsgsPlan,
    log_slots: u32,
    scale: f64,
}

/// The encoded linear map of one operation: for every operand, the transform that it goes through.
#[derive(Clone)]
pub struct EncodedMap {
    terms: Vec<LinearTransform>,
}

impl EncodedMap {
    /// Encodes the map of the linear transform `value`.
    ///
    /// # Errors
    /// If the map or a weight is missing, a diagonal is reached by none of the operation's
    /// rotations, or an entry cannot be encoded.
    pub fn transform(
        plan: &Arc<Plan>,
        value: ValueId,
        evaluator: &Evaluator,
    ) -> Result<Self, Error> {
        Self::terms(plan, value, evaluator, |term| {
            let diagonal = |index| term.source.diagonal(index, &plan.weights);
            LinearTransform::new_real(
                evaluator.encoder(),
                term.bsgs,
                term.log_slots,
                term.scale,
                diagonal,
            )
        })
    }

    /// The map of the linear transform `value` for one use, which makes and encodes some diagonals
    /// at a time.
    ///
    /// # Errors
    /// As [`Self::transform`], but entries are encoded at the use.
    pub fn streamed(
        plan: &Arc<Plan>,
        value: ValueId,
        evaluator: &Evaluator,
    ) -> Result<Self, Error> {
        Self::terms(plan, value, evaluator, |term| {
            let (source, plan) = (term.source, Arc::clone(plan));
            let diagonal = Arc::new(move |index| source.diagonal(index, &plan.weights));
            Ok(LinearTransform::streamed(
                term.bsgs,
                term.log_slots,
                term.scale,
                diagonal,
            ))
        })
    }

    /// The transforms of all terms of a map, each by `make`.
    fn terms(
        plan: &Plan,
        value: ValueId,
        evaluator: &Evaluator,
        make: impl Fn(Term) -> Result<LinearTransform, heddle_ckks::Error>,
    ) -> Result<Self, Error> {
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
            let source = map.diagonal_source(term, &plan.weights)?;
            let indices = source.indices().iter().copied();
            let bsgs = steps
                .plan(indices, source.input_period(), ring_slots)
                .map_err(|diagonal| {
                    operation.contradiction(format!(
                        "no rotation of term {term} reaches diagonal {diagonal}"
                    ))
                })?;
            let transform = make(Term {
                bsgs,
                log_slots: source.work_period().trailing_zeros(),
                scale,
                source,
            });
            terms.push(transform.map_err(|source| operation.refused(source))?);
        }
        Ok(Self { terms })
    }

    /// The plaintexts of the round of products `value`, each as a transform by its main diagonal.
    ///
    /// # Errors
    /// If the map or a weight is missing, the operation does not have one operand for each
    /// plaintext, or an entry cannot be encoded.
    pub fn products(
        plan: &Arc<Plan>,
        value: ValueId,
        evaluator: &Evaluator,
    ) -> Result<Self, Error> {
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
        Self::plaintext_bytes(plan, value, |steps| steps.diagonals)
    }

    /// Bytes of the linear transform `value` that are encoded at a time where it is not kept: those
    /// of a group of giant rotations, and what their diagonals are made from.
    pub fn streamed_bytes(plan: &Plan, value: ValueId) -> u64 {
        // The rotations of a group may be those of all terms.
        let one_giant = Self::plaintext_bytes(plan, value, |steps| steps.baby.len());
        let group = one_giant.max(GROUP_BYTES as u64 / 2);
        let node = plan.schedule.graph.node(value);
        let Op::LinearTransform { map, steps } = &node.op else {
            return 0;
        };
        let sources = plan.schedule.linear_map(*map).map_or(0, |map| {
            let terms = steps.iter().take(map.terms.len()).enumerate();
            terms
                .map(|(term, steps)| map.source_bytes(term, steps.diagonals, &plan.weights) as u64)
                .sum()
        });
        Self::transform_bytes(plan, value).min(group) + sources
    }

    /// Bytes of as many diagonals of each term as `count` says.
    fn plaintext_bytes(
        plan: &Plan,
        value: ValueId,
        count: impl Fn(&TransformSteps) -> usize,
    ) -> u64 {
        let graph = &plan.schedule.graph;
        let node = graph.node(value);
        let Op::LinearTransform { steps, .. } = &node.op else {
            return 0;
        };
        let terms = steps.iter().zip(graph.operands(value));
        let terms = terms.map(|(steps, operand)| {
            let log_slots = node.ty.log_slots.max(graph.ty(operand).log_slots);
            (count(steps) as u64).div_ceil(2) * (16 << log_slots)
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
