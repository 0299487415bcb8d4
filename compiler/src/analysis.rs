//! Facts that passes base their choices on.

pub mod cost;
pub mod grid;
pub mod prediction;
pub mod ranges;
pub mod rotations;
