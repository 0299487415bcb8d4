//! A program as a process, in a folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The words of a line without quotes.
pub fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// What a process wrote to standard error.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The regular files of a folder, by name.
///
/// # Panics
/// If the folder cannot be read.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("the folder exists");
    entries
        .map(|entry| entry.expect("the folder can be read"))
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, fs::read(entry.path()).expect("the file can be read"))
        })
        .collect()
}

/// A temporary folder in which a program runs.
pub struct Folder {
    directory: tempfile::TempDir,
    program: &'static str,
}

impl Folder {
    /// An empty folder for the program at this path.
    ///
    /// # Panics
    /// If no folder can be made.
    pub fn new(program: &'static str) -> Self {
        Self {
            directory: tempfile::tempdir().expect("temporary folders can be made"),
            program,
        }
    }

    /// The program's path.
    pub fn program(&self) -> &'static str {
        self.program
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The folder's own name.
    ///
    /// # Panics
    /// If it is not UTF-8.
    pub fn name(&self) -> &str {
        let name = self.root().file_name().and_then(|name| name.to_str());
        name.expect("temporary folders have plain names")
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("files can be written");
    }

    /// Reads a file.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("files can be read")
    }

    /// The program with arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.current_dir(self.root()).args(arguments);
        command
    }

    /// Runs the program.
    ///
    /// # Panics
    /// If it does not start.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        output.expect("the program exists")
    }

    /// Runs what must succeed, and returns standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("output is UTF-8")
    }

    /// Runs what must fail with `code`, and returns standard error.
    ///
    /// # Panics
    /// If it does not.
    pub fn fail(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = said(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(!error.contains("panicked"), "{error}");
        error
    }

    /// Runs what must be refused as a bad input: exit code 1, one error that says all of
    /// `expected`, and no file changed.
    ///
    /// # Panics
    /// If it is not refused in this way.
    pub fn refuses(&self, arguments: &[&str], expected: &[&str]) {
        let before = files(self.root());
        let error = self.fail(1, arguments);
        for part in expected {
            assert!(
                error.contains(part),
                "{arguments:?}: no `{part}` in: {error}"
            );
        }
        assert_one_error(&error);
        let after = files(self.root());
        assert!(
            before.keys().eq(after.keys()),
            "{arguments:?}: {:?}",
            after.keys()
        );
        assert!(before == after, "{arguments:?} changed a file");
    }
}

/// Whether a program said one error, in the one style of all programs.
///
/// # Panics
/// If it did not.
pub fn assert_one_error(said: &str) {
    let errors = said.lines().filter(|line| line.starts_with("error: "));
    assert_eq!(errors.count(), 1, "not one error: {said}");
}

/// Names under which the file `input` of a folder can be reached: relative, roundabout, absolute,
/// by a symbolic link and by a hard link. The links are `dir/link` and `dir/hard`.
///
/// # Panics
/// If the links cannot be made.
#[cfg(unix)]
pub fn spellings(folder: &Folder, input: &str) -> Vec<String> {
    let _ = fs::create_dir(folder.path("dir"));
    let (link, hard) = (folder.path("dir/link"), folder.path("dir/hard"));
    for old in [&link, &hard] {
        let _ = fs::remove_file(old);
    }
    std::os::unix::fs::symlink(folder.path(input), link).expect("links can be made");
    fs::hard_link(folder.path(input), hard).expect("links can be made");
    vec![
        input.to_owned(),
        format!("./{input}"),
        format!("../{}/{input}", folder.name()),
        format!("dir/../{input}"),
        folder.path(input).display().to_string(),
        "dir/link".to_owned(),
        "dir/hard".to_owned(),
    ]
}
