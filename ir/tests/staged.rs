//! Files that appear whole or not at all: several writers, killed writers, full disks.

#[path = "support/processes.rs"]
mod processes;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use heddle_ir::Error;
use heddle_ir::file::{Access, Existing, Staged, commit_together, write_atomically};

/// Longer than the buffer.
const LONG: usize = 3 << 20;

/// Longer than any disk of these tests.
const TOO_LONG: usize = 64 << 20;

fn stage(path: &Path, existing: Existing, bytes: &[u8]) -> Staged {
    let mut staged = Staged::create(path, Access::Default, existing).unwrap();
    staged.write_all(bytes).unwrap();
    staged
}

/// The names in a folder, in order.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    let names = names(folder).into_iter();
    names
        .filter(|name| name.ends_with(".heddle-part"))
        .map(|name| folder.join(name))
        .collect()
}

/// A command before the program, or nothing where the system does not permit it.
#[cfg(target_os = "linux")]
fn wrapper(words: &[&str]) -> Vec<String> {
    let tried = std::process::Command::new(words[0])
        .args(&words[1..])
        .arg("true")
        .output();
    if tried.is_ok_and(|tried| tried.status.success()) {
        words.iter().map(ToString::to_string).collect()
    } else {
        Vec::new()
    }
}

#[test]
fn nothing_has_the_name_before_the_commit_and_all_of_it_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    // Pieces of every size around the buffer's.
    let bytes: Vec<u8> = (0..LONG).map(|at| (at / 251) as u8).collect();
    for piece in [1 << 10, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, LONG] {
        let mut staged = Staged::create(&path, Access::Default, Existing::Refuse).unwrap();
        bytes
            .chunks(piece)
            .for_each(|piece| staged.write_all(piece).unwrap());
        assert!(!path.exists());
        assert_eq!(parts(folder.path()).len(), 1);
        staged.commit().unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
        assert_eq!(names(folder.path()), ["x"]);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn what_is_not_committed_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    drop(stage(&path, Existing::Refuse, b"dropped"));
    let panicked = std::panic::catch_unwind(|| {
        let _staged = stage(&path, Existing::Refuse, b"panicked");
        panic!("on purpose");
    });
    assert!(panicked.is_err());
    let failed = write_atomically::<(), Error>(&path, Access::Default, |writer| {
        writer.write_all(b"failed").unwrap();
        Err(Error::Inconsistent("on purpose".into()))
    });
    assert!(failed.is_err());
    assert!(names(folder.path()).is_empty());
}

#[test]
fn refusing_holds_even_when_the_file_appears_after_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let staged = stage(&path, Existing::Refuse, b"late");
    fs::write(&path, "early").unwrap();
    let text = staged.commit().unwrap_err().to_string();
    assert!(text.contains("exists already\nhelp: "), "{text}");
    assert_eq!(fs::read(&path).unwrap(), b"early");
    assert_eq!(names(folder.path()), ["x"]);
    assert!(Staged::create(&path, Access::Default, Existing::Refuse).is_err());
}

