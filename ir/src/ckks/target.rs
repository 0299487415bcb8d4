//! What a schedule is made for, and the type of every operation's result there. The scheduler types
//! its operations by these rules and the verifier checks them by the same ones.

use heddle_params::Parameters;
use heddle_params::bootstrap::BootstrapParameters;

use super::{CiphertextType, Op};
use crate::slot::Chebyshev;

/// The parameters that a schedule is made for or checked against.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Ring degree and primes.
    pub parameters: &'a Parameters,
    /// How ciphertexts are refreshed.
    pub bootstrap: &'a BootstrapParameters,
}

impl Target<'_> {
    /// log2 of the prime that a rescale at `level` divides by.
    ///
    /// # Panics
    /// If the level is above the highest.
    pub fn log_q(&self, level: usize) -> f64 {
        (self.parameters.q()[level] as f64).log2()
    }

    /// What is wrong with the type of a ciphertext.
    pub(crate) fn check_type(&self, ty: &CiphertextType) -> Result<(), String> {
        let parameters = self.parameters;
        if ty.log_slots >= parameters.log_n() {
            return Err(format!(
                "{ty} does not fit a ring of degree 2^{}",
                parameters.log_n()
            ));
        }
        if ty.level > parameters.max_level() {
            return Err(format!(
                "level {} is above {}",
                ty.level,
                parameters.max_level()
            ));
        }
        let modulus: f64 = (0..=ty.level).map(|limb| self.log_q(limb)).sum();
        if !(ty.log_scale > 0.0 && ty.log_scale < modulus) {
            let (scale, level) = (ty.log_scale, ty.level);
            return Err(format!(
                "scale 2^{scale} does not fit the modulus 2^{modulus:.1} of level {level}"
            ));
        }
        Ok(())
    }

    /// The type that `op` gives for operands of these types, at levels that exist. `chosen` is the
    /// type that the schedule's author chose; only what the operation leaves open is taken from it:
    ///
    /// - the input's whole type;
    /// - slots and scale of a linear transform and of a sum of products;
    /// - the level of a dropped value, the scale of a polynomial;
    /// - whether a sum has half of its operands' period, and therefore one doubling of slots less.
    ///
    /// Without operands it is `chosen`.
    ///
    /// # Errors
    /// If the operation takes more levels than its operand has, or its polynomial does not exist.
    pub fn expected_type(
        &self,
        op: &Op,
        operands: &[CiphertextType],
        chosen: CiphertextType,
        polynomials: &[Chebyshev],
    ) -> Result<CiphertextType, String> {
        let Some(&first) = operands.first() else {
            return Ok(chosen);
        };
        Ok(match op {
            Op::Input => chosen,
            Op::LinearTransform { .. } | Op::MultiplyAccumulate { .. } => CiphertextType {
                level: first.level,
                ..chosen
            },
            Op::AddBias { .. } | Op::Rotate { .. } => first,
            Op::Add => CiphertextType {
                log_slots: match chosen.log_slots.checked_add(1) {
                    Some(doubled) if doubled == first.log_slots => chosen.log_slots,
                    _ => first.log_slots,
                },
                ..first
            },
            Op::Multiply => CiphertextType {
                log_scale: operands.iter().map(|operand| operand.log_scale).sum(),
                ..first
            },
            Op::Rescale => CiphertextType {
                level: (first.level.checked_sub(1)).ok_or("rescales at level 0")?,
                log_scale: first.log_scale - self.log_q(first.level),
                ..first
            },
            Op::DropLevel => CiphertextType {
                level: chosen.level,
                ..first
            },
            Op::Polynomial { polynomial } => {
                let known = polynomials.get(polynomial.0 as usize);
                let known = known.ok_or_else(|| format!("p{} is not defined", polynomial.0))?;
                let (depth, level) = (known.depth(), first.level);
                let below = || format!("a polynomial of depth {depth} at level {level}");
                CiphertextType {
                    level: level.checked_sub(depth).ok_or_else(below)?,
                    log_scale: chosen.log_scale,
                    ..first
                }
            }
            Op::Bootstrap { .. } => CiphertextType {
                level: self.bootstrap.output_level(self.parameters),
                log_scale: f64::from(self.bootstrap.log_scale),
                ..first
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckks::PolynomialId;
    use crate::test_support::parameters;

    /// An operation takes from `chosen` what it leaves open, and nothing else.
    #[test]
    fn types_follow_from_operands() {
        let (parameters, bootstrap) = parameters();
        let target = Target {
            parameters: &parameters,
            bootstrap: &bootstrap,
        };
        let ty = |log_slots, level, log_scale| CiphertextType {
            log_slots,
            level,
            log_scale,
        };
        let chosen = ty(4, 9, 33.0);
        let cubic = [Chebyshev {
            coefficients: vec![0.0, 1.0, 0.0, 0.5],
        }];
        let of = |op: Op, operands: &[CiphertextType]| {
            target.expected_type(&op, operands, chosen, &cubic)
        };
        let x = ty(5, 12, 40.0);
        assert_eq!(of(Op::Input, &[]), Ok(chosen));
        assert_eq!(of(Op::Rotate { by: 3 }, &[x]), Ok(x));
        assert_eq!(of(Op::Add, &[x, x]), Ok(ty(4, 12, 40.0)));
        let longer = ty(6, 12, 40.0);
        assert_eq!(of(Op::Add, &[longer, longer]), Ok(longer));
        assert_eq!(of(Op::Multiply, &[x, ty(5, 12, 41.5)]), Ok(ty(5, 12, 81.5)));
        assert_eq!(of(Op::DropLevel, &[x]), Ok(ty(5, 9, 40.0)));
        let rescaled = ty(5, 11, 40.0 - target.log_q(12));
        assert_eq!(of(Op::Rescale, &[x]), Ok(rescaled));
        let polynomial = |id| Op::Polynomial {
            polynomial: PolynomialId(id),
        };
        assert_eq!(of(polynomial(0), &[x]), Ok(ty(5, 10, 33.0)));
        let variant = heddle_params::bootstrap::BootstrapVariant::Real;
        let refreshed = of(Op::Bootstrap { variant }, &[ty(5, 3, 40.0)]);
        assert_eq!(refreshed, Ok(ty(5, 18, 40.0)));

        let message = |op, level| of(op, &[ty(5, level, 40.0)]).unwrap_err();
        assert_eq!(message(Op::Rescale, 0), "rescales at level 0");
        assert_eq!(
            message(polynomial(0), 1),
            "a polynomial of depth 2 at level 1"
        );
        assert_eq!(message(polynomial(1), 9), "p1 is not defined");
    }
}
