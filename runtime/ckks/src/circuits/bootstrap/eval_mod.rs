//! The homomorphic reduction modulo the first prime, as a scaled sine and, where chosen, its
//! inverse.

use crate::Error;
use crate::circuits::bootstrap::cosine::Cosine;
use crate::circuits::polynomial::{Arithmetic, Sum, evaluate, integer};
use std::f64::consts::PI;

/// Reduces slots `t = (m/R + I)/half_width`, `I` an integer, to `m`.
///
/// `message_ratio` is R and `target_scale` the exact scale of the result. Uses
/// [`eval_mod_depth`](heddle_params::bootstrap::BootstrapParameters::eval_mod_depth)
/// levels. Without an inverse sine the result is `R/2π·sin(2π·m/R)`: its cubic term is the bound on
/// precision for large messages.
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
    let (depth, level) = (cosine.depth(), arithmetic.level(t));
    if level < depth {
        return Err(Error::NotEnoughLevels {
            op: "EvalMod",
            needed: depth,
            found: level,
        });
    }
    // A slot holds s = sin(2πx). Declaring another scale brings a factor into the scale: 2π/R, so
    // that the message is left, or the half width of the inverse sine, so that s fills [−1, 1] at a
    // scale of the next prime.
    let output = level - cosine.polynomial.depth() - angles;
    let sine_scale = match &cosine.arcsine {
        None => target_scale * message_ratio / (2.0 * PI),
        Some(arcsine) => arithmetic.prime(output) / arcsine.half_width,
    };
    // Going back through the squarings gives the scale that the polynomial must end with.
    let scales: Vec<f64> = (0..angles)
        .scan(sine_scale, |scale, i| {
            let result = *scale;
            *scale = (result * arithmetic.prime(output + 1 + i)).sqrt();
            Some(result)
        })
        .collect();
    let polynomial_scale = scales.last().map_or(sine_scale, |s| {
        (s * arithmetic.prime(output + angles)).sqrt()
    });

    let argument = match cosine.centre {
        0.0 => t.clone(),
        centre => arithmetic.shifted(t, -centre / cosine.half_width)?,
    };
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
    match &cosine.arcsine {
        None => Ok(arithmetic.with_scale(value, target_scale)),
        Some(arcsine) => {
            let scale = arithmetic.scale(&value) * arcsine.half_width;
            let filled = arithmetic.with_scale(value, scale);
            // The messages are those of the R that the fit knows.
            let fitted_scale = target_scale * message_ratio / arcsine.message_ratio;
            let value = evaluate(arithmetic, &filled, &arcsine.polynomial, fitted_scale)?;
            Ok(arithmetic.with_scale(value, target_scale))
        }
    }
}
