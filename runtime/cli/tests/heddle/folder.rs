//! A folder with a plan and a picture, in which `heddle` runs.

use std::ops::Deref;
use std::process::{Command, Output};

use heddle_params::{Accept, Insecure};
use heddle_tests::npy::npy;
use heddle_tests::program;
use heddle_tests::toy;

pub use heddle_tests::program::{said, words};

/// The program under test.
pub const HEDDLE: &str = env!("CARGO_BIN_EXE_heddle");

pub const KEYGEN: &str = "keygen toy.client.plan --secret client.key --eval eval.keys";
pub const ENCRYPT: &str = "encrypt toy.client.plan --secret client.key image.npy -o image.ct";
pub const RUN: &str = "run toy.plan --eval eval.keys image.ct -o logits.ct";
pub const DECRYPT: &str = "decrypt toy.client.plan --secret client.key logits.ct";

/// What accepts the toy plan's small ring.
pub fn any() -> Accept {
    Accept::Any(Insecure::acknowledged())
}

/// The arguments with `--insecure` after the command, as the toy plan's ring is small.
pub fn insecure<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = arguments.to_vec();
    if arguments.first().is_some_and(|command| *command != "bench") {
        arguments.insert(1, "--insecure");
    }
    arguments
}

/// A folder with the toy plan and a picture. Its commands accept a small ring.
pub struct Folder(program::Folder);

impl Deref for Folder {
    type Target = program::Folder;

    fn deref(&self) -> &program::Folder {
        &self.0
    }
}

impl Folder {
    pub fn new() -> Self {
        let folder = Self(program::Folder::new(HEDDLE));
        let plan = toy::plan();
        plan.write_file(&folder.path("toy.plan")).unwrap();
        let client = plan.client_plan().unwrap();
        client.write_file(&folder.path("toy.client.plan")).unwrap();
        folder.image("image.npy", 3);
        folder
    }

    /// A folder in which a client has made keys and encrypted the picture, and a server answered.
    pub fn complete() -> Self {
        let folder = Self::new();
        folder.keygen();
        folder.encrypt();
        folder.succeed(&words(&format!("{RUN} --trace trace.json")));
        folder
    }

    /// A uint8 tensor of 3×8×8.
    pub fn image(&self, name: &str, seed: u8) {
        let data: Vec<u8> = (0..192u8)
            .map(|i| i.wrapping_mul(29).wrapping_add(seed))
            .collect();
        self.write(name, npy("|u1", "3, 8, 8", &data));
    }

    /// 150 uint8 tensors of 3×8×8.
    pub fn many_images(&self, name: &str) {
        let pixels: Vec<u8> = (0..150 * 192_u32).map(|i| (i * 29 % 251) as u8).collect();
        self.write(name, npy("|u1", "150, 3, 8, 8", &pixels));
    }

    /// The program with arguments as they are typed.
    pub fn as_typed(&self, arguments: &[&str]) -> Command {
        self.0.command(arguments)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        self.0.command(&insecure(arguments))
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.0.run(&insecure(arguments))
    }

    pub fn succeed(&self, arguments: &[&str]) -> String {
        self.0.succeed(&insecure(arguments))
    }

    pub fn fail(&self, code: i32, arguments: &[&str]) -> String {
        self.0.fail(code, &insecure(arguments))
    }

    /// Runs what must be refused with all of `expected` and a help line, and change no file.
    pub fn refuses(&self, arguments: &str, expected: &[&str]) {
        let expected = [expected, &["help:"]].concat();
        self.0.refuses(&insecure(&words(arguments)), &expected);
    }

    pub fn keygen(&self) {
        self.succeed(&words(KEYGEN));
    }

    pub fn encrypt(&self) {
        self.succeed(&words(ENCRYPT));
    }
}
