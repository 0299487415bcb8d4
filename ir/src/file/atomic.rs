//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::io_error;
use crate::error::Error;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever the system's defaults admit.
    Default,
    /// Its owner alone, where the system knows owners.
    Owner,
}

/// Removes the unfinished file when writing fails or panics.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is gone already when it was renamed; nothing can be done when it cannot be removed.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a file under a temporary name in the same folder and renames it when it is whole, so
/// that `path` never names a part of a file. What was written is removed when `write` fails.
///
/// # Errors
/// Whatever `write` returns, and [`Error::Io`] if the file cannot be made or renamed.
pub fn write_atomically<T, E: From<Error>>(
    path: &Path,
    access: Access,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, E>,
) -> Result<T, E> {
    let file = path.display().to_string();
    let fail = |source: io::Error| E::from(io_error(&file, source));
    let Some(name) = path.file_name() else {
        return Err(fail(io::Error::new(
            io::ErrorKind::InvalidInput,
            "is not a file name",
        )));
    };
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.part", std::process::id()));
    let temporary = path.with_file_name(temporary);
    // What an interrupted process of the same id left.
    let _ = fs::remove_file(&temporary);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if access == Access::Owner {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    let opened = options.open(&temporary).map_err(fail)?;
    let unfinished = Unfinished(temporary);
    let mut writer = BufWriter::with_capacity(1 << 20, opened);
    let result = write(&mut writer)?;
    writer.flush().map_err(fail)?;
    drop(writer);
    fs::rename(&unfinished.0, path).map_err(fail)?;
    Ok(result)
}
