//! Bootstrapping: refreshing the levels of a ciphertext.
//!
//! SlotToCoeff comes first, at the lowest levels; then the modulus is raised under an ephemeral
//! sparse secret, CoeffToSlot brings the coefficients `m + q_0·I` to the slots and EvalMod removes
//! `q_0·I` (Cheon, Han, Kim, Kim and Song, EUROCRYPT 2018; Bossuat, Troncoso-Pastoriza and Hubaux,
//! ePrint 2022/024). Real messages leave the high half of the coefficients to errors; taking the
//! real part after CoeffToSlot drops it (Lee et al., ICML 2022).

mod coeff_to_slot;
pub(crate) mod cosine;
mod dft;
pub(crate) mod eval_mod;
mod mod_raise;
mod slot_to_coeff;

use crate::Error;
use crate::ring::context::Context;
use crate::scheme::ciphertext::Ciphertext;
use crate::scheme::encode::Encoder;
use crate::scheme::eval::Evaluator;
use coeff_to_slot::CoeffToSlot;
pub use cosine::{Arcsine, Cosine};
use dft::SlotTransform;
use eval_mod::eval_mod;
use heddle_params::bootstrap::{self, BootstrapParameters, BootstrapVariant};
use heddle_params::keys::KeyUse;
pub use mod_raise::mod_raise;
use slot_to_coeff::slot_to_coeff;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Wall-clock time of the phases of one bootstrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootstrapTimes {
    /// SlotToCoeff.
    pub slot_to_coeff: Duration,
    /// ModRaise with its two key switches.
    pub mod_raise: Duration,
    /// CoeffToSlot, SubSum and the conjugation.
    pub coeff_to_slot: Duration,
    /// EvalMod, twice for complex messages.
    pub eval_mod: Duration,
}

/// Everything precomputed to bootstrap ciphertexts of one slot count.
pub struct Bootstrapper {
    context: Arc<Context>,
    parameters: BootstrapParameters,
    log_slots: u32,
    variant: BootstrapVariant,
    cosine: Cosine,
    slot_to_coeff: SlotTransform,
    coeff_to_slot: CoeffToSlot,
}

impl std::fmt::Debug for Bootstrapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bootstrapper")
            .field("parameters", &self.parameters)
            .field("log_slots", &self.log_slots)
            .field("variant", &self.variant)
            .finish_non_exhaustive()
    }
}

impl Bootstrapper {
    /// Prepares bootstrapping for ciphertexts whose slots repeat with period `2^log_slots`.
    ///
    /// # Errors
    /// Parameters that do not fit the chain, or more slots than the ring has.
    pub fn new(
        context: &Arc<Context>,
        parameters: &BootstrapParameters,
        log_slots: u32,
        variant: BootstrapVariant,
    ) -> Result<Self, Error> {
        parameters.check(context.parameters())?;
        let encoder = Encoder::new(context.log_n() - 1);
        let cosine = Cosine::fit(parameters);
        Ok(Self {
            slot_to_coeff: slot_to_coeff(context, &encoder, parameters, log_slots)?,
            coeff_to_slot: CoeffToSlot::new(
                context,
                &encoder,
                parameters,
                log_slots,
                cosine.half_width,
            )?,
            context: context.clone(),
            parameters: parameters.clone(),
            log_slots,
            variant,
            cosine,
        })
    }

    /// Exactly the keys that [`Bootstrapper::bootstrap`] uses.
    ///
    /// # Errors
    /// None: a bootstrapper that could be built has its keys.
    pub fn required_keys(&self) -> Result<Vec<KeyUse>, Error> {
        let params = self.context.parameters();
        Ok(bootstrap::required_keys(
            params,
            &self.parameters,
            self.log_slots,
            self.variant,
        )?)
    }

    /// The bootstrapping parameters.
    pub fn parameters(&self) -> &BootstrapParameters {
        &self.parameters
    }

    /// log2 of the period of the slots.
    pub fn log_slots(&self) -> u32 {
        self.log_slots
    }

    /// Real or complex messages.
    pub fn variant(&self) -> BootstrapVariant {
        self.variant
    }

    /// The level a ciphertext must have at least.
    pub fn input_level(&self) -> usize {
        self.parameters.input_level()
    }

    /// The level of a refreshed ciphertext.
    pub fn output_level(&self) -> usize {
        self.parameters.output_level(self.context.parameters())
    }

    /// The scale of a refreshed ciphertext.
    pub fn output_scale(&self) -> f64 {
        2f64.powi(self.parameters.log_scale as i32)
    }

