//! Bootstrapping at a small, insecure ring.

use super::*;
use crate::scheme::ciphertext::Plaintext;
use crate::scheme::encode::Complex64;
use crate::scheme::keys::EvaluationKeys;
use crate::scheme::precision::Precision;
use crate::secret::{Decryptor, SecretEncryptor};
use crate::secret::{KeyGenerator, SecretKey};
use heddle_params::eval_mod::EvalMod;
use heddle_params::keys::KeyKind;
use heddle_params::{Insecure, Parameters, named};

const LOG_N: u32 = 10;

struct Setup {
    context: Arc<Context>,
    secret: SecretKey,
}

fn setup() -> Setup {
    let context = Context::new(named::toy(LOG_N).unwrap()).unwrap();
    let secret = SecretKey::generate(&context).unwrap();
    Setup { context, secret }
}

/// Values spread over `[−1, 1]`, the ends included.
fn messages(log_slots: u32, variant: BootstrapVariant) -> Vec<Complex64> {
    let n = 1 << log_slots;
    let last = f64::from((n - 1).max(1));
    (0..n)
        .map(|i| {
            let re = 2.0 * f64::from(i * 7 % n) / last - 1.0;
            let im = match variant {
                BootstrapVariant::Real => 0.0,
                BootstrapVariant::Complex => (f64::from(i) * 0.7).sin(),
            };
            Complex64::new(re, im)
        })
        .collect()
}

impl Setup {
    fn keys(&self, uses: &[KeyUse]) -> Arc<EvaluationKeys> {
        let generator = KeyGenerator::new(&self.context, &self.secret).unwrap();
        Arc::new(generator.generate(uses).unwrap())
    }

    fn encrypt(&self, values: &[Complex64], scale: f64, level: usize) -> Ciphertext {
        let plaintext = Plaintext::encode(&Encoder::new(LOG_N - 1), values, scale).unwrap();
        let encryptor = SecretEncryptor::new(&self.context, &self.secret);
        encryptor.encrypt(&plaintext, level).unwrap().expand()
    }

    /// Bootstraps with exactly the required keys and compares.
    fn run(&self, log_slots: u32, variant: BootstrapVariant, scale: f64) -> Precision {
        self.run_with(EvalMod::Cosine, log_slots, variant, scale)
    }

    fn run_with(
        &self,
        eval_mod: EvalMod,
        log_slots: u32,
        variant: BootstrapVariant,
        scale: f64,
    ) -> Precision {
        let parameters = BootstrapParameters::with_eval_mod(eval_mod);
        let bootstrapper =
            Bootstrapper::new(&self.context, &parameters, log_slots, variant).unwrap();
        let keys = self.keys(&bootstrapper.required_keys().unwrap());
        let evaluator = Evaluator::new(&self.context, keys);
        let values = messages(log_slots, variant);
        let refreshed = bootstrapper
            .bootstrap(&evaluator, &self.encrypt(&values, scale, 3))
            .unwrap();
        let level = 25 - parameters.eval_mod_depth();
        assert_eq!(
            (refreshed.level(), refreshed.scale()),
            (level, 2f64.powi(40))
        );
        assert_eq!(refreshed.log_slots(), log_slots);
        let got = Decryptor::new(&self.context, &self.secret)
            .decrypt(&refreshed)
            .unwrap();
        let precision = Precision::compare(&values, &got);
        println!("{eval_mod}, 2^{log_slots} slots, {variant:?}: {precision:?}");
        precision
    }
}

#[test]
fn real_slots_are_refreshed_at_every_count() {
    let setup = setup();
    for log_slots in [0, 1, 2, 5, 7, 8, 9] {
        let precision = setup.run(log_slots, BootstrapVariant::Real, 2f64.powi(40));
        assert!(
            precision.mean_bits > 17.0 && precision.worst_bits > 14.0,
            "{precision:?}"
        );
    }
}

#[test]
fn complex_slots_are_refreshed() {
    let setup = setup();
    for log_slots in [3, 9] {
        let precision = setup.run(log_slots, BootstrapVariant::Complex, 2f64.powi(40));
        assert!(
            precision.mean_bits > 17.0 && precision.worst_bits > 14.0,
            "{precision:?}"
        );
    }
}

#[test]
fn scales_near_the_nominal_are_brought_to_it() {
    let precision = setup().run(6, BootstrapVariant::Real, 2f64.powi(40) * 1.0371);
    assert!(precision.mean_bits > 17.0, "{precision:?}");
}

/// The inverse sine leaves rescaling noise as the bound, and R = 2^8 makes that smaller than
/// R = 2^10 does.
#[test]
fn an_inverse_sine_is_more_precise_than_the_sine_alone() {
    let setup = setup();
    let scale = 2f64.powi(40);
    for log_slots in [5, 9] {
        let sine = setup.run(log_slots, BootstrapVariant::Real, scale);
        for eval_mod in EvalMod::ALL.into_iter().skip(1) {
            for variant in [BootstrapVariant::Real, BootstrapVariant::Complex] {
                let precision = setup.run_with(eval_mod, log_slots, variant, scale);
                assert!(
                    precision.worst_bits > sine.worst_bits + 1.0 && precision.mean_bits > 20.0,
                    "{eval_mod}: {precision:?}, the sine alone: {sine:?}"
                );
            }
        }
    }
    let eval_mod = EvalMod::Arcsine { degree: 5 };
    let precision = setup.run_with(eval_mod, 6, BootstrapVariant::Real, scale * 1.0371);
    assert!(precision.mean_bits > 20.0, "{precision:?}");
}

