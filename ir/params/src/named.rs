//! Named parameter sets. A name says its numbers: log2 of the ring degree, of the whole modulus QP,
//! and the distribution of the secret.
//!
//! | Set | Made for | Security |
//! |---|---|---|
//! | `N16_QP1714_DENSE` (set B) | convolutions at a single level | 128 bits |
//! | `N16_QP1684_DENSE` (set A) | multiplexed parallel convolutions | 128 bits |
//! | `N16_QP1750_SPARSE64` (set S) | SISO convolutions as published | **98 bits: insecure** |
//!
//! Every set has a literal, a literal for an EvalMod of another depth, and the bootstrapping
//! parameters that fit it; those of `N16_QP1714_DENSE` are [`BootstrapParameters::default`].

use crate::bootstrap::BootstrapParameters;
use crate::eval_mod::EvalMod;
use crate::{Error, Insecure, Parameters, ParametersLiteral, Secret};

/// Levels of EvalMod that the sets have without giving up digits.
const EVAL_MOD_LEVELS: usize = 7;

/// Bit sizes of a ciphertext chain, bottom first, given as (count, bits): `q0`, then the primes for
/// SlotToCoeff, the network, EvalMod and CoeffToSlot.
fn chain(parts: [(usize, u32); 5]) -> Vec<u32> {
    parts
        .into_iter()
        .flat_map(|(count, bits)| std::iter::repeat_n(bits, count))
        .collect()
}

/// The literal of `N16_QP1684_DENSE`: `N = 2^16`, dense ternary secret, log2(QP) = 1684, 128-bit
/// secure.
///
/// Levels 1–3 serve SlotToCoeff, 4–20 the network at a scale of 2^42, 21–27 EvalMod and 28–30
/// CoeffToSlot. Six special primes give five digits at the top; the encapsulation key has weight
/// 32. The network has two levels more than with `N16_QP1714_DENSE`, and key switches are slower.
pub fn n16_qp1684_dense_literal() -> ParametersLiteral {
    n16_qp1684_dense_literal_with(EVAL_MOD_LEVELS)
}

/// The literal of `N16_QP1684_DENSE` for an EvalMod of another depth, as
/// [`n16_qp1714_dense_literal_with`].
pub fn n16_qp1684_dense_literal_with(eval_mod_levels: usize) -> ParametersLiteral {
    let more = eval_mod_levels.saturating_sub(EVAL_MOD_LEVELS);
    ParametersLiteral {
        log_n: 16,
        log_q: chain([(1, 50), (3, 40), (17, 42), (eval_mod_levels, 50), (3, 50)]),
        log_p: vec![50; 6_usize.saturating_sub(more)],
        secret: Secret::DenseTernary,
        encapsulation_weight: Some(32),
    }
}

/// `N16_QP1684_DENSE`, see [`n16_qp1684_dense_literal`].
pub fn n16_qp1684_dense() -> Parameters {
    Parameters::new(n16_qp1684_dense_literal()).expect("the named set satisfies its own checks")
}

/// How ciphertexts under `N16_QP1684_DENSE` are refreshed: as by default, at the scale 2^42 of its
/// network primes.
pub fn n16_qp1684_dense_bootstrap() -> BootstrapParameters {
    n16_qp1684_dense_bootstrap_with(EvalMod::Cosine)
}

/// [`n16_qp1684_dense_bootstrap`] with another EvalMod.
pub fn n16_qp1684_dense_bootstrap_with(eval_mod: EvalMod) -> BootstrapParameters {
    BootstrapParameters {
        log_scale: 42,
        ..BootstrapParameters::with_eval_mod(eval_mod)
    }
}

/// The literal of `N16_QP1714_DENSE`: `N = 2^16`, dense ternary secret, log2(QP) = 1714, 128-bit
/// secure.
///
/// Levels 1–3 serve SlotToCoeff, 4–18 the network, 19–25 EvalMod and 26–28 CoeffToSlot. Nine
/// special primes give three digits at the top; the encapsulation key has weight 32.
pub fn n16_qp1714_dense_literal() -> ParametersLiteral {
    n16_qp1714_dense_literal_with(EVAL_MOD_LEVELS)
}

