//! Partial files: outputs while they are being written. This file has their names, the locks that
//! tell living writers from dead ones, and the list of those that this process writes.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(all(unix, feature = "signals"))]
use std::{
    sync::TryLockError,
    time::{Duration, Instant},
};

use super::place;
use super::staged::Access;

/// How the name of a partial file ends.
const SUFFIX: &str = ".heddle-part";

/// Random hexadecimal digits before the suffix.
const DIGITS: usize = 16;

/// Most bytes of the output's own name in that of its partial file, so that the whole stays far
/// below what any file system allows.
const STEM: usize = 100;

/// More collisions or misunderstandings with other processes than this are no chance.
const ATTEMPTS: usize = 100;

/// The partial files that this process has not put in place.
static PARTIAL_FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// The list of this process's partial files. Whoever holds it keeps a signal from ending the
/// process half-way and others from staging; it is held for moments only.
pub(super) fn hold() -> MutexGuard<'static, Vec<PathBuf>> {
    PARTIAL_FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As [`hold`], but gives up after a while.
#[cfg(all(unix, feature = "signals"))]
pub(super) fn hold_within(patience: Duration) -> Option<MutexGuard<'static, Vec<PathBuf>>> {
    let start = Instant::now();
    loop {
        match PARTIAL_FILES.try_lock() {
            Ok(partial) => return Some(partial),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if start.elapsed() > patience => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Removes the unfinished files of this process. Committing one of them fails from then on.
///
/// For programs that are about to end without unwinding, as by [`std::process::exit`].
pub fn remove_unfinished() {
    remove_all(&mut hold());
}

pub(super) fn remove_all(partial: &mut Vec<PathBuf>) {
    for path in partial.drain(..) {
        // There is nobody left to tell that it could not be removed.
        let _ = fs::remove_file(path);
    }
}

/// A new file under a name of its own, locked while it is open and removed when it is dropped.
///
/// Its name is never used again, so that removing it after it was renamed does no harm.
#[derive(Debug)]
pub(super) struct PartialFile {
    pub(super) path: PathBuf,
    pub(super) file: File,
}

impl PartialFile {
    /// Makes a partial file for the file `name` in `folder`.
    pub(super) fn create(folder: &Path, name: &OsStr, access: Access) -> io::Result<Self> {
        let stem = stem(name);
        let folder = std::path::absolute(folder)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        if access == Access::Owner {
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        #[cfg(not(unix))]
        let _ = access;
        for _ in 0..ATTEMPTS {
            let path = folder.join(partial_name(&stem)?);
            let opened = {
                // Under the lock: a signal finds every file that exists on the list.
                let mut partial = hold();
                let opened = options.open(&path);
                if opened.is_ok() {
                    partial.push(path.clone());
                }
                opened
            };
            let partial = match opened {
                Ok(file) => Self { path, file },
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            if partial.is_ours() {
                return Ok(partial);
            }
        }
        Err(io::Error::other("found no name for a temporary file"))
    }

    /// Locks the new file. Between creation and lock another process may take it for a dead
    /// writer's: that one then holds the lock, or has removed the name already. With lock and
    /// name in hand nobody else touches it.
    fn is_ours(&self) -> bool {
        match self.file.try_lock() {
            Ok(()) => place::names(&self.path, &self.file),
            Err(fs::TryLockError::WouldBlock) => false,
            // Without locks on this file system nobody takes it for dead either.
            Err(fs::TryLockError::Error(_)) => true,
        }
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        let mut partial = hold();
        // Gone already when it was renamed; nothing can be done when it cannot be removed.
        let _ = fs::remove_file(&self.path);
        partial.retain(|path| *path != self.path);
    }
}

/// The output's name as its partial files carry it: readable, and the same for the same output.
fn stem(name: &OsStr) -> String {
    let mut stem = name.to_string_lossy().into_owned();
    let mut end = stem.len().min(STEM);
    while !stem.is_char_boundary(end) {
        end -= 1;
    }
    stem.truncate(end);
    stem
}

fn partial_name(stem: &str) -> io::Result<String> {
    let mut random = [0; DIGITS / 2];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let random = u64::from_le_bytes(random);
    Ok(format!(".{stem}.{random:0DIGITS$x}{SUFFIX}"))
}

/// Whether `name` is that of a partial file for `stem`.
fn is_partial(name: &OsStr, stem: &str) -> bool {
    let digits = name
        .to_str()
        .and_then(|name| name.strip_prefix('.'))
        .and_then(|name| name.strip_prefix(stem))
        .and_then(|name| name.strip_prefix('.'))
        .and_then(|name| name.strip_suffix(SUFFIX));
    digits.is_some_and(|digits| {
        digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Removes the partial files for the file `name` in `folder` whose writers are dead, as a free lock
/// tells. What cannot be listed, opened, locked or removed stays.
pub(super) fn remove_stale(folder: &Path, name: &OsStr) {
    let stem = stem(name);
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let regular = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !regular || !is_partial(&entry.file_name(), &stem) {
            continue;
        }
        let path = entry.path();
        // For writing, because network file systems lock nothing else exclusively.
        let mut options = OpenOptions::new();
        options.write(true);
        let Ok(file) = place::open_regular(&path, &mut options) else {
            continue;
        };
        if file.try_lock().is_ok() && place::names(&path, &file) {
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_partial_files_fit_and_are_told_apart() {
        let long = "é".repeat(127);
        let stem = stem(OsStr::new(&long));
        assert_eq!(stem, "é".repeat(50));
        let odd = format!("x{long}");
        assert_eq!(super::stem(OsStr::new(&odd)).len(), 99);
        let name = partial_name("a.key").unwrap();
        assert!(is_partial(OsStr::new(&name), "a.key"), "{name}");
        assert_ne!(name, partial_name("a.key").unwrap());
        for other in ["b.key", "a", "a.key.", ""] {
            assert!(!is_partial(OsStr::new(&name), other), "{other}");
        }
        for name in [
            ".a.key.heddle-part",
            ".a.key.0123456789abcde.heddle-part",
            ".a.key.0123456789abcdeg.heddle-part",
            ".a.key.0123456789abcdef0.heddle-part",
            "a.key.0123456789abcdef.heddle-part",
            ".a.key.0123456789abcdef.part",
        ] {
            assert!(!is_partial(OsStr::new(name), "a.key"), "{name}");
        }
    }

    #[test]
    fn a_new_partial_file_is_ours_only_with_lock_and_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let open = || PartialFile {
            file: File::create(&path).unwrap(),
            path: path.clone(),
        };
        let cleaner = File::create(&path).unwrap();
        cleaner.try_lock().unwrap();
        assert!(!open().is_ours(), "a cleaner holds the lock");
        let partial = open();
        fs::remove_file(&path).unwrap();
        assert!(!partial.is_ours(), "a cleaner has removed it");
        fs::write(&path, "").unwrap();
        assert!(!partial.is_ours(), "the name is another file's");
        drop(partial);
        assert!(open().is_ours());
    }

    #[test]
    fn a_partial_file_that_another_takes_for_dead_gets_another_name() {
        // A cleaner that is always at work: it takes whatever lock is free for a moment.
        let folder = tempfile::tempdir().unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let cleaner = scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    remove_stale(folder.path(), OsStr::new("x"));
                }
            });
            let survives = (0..500).all(|_| {
                let partial =
                    PartialFile::create(folder.path(), OsStr::new("x"), Access::Default).unwrap();
                let named = place::names(&partial.path, &partial.file);
                std::thread::yield_now();
                named && place::names(&partial.path, &partial.file)
            });
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            cleaner.join().unwrap();
            assert!(survives);
        });
    }
}
