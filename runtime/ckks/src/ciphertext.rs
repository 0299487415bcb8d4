//! Plaintexts and ciphertexts: limbs, scale, level and packing.