#[test]
fn of_racing_writers_that_refuse_exactly_one_wins() {
    for _ in 0..50 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let staged: Vec<Staged> = (0..4_u8)
            .map(|id| stage(&path, Existing::Refuse, &[id; 100]))
            .collect();
        let won: Vec<bool> = std::thread::scope(|scope| {
            let threads: Vec<_> = staged
                .into_iter()
                .map(|staged| scope.spawn(|| staged.commit().is_ok()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
        let winner = won.iter().position(|won| *won).unwrap() as u8;
        assert_eq!(fs::read(&path).unwrap(), [winner; 100]);
        assert_eq!(names(folder.path()), ["x"]);
    }
}

#[test]
fn a_secret_key_that_appears_late_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let staged = stage(&path, Existing::Replace, b"new");
    let key = b"\x8aHeddle\n\x02\0\x02\0\0\0\0\0";
    fs::write(&path, key).unwrap();
    let text = staged.commit().unwrap_err().to_string();
    assert!(
        text.contains("is a secret key, which is never replaced"),
        "{text}"
    );
    assert_eq!(fs::read(&path).unwrap(), key);
    assert!(Staged::create(&path, Access::Owner, Existing::Replace).is_err());
}

#[cfg(unix)]
#[test]
fn links_and_folders_that_appear_late_stay() {
    let folder = tempfile::tempdir().unwrap();
    let (path, target) = (folder.path().join("x"), folder.path().join("target"));
    fs::write(&target, "old").unwrap();
    let staged = stage(&path, Existing::Replace, b"new");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    assert!(staged.commit().is_err());
    assert_eq!(fs::read_link(&path).unwrap(), target);
    assert_eq!(fs::read(&target).unwrap(), b"old");
    fs::remove_file(&path).unwrap();
    let staged = stage(&path, Existing::Replace, b"new");
    fs::create_dir(&path).unwrap();
    assert!(staged.commit().is_err());
    assert!(path.is_dir());
    assert_eq!(names(folder.path()), ["target", "x"]);
}

#[cfg(unix)]
#[test]
fn owners_files_are_private_from_the_first_byte() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let staged = Staged::create(&path, Access::Owner, Existing::Refuse).unwrap();
    assert_eq!(mode(&parts(folder.path())[0]), 0o600);
    staged.commit().unwrap();
    assert_eq!(mode(&path), 0o600);
    // Not because nobody else may read anything here.
    let other = folder.path().join("other");
    stage(&other, Existing::Refuse, b"").commit().unwrap();
    assert_ne!(mode(&other), 0o600);
}

#[test]
fn the_longest_names_and_names_without_a_folder_work() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["n".repeat(255), "é".repeat(127)] {
        let path = folder.path().join(name);
        stage(&path, Existing::Refuse, b"x").commit().unwrap();
        stage(&path, Existing::Replace, b"yy").commit().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 2);
    }
    let too_long = folder.path().join("n".repeat(256));
    assert!(Staged::create(&too_long, Access::Default, Existing::Refuse).is_err());
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = folder
            .path()
            .join(std::ffi::OsStr::from_bytes(b"\xff\xfe.key"));
        stage(&path, Existing::Refuse, b"x").commit().unwrap();
        assert!(path.exists());
    }
    assert!(parts(folder.path()).is_empty());
    // The folder that tests run in is the crate's.
    let plain = Path::new("staged-test-without-folder.tmp");
    stage(plain, Existing::Replace, b"x").commit().unwrap();
    assert_eq!(fs::read(plain).unwrap(), b"x");
    fs::remove_file(plain).unwrap();
}

#[test]
fn files_committed_together_are_all_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("b"), "old").unwrap();
    let staged = [
        stage(&path("a"), Existing::Refuse, b"1"),
        stage(&path("b"), Existing::Replace, b"2"),
        stage(&path("c"), Existing::Replace, b"3"),
    ];
    commit_together(staged).unwrap();
    for (name, text) in [("a", b"1"), ("b", b"2"), ("c", b"3")] {
        assert_eq!(fs::read(path(name)).unwrap(), text);
    }
    assert_eq!(names(folder.path()), ["a", "b", "c"]);
}

#[test]
fn if_one_cannot_be_placed_those_before_it_are_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("eval"), "old").unwrap();
    let staged = [
        stage(&path("secret"), Existing::Refuse, b"new"),
        stage(&path("eval"), Existing::Replace, b"new"),
        stage(&path("public"), Existing::Refuse, b"new"),
    ];
    fs::write(path("public"), "of another").unwrap();
    let text = commit_together(staged).unwrap_err().to_string();
    assert!(
        text.contains("public") && text.contains("exists already"),
        "{text}"
    );
    assert_eq!(names(folder.path()), ["eval", "public"]);
    // Linux and macOS can exchange files, and so give the old one back.
    if cfg!(any(target_os = "linux", target_os = "macos")) {
        assert_eq!(fs::read(path("eval")).unwrap(), b"old");
    }
    assert_eq!(fs::read(path("public")).unwrap(), b"of another");
}

#[test]
fn a_living_writers_part_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let first = stage(&path, Existing::Replace, b"first");
    let second = stage(&path, Existing::Replace, b"second");
    assert_eq!(parts(folder.path()).len(), 2);
    first.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    second.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(names(folder.path()), ["x"]);
}

#[test]
fn only_parts_of_the_same_output_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let dead = ".x.0123456789abcdef.heddle-part";
    let kept = [
        ".x.0123456789abcdef.part",
        ".x.y.0123456789abcdef.heddle-part",
        ".y.0123456789abcdef.heddle-part",
    ];
    fs::write(path(dead), "dead").unwrap();
    kept.iter()
        .for_each(|name| fs::write(path(name), "kept").unwrap());
    fs::create_dir(path(".x.fedcba9876543210.heddle-part")).unwrap();
    drop(stage(&path("x"), Existing::Refuse, b""));
    assert!(!path(dead).exists());
    assert!(kept.iter().all(|name| path(name).exists()));
    assert!(path(".x.fedcba9876543210.heddle-part").exists());
}

