//! Bootstrapping: refreshing the levels of a ciphertext.

pub mod coeff_to_slot;
pub mod cosine;
pub mod dft;
pub mod eval_mod;
pub mod mod_raise;
pub mod slot_to_coeff;
