//! Additions, plaintext products and level changes.
