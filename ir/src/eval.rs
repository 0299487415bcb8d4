//! Reference interpreters on plain numbers, one for every stage.

pub mod ckks;
pub mod nn;
pub mod slot;
