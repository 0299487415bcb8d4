//! Named parameter sets.

use crate::{Error, Insecure, Parameters, ParametersLiteral, Secret};

/// Bit sizes of set B's ciphertext chain, bottom first: `q0`; three primes for SlotToCoeff; fifteen for the
/// network; seven for EvalMod; three for CoeffToSlot.
fn chain_b() -> Vec<u32> {
    [(1, 50), (3, 40), (15, 40), (7, 50), (3, 48)]
        .into_iter()
        .flat_map(|(count, bits)| std::iter::repeat_n(bits, count))
        .collect()
}

/// The literal of set B: `N = 2^16`, dense ternary secret, log2(QP) = 1714, 128-bit secure.
///
/// Levels 1–3 serve SlotToCoeff, 4–18 the network, 19–25 EvalMod and 26–28 CoeffToSlot; nine special primes give
/// three digits at the top; the encapsulation key has weight 32.
pub fn set_b_literal() -> ParametersLiteral {
    ParametersLiteral {
        log_n: 16,
        log_q: chain_b(),
        log_p: vec![50; 9],
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
    let weight = 32.min(1u32.checked_shl(log_n).unwrap_or(u32::MAX) / 4);
    let literal = ParametersLiteral {
        log_n,
        encapsulation_weight: Some(weight),
        ..set_b_literal()
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
    fn toys_are_marked() {
        for log_n in [4, 10, 12] {
            let params = toy(log_n).unwrap();
            assert!(params.is_insecure());
            assert_eq!(params.q().len(), 29);
        }
        assert!(toy(40).is_err());
    }
}
