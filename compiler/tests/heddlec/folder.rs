//! What tests of the binary share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use heddle_tests::resnet::{Shortcut, Spec};

/// The binary under test.
pub const HEDDLEC: &str = env!("CARGO_BIN_EXE_heddlec");

/// A folder of its own for each test, removed at the end.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(HEDDLEC);
        command.current_dir(self.root()).args(arguments);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs and expects exit code 1, a message with every one of `words`, and no new file.
    pub fn refuses(&self, arguments: &[&str], words: &[&str]) {
        let files = || fs::read_dir(self.root()).unwrap().count();
        let before = files();
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {message}");
        for word in words {
            assert!(
                message.contains(word),
                "{arguments:?}: no `{word}` in: {message}"
            );
        }
        assert!(!message.contains("panicked"), "{message}");
        assert_eq!(files(), before, "{arguments:?} left a file behind");
    }
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
