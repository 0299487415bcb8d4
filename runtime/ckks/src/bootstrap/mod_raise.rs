//! Raising a ciphertext from the first modulus to the whole chain.
