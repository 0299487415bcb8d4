//! The program under test, and a model for it.

use heddle_tests::resnet::{Shortcut, Spec};
use heddle_tests::small;

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
        seed: 3,
        ..small::network(4, 4, shortcut)
    };
    spec.build()
}
