//! How a finished file gets its name, and which names are one file.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Device and number of a file, where the system has them.
#[cfg(unix)]
pub(super) fn identity(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

/// Device and number of a file, where the system has them.
#[cfg(not(unix))]
pub(super) fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Whether `path` is, without following a link, a name of the open file. Where files have no
/// numbers, whether it names any.
pub(super) fn names(path: &Path, file: &File) -> bool {
    match (fs::symlink_metadata(path), file.metadata()) {
        (Ok(named), Ok(open)) => identity(&named) == identity(&open),
        _ => false,
    }
}

/// Opens a regular file, and neither follows a link nor waits at a pipe.
pub(super) fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is not a regular file",
        ))
    }
}

/// Gives the file `partial` the name `path`, which must be free: [`io::ErrorKind::AlreadyExists`]
/// if it is not.
pub(super) fn without_replacing(partial: &Path, path: &Path) -> io::Result<()> {
    match rename_with(Rename::NoReplace, partial, path) {
        Some(result) => result,
        None => by_link(partial, path),
    }
}

/// As [`without_replacing`], for file systems that know links but not that kind of renaming.
fn by_link(partial: &Path, path: &Path) -> io::Result<()> {
    fs::hard_link(partial, path)?;
    // Should this fail, the partial file is removed when it is dropped.
    let _ = fs::remove_file(partial);
    Ok(())
}

/// Exchanges two files; `None` where that is not possible.
pub(super) fn exchange(partial: &Path, path: &Path) -> Option<io::Result<()>> {
    rename_with(Rename::Exchange, partial, path)
}

#[derive(Clone, Copy)]
enum Rename {
    NoReplace,
    Exchange,
}

/// `None` where kernel or file system lack it. A sandbox may answer "not permitted" to a call that
/// it does not know. The other ways are tried then, and fail as well if nothing is permitted.
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_with(how: Rename, from: &Path, to: &Path) -> Option<io::Result<()>> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    let flags = match how {
        Rename::NoReplace => RenameFlags::NOREPLACE,
        Rename::Exchange => RenameFlags::EXCHANGE,
    };
    match renameat_with(CWD, from, CWD, to, flags) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM) => None,
        result => Some(result.map_err(io::Error::from)),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_with(_: Rename, _: &Path, _: &Path) -> Option<io::Result<()>> {
    None
}

/// Makes the names in a folder last. Folders that this process may not read, and file systems
/// that do not sync folders, are left as they are.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    match synced.as_ref().map_err(io::Error::kind) {
        Err(
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Unsupported,
        ) => Ok(()),
        _ => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_placing_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let (partial, path) = (folder.path().join("part"), folder.path().join("path"));
        for place in [without_replacing, by_link] {
            fs::write(&partial, "new").unwrap();
            fs::write(&path, "old").unwrap();
            let kind = place(&partial, &path).unwrap_err().kind();
            assert_eq!(kind, io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"old");
            fs::remove_file(&path).unwrap();
            place(&partial, &path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert!(!partial.exists());
            fs::remove_file(&path).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn opening_neither_follows_links_nor_waits_at_pipes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "x").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(path("pipe"))
            .status();
        assert!(made.unwrap().success());
        let open = |name: &str| open_regular(&path(name), OpenOptions::new().read(true));
        assert!(open("file").is_ok());
        for name in ["link", "pipe", ".", "missing"] {
            assert!(open(name).is_err(), "{name}");
        }
    }
}
