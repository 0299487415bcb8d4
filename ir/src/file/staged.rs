//! Files that appear whole or not at all and never replace another file by accident.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::outputs::{Found, look};
use super::partial::{self, PartialFile};
use super::{Kind, io_error, place};
use crate::error::Error;
use crate::printable;

/// Bytes that are collected before they are written.
const BUFFER: usize = 1 << 20;

/// Attempts before giving up on a name whose file keeps appearing and vanishing.
const ATTEMPTS: usize = 16;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever the system's defaults admit.
    Default,
    /// Its owner alone, where the system knows owners.
    Owner,
}

/// What becomes of a file that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays and the new one is refused, even if it appears at the last moment.
    Refuse,
    /// The new file takes its place, unless it is a secret key or no regular file.
    Replace,
}

/// A file in the making, which gets its name when it is [committed](Self::commit).
///
/// Until then it is called `.NAME.<16 hexadecimal digits>.heddle-part` in the same folder, of which
/// NAME is cut after 100 bytes. It is locked while its writer lives; making another one for the
/// same NAME removes those of dead writers and leaves those of living ones, so that any number of
/// processes, also in different containers, can write the same output at once. (Hosts that share a
/// folder but not its locks can remove each other's partial file; its writer then fails and nothing
/// is lost.) When it is dropped without a commit it is removed.
///
/// What is written passes through one buffer that is wiped when it is dropped, and through no
/// other.
///
/// Symbolic links are refused as outputs: neither the link nor what it points at is replaced.
pub struct Staged {
    path: PathBuf,
    folder: PathBuf,
    partial: PartialFile,
    buffer: Zeroizing<Vec<u8>>,
    existing: Existing,
    /// Why a write failed; what the file holds since is unknown.
    failed: Option<io::ErrorKind>,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The buffer may hold a secret.
        f.debug_struct("Staged")
            .field("path", &self.path)
            .field("existing", &self.existing)
            .finish_non_exhaustive()
    }
}

impl Staged {
    /// Makes an empty file that will be called `path`; its permissions are set from the start.
    ///
    /// # Errors
    /// [`Error::Output`] if `path` is no name of a file, its folder is missing, or what exists
    /// there may not be replaced; [`Error::Io`] if the file cannot be made.
    pub fn create(path: &Path, access: Access, existing: Existing) -> Result<Self, Error> {
        let (folder, name) = split(path)?;
        if let Some(found) = look(path)? {
            check_replaceable(path, existing, &found)?;
        }
        partial::remove_stale(folder, name);
        let partial = PartialFile::create(folder, name, access)
            .map_err(|source| io_error(&printable::path(path), source))?;
        Ok(Self {
            path: path.to_owned(),
            folder: folder.to_owned(),
            partial,
            buffer: Zeroizing::new(Vec::with_capacity(BUFFER)),
            existing,
            failed: None,
        })
    }

    /// The name that the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of the file to the disk and gives it its name, lastingly: after a power cut,
    /// too, `path` is the whole new file or what it was before.
    ///
    /// # Errors
    /// [`Error::Io`] if the disk is full or fails, and [`Error::Output`] if what exists by now
    /// may not be replaced. `path` is then what it was before, except where [`commit_together`]
    /// says otherwise.
    pub fn commit(self) -> Result<(), Error> {
        commit_together([self])
    }

    fn io(&self, source: io::Error) -> Error {
        io_error(&printable::path(&self.path), source)
    }

    fn write_whole(&mut self, bytes: Option<&[u8]>) -> io::Result<()> {
        if let Some(kind) = self.failed {
            return Err(io::Error::new(kind, "an earlier write failed"));
        }
        let result = self.partial.file.write_all(bytes.unwrap_or(&self.buffer));
        self.failed = result.as_ref().err().map(io::Error::kind);
        result
    }

    /// Puts the file in place.
    fn place(&self, placed: &[Self]) -> Result<Placed, Error> {
        let partial = &self.partial.path;
        for _ in 0..ATTEMPTS {
            let result = match place::without_replacing(partial, &self.path) {
                Ok(()) => return Ok(Placed::New),
                Err(error) => error,
            };
            let exists = result.kind() == io::ErrorKind::AlreadyExists;
            match self.existing {
                Existing::Refuse if exists => return Err(exists_already(&self.path)),
                Existing::Refuse => return Err(cannot_refuse(&self.path, &result)),
                Existing::Replace => {}
            }
            if let Some(found) = look(&self.path)? {
                check_replaceable(&self.path, self.existing, &found)?;
                // Where case does not matter, two names can be one.
                let name_of = |other: &&Self| place::names(&self.path, &other.partial.file);
                if let Some(other) = placed.iter().find(name_of) {
                    return Err(same_output(&self.path, &other.path));
                }
            }
            match place::exchange(partial, &self.path) {
                Some(Ok(())) => return self.check_exchanged(),
                // It has vanished, or there was nothing and renaming without replacing failed.
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound && exists => {}
                Some(Err(_)) | None => {
                    fs::rename(partial, &self.path).map_err(|source| self.io(source))?;
                    return Ok(Placed::Replaced);
                }
            }
        }
        Err(self.io(io::Error::other("appears and vanishes again and again")))
    }

    /// Checks the file that was exchanged: what was there at that moment counts, not what was there
    /// before.
    fn check_exchanged(&self) -> Result<Placed, Error> {
        let partial = &self.partial.path;
        let replaced = look(partial).and_then(|found| match found {
            Some(found) => check_replaceable(&self.path, self.existing, &found),
            None => Ok(()),
        });
        if replaced.is_err() {
            self.take_back(Placed::Exchanged);
        }
        replaced.map(|()| Placed::Exchanged)
    }

