//! Bootstrapping parameters, levels, and the keys that a bootstrap needs.
//!
//! A bootstrap evaluates SlotToCoeff, ModRaise with an ephemeral sparse secret (Bossuat,
//! Troncoso-Pastoriza and Hubaux, ePrint 2022/024), CoeffToSlot, SubSum, removal of the imaginary
//! part (Lee et al., ICML 2022), EvalMod.

use crate::dft::{DftDirection, DftPlan};
use crate::eval_mod::EvalMod;
use crate::evaluation_key::{KeyKind, KeyUse};
use crate::failure::{self, Convention};
use crate::{Error, GaloisElement, Parameters, Secret, chebyshev};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How a ciphertext is refreshed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootstrapParameters {
    /// Bound of the integers I that ModRaise adds: |I| < K, except with negligible probability.
    pub k: u32,
    /// How multiples of `q_0` are removed.
    #[serde(default)]
    pub eval_mod: EvalMod,
    /// Degree of the scaled cosine; even for [`EvalMod::Cosine`], which is a polynomial with even
    /// powers alone.
    pub degree: u32,
    /// Double angles after the cosine.
    pub double_angles: u32,
    /// log2 of R, the ratio of `q_0` to a message of 1 after SlotToCoeff. Without an inverse sine,
    /// the sine's cubic term costs `|m|³·2^(2.7−2R)`.
    pub log_message_ratio: u32,
    /// log2 of the scale of messages before and after.
    pub log_scale: u32,
    /// Factors of SlotToCoeff, one level each.
    pub slot_to_coeff_levels: u32,
    /// Factors of CoeffToSlot, one level each.
    pub coeff_to_slot_levels: u32,
}

impl Default for BootstrapParameters {
    /// K = 14, degree 62, one double angle, R = 2^10, scale 2^40, three factors each way: those of
    /// `N16_QP1714_DENSE`.
    fn default() -> Self {
        Self {
            k: 14,
            eval_mod: EvalMod::Cosine,
            degree: 62,
            double_angles: 1,
            log_message_ratio: 10,
            log_scale: 40,
            slot_to_coeff_levels: 3,
            coeff_to_slot_levels: 3,
        }
    }
}

/// What the refreshed slots may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BootstrapVariant {
    /// Real messages: one EvalMod, imaginary errors are removed.
    Real,
    /// Complex messages: two EvalMods.
    Complex,
}

impl BootstrapParameters {
    /// The default with another EvalMod. Before an inverse sine the cosine has degree 63 and all
    /// powers, and R is 2^8: the sine's cubic term no longer counts, and rescaling noise counts
    /// four times less.
    pub fn with_eval_mod(eval_mod: EvalMod) -> Self {
        match eval_mod {
            EvalMod::Cosine => Self::default(),
            EvalMod::Arcsine { .. } => Self {
                eval_mod,
                degree: 63,
                log_message_ratio: 8,
                ..Self::default()
            },
        }
    }

    /// The level that SlotToCoeff starts from.
    pub fn input_level(&self) -> usize {
        self.slot_to_coeff_levels as usize
    }

    /// The level that EvalMod starts from.
    pub fn eval_mod_level(&self, params: &Parameters) -> usize {
        params
            .max_level()
            .saturating_sub(self.coeff_to_slot_levels as usize)
    }

    /// Levels that EvalMod uses.
    pub fn eval_mod_depth(&self) -> usize {
        chebyshev::depth(self.degree as usize)
            + self.double_angles as usize
            + self.eval_mod.arcsine_depth()
    }

    /// The level of a refreshed ciphertext.
    pub fn output_level(&self, params: &Parameters) -> usize {
        self.eval_mod_level(params)
            .saturating_sub(self.eval_mod_depth())
    }

    /// log2 of the probability that one bootstrap fails: that the integer part of one of the
    /// coefficients that reach EvalMod is `k` or more, see [`failure`]. An inference of `b`
    /// bootstraps fails with `log2 b` more. The real variant only keeps half of the coefficients.
    pub fn failure_log2(
        &self,
        params: &Parameters,
        log_slots: u32,
        variant: BootstrapVariant,
    ) -> f64 {
        let coefficients = match variant {
            BootstrapVariant::Real => log_slots,
            BootstrapVariant::Complex => log_slots + 1,
        };
        let one = failure::overflow_log2(raised_weight(params), self.k, Convention::Rounded);
        // A probability is at most 1.
        (one + f64::from(coefficients)).min(0.0)
    }

