//! Polynomial approximations: Remez exchange, compositions of minimax polynomials for the sign
//! function, series for smooth functions, and what activations make of them. `search`, compiled for
//! tests alone, finds the compositions that [`sign`] lists.

pub mod activation;
pub mod piecewise;
pub mod remez;
#[cfg(test)]
mod search;
pub mod sign;
pub mod smooth;
pub mod softmax;