/// The literal of `N16_QP1714_DENSE` for an EvalMod of another depth. The network keeps its 15
/// levels; every level that EvalMod takes beyond 7 costs one special prime, so that the modulus
/// does not grow. Fewer special primes mean more digits and slower key switches.
pub fn n16_qp1714_dense_literal_with(eval_mod_levels: usize) -> ParametersLiteral {
    let more = eval_mod_levels.saturating_sub(EVAL_MOD_LEVELS);
    ParametersLiteral {
        log_n: 16,
        log_q: chain([(1, 50), (3, 40), (15, 40), (eval_mod_levels, 50), (3, 48)]),
        log_p: vec![50; 9_usize.saturating_sub(more)],
        secret: Secret::DenseTernary,
        encapsulation_weight: Some(32),
    }
}

/// `N16_QP1714_DENSE`, see [`n16_qp1714_dense_literal`].
pub fn n16_qp1714_dense() -> Parameters {
    Parameters::new(n16_qp1714_dense_literal()).expect("the named set satisfies its own checks")
}

/// Levels of EvalMod in `N16_QP1750_SPARSE64`: its secret is denser than an ephemeral one, so that
/// its cosine has one more double angle.
const SPARSE_EVAL_MOD_LEVELS: usize = EVAL_MOD_LEVELS + 1;

/// The literal of `N16_QP1750_SPARSE64`: `N = 2^16`, a secret of weight 64 without encapsulation,
/// log2(QP) = 1750. **Insecure**: the hybrid attack takes 2^98.1.
///
/// Ring degree, weight and the 1750 bits are those of Lee et al., arXiv 2106.07229. The division is
/// ours, since primes have at most 50 bits here: levels 1–3 serve SlotToCoeff, 4–18 the network at
/// a scale of 2^50, 19–26 EvalMod and 27–29 CoeffToSlot, with five special primes, all of 50 bits.
pub fn n16_qp1750_sparse64_literal() -> ParametersLiteral {
    n16_qp1750_sparse64_literal_with(SPARSE_EVAL_MOD_LEVELS)
}

/// The literal of `N16_QP1750_SPARSE64` for an EvalMod of another depth, as
/// [`n16_qp1714_dense_literal_with`].
pub fn n16_qp1750_sparse64_literal_with(eval_mod_levels: usize) -> ParametersLiteral {
    let more = eval_mod_levels.saturating_sub(SPARSE_EVAL_MOD_LEVELS);
    ParametersLiteral {
        log_n: 16,
        log_q: chain([(1, 50), (3, 50), (15, 50), (eval_mod_levels, 50), (3, 50)]),
        log_p: vec![50; 5_usize.saturating_sub(more)],
        secret: Secret::SparseTernary(64),
        encapsulation_weight: None,
    }
}

/// How ciphertexts under `N16_QP1750_SPARSE64` are refreshed: K = 21 for the weight of its secret,
/// two double angles, and the scale 2^50 of its network primes.
pub fn n16_qp1750_sparse64_bootstrap() -> BootstrapParameters {
    n16_qp1750_sparse64_bootstrap_with(EvalMod::Cosine)
}

/// [`n16_qp1750_sparse64_bootstrap`] with another EvalMod.
pub fn n16_qp1750_sparse64_bootstrap_with(eval_mod: EvalMod) -> BootstrapParameters {
    BootstrapParameters {
        k: 21,
        double_angles: 2,
        log_scale: 50,
        ..BootstrapParameters::with_eval_mod(eval_mod)
    }
}

/// The chain of `N16_QP1714_DENSE` over a small ring, for tests; insecure.
///
/// # Errors
/// When `log_n` is out of range.
pub fn toy(log_n: u32) -> Result<Parameters, Error> {
    toy_with(log_n, EVAL_MOD_LEVELS)
}

/// [`toy`] for an EvalMod of another depth, as [`n16_qp1714_dense_literal_with`].
///
/// # Errors
/// When `log_n` is out of range, or no special prime is left.
pub fn toy_with(log_n: u32, eval_mod_levels: usize) -> Result<Parameters, Error> {
    over_small_ring(n16_qp1714_dense_literal_with(eval_mod_levels), log_n)
}

