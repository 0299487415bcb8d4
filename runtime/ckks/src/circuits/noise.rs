//! The errors of ciphertexts as a model, and plain numbers that carry them.
//!
//! Rounding a ciphertext `(c0, c1)` to integers puts an error, uniform on `[−½, ½]`, into every
//! coefficient of both; what decrypts is `e0 + e1·s`, so that with `h` non-zero coefficients of the
//! secret a slot's error has the variance `N(1 + h)/12` (Gentry, Halevi and Smart, CRYPTO 2012),
//! half of it in the real part. Key switching adds the errors of the key, times the digits, over
//! the special primes. All are nearly Gaussian and independent from one operation to the next.
//!
//! A value of a short period is the mean of its copies wherever one of them is used alone: SubSum
//! in a bootstrap and decryption average over them, and everything in between is linear in errors
//! that are small. So one period is simulated, and errors are drawn smaller by the square root
//! of the number of copies.

use std::cell::RefCell;

use heddle_params::Parameters;
use heddle_params::bootstrap::BootstrapParameters;
use heddle_params::security::Secret;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

use crate::Error;
use crate::circuits::bootstrap::cosine::Cosine;
use crate::circuits::bootstrap::eval_mod::eval_mod;
use crate::circuits::polynomial::{Arithmetic, Sum, integer};
use crate::ring::SIGMA;

/// Standard deviations of the real part of a slot's error, in units of the integers that slots are
/// at their scale: to be divided by the scale.
#[derive(Clone, Debug)]
pub struct NoiseModel {
    n: f64,
    secret_weight: f64,
    /// Weight of the secret under which ModRaise happens.
    raised_weight: f64,
    primes: Vec<f64>,
    /// By level.
    key_switch: Vec<f64>,
}

impl NoiseModel {
    /// The model of a parameter set.
    pub fn new(parameters: &Parameters) -> Self {
        let n = parameters.n() as f64;
        let literal = parameters.literal();
        let secret_weight = match literal.secret {
            Secret::DenseTernary => 2.0 * n / 3.0,
            Secret::SparseTernary(weight) => f64::from(weight),
        };
        let key_switch = |level: usize| {
            let Ok(layout) = parameters.key_switch_layout(level) else {
                return 0.0;
            };
            let log2 = |primes: &[u64]| -> f64 { primes.iter().map(|&q| (q as f64).log2()).sum() };
            let special = log2(&parameters.p()[..layout.specials]);
            let digits = layout.digits.iter();
            let squares: f64 = digits
                .map(|digit| (2.0 * (log2(&parameters.q()[digit.clone()]) - special)).exp2() / 12.0)
                .sum();
            // A coefficient is a sum of N products of a digit and an error; a slot one of N
            // coefficients.
            (squares * n * n / 2.0).sqrt() * SIGMA
        };
        Self {
            n,
            secret_weight,
            raised_weight: literal
                .encapsulation_weight
                .map_or(secret_weight, f64::from),
            primes: parameters.q().iter().map(|&q| q as f64).collect(),
            key_switch: (0..=parameters.max_level()).map(key_switch).collect(),
        }
    }

    /// Rounding both polynomials of a ciphertext: a rescale, or a division by the special primes.
    pub fn rounding(&self) -> f64 {
        (self.n * (1.0 + self.secret_weight) / 24.0).sqrt()
    }

    /// A key switch at a level, the rounding of its division left out.
    pub fn key_switch(&self, level: usize) -> f64 {
        self.key_switch.get(level).copied().unwrap_or_default()
    }

    /// Fresh encryption under the secret key, rounding the plaintext included.
    pub fn encryption(&self) -> f64 {
        (self.n * (SIGMA * SIGMA + 1.0 / 12.0) / 2.0).sqrt()
    }

    /// Rounding the coefficients of a plaintext of `slots` real slots: these repeat with their
    /// period, and are not smaller where there are more copies.
    pub fn encoding(&self, slots: usize) -> f64 {
        (slots as f64 / 12.0).sqrt()
    }

    /// Standard deviation of the integers that ModRaise adds, in units of `q_0`.
    fn raised_integers(&self) -> f64 {
        ((1.0 + self.raised_weight) / 12.0).sqrt()
    }
}

