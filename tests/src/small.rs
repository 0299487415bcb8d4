//! A small network and pictures for it, for runs that are to be quick.

use crate::resnet::{Shortcut, Spec};

/// A residual network of two blocks, the second with a stride, on `3×8×8` images.
pub fn network(width: usize, classes: usize, shortcut: Shortcut) -> Spec {
    Spec {
        blocks_per_stage: 1,
        stages: 2,
        width,
        image: [3, 8, 8],
        classes,
        shortcut,
        seed: 7,
    }
}

/// A picture of `3×8×8` elements in [0, 1].
pub fn picture(seed: usize) -> Vec<f32> {
    (0..3 * 64)
        .map(|pixel| ((pixel * 7 + seed * 31) % 41) as f32 / 40.0)
        .collect()
}

/// The largest difference between elements of the same index.
///
/// # Panics
/// If there are not as many.
pub fn largest_difference(left: &[f64], right: &[f64]) -> f64 {
    assert_eq!(left.len(), right.len());
    let differences = left
        .iter()
        .zip(right)
        .map(|(left, right)| (left - right).abs());
    differences.fold(0.0, f64::max)
}