    /// Checks the fields against each other and against the chain.
    ///
    /// # Errors
    /// Names the field that does not fit.
    pub fn check(&self, params: &Parameters) -> Result<(), Error> {
        let fail = |detail: String| {
            Err(Error::Structure {
                what: "bootstrap parameters",
                detail,
            })
        };
        if !(2..=64).contains(&self.k) {
            return fail(format!("`k` is {}; it must be 2 to 64", self.k));
        }
        if !(2..=254).contains(&self.degree) {
            return fail(format!("`degree` is {}; it must be 2 to 254", self.degree));
        }
        match self.eval_mod {
            EvalMod::Cosine if self.degree % 2 == 1 => {
                return fail(format!(
                    "`degree` is {}; it must be even for the even cosine",
                    self.degree
                ));
            }
            EvalMod::Arcsine { degree } if !matches!(degree, 3 | 5 | 7) => {
                return fail(format!(
                    "the inverse sine has degree {degree}; it must be 3, 5 or 7"
                ));
            }
            EvalMod::Cosine | EvalMod::Arcsine { .. } => {}
        }
        if self.double_angles > 4 {
            return fail(format!(
                "`double_angles` is {}; it must be 0 to 4",
                self.double_angles
            ));
        }
        if self.slot_to_coeff_levels == 0 || self.coeff_to_slot_levels == 0 {
            return fail("SlotToCoeff and CoeffToSlot need at least one level each".into());
        }
        if !(4..=20).contains(&self.log_message_ratio) || !(20..=50).contains(&self.log_scale) {
            return fail(format!(
                "`log_message_ratio` {} must be 4 to 20 and `log_scale` {} 20 to 50",
                self.log_message_ratio, self.log_scale
            ));
        }
        let (down, up, eval_mod) = (
            self.input_level(),
            self.coeff_to_slot_levels as usize,
            self.eval_mod_depth(),
        );
        if down + up + eval_mod >= params.max_level() {
            return fail(format!(
                "the chain has {} levels; SlotToCoeff takes {down}, CoeffToSlot {up} and EvalMod ({}) {eval_mod}, \
                 which leaves none to the network\nhelp: choose a shallower EvalMod or a longer chain",
                params.max_level(),
                self.eval_mod
            ));
        }
        Ok(())
    }
}

/// Weight of the secret that the modulus is raised under; of a dense one, its mean.
fn raised_weight(params: &Parameters) -> u32 {
    match (params.literal().encapsulation_weight, params.secret()) {
        (Some(weight), _) | (None, Secret::SparseTernary(weight)) => weight,
        (None, Secret::DenseTernary) => (params.n() * 2).div_ceil(3) as u32,
    }
}

fn dft_keys(params: &Parameters, plan: &DftPlan, top: usize, keys: &mut BTreeSet<KeyUse>) {
    for (i, factor) in plan.factors.iter().enumerate() {
        for galois in factor.plan.galois_elements(params.n()) {
            keys.insert(KeyUse {
                kind: KeyKind::Galois(galois),
                level: top - i,
            });
        }
    }
}

