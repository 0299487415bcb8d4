//! The program under test, and a model for it.

use heddle_tests::resnet::{Shortcut, Spec};

pub use heddle_tests::program::Folder;

/// The program under test.
pub const HEDDLEC: &str = env!("CARGO_BIN_EXE_heddlec");

/// An empty folder in which `heddlec` runs.
pub fn folder() -> Folder {
    Folder::new(HEDDLEC)
}

/// A small residual network as ONNX.
pub fn network(shortcut: Shortcut) -> Vec<u8> {
    let spec = Spec {
        blocks_per_stage: 1,
        stages: 2,
        width: 4,
        image: [3, 8, 8],
        classes: 4,
        shortcut,
        seed: 3,
    };
    spec.build()
}
