//! Signals end a process as ever, and leave no unfinished file.
#![cfg(unix)]

#[path = "support/processes.rs"]
mod processes;

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use heddle_ir::file::{Access, Existing, Staged, signals};
use rustix::process::{Pid, Signal, kill_process};

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id() as i32).unwrap();
    kill_process(pid, signal).unwrap();
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn signals_remove_unfinished_files_and_end_the_process_as_ever() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let folder = tempfile::tempdir().unwrap();
        let mut child = processes::start("stage", &folder.path().join("x"));
        assert_eq!(count(folder.path()), 1);
        send(&child, signal);
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        assert_eq!(count(folder.path()), 0, "{status}");
        // A shell's view of the same.
        assert_eq!(128 + status.signal().unwrap(), code);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_ignored_signal_stays_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let nohup = ["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""].map(String::from);
    let mut child = processes::start_under(&nohup, "stage", &folder.path().join("x"));
    send(&child, Signal::HUP);
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none());
    assert_eq!(count(folder.path()), 1);
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    assert_eq!(count(folder.path()), 0);
}

#[test]
fn a_signal_leaves_files_that_belong_together_together_and_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let number = |name: &str| processes::number(&folder.path().join(name));
    for round in 0..40_u64 {
        let mut child = processes::start("commit-pairs", folder.path());
        std::thread::sleep(Duration::from_micros(round * 3_790 % 20_000));
        send(&child, Signal::TERM);
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert_eq!(number("first"), number("second"), "round {round}");
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name != "first" && name != "second")
            .collect();
        assert!(left.is_empty(), "round {round}: {left:?}");
    }
    assert!(number("first") > 0);
}

#[test]
#[ignore = "a process of its own that other tests start"]
fn child_process() {
    let Some((role, path)) = processes::role() else {
        return;
    };
    signals::remove_unfinished_on_signals().unwrap();
    match role.as_str() {
        "commit-pairs" => processes::commit_pairs(&path),
        _ => {
            let mut staged = Staged::create(&path, Access::Default, Existing::Refuse).unwrap();
            staged.write_all(&vec![1; 3 << 20]).unwrap();
            processes::wait_to_be_killed();
        }
    }
}
