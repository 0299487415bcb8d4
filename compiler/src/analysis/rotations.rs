//! The baby and giant rotations that evaluate linear maps by their diagonals.

use std::collections::BTreeMap;
use std::sync::Mutex;

use heddle_ir::ckks::TransformSteps;
use heddle_params::bsgs::{BsgsCost, BsgsPlan};

use super::cost::TransformCounts;
use crate::error::Error;

/// The rotations of every linear map's terms, by value; empty for other operations.
pub type Rotations = Vec<Vec<TransformSteps>>;

/// Diagonals, and the period of the operand that they count modulo.
type Diagonals = (Vec<usize>, usize);

/// Finds the rotations for sets of diagonals, each set once: terms of one shape share theirs.
/// Rotations count modulo all the slots of a ciphertext, so that maps of different periods share
/// keys.
#[derive(Debug)]
pub struct RotationSearch {
    slots: usize,
    known: Mutex<BTreeMap<Diagonals, TransformSteps>>,
}

impl RotationSearch {
    /// A search in ciphertexts of `slots` slots.
    pub fn new(slots: usize) -> Self {
        Self {
            slots,
            known: Mutex::default(),
        }
    }

    /// The rotations for `diagonals`, ascending, modulo `period`.
    ///
    /// # Errors
    /// As [`BsgsPlan::for_diagonals`].
    ///
    /// # Panics
    /// If another thread panicked in a search.
    pub fn of_diagonals(
        &self,
        diagonals: Vec<usize>,
        period: usize,
    ) -> Result<TransformSteps, Error> {
        let key = (diagonals, period);
        if let Some(known) = self.known.lock().expect("no search panics").get(&key) {
            return Ok(known.clone());
        }
        let plan = BsgsPlan::for_diagonals(&key.0, period, self.slots, BsgsCost::default())?;
        let found = TransformSteps::of(&plan);
        let mut known = self.known.lock().expect("no search panics");
        known.insert(key, found.clone());
        Ok(found)
    }
}

/// What a term's rotations cost; one by nothing is free.
pub fn counts(steps: &TransformSteps) -> TransformCounts {
    let keyed = |rotations: &[usize]| rotations.iter().filter(|by| **by != 0).count();
    TransformCounts {
        diagonals: steps.diagonals,
        baby: keyed(&steps.baby),
        giant: keyed(&steps.giant),
    }
}