#[test]
fn every_required_key_is_used() {
    let setup = setup();
    let parameters = BootstrapParameters::default();
    let bootstrapper =
        Bootstrapper::new(&setup.context, &parameters, 4, BootstrapVariant::Real).unwrap();
    let required = bootstrapper.required_keys().unwrap();
    let all = setup.keys(&required);
    let ciphertext = setup.encrypt(&messages(4, BootstrapVariant::Real), 2f64.powi(40), 3);
    for missing in &required {
        let mut keys = EvaluationKeys::new();
        all.iter()
            .filter(|key| key.key_use() != *missing)
            .for_each(|key| keys.insert((**key).clone()));
        let evaluator = Evaluator::new(&setup.context, Arc::new(keys));
        match bootstrapper.bootstrap(&evaluator, &ciphertext) {
            Err(Error::MissingKey { .. } | Error::MissingGaloisKey { .. }) => {}
            // A key of another phase at a higher level may stand in for a Galois key.
            Ok(_) if matches!(missing.kind, KeyKind::Galois(_)) => {
                assert!(
                    required
                        .iter()
                        .any(|k| k.kind == missing.kind && k.level > missing.level),
                    "{missing:?}"
                );
            }
            other => panic!("without {missing:?}: {:?}", other.err()),
        }
    }
}

#[test]
fn a_chain_without_encapsulation_bootstraps_a_sparse_secret() {
    let mut literal = named::toy(LOG_N).unwrap().literal().clone();
    literal.encapsulation_weight = None;
    literal.secret = heddle_params::Secret::SparseTernary(16);
    let params = Parameters::insecure(literal, Insecure::acknowledged()).unwrap();
    let context = Context::new(params).unwrap();
    let secret = SecretKey::generate(&context).unwrap();
    let precision = Setup { context, secret }.run(8, BootstrapVariant::Real, 2f64.powi(40));
    assert!(precision.mean_bits > 17.0, "{precision:?}");
}

#[test]
fn unfit_ciphertexts_are_refused() {
    let setup = setup();
    let parameters = BootstrapParameters::default();
    let bootstrapper =
        Bootstrapper::new(&setup.context, &parameters, 4, BootstrapVariant::Real).unwrap();
    let evaluator = Evaluator::new(&setup.context, Arc::default());
    let values = messages(4, BootstrapVariant::Real);
    let refused = |ciphertext: Ciphertext| {
        bootstrapper
            .bootstrap(&evaluator, &ciphertext)
            .err()
            .unwrap()
    };
    let low = setup.encrypt(&values, 2f64.powi(40), 2);
    assert!(matches!(
        refused(low),
        Error::NotEnoughLevels {
            needed: 3,
            found: 2,
            ..
        }
    ));
    let large = setup.encrypt(&values, 2f64.powi(45), 3);
    assert!(matches!(refused(large), Error::ScaleMismatch { .. }));
    let other = setup.encrypt(&messages(5, BootstrapVariant::Real), 2f64.powi(40), 3);
    assert!(matches!(
        refused(other),
        Error::SlotsMismatch {
            left: 5,
            right: 4,
            ..
        }
    ));
    assert!(Bootstrapper::new(&setup.context, &parameters, LOG_N, BootstrapVariant::Real).is_err());
}

/// One plan bootstraps several slot counts with the union of their keys. Full size, so only where
/// `HEDDLE_FULL` is set.
#[test]
fn full_size_bootstraps_share_keys() {
    if std::env::var_os("HEDDLE_FULL").is_none() {
        println!("skipped: set HEDDLE_FULL=1 to bootstrap at N = 2^16 (4 GiB of memory)");
        return;
    }
    let context = Context::new(named::n16_qp1714_dense()).unwrap();
    let secret = SecretKey::generate(&context).unwrap();
    let parameters = BootstrapParameters::default();
    let bootstrappers = [14, 13, 12].map(|log_slots| {
        Bootstrapper::new(&context, &parameters, log_slots, BootstrapVariant::Real).unwrap()
    });
    let uses: Vec<KeyUse> = bootstrappers
        .iter()
        .flat_map(|b| b.required_keys().unwrap())
        .collect();
    let generator = KeyGenerator::new(&context, &secret).unwrap();
    let keys = generator.generate(&uses).unwrap();
    assert_eq!(keys.len(), 87);
    let evaluator = Evaluator::new(&context, Arc::new(keys));
    for bootstrapper in &bootstrappers {
        let values = messages(bootstrapper.log_slots(), BootstrapVariant::Real);
        let plaintext =
            Plaintext::encode(evaluator.encoder(), &values, bootstrapper.output_scale()).unwrap();
        let encryptor = SecretEncryptor::new(&context, &secret);
        let ciphertext = encryptor.encrypt(&plaintext, 3).unwrap().expand();
        let refreshed = bootstrapper.bootstrap(&evaluator, &ciphertext).unwrap();
        let got = Decryptor::new(&context, &secret)
            .decrypt(&refreshed)
            .unwrap();
        let precision = Precision::compare(&values, &got);
        println!("2^{} slots: {precision}", bootstrapper.log_slots());
        assert!(precision.mean_bits > 17.0, "{precision:?}");
    }
}