/// One period of real slots with a level and a scale, as a ciphertext has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// The slots.
    pub slots: Vec<f64>,
    /// Rescales that remain.
    pub level: usize,
    /// The scale.
    pub scale: f64,
}

/// Computes on [`Simulated`] values and adds to each result the errors that a ciphertext's would
/// have.
#[derive(Debug)]
pub struct Simulator<'a> {
    model: &'a NoiseModel,
    random: RefCell<ChaCha8Rng>,
}

impl<'a> Simulator<'a> {
    /// A simulator; the same seed gives the same errors.
    pub fn new(model: &'a NoiseModel, seed: u64) -> Self {
        Self {
            model,
            random: RefCell::new(ChaCha8Rng::seed_from_u64(seed)),
        }
    }

    /// The model.
    pub fn model(&self) -> &NoiseModel {
        self.model
    }

    /// Adds independent errors to the slots: `deviation` is that of each copy, in the slots' units.
    pub fn disturb(&self, slots: &mut [f64], deviation: f64) {
        let copies = self.model.n / 2.0 / slots.len().max(1) as f64;
        self.disturb_all(slots, deviation / copies.sqrt());
    }

    /// Adds independent errors that all copies share.
    pub fn disturb_all(&self, slots: &mut [f64], deviation: f64) {
        let mut random = self.random.borrow_mut();
        for slot in slots {
            let error: f64 = random.sample(StandardNormal);
            *slot += deviation * error;
        }
    }

    /// A bootstrap of real slots: `slots` are what comes in, and the result has the level and scale
    /// of [`Bootstrapper::bootstrap`](crate::circuits::bootstrap::Bootstrapper::bootstrap).
    ///
    /// Integers are drawn as ModRaise adds them, and EvalMod runs as on ciphertexts. Of the errors
    /// before it, those of CoeffToSlot's last rescale remain, doubled by adding the conjugate and
    /// summed over the copies; SlotToCoeff's shrink with the root of N.
    ///
    /// # Errors
    /// Those of the EvalMod of a bootstrap.
    pub fn bootstrap(
        &self,
        slots: &[f64],
        parameters: &Parameters,
        bootstrap: &BootstrapParameters,
        cosine: &Cosine,
    ) -> Result<Simulated, Error> {
        let level = bootstrap.eval_mod_level(parameters);
        let (ratio, scale) = (
            2f64.powi(bootstrap.log_message_ratio as i32),
            self.prime(level),
        );
        let integers = self.model.raised_integers();
        let mut raised: Vec<f64> = {
            let mut random = self.random.borrow_mut();
            let x = slots.iter().map(|m| {
                let integer: f64 = random.sample(StandardNormal);
                (m / ratio + (integers * integer).round()) / cosine.half_width
            });
            x.collect()
        };
        let copies = self.model.n / 2.0 / slots.len().max(1) as f64;
        let rounding = 2.0 * self.model.rounding() * copies.sqrt();
        self.disturb_all(&mut raised, rounding / scale);
        let t = Simulated {
            slots: raised,
            level,
            scale,
        };
        eval_mod(
            self,
            &t,
            cosine,
            ratio,
            2f64.powi(bootstrap.log_scale as i32),
        )
    }
}

