//! Reference interpreters on plain numbers, one for every stage.

pub mod ckks;
mod maps;
pub mod nn;
pub mod slot;
