//! Ciphertext products and relinearisation.
