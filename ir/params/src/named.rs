//! Named parameter sets.

use crate::bootstrap::BootstrapParameters;
use crate::eval_mod::EvalMod;
use crate::{Error, Insecure, Parameters, ParametersLiteral, Secret};

/// Levels of EvalMod that the sets have room for without giving up digits.
const EVAL_MOD_LEVELS: usize = 7;

/// Bit sizes of a ciphertext chain, bottom first, given as (count, bits): `q0`, then the primes for SlotToCoeff, the
/// network, EvalMod and CoeffToSlot.
fn chain(parts: [(usize, u32); 5]) -> Vec<u32> {
    parts
        .into_iter()
        .flat_map(|(count, bits)| std::iter::repeat_n(bits, count))
        .collect()
}

/// The literal of set A: `N = 2^16`, dense ternary secret, log2(QP) = 1684, 128-bit secure.
///
/// Levels 1–3 serve SlotToCoeff, 4–20 the network at a scale of 2^42, 21–27 EvalMod and 28–30 CoeffToSlot; six special
/// primes give five digits at the top; the encapsulation key has weight 32. Two network levels more than set B, for
/// slower key switches.
pub fn set_a_literal() -> ParametersLiteral {
    set_a_literal_with(EVAL_MOD_LEVELS)
}

/// The literal of set A for an EvalMod of another depth, as [`set_b_literal_with`].
pub fn set_a_literal_with(eval_mod_levels: usize) -> ParametersLiteral {
    let more = eval_mod_levels.saturating_sub(EVAL_MOD_LEVELS);
    ParametersLiteral {
        log_n: 16,
        log_q: chain([(1, 50), (3, 40), (17, 42), (eval_mod_levels, 50), (3, 50)]),
        log_p: vec![50; 6_usize.saturating_sub(more)],
        secret: Secret::DenseTernary,
        encapsulation_weight: Some(32),
    }
}

/// Set A, see [`set_a_literal`].
pub fn set_a() -> Parameters {
    Parameters::new(set_a_literal()).expect("the named set satisfies its own checks")
}

/// How ciphertexts under set A's chain are refreshed: as by default, at the scale 2^42 of its network primes.
pub fn set_a_bootstrap() -> BootstrapParameters {
    set_a_bootstrap_with(EvalMod::Cosine)
}

/// [`set_a_bootstrap`] with another EvalMod.
pub fn set_a_bootstrap_with(eval_mod: EvalMod) -> BootstrapParameters {
    BootstrapParameters {
        log_scale: 42,
        ..BootstrapParameters::with_eval_mod(eval_mod)
    }
}

/// The literal of set B: `N = 2^16`, dense ternary secret, log2(QP) = 1714, 128-bit secure.
///
/// Levels 1–3 serve SlotToCoeff, 4–18 the network, 19–25 EvalMod and 26–28 CoeffToSlot; nine special primes give
/// three digits at the top; the encapsulation key has weight 32.
pub fn set_b_literal() -> ParametersLiteral {
    set_b_literal_with(EVAL_MOD_LEVELS)
}

/// The literal of set B for an EvalMod of another depth: the same 15 levels for the network, and for every level that
/// EvalMod takes more than 7 one special prime less, so that the modulus does not grow. Fewer special primes mean more
/// digits and slower key switches.
pub fn set_b_literal_with(eval_mod_levels: usize) -> ParametersLiteral {
    let more = eval_mod_levels.saturating_sub(EVAL_MOD_LEVELS);
    ParametersLiteral {
        log_n: 16,
        log_q: chain([(1, 50), (3, 40), (15, 40), (eval_mod_levels, 50), (3, 48)]),
        log_p: vec![50; 9_usize.saturating_sub(more)],
        secret: Secret::DenseTernary,
        encapsulation_weight: Some(32),
    }
}

/// Set B, see [`set_b_literal`].
pub fn set_b() -> Parameters {
    Parameters::new(set_b_literal()).expect("the named set satisfies its own checks")
}

/// Set B's chain over a small ring, for tests; insecure.
///
/// # Errors
/// When `log_n` is out of range.
pub fn toy(log_n: u32) -> Result<Parameters, Error> {
    toy_with(log_n, EVAL_MOD_LEVELS)
}

/// [`toy`] for an EvalMod of another depth, as [`set_b_literal_with`].
///
/// # Errors
/// When `log_n` is out of range, or no special prime is left.
pub fn toy_with(log_n: u32, eval_mod_levels: usize) -> Result<Parameters, Error> {
    over_small_ring(set_b_literal_with(eval_mod_levels), log_n)
}

/// The chain of `literal` over a small ring, its encapsulation weight capped at a quarter of the degree, for tests;
/// insecure.
///
/// # Errors
/// When `log_n` is out of range.
pub fn over_small_ring(literal: ParametersLiteral, log_n: u32) -> Result<Parameters, Error> {
    let most = 1u32.checked_shl(log_n).unwrap_or(u32::MAX) / 4;
    let literal = ParametersLiteral {
        log_n,
        encapsulation_weight: literal.encapsulation_weight.map(|weight| weight.min(most)),
        ..literal
    };
    Parameters::insecure(literal, Insecure::acknowledged())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_b_is_secure_and_has_its_stated_size() {
        let params = set_b();
        assert_eq!(params.max_level(), 28);
        assert!((params.log_qp() - 1714.0).abs() < 0.01);
        assert!(params.security().bits >= 128.0 && !params.is_insecure());
    }

    #[test]
    fn deeper_eval_mods_keep_the_networks_levels_and_the_security() {
        for eval_mod in EvalMod::ALL {
            let bootstrap = BootstrapParameters::with_eval_mod(eval_mod);
            let literal = set_b_literal_with(bootstrap.eval_mod_depth());
            let params = Parameters::new(literal).unwrap();
            bootstrap.check(&params).unwrap();
            assert_eq!(bootstrap.output_level(&params), 18, "{eval_mod}");
            assert!(params.log_qp() < 1714.01, "{eval_mod}: {}", params.log_qp());
            assert!(params.security().bits >= 128.0, "{eval_mod}");
        }
        assert_eq!(set_b_literal_with(7), set_b_literal());
        assert!(toy_with(10, 40).is_err());
    }

    #[test]
    fn set_a_is_secure_and_has_its_stated_size() {
        let params = set_a();
        assert_eq!(params.max_level(), 30);
        assert!((params.log_qp() - 1684.0).abs() < 0.01);
        assert!(params.security().bits >= 128.0 && !params.is_insecure());
        let bootstrap = set_a_bootstrap();
        bootstrap.check(&params).unwrap();
        let (input, output) = (bootstrap.input_level(), bootstrap.output_level(&params));
        assert_eq!((input, output), (3, 20));
        let top = params.key_switch_layout(params.max_level()).unwrap();
        assert_eq!(top.digits.len(), 5);
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
