//! The homomorphic reduction modulo the first prime, as a scaled sine.

use crate::bootstrap::cosine::Cosine;
use crate::error::Error;
use crate::eval::polynomial::{Arithmetic, Sum, evaluate, integer};
use std::f64::consts::PI;

/// Reduces slots `t = (m/R + I)/half_width`, `I` an integer, to `m`.
///
/// `message_ratio` is R and `target_scale` the exact scale of the result. Uses
/// [`BootstrapParameters::eval_mod_depth`](heddle_params::bootstrap::BootstrapParameters::eval_mod_depth) levels. The
/// result is `R/2π·sin(2π·m/R)`: its cubic term is the bound on precision for large messages.
///
/// # Errors
/// Too few levels or a missing relinearisation key.
pub fn eval_mod<A: Arithmetic>(
    arithmetic: &A,
    t: &A::Value,
    cosine: &Cosine,
    message_ratio: f64,
    target_scale: f64,
) -> Result<A::Value, Error> {
    let angles = cosine.double_angles as usize;
    let (depth, level) = (cosine.polynomial.depth() + angles, arithmetic.level(t));
    if level < depth {
        return Err(Error::NotEnoughLevels {
            op: "EvalMod",
            needed: depth,
            found: level,
        });
    }
    // A slot holds sin(2πx), 2π/R times the message: relabelling brings the difference into the scale. Going back
    // through the squarings gives the scale that the polynomial must end with.
    let output = level - depth;
    let scales: Vec<f64> = (0..angles)
        .scan(target_scale * message_ratio / (2.0 * PI), |scale, i| {
            let result = *scale;
            *scale = (result * arithmetic.prime(output + 1 + i)).sqrt();
            Some(result)
        })
        .collect();
    let polynomial_scale = scales
        .last()
        .map_or(target_scale * message_ratio / (2.0 * PI), |s| {
            (s * arithmetic.prime(output + angles)).sqrt()
        });

    let argument = arithmetic.shifted(t, -0.25 / cosine.half_width)?;
    let mut value = evaluate(arithmetic, &argument, &cosine.polynomial, polynomial_scale)?;
    for scale in scales.into_iter().rev() {
        let constant = -integer(arithmetic.scale(&value) * arithmetic.scale(&value))?;
        let sum = Sum {
            products: vec![(&value, &value)],
            factor: 2,
            terms: Vec::new(),
            constant,
        };
        value = arithmetic.sum(&sum, arithmetic.level(&value), scale)?;
    }
    Ok(arithmetic.relabelled(value, target_scale))
}