/// Exactly the keys that bootstrapping `2^log_slots` slots uses, ascending and without repetition.
///
/// EvalMod uses one relinearisation key, that of its first level.
///
/// # Errors
/// When the parameters do not fit the chain or the slots the ring.
pub fn required_keys(
    params: &Parameters,
    bootstrap: &BootstrapParameters,
    log_slots: u32,
    variant: BootstrapVariant,
) -> Result<Vec<KeyUse>, Error> {
    bootstrap.check(params)?;
    let log_ring_slots = params.log_n() - 1;
    let mut keys = BTreeSet::new();
    for (direction, factors, top) in [
        (
            DftDirection::SlotToCoeff,
            bootstrap.slot_to_coeff_levels,
            bootstrap.input_level(),
        ),
        (
            DftDirection::CoeffToSlot,
            bootstrap.coeff_to_slot_levels,
            params.max_level(),
        ),
    ] {
        let plan = DftPlan::new(direction, log_slots, log_ring_slots, factors)?;
        dft_keys(params, &plan, top, &mut keys);
    }
    let level = bootstrap.eval_mod_level(params);
    for log in log_slots..log_ring_slots {
        keys.insert(KeyUse {
            kind: KeyKind::Galois(GaloisElement::rotation(1 << log, params.n())),
            level,
        });
    }
    // Both variants need the conjugate: the real one removes the imaginary half with it, the
    // complex one separates the halves.
    match variant {
        BootstrapVariant::Real | BootstrapVariant::Complex => keys.insert(KeyUse {
            kind: KeyKind::Galois(GaloisElement::conjugation(params.n())),
            level,
        }),
    };
    keys.insert(KeyUse {
        kind: KeyKind::Relin,
        level,
    });
    if params.literal().encapsulation_weight.is_some() {
        keys.insert(KeyUse {
            kind: KeyKind::Encapsulate,
            level: 0,
        });
        keys.insert(KeyUse {
            kind: KeyKind::Decapsulate,
            level: params.max_level(),
        });
    }
    Ok(keys.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::named;

    #[test]
    fn n16_qp1714_dense_levels_and_key_counts() {
        let params = named::n16_qp1714_dense();
        let bootstrap = BootstrapParameters::default();
        assert_eq!(bootstrap.input_level(), 3);
        assert_eq!(bootstrap.eval_mod_level(&params), 25);
        assert_eq!(bootstrap.output_level(&params), 18);
        let keys = |log| required_keys(&params, &bootstrap, log, BootstrapVariant::Real).unwrap();
        let at = |keys: &[KeyUse], levels: std::ops::RangeInclusive<usize>| {
            keys.iter()
                .filter(|k| matches!(k.kind, KeyKind::Galois(_)) && levels.contains(&k.level))
                .count()
        };
        let large = keys(14);
        assert_eq!(at(&large, 26..=28), 40);
        assert_eq!(at(&large, 1..=3), 40);
        assert_eq!(at(&large, 25..=25), 2);
        assert_eq!(large.len(), 40 + 40 + 2 + 3);
        let all: BTreeSet<KeyUse> = [14, 13, 12].into_iter().flat_map(keys).collect();
        assert_eq!(all.len(), large.len() + 2, "only SubSum adds keys");
        assert_eq!(at(&keys(15), 25..=25), 1);
    }

    #[test]
    fn a_bootstrap_fails_where_one_of_its_coefficients_does() {
        let found = BootstrapParameters::default().failure_log2(
            &named::n16_qp1714_dense(),
            15,
            BootstrapVariant::Complex,
        );
        // 40 bootstraps of all coefficients fail with 2^-53.
        assert!((found + 40f64.log2() + 53.0).abs() < 0.5, "2^{found}");
    }

    #[test]
    fn every_eval_mod_has_its_depth_and_leaves_the_rest_to_the_network() {
        let params = named::n16_qp1714_dense();
        for (eval_mod, depth) in EvalMod::ALL.into_iter().zip([7, 9, 10, 10]) {
            let bootstrap = BootstrapParameters::with_eval_mod(eval_mod);
            bootstrap.check(&params).unwrap();
            assert_eq!(bootstrap.eval_mod_depth(), depth);
            assert_eq!(bootstrap.output_level(&params), 25 - depth);
        }
        let mut literal = params.literal().clone();
        literal.log_q.truncate(17);
        let short = Parameters::new(literal).unwrap();
        let deep = BootstrapParameters::with_eval_mod(EvalMod::Arcsine { degree: 5 });
        let message = deep.check(&short).unwrap_err().to_string();
        for part in ["16 levels", "(arcsine:5) 10", "none to the network"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(BootstrapParameters::default().check(&short).is_ok());
    }

    #[test]
    fn bad_parameters_are_refused() {
        let params = named::n16_qp1714_dense();
        let with = |edit: fn(&mut BootstrapParameters)| {
            let mut b = BootstrapParameters::default();
            edit(&mut b);
            b.check(&params).is_err()
        };
        assert!(!with(|_| {}));
        assert!(with(|b| b.degree = 63));
        assert!(with(|b| b.eval_mod = EvalMod::Arcsine { degree: 4 }));
        assert!(!with(|b| b.eval_mod = EvalMod::Arcsine { degree: 7 }));
        assert!(with(|b| b.k = 1));
        assert!(with(|b| b.coeff_to_slot_levels = 0));
        assert!(with(|b| b.coeff_to_slot_levels = 19));
        assert!(with(|b| b.log_scale = 60));
        assert!(with(|b| b.double_angles = 9));
        let oversized = required_keys(
            &params,
            &BootstrapParameters::default(),
            16,
            BootstrapVariant::Real,
        );
        assert!(oversized.is_err());
    }
}