impl Arithmetic for Simulator<'_> {
    type Value = Simulated;

    fn prime(&self, level: usize) -> f64 {
        self.model.primes.get(level).copied().unwrap_or(1.0)
    }

    fn level(&self, x: &Simulated) -> usize {
        x.level
    }

    fn scale(&self, x: &Simulated) -> f64 {
        x.scale
    }

    fn with_scale(&self, mut x: Simulated, scale: f64) -> Simulated {
        let factor = x.scale / scale;
        x.slots.iter_mut().for_each(|slot| *slot *= factor);
        x.scale = scale;
        x
    }

    fn constant(
        &self,
        like: &Simulated,
        value: f64,
        level: usize,
        scale: f64,
    ) -> Result<Simulated, Error> {
        let value = integer(value * scale)? as f64 / scale;
        Ok(Simulated {
            slots: vec![value; like.slots.len()],
            level,
            scale,
        })
    }

    fn shifted(&self, x: &Simulated, by: f64) -> Result<Simulated, Error> {
        let by = integer(by * x.scale)? as f64 / x.scale;
        let mut x = x.clone();
        x.slots.iter_mut().for_each(|slot| *slot += by);
        Ok(x)
    }

    fn sum(&self, sum: &Sum<'_, Simulated>, level: usize, scale: f64) -> Result<Simulated, Error> {
        let raw = scale * self.prime(level);
        let operands = sum.products.iter().flat_map(|&(a, b)| [a, b]);
        let operands = operands.chain(sum.terms.iter().map(|&(t, _)| t));
        let len = operands.map(|x| x.slots.len()).max().unwrap_or_default();
        let mut slots = vec![sum.constant as f64 / raw; len];
        for (a, b) in &sum.products {
            let factor = sum.factor as f64 * (a.scale * b.scale / raw);
            for ((slot, a), b) in slots.iter_mut().zip(&a.slots).zip(&b.slots) {
                *slot += factor * a * b;
            }
        }
        for (t, k) in &sum.terms {
            let factor = *k as f64 * t.scale / raw;
            for (slot, t) in slots.iter_mut().zip(&t.slots) {
                *slot += factor * t;
            }
        }
        let relinearised = match sum.products.is_empty() {
            true => 0.0,
            false => self.model.key_switch(level) / raw,
        };
        let rounded = self.model.rounding() / scale;
        self.disturb(&mut slots, relinearised.hypot(rounded));
        Ok(Simulated {
            slots,
            level: level - 1,
            scale,
        })
    }
}

#[cfg(all(test, feature = "secret"))]
mod tests {
    use super::*;
    use crate::circuits::bootstrap::Bootstrapper;
    use crate::circuits::polynomial::{ChebyshevPolynomial, evaluate};
    use crate::ring::context::Context;
    use crate::scheme::encode::Complex64;
    use crate::secret::rig::Rig;
    use heddle_params::bootstrap::BootstrapVariant;
    use heddle_params::eval_mod::EvalMod;
    use heddle_params::keys::{KeyKind, KeyUse};
    use heddle_params::named;

    const LOG_N: u32 = 11;

    /// Runs of a polynomial over which errors are pooled: most of an error lies in the few slots
    /// where the polynomial is steepest, so that single runs over a few hundred slots differ by a
    /// bit.
    const RUNS: u64 = 16;

    fn messages(count: usize) -> Vec<f64> {
        (0..count).map(|i| (i as f64 * 0.37).sin()).collect()
    }

    /// −log2 of the root mean square of the differences.
    fn bits(expected: &[f64], found: impl Iterator<Item = f64>) -> f64 {
        let squares: f64 = expected
            .iter()
            .zip(found)
            .map(|(e, f)| (e - f).powi(2))
            .sum();
        -0.5 * (squares / expected.len() as f64).log2()
    }

    /// The bits of the root mean square over runs, from those of each.
    fn pooled(runs: &[f64]) -> f64 {
        let squares: f64 = runs.iter().map(|bits| (-2.0 * bits).exp2()).sum();
        -0.5 * (squares / runs.len() as f64).log2()
    }

    /// A polynomial with all powers, so that its tree has products and terms at every depth.
    fn polynomial() -> ChebyshevPolynomial {
        let coefficients = (0..32).map(|k| f64::from(k + 2).recip() * 0.4);
        ChebyshevPolynomial::new(coefficients.collect())
    }

