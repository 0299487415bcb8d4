//! Facts that passes base their choices on.

pub mod cost;
pub mod ranges;
pub mod rotations;
