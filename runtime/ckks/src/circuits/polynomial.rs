//! Evaluation of polynomials in the Chebyshev basis.
//!
//! Powers and products after Paterson and Stockmeyer (1973), with odd- and even-only trees, in the
//! least depth and with exact scales (Bossuat, Mouchet, Troncoso-Pastoriza and Hubaux, EUROCRYPT
//! 2021): every constant is encoded at the scale that makes its sum match, so that the result has
//! exactly the scale asked for.

mod arithmetic;
mod encrypted;
mod plan;

pub(crate) use arithmetic::integer;
pub use arithmetic::{Arithmetic, Sum};

use crate::Error;
use plan::{Node, Plan};
use std::collections::BTreeMap;

/// Which powers of its argument a polynomial has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// Odd powers only.
    Odd,
    /// Even powers only, the constant included.
    Even,
    /// Both.
    General,
}

/// A polynomial `Σ c_k·T_k(x)` for `x` in `[−1, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ChebyshevPolynomial {
    coefficients: Vec<f64>,
    parity: Parity,
    plan: Plan,
}

impl ChebyshevPolynomial {
    /// The polynomial of given coefficients, `T_0` first; its parity is that of its exact zeros.
    /// Trailing zeros are dropped, and no coefficients mean the zero polynomial.
    pub fn new(mut coefficients: Vec<f64>) -> Self {
        let length = coefficients
            .iter()
            .rposition(|&c| c != 0.0)
            .map_or(1, |last| last + 1);
        coefficients.resize(length, 0.0);
        let lacks = |parity: usize| {
            coefficients
                .iter()
                .skip(parity)
                .step_by(2)
                .all(|&c| c == 0.0)
        };
        let parity = match (lacks(0), lacks(1)) {
            (_, true) => Parity::Even,
            (true, false) => Parity::Odd,
            (false, false) => Parity::General,
        };
        let plan = match parity {
            // T_2k(x) = T_k(T_2(x)): half the degree one level lower.
            Parity::Even => Plan::new(&coefficients.iter().copied().step_by(2).collect::<Vec<_>>()),
            Parity::Odd | Parity::General => Plan::new(&coefficients),
        };
        Self {
            coefficients,
            parity,
            plan,
        }
    }

    /// The coefficients, `T_0` first.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// Which powers occur.
    pub fn parity(&self) -> Parity {
        self.parity
    }

    /// The degree; 0 for constants.
    pub fn degree(&self) -> usize {
        self.coefficients.len() - 1
    }

    /// Levels that the evaluation uses: `⌈log2(degree + 1)⌉`.
    pub fn depth(&self) -> usize {
        plan::depth(self.degree())
    }

    /// The value at a plain number, by Clenshaw's recurrence.
    pub fn evaluate_plain(&self, x: f64) -> f64 {
        heddle_params::chebyshev::evaluate(&self.coefficients, x)
    }
}

/// The value of `polynomial` at the slots of `x`, which are in `[−1, 1]`: level in − depth, scale
/// exactly `target_scale`. On an [`Evaluator`](crate::scheme::eval::Evaluator), `x` is a
/// ciphertext.
///
/// Precision is that of the powers, whose scales stay near the input's as long as that is near the
/// primes of the levels used.
///
/// # Errors
/// Too few levels, a missing relinearisation key, or scales that do not fit.
pub fn evaluate<A: Arithmetic>(
    arithmetic: &A,
    x: &A::Value,
    polynomial: &ChebyshevPolynomial,
    target_scale: f64,
) -> Result<A::Value, Error> {
    let (depth, level) = (polynomial.depth(), arithmetic.level(x));
    if level < depth {
        return Err(Error::NotEnoughLevels {
            op: "polynomial",
            needed: depth,
            found: level,
        });
    }
    let scales = [arithmetic.scale(x), target_scale];
    if let Some(scale) = scales.into_iter().find(|s| !s.is_finite() || *s < 1.0) {
        return Err(Error::ScaleRange {
            op: "polynomial",
            log_scale: scale.log2(),
            limit: 120.0,
        });
    }
    let output = level - depth;
    if depth == 0 {
        return arithmetic.constant(x, polynomial.coefficients[0], output, target_scale);
    }
    let mut powers = Powers {
        arithmetic,
        values: BTreeMap::from([(1, x.clone())]),
    };
    if polynomial.parity == Parity::Even {
        let square = powers.product(1, 1)?;
        powers.values = BTreeMap::from([(1, square)]);
    }
    for rule in &polynomial.plan.powers {
        let power = powers.product(rule.a, rule.b)?;
        powers.values.insert(rule.k, power);
    }
    powers.node(&polynomial.plan.root, output, target_scale)
}