#[cfg(unix)]
#[test]
fn a_killed_writers_part_is_removed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mut child = processes::start("stage", &path);
    let left = parts(folder.path());
    assert_eq!(left.len(), 1);
    // While it lives its part does too.
    drop(stage(&path, Existing::Refuse, b""));
    assert_eq!(parts(folder.path()), left);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(parts(folder.path()), left);
    stage(&path, Existing::Refuse, b"next").commit().unwrap();
    assert_eq!(names(folder.path()), ["x"]);
}

#[cfg(target_os = "linux")]
#[test]
fn containers_with_equal_process_ids_write_one_output_and_none_is_torn() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    // Each is process 1 of its own namespace, where that is permitted.
    let container = wrapper(&["unshare", "-rpf"]);
    let mut writers: Vec<_> = ["write-many 1", "write-many 2"]
        .iter()
        .map(|role| processes::command(&container, role, &path).spawn().unwrap())
        .collect();
    let mut seen = [0; 3];
    while writers
        .iter_mut()
        .any(|writer| writer.try_wait().unwrap().is_none())
    {
        if let Ok(bytes) = fs::read(&path) {
            assert_eq!(bytes.len(), LONG);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "torn");
            seen[usize::from(bytes[0])] += 1;
        }
    }
    for writer in writers {
        assert!(writer.wait_with_output().unwrap().status.success());
    }
    assert!(seen[1] + seen[2] > 0, "nothing was ever in place");
    assert_eq!(names(folder.path()), ["x"]);
}

/// Runs `fill`, which checks what is left, on a disk that `sh` makes small.
#[cfg(target_os = "linux")]
fn fill(prepare: &[&str], folder: &Path) {
    let prepare: Vec<String> = prepare.iter().map(ToString::to_string).collect();
    let output = processes::command(&prepare, "fill", folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("refused and intact"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_size_limit_leaves_the_old_file_and_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let limit = "trap '' XFSZ; ulimit -f 8192; exec \"$0\" \"$@\"";
    fill(&["sh", "-c", limit], folder.path());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_file_and_no_part() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = wrapper(&["unshare", "-rm"]);
    if mounted.is_empty() {
        eprintln!("skipped: this system lets nobody mount a small disk");
        return;
    }
    let mount = "mount -t tmpfs -o size=4m tmpfs \"$HEDDLE_TEST_PATH\" && exec \"$0\" \"$@\"";
    fill(&["unshare", "-rm", "sh", "-c", mount], folder.path());
}

#[cfg(target_os = "linux")]
#[test]
fn kill_nine_between_two_placements_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for round in 0..30_u64 {
        let mut child = processes::start("commit-pairs", folder.path());
        std::thread::sleep(std::time::Duration::from_micros(round * 3_790 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let number = |name: &str| processes::number(&path(name));
        let (first, second) = (number("first"), number("second"));
        assert!(
            first > 0 && (first == second || first == second + 1),
            "{first}, {second}"
        );
    }
    // The next writers of these names clear up.
    drop(stage(&path("first"), Existing::Replace, b""));
    drop(stage(&path("second"), Existing::Replace, b""));
    assert_eq!(names(folder.path()), ["first", "second"]);
}

#[test]
#[ignore = "a process of its own that other tests start"]
fn child_process() {
    let Some((role, path)) = processes::role() else {
        return;
    };
    match role.as_str() {
        "stage" => {
            let _staged = stage(&path, Existing::Refuse, &vec![1; LONG]);
            processes::wait_to_be_killed();
        }
        "commit-pairs" => processes::commit_pairs(&path),
        "fill" => {
            let file = path.join("x");
            fs::write(&file, "old").unwrap();
            let result = write_atomically::<_, Error>(&file, Access::Default, |writer| {
                let io = |source| Error::Io {
                    file: "x".into(),
                    source,
                };
                (0..TOO_LONG / 1000).try_for_each(|_| writer.write_all(&[7; 1000]).map_err(io))
            });
            assert!(matches!(result, Err(Error::Io { .. })), "{result:?}");
            assert_eq!(names(&path), ["x"]);
            assert_eq!(fs::read(&file).unwrap(), b"old");
            // What fits only but for the last bytes fails in the commit.
            println!("refused and intact: {}", result.unwrap_err());
        }
        writer => {
            let id: u8 = writer.strip_prefix("write-many ").unwrap().parse().unwrap();
            for _ in 0..20 {
                stage(&path, Existing::Replace, &vec![id; LONG])
                    .commit()
                    .unwrap();
            }
        }
    }
}
