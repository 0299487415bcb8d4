//! What tests of the binary share: a folder with a plan, keys and ciphertexts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::toy;

/// The binary under test.
pub const HEDDLE: &str = env!("CARGO_BIN_EXE_heddle");

pub const KEYGEN: &str = "keygen toy.client.plan --secret client.key --eval eval.keys";
pub const ENCRYPT: &str = "encrypt toy.client.plan --secret client.key image.npy -o image.ct";
pub const RUN: &str = "run toy.plan --eval eval.keys image.ct -o logits.ct";
pub const DECRYPT: &str = "decrypt toy.client.plan --secret client.key logits.ct";

/// The arguments with `--insecure` behind the command, as the toy plan's ring is small.
pub fn insecure<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = arguments.to_vec();
    if arguments.first().is_some_and(|command| *command != "bench") {
        arguments.insert(1, "--insecure");
    }
    arguments
}

/// The arguments in a line without quotes.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A folder of its own for each test, with the toy plan and a picture.
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder with the toy plan and a picture.
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        let plan = toy::plan();
        plan.write_file(&folder.path("toy.plan")).unwrap();
        let client = plan.client_plan().unwrap();
        client.write_file(&folder.path("toy.client.plan")).unwrap();
        folder.image("image.npy", 3);
        folder
    }

    pub fn root(&self) -> &Path {
        self.0.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A uint8 tensor of 3×8×8.
    pub fn image(&self, name: &str, seed: u8) {
        let data: Vec<u8> = (0..192u8)
            .map(|i| i.wrapping_mul(29).wrapping_add(seed))
            .collect();
        fs::write(self.path(name), npy("|u1", "3, 8, 8", &data)).unwrap();
    }

    /// `heddle` as it is typed.
    pub fn command_exactly(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(HEDDLE);
        command.args(arguments).current_dir(self.root());
        command
    }

    /// Runs `heddle` as it is typed.
    pub fn run_exactly(&self, arguments: &[&str]) -> Output {
        self.command_exactly(arguments).output().unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_exactly(&insecure(arguments))
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must fail with `code` and returns standard error.
    pub fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(!error.contains("panicked"), "{error}");
        error
    }

    pub fn keygen(&self) {
        self.succeed(&words(KEYGEN));
    }

    pub fn encrypt(&self) {
        self.succeed(&words(ENCRYPT));
    }
}

/// A tensor as numpy writes it.
pub fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}