/// The Chebyshev powers of an argument, by index.
struct Powers<'a, A: Arithmetic> {
    arithmetic: &'a A,
    values: BTreeMap<usize, A::Value>,
}

impl<A: Arithmetic> Powers<'_, A> {
    fn get(&self, k: usize) -> &A::Value {
        self.values
            .get(&k)
            .expect("the plan computes a power before its use")
    }

    /// `T_(a+b) = 2·T_a·T_b − T_(a−b)`, `a ≥ b`.
    fn product(&self, a: usize, b: usize) -> Result<A::Value, Error> {
        let arithmetic = self.arithmetic;
        let (x, y) = (self.get(a), self.get(b));
        let level = arithmetic.level(x).min(arithmetic.level(y));
        let raw = arithmetic.scale(x) * arithmetic.scale(y);
        let mut sum = Sum {
            products: vec![(x, y)],
            factor: 2,
            terms: Vec::new(),
            constant: 0,
        };
        if a == b {
            sum.constant = -integer(raw)?;
        } else {
            let difference = self.get(a - b);
            let factor = integer(raw / arithmetic.scale(difference))?;
            sum.terms.push((difference, -factor));
        }
        arithmetic.sum(&sum, level, raw / arithmetic.prime(level))
    }

    /// A node at `level` with exactly `scale`.
    fn node(&self, node: &Node, level: usize, scale: f64) -> Result<A::Value, Error> {
        let arithmetic = self.arithmetic;
        let raw = scale * arithmetic.prime(level + 1);
        let quotients = node
            .products
            .iter()
            .map(|(m, q)| {
                let scale = raw / arithmetic.scale(self.get(*m));
                self.node(q, level + 1, scale)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let terms = node.terms.iter().map(|&(k, c)| {
            let power = self.get(k);
            Ok((power, integer(c * raw / arithmetic.scale(power))?))
        });
        let sum = Sum {
            products: node
                .products
                .iter()
                .map(|(m, _)| self.get(*m))
                .zip(&quotients)
                .collect(),
            factor: 1,
            terms: terms.collect::<Result<Vec<_>, Error>>()?,
            constant: integer(node.constant * raw)?,
        };
        arithmetic.sum(&sum, level + 1, scale)
    }
}

#[cfg(all(test, feature = "secret"))]
mod tests {
    use super::*;
    use crate::ring::context::Context;
    use crate::scheme::ciphertext::{Ciphertext, Plaintext};
    use crate::scheme::encode::Complex64;
    use crate::scheme::eval::Evaluator;
    use crate::scheme::precision::Precision;
    use crate::secret::{Decryptor, SecretEncryptor};
    use crate::secret::{KeyGenerator, SecretKey};
    use heddle_params::keys::{KeyKind, KeyUse};
    use heddle_params::named;
    use std::sync::Arc;

    const LEVEL: usize = 12;

    struct Bench {
        evaluator: Evaluator,
        secret: SecretKey,
        values: Vec<f64>,
        ciphertext: Ciphertext,
    }

    fn bench() -> Bench {
        let context = Context::new(named::toy(9).unwrap()).unwrap();
        let secret = SecretKey::generate(&context).unwrap();
        let uses = [KeyUse {
            kind: KeyKind::Relin,
            level: LEVEL,
        }];
        let keys = KeyGenerator::new(&context, &secret).unwrap();
        let keys = keys.generate(&uses).unwrap();
        let evaluator = Evaluator::new(&context, Arc::new(keys));
        let values: Vec<f64> = (0..64).map(|i| f64::from(i) / 31.5 - 1.0).collect();
        let plaintext =
            Plaintext::encode_real(evaluator.encoder(), &values, 2f64.powi(40)).unwrap();
        let ciphertext = SecretEncryptor::new(&context, &secret)
            .encrypt(&plaintext, LEVEL)
            .unwrap()
            .expand();
        Bench {
            evaluator,
            secret,
            values,
            ciphertext,
        }
    }

    fn check(bench: &Bench, coefficients: Vec<f64>) -> f64 {
        let polynomial = ChebyshevPolynomial::new(coefficients);
        let scale = 2f64.powi(40) * 1.2345;
        let result = evaluate(&bench.evaluator, &bench.ciphertext, &polynomial, scale).unwrap();
        assert_eq!(result.level(), LEVEL - polynomial.depth());
        assert_eq!(result.scale(), scale);
        let got = Decryptor::new(bench.evaluator.context(), &bench.secret)
            .decrypt(&result)
            .unwrap();
        let expected: Vec<Complex64> = bench
            .values
            .iter()
            .map(|&x| polynomial.evaluate_plain(x).into())
            .collect();
        Precision::compare(&expected, &got).worst_bits
    }

    #[test]
    fn encrypted_values_match_plain_ones_at_every_parity() {
        let bench = bench();
        for degree in [0, 1, 2, 3, 4, 7, 8, 15, 27, 31, 62, 63] {
            for parity in [Parity::General, Parity::Odd, Parity::Even] {
                let keep = |k: usize| match parity {
                    Parity::General => true,
                    Parity::Odd => k % 2 == 1,
                    Parity::Even => k.is_multiple_of(2),
                };
                let coefficients = (0..=degree)
                    .map(|k| {
                        if keep(k) {
                            (1.3 * k as f64 + 0.4).sin() / (1.0 + k as f64).sqrt()
                        } else {
                            0.0
                        }
                    })
                    .collect();
                let bits = check(&bench, coefficients);
                assert!(bits > 18.0, "degree {degree}, {parity:?}: {bits} bits");
            }
        }
    }

    #[test]
    fn plain_values_are_the_chebyshev_series() {
        let polynomial = ChebyshevPolynomial::new(vec![0.5, -1.0, 0.25, 2.0, 0.0]);
        assert_eq!(
            (polynomial.degree(), polynomial.depth(), polynomial.parity()),
            (3, 2, Parity::General)
        );
        for x in [-1.0, -0.3, 0.0, 0.8] {
            let direct = 0.5 - x + 0.25 * (2.0 * x * x - 1.0) + 2.0 * (4.0 * x * x * x - 3.0 * x);
            assert!((polynomial.evaluate_plain(x) - direct).abs() < 1e-14);
        }
        assert_eq!(ChebyshevPolynomial::new(Vec::new()).degree(), 0);
    }

    #[test]
    fn impossible_requests_are_refused() {
        let bench = bench();
        let deep = ChebyshevPolynomial::new(vec![1.0; 1 << LEVEL | 1]);
        let error = evaluate(&bench.evaluator, &bench.ciphertext, &deep, 2f64.powi(40))
            .err()
            .unwrap();
        assert!(matches!(
            error,
            Error::NotEnoughLevels {
                needed: 13,
                found: LEVEL,
                ..
            }
        ));
        let linear = ChebyshevPolynomial::new(vec![0.0, 1.0]);
        assert!(evaluate(&bench.evaluator, &bench.ciphertext, &linear, f64::NAN).is_err());
        let infinite = ChebyshevPolynomial::new(vec![0.0, f64::INFINITY]);
        assert!(
            evaluate(
                &bench.evaluator,
                &bench.ciphertext,
                &infinite,
                2f64.powi(40)
            )
            .is_err()
        );
        let keyless = Evaluator::new(bench.evaluator.context(), Arc::default());
        let square = ChebyshevPolynomial::new(vec![0.0, 0.0, 1.0]);
        let error = evaluate(&keyless, &bench.ciphertext, &square, 2f64.powi(40))
            .err()
            .unwrap();
        assert!(matches!(error, Error::MissingKey { .. }));
    }
}
