//! What programs read and print: they wait at no pipe, a terminal obeys nothing that they print,
//! and a reader that leaves is no error.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::processes::{closed_pipe, output_within};
use crate::program::{Folder, said};

/// Longer than a program takes to refuse its input.
const AT_ONCE: Duration = Duration::from_secs(20);

/// What a terminal obeys: ESC, the one-character CSI, an override of direction, a carriage return,
/// a line break.
pub const HOSTILE: [&str; 5] = [
    "\x1b]0;owned\x07",
    "\u{9b}2J",
    "\u{202e}gpj",
    "\r",
    "x\nerror: forged",
];

/// Whether each character of what a program printed is one that a terminal shows as it is, or a
/// line break, or a tab.
pub fn is_tame(printed: &str) -> bool {
    let obeyed = |c: char| {
        let moves = c.is_control() && c != '\n' && c != '\t';
        let reorders = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{2028}'..='\u{2029}');
        moves || reorders
    };
    !printed.contains(obeyed)
}

/// A terminal obeys nothing of what a program printed, and no line of it was forged by [`HOSTILE`].
///
/// # Panics
/// If that is not so.
pub fn assert_tame(printed: &[u8], what: &str) {
    let text = String::from_utf8(printed.to_vec()).expect("UTF-8");
    assert!(is_tame(&text), "{what}: {text:?}");
    let forged = text.lines().any(|line| line.starts_with("error: forged"));
    assert!(!forged, "{what}: {text:?}");
}

/// Makes a named pipe at `path`.
///
/// # Panics
/// If it cannot be made.
pub fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|made| made.success()), "mkfifo");
}

/// Makes a named pipe `pipe`, a folder `dir` and a link `link` to a device, and returns the names
/// of these and of the device: none of them is a file to read.
///
/// # Panics
/// If they cannot be made.
pub fn odd_files(folder: &Folder) -> [&'static str; 4] {
    make_pipe(&folder.path("pipe"));
    fs::create_dir(folder.path("dir")).expect("folders can be made");
    std::os::unix::fs::symlink("/dev/zero", folder.path("link")).expect("links can be made");
    ["pipe", "/dev/zero", "dir", "link"]
}

/// Runs what must be refused at once, with exit code 1 and an error that names `named`.
///
/// # Panics
/// If it is not.
pub fn refuses_at_once(command: &mut Command, named: &str) {
    let output = output_within(command, AT_ONCE);
    let error = said(&output);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {error}");
    assert!(error.contains(named), "{command:?}: no {named} in: {error}");
}

/// Runs a command whose reader of standard output has gone: that is no error.
///
/// # Panics
/// If the command fails or complains.
pub fn reader_may_leave(command: &mut Command) -> Output {
    let child = command.stdout(closed_pipe()).stderr(Stdio::piped()).spawn();
    let output = child.and_then(|child| child.wait_with_output());
    let output = output.expect("the program exists");
    let error = said(&output);
    assert!(
        output.status.success(),
        "{command:?}: {} {error}",
        output.status
    );
    for complaint in ["pipe", "panicked", "error:"] {
        assert!(!error.contains(complaint), "{command:?}: {error}");
    }
    output
}

/// Runs the program with a reader that takes one line.
///
/// # Panics
/// If the program fails or complains.
pub fn first_line(folder: &Folder, arguments: &str) -> Output {
    let line = format!(
        "set -o pipefail; {} {arguments} | head -1",
        folder.program()
    );
    let mut shell = Command::new("bash");
    let output = shell
        .args(["-c", &line])
        .current_dir(folder.root())
        .output();
    let output = output.expect("there is a shell");
    let error = said(&output);
    assert!(
        output.status.success() && !error.contains("pipe"),
        "{line}: {error}"
    );
    assert_eq!(output.stdout.split(|byte| *byte == b'\n').count(), 2);
    output
}
