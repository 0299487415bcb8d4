//! Rotations and conjugation.