    /// log2 of the probability that one bootstrap fails, see [`BootstrapParameters::failure_log2`].
    pub fn failure_log2(&self) -> f64 {
        let params = self.context.parameters();
        self.parameters
            .failure_log2(params, self.log_slots, self.variant)
    }

    /// Trades time for memory: the transforms keep a fraction of their bytes, and a bootstrap takes
    /// a few per cent longer.
    pub fn shrink(&mut self) {
        self.slot_to_coeff.unprepare();
        self.coeff_to_slot.unprepare();
    }

    /// Bytes of memory that the encoded transforms take.
    pub fn bytes(&self) -> usize {
        self.slot_to_coeff.bytes() + self.coeff_to_slot.bytes()
    }

    /// The fitted cosine of EvalMod.
    pub fn cosine(&self) -> &Cosine {
        &self.cosine
    }

    /// Refreshes a ciphertext: messages of absolute value at most 1, at
    /// [`Bootstrapper::input_level`] or above and at a scale near [`Bootstrapper::output_scale`],
    /// come out at [`Bootstrapper::output_level`] and exactly that scale. In the real variant
    /// imaginary parts vanish; in the complex variant both parts must be at most 1.
    ///
    /// # Errors
    /// [`Error::ContextMismatch`], [`Error::NotEnoughLevels`], [`Error::SlotsMismatch`] for another
    /// number of slots, [`Error::ScaleMismatch`] for a scale off by more than a factor of two, or a
    /// missing key.
    pub fn bootstrap(
        &self,
        evaluator: &Evaluator,
        ciphertext: &Ciphertext,
    ) -> Result<Ciphertext, Error> {
        self.bootstrap_timed(evaluator, ciphertext)
            .map(|(refreshed, _)| refreshed)
    }

    /// [`Bootstrapper::bootstrap`] with the time of each phase.
    ///
    /// # Errors
    /// As [`Bootstrapper::bootstrap`].
    pub fn bootstrap_timed(
        &self,
        evaluator: &Evaluator,
        ciphertext: &Ciphertext,
    ) -> Result<(Ciphertext, BootstrapTimes), Error> {
        self.check(evaluator, ciphertext)?;
        let (needed, nominal) = (self.input_level(), self.output_scale());
        let mut times = BootstrapTimes::default();
        let start = Instant::now();
        let lowered = evaluator.drop_to_level(ciphertext, needed)?;
        let lowered = self.slot_to_coeff.apply(evaluator, &lowered)?;
        times.slot_to_coeff = start.elapsed();

        let start = Instant::now();
        let message_ratio = self.context.modulus(0).value() as f64 / lowered.scale();
        let raised = mod_raise(evaluator, &lowered)?;
        times.mod_raise = start.elapsed();

        let start = Instant::now();
        let parts = self.coeff_to_slot.apply(evaluator, &raised, self.variant)?;
        times.coeff_to_slot = start.elapsed();

        let start = Instant::now();
        let mut refreshed = parts
            .iter()
            .map(|part| eval_mod(evaluator, part, &self.cosine, message_ratio, nominal))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let real = refreshed
            .next()
            .expect("CoeffToSlot gives at least the real parts");
        let result = match refreshed.next() {
            Some(imaginary) => evaluator.add(&real, &evaluator.mul_by_i(&imaginary))?,
            None => real,
        };
        times.eval_mod = start.elapsed();
        Ok((result, times))
    }

    /// Refuses what cannot be bootstrapped.
    fn check(&self, evaluator: &Evaluator, ciphertext: &Ciphertext) -> Result<(), Error> {
        const OP: &str = "bootstrap";
        self.context.check_same(OP, evaluator.context())?;
        evaluator.check_context(OP, [ciphertext])?;
        let (found, needed) = (ciphertext.level(), self.input_level());
        if found < needed {
            return Err(Error::NotEnoughLevels {
                op: OP,
                needed,
                found,
            });
        }
        if ciphertext.log_slots() != self.log_slots {
            let (left, right) = (ciphertext.log_slots(), self.log_slots);
            return Err(Error::SlotsMismatch {
                op: OP,
                left,
                right,
            });
        }
        let (scale, nominal) = (ciphertext.scale(), self.output_scale());
        if !(0.5..=2.0).contains(&(scale / nominal)) {
            return Err(Error::ScaleMismatch {
                op: OP,
                left: scale.log2(),
                right: nominal.log2(),
            });
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "secret"))]
mod tests;
