//! Tests that start processes of their own: the test program again, with a role.
#![cfg_attr(not(unix), allow(dead_code))]

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use heddle_ir::file::{Access, Existing, Staged, commit_together};

/// This test program, with the ignored test `child_process` in the role.
pub fn command(wrapper: &[String], role: &str, path: &Path) -> Command {
    let program = env::current_exe().unwrap();
    let mut words = wrapper
        .iter()
        .map(Into::into)
        .chain([program.into_os_string()]);
    let mut command = Command::new(words.next().unwrap());
    command
        .args(words)
        .args(["--exact", "child_process", "--ignored", "--nocapture"])
        .env("HEDDLE_TEST_ROLE", role)
        .env("HEDDLE_TEST_PATH", path)
        .stdout(Stdio::piped());
    command
}

/// Starts the child and returns when it says that it is ready.
pub fn start(role: &str, path: &Path) -> Child {
    start_under(&[], role, path)
}

/// As [`start`], with a command before the program.
pub fn start_under(wrapper: &[String], role: &str, path: &Path) -> Child {
    let mut child = command(wrapper, role, path).spawn().unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let ready = lines
        .map(Result::unwrap)
        .any(|line| line.ends_with("ready"));
    assert!(ready, "the child ended too early");
    child
}

/// What this process is to do, if it is a child.
pub fn role() -> Option<(String, PathBuf)> {
    Some((
        env::var("HEDDLE_TEST_ROLE").ok()?,
        env::var_os("HEDDLE_TEST_PATH")?.into(),
    ))
}

/// Says that it is ready and waits far longer than any test.
pub fn wait_to_be_killed() {
    println!("ready");
    std::thread::sleep(Duration::from_secs(60));
}

/// The number that a file holds, after checking that it is whole; 0 if there is none.
pub fn number(path: &Path) -> u64 {
    let Ok(bytes) = fs::read(path) else {
        return 0;
    };
    let words: Vec<u64> = bytes
        .chunks(8)
        .map(|word| u64::from_le_bytes(word.try_into().expect("torn")))
        .collect();
    assert_eq!(words.len(), 1000, "torn");
    assert!(words.iter().all(|word| *word == words[0]), "torn");
    words[0]
}

/// Replaces the files `first` and `second` of a folder by the next number, again and again, and
/// is ready when the first pair is in place.
pub fn commit_pairs(folder: &Path) {
    let paths = ["first", "second"].map(|name| folder.join(name));
    let first = number(&paths[0]).max(number(&paths[1])) + 1;
    for next in first.. {
        let staged = paths.each_ref().map(|path| {
            let mut staged = Staged::create(path, Access::Default, Existing::Replace).unwrap();
            staged.write_all(&next.to_le_bytes().repeat(1000)).unwrap();
            staged
        });
        commit_together(staged).unwrap();
        if next == first {
            println!("ready");
        }
    }
}