    #[test]
    fn polynomials_have_the_errors_of_encrypted_ones() {
        let context = Context::new(named::toy(LOG_N).unwrap()).unwrap();
        let (level, scale) = (12, 2f64.powi(40));
        let uses = [KeyUse {
            kind: KeyKind::Relin,
            level,
        }];
        let rig = Rig::new(&context, &uses, || ()).unwrap();
        let model = NoiseModel::new(context.parameters());
        for log_slots in [LOG_N - 1, LOG_N - 3] {
            let x = messages(1 << log_slots);
            let expected: Vec<f64> = x.iter().map(|&x| polynomial().evaluate_plain(x)).collect();
            let slots: Vec<Complex64> = x.iter().map(|&x| x.into()).collect();
            let wanted: Vec<Complex64> = expected.iter().map(|&x| x.into()).collect();
            let (mut real, mut found) = (Vec::new(), Vec::new());
            for seed in 0..RUNS {
                let encrypted = rig.encrypt(&slots, scale, level).unwrap();
                let encrypted =
                    evaluate(rig.evaluator(), &encrypted, &polynomial(), scale).unwrap();
                real.push(rig.precision(&wanted, &encrypted).unwrap().rms_bits);

                let simulator = Simulator::new(&model, seed);
                let mut slots = x.clone();
                simulator.disturb(&mut slots, model.encryption() / scale);
                let simulated = Simulated {
                    slots,
                    level,
                    scale,
                };
                let simulated = evaluate(&simulator, &simulated, &polynomial(), scale).unwrap();
                assert_eq!(simulated.level, encrypted.level());
                found.push(bits(&expected, simulated.slots.into_iter()));
            }
            let (real, found) = (pooled(&real), pooled(&found));
            assert!(
                (found - real).abs() < 0.75,
                "2^{log_slots} slots: simulated {found:.2} bits, encrypted {real:.2}"
            );
        }
    }

    #[test]
    fn bootstraps_have_the_errors_of_encrypted_ones() {
        let context = Context::new(named::toy(LOG_N).unwrap()).unwrap();
        let model = NoiseModel::new(context.parameters());
        for (eval_mod, log_slots) in [
            (EvalMod::Cosine, LOG_N - 1),
            (EvalMod::Cosine, LOG_N - 4),
            (EvalMod::Arcsine { degree: 3 }, LOG_N - 2),
            (EvalMod::Arcsine { degree: 7 }, LOG_N - 4),
        ] {
            let parameters = BootstrapParameters::with_eval_mod(eval_mod);
            let bootstrapper =
                Bootstrapper::new(&context, &parameters, log_slots, BootstrapVariant::Real)
                    .unwrap();
            let rig = Rig::new(&context, &bootstrapper.required_keys().unwrap(), || ()).unwrap();
            // Small messages, so that the sine's own error stays out.
            let x: Vec<f64> = messages(1 << log_slots).iter().map(|x| x / 16.0).collect();
            let slots: Vec<Complex64> = x.iter().map(|&x| x.into()).collect();
            let encrypted = rig
                .encrypt(
                    &slots,
                    bootstrapper.output_scale(),
                    bootstrapper.input_level(),
                )
                .unwrap();
            let encrypted = bootstrapper.bootstrap(rig.evaluator(), &encrypted).unwrap();
            let real = rig.precision(&slots, &encrypted).unwrap().rms_bits;

            let simulator = Simulator::new(&model, 9);
            let simulated = simulator
                .bootstrap(&x, context.parameters(), &parameters, bootstrapper.cosine())
                .unwrap();
            assert_eq!(
                (simulated.level, simulated.scale),
                (encrypted.level(), encrypted.scale())
            );
            let found = bits(&x, simulated.slots.into_iter());
            assert!(
                (found - real).abs() < 1.0,
                "{eval_mod}, 2^{log_slots} slots: simulated {found:.2} bits, encrypted {real:.2}"
            );
        }
    }

    #[test]
    fn seeds_repeat_and_errors_have_their_deviation() {
        let model = NoiseModel::new(&named::n16_qp1714_dense());
        let draw = |seed: u64| {
            let mut slots = vec![0.0; 1 << 13];
            Simulator::new(&model, seed).disturb(&mut slots, 1.0);
            slots
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        // A quarter of the ring: the errors of four copies average to half.
        let found = bits(&vec![0.0; 1 << 13], draw(3).into_iter());
        assert!((found - 1.0).abs() < 0.05, "{found}");
        // A dense secret at N = 2^16 puts 2^13.4 into the real part of every rescale.
        assert!((model.rounding().log2() - 13.4).abs() < 0.05);
        assert!(model.key_switch(25) < model.rounding());
    }
}
