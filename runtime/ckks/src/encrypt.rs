//! Encryption and decryption.