/// The chain of `literal` over another ring, the weights of its secrets capped at a quarter of the
/// degree, for tests; insecure, unless the ring is one that the literal is secure over.
///
/// # Errors
/// When `log_n` is out of range.
pub fn over_small_ring(literal: ParametersLiteral, log_n: u32) -> Result<Parameters, Error> {
    let most = 1u32.checked_shl(log_n).unwrap_or(u32::MAX) / 4;
    let literal = ParametersLiteral {
        log_n,
        secret: match literal.secret {
            Secret::DenseTernary => Secret::DenseTernary,
            Secret::SparseTernary(weight) => Secret::SparseTernary(weight.min(most)),
        },
        encapsulation_weight: literal.encapsulation_weight.map(|weight| weight.min(most)),
        ..literal
    };
    Parameters::insecure(literal, Insecure::acknowledged())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure;
    use crate::sine_fit::SineFit;

    #[test]
    fn n16_qp1714_dense_is_secure_and_has_its_stated_size() {
        let params = n16_qp1714_dense();
        assert_eq!(params.max_level(), 28);
        assert!((params.log_qp() - 1714.0).abs() < 0.01);
        assert!(params.security().bits >= 128.0 && !params.is_insecure());
    }

    #[test]
    fn deeper_eval_mods_keep_the_networks_levels_and_the_security() {
        for eval_mod in EvalMod::ALL {
            let bootstrap = BootstrapParameters::with_eval_mod(eval_mod);
            let literal = n16_qp1714_dense_literal_with(bootstrap.eval_mod_depth());
            let params = Parameters::new(literal).unwrap();
            bootstrap.check(&params).unwrap();
            assert_eq!(bootstrap.output_level(&params), 18, "{eval_mod}");
            assert!(params.log_qp() < 1714.01, "{eval_mod}: {}", params.log_qp());
            assert!(params.security().bits >= 128.0, "{eval_mod}");
        }
        assert_eq!(n16_qp1714_dense_literal_with(7), n16_qp1714_dense_literal());
        assert!(toy_with(10, 40).is_err());
    }

    #[test]
    fn n16_qp1684_dense_is_secure_and_has_its_stated_size() {
        let params = n16_qp1684_dense();
        assert_eq!(params.max_level(), 30);
        assert!((params.log_qp() - 1684.0).abs() < 0.01);
        assert!(params.security().bits >= 128.0 && !params.is_insecure());
        let bootstrap = n16_qp1684_dense_bootstrap();
        bootstrap.check(&params).unwrap();
        let (input, output) = (bootstrap.input_level(), bootstrap.output_level(&params));
        assert_eq!((input, output), (3, 20));
        let top = params.key_switch_layout(params.max_level()).unwrap();
        assert_eq!(top.digits.len(), 5);
    }

    #[test]
    fn n16_qp1750_sparse64_has_the_papers_size_and_the_bits_computed_for_it() {
        let literal = n16_qp1750_sparse64_literal();
        let bits: u32 = literal.log_q.iter().chain(&literal.log_p).sum();
        assert_eq!((literal.log_n, bits), (16, 1750));
        assert_eq!(literal.secret, Secret::SparseTernary(64));
        let refused = Parameters::new(literal.clone()).unwrap_err();
        assert!(matches!(refused, Error::Insecure { .. }), "{refused}");
        let params = Parameters::insecure(literal, Insecure::acknowledged()).unwrap();
        assert!(params.is_insecure());
        assert!((params.log_qp() - 1750.0).abs() < 0.01);
        let security = params.security();
        assert!((security.bits - 98.1).abs() < 0.05, "{}", security.bits);
        assert_eq!((security.limit, security.encapsulation_bits), (1046, None));
        assert_eq!(
            params,
            over_small_ring(n16_qp1750_sparse64_literal(), 16).unwrap()
        );

        let bootstrap = n16_qp1750_sparse64_bootstrap();
        bootstrap.check(&params).unwrap();
        let (input, output) = (bootstrap.input_level(), bootstrap.output_level(&params));
        assert_eq!((input, output), (3, 18));
        let k = failure::least_k(64, -64.0, failure::Convention::Rounded);
        assert_eq!(k, bootstrap.k);
        let error = SineFit::new(&bootstrap).error.log2();
        println!("EvalMod of N16_QP1750_SPARSE64: error 2^{error:.1} of q0");
        assert!(error < -30.0, "{error}");
        for eval_mod in EvalMod::ALL {
            let bootstrap = n16_qp1750_sparse64_bootstrap_with(eval_mod);
            let literal = n16_qp1750_sparse64_literal_with(bootstrap.eval_mod_depth());
            let params = Parameters::insecure(literal, Insecure::acknowledged()).unwrap();
            bootstrap.check(&params).unwrap();
            assert_eq!(bootstrap.output_level(&params), 18, "{eval_mod}");
            assert!((params.log_qp() - 1750.0).abs() < 0.01, "{eval_mod}");
        }
    }

    #[test]
    fn toys_are_marked() {
        for log_n in [4, 10, 12] {
            let params = toy(log_n).unwrap();
            assert!(params.is_insecure());
            assert_eq!(params.q().len(), 29);
        }
        assert!(toy(40).is_err());
    }
}
