//! Byte forms of limbs, keys and ciphertexts.