    fn take_back(&self, placed: Placed) {
        if !place::names(&self.path, &self.partial.file) {
            return;
        }
        let _ = match placed {
            Placed::New => fs::remove_file(&self.path),
            Placed::Exchanged => place::exchange(&self.partial.path, &self.path).unwrap_or(Ok(())),
            Placed::Replaced => Ok(()),
        };
        let _ = place::sync_folder(&self.folder);
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        if bytes.len() < BUFFER {
            // Within its capacity: it never moves and leaves no copy behind.
            self.buffer.extend_from_slice(bytes);
        } else {
            self.write_whole(Some(bytes))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_whole(None)?;
        self.buffer.clear();
        Ok(())
    }
}

/// How a file came to its name, and so how it can leave it.
#[derive(Clone, Copy, Debug)]
enum Placed {
    /// The name was free.
    New,
    /// The old file now has the partial file's name.
    Exchanged,
    /// The old file is gone, as files cannot be exchanged here.
    Replaced,
}

/// Commits several files, in order, together or not at all.
///
/// All are on the disk in full before the first gets its name, and each name lasts before the
/// next is given. If one cannot be put in place, those before it are taken back: new ones are
/// removed, and replaced ones get their old file again. A signal that
/// [`signals`](crate::file) handles waits until all are in place.
///
/// A crash or power cut amid them leaves the first ones in place and the others as they were: put
/// what must not be lost first and what can be replaced last.
///
/// # Errors
/// As [`Staged::commit`]. An error leaves every name as it was, with two exceptions: where the
/// file system cannot exchange files (Linux and macOS can, on their own file systems), replaced
/// files stay replaced; and a disk that fails while files are taken back can keep what it has.
pub fn commit_together<const N: usize>(mut staged: [Staged; N]) -> Result<(), Error> {
    for one in &mut staged {
        let written = one.flush().and_then(|()| one.partial.file.sync_all());
        written.map_err(|source| one.io(source))?;
    }
    place_together(&staged)
}

fn place_together(staged: &[Staged]) -> Result<(), Error> {
    let _no_signal_between = partial::hold();
    let mut how = Vec::with_capacity(staged.len());
    for one in staged {
        let result = one.place(&staged[..how.len()]).and_then(|placed| {
            how.push(placed);
            place::sync_folder(&one.folder).map_err(|source| one.io(source))
        });
        if result.is_err() {
            for (one, placed) in staged.iter().zip(&how).rev() {
                one.take_back(*placed);
            }
            return result;
        }
    }
    Ok(())
}

/// Writes a file that appears under `path` whole or not at all, in place of what was there; what
/// was written is removed when `write` fails. See [`Staged`].
///
/// # Errors
/// Whatever `write` returns, and the errors of [`Staged::create`] and [`Staged::commit`].
pub fn write_atomically<T, E: From<Error>>(
    path: &Path,
    access: Access,
    write: impl FnOnce(&mut Staged) -> Result<T, E>,
) -> Result<T, E> {
    let mut staged = Staged::create(path, access, Existing::Replace)?;
    let result = write(&mut staged)?;
    staged.commit()?;
    Ok(result)
}

/// Folder and name of an output.
pub(super) fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr), Error> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let is_folder = bytes
        .last()
        .is_some_and(|&byte| std::path::is_separator(byte as char));
    let (Some(name), false) = (path.file_name(), is_folder) else {
        return Err(refuse(path, "is not the name of a file", "add a file name"));
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok((folder, name)),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_error(&printable::path(folder), error))
        }
        _ => Err(refuse(
            path,
            format!(
                "cannot be written: there is no folder `{}`",
                printable::path(folder)
            ),
            "make the folder first",
        )),
    }
}

/// Refuses to replace what may not be replaced whatever the caller allows.
fn check_replaceable(path: &Path, existing: Existing, found: &Found) -> Result<(), Error> {
    check_possible(path, found)?;
    match existing {
        Existing::Refuse => Err(exists_already(path)),
        Existing::Replace => Ok(()),
    }
}

/// Refuses what no output ever replaces: secret keys, and what is not a regular file.
pub(super) fn check_possible(path: &Path, found: &Found) -> Result<(), Error> {
    match found {
        Found::Other(what) => Err(refuse(
            path,
            format!("is {what}"),
            "give the name of a new or regular file",
        )),
        Found::Link(target) => Err(refuse(
            path,
            format!("is a symbolic link to `{}`", printable::path(target)),
            "give the name that it points at, or remove the link",
        )),
        Found::Unreadable(error) => Err(refuse(
            path,
            format!("exists and cannot be read ({error}): it may be a secret key"),
            "give another name, or move the file away",
        )),
        Found::Heddle(Some(Kind::SecretKey)) => Err(refuse(
            path,
            "is a secret key, which is never replaced",
            "give another name, or move the key away",
        )),
        Found::Heddle(_) | Found::Foreign(_) | Found::Empty => Ok(()),
    }
}

pub(super) fn refuse(path: &Path, message: impl Into<String>, help: impl Into<String>) -> Error {
    Error::Output {
        file: printable::path(path),
        message: message.into(),
        help: help.into(),
    }
}

fn exists_already(path: &Path) -> Error {
    refuse(
        path,
        "exists already",
        "give another name, or move the file away",
    )
}

fn cannot_refuse(path: &Path, error: &io::Error) -> Error {
    refuse(
        path,
        format!("cannot be put in place without the risk of replacing a file ({error})"),
        "write to a file system that knows hard links",
    )
}

pub(super) fn same_output(path: &Path, other: &Path) -> Error {
    refuse(
        path,
        format!(
            "is the same file as the output `{}`",
            printable::path(other)
        ),
        "give each output a name of its own",
    )
}

#[cfg(test)]
mod tests;
