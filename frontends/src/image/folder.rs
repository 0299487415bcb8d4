//! The pictures of a folder.

use std::path::{Path, PathBuf};

use heddle_ir::file::open_regular;
use heddle_ir::printable;

use super::{Error, io_error};

/// How deep subfolders are searched.
const MAX_DEPTH: usize = 8;
/// Most bytes that the names of a folder's pictures take together.
const MAX_NAMES: usize = 256 << 20;
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "npy"];

/// The pictures of a folder.
pub(super) struct Found {
    pub(super) files: Vec<PathBuf>,
    /// How many there may be.
    most: usize,
    /// Bytes of their names.
    names: usize,
}

impl Found {
    pub(super) fn of_at_most(most: usize) -> Self {
        Self {
            files: Vec::new(),
            most,
            names: 0,
        }
    }

    pub(super) fn collect(&mut self, folder: &Path, depth: usize) -> Result<(), Error> {
        let mut entries: Vec<PathBuf> = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(io_error(folder))? {
            let entry = entry.map_err(io_error(folder))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(io_error(folder))?);
            let extension = path.extension().and_then(|extension| extension.to_str());
            let known = |name: &str| EXTENSIONS.contains(&&*name.to_ascii_lowercase());
            if kind.is_dir() {
                if depth < MAX_DEPTH {
                    self.names += path.as_os_str().len();
                    entries.push(path);
                }
            } else if extension.is_some_and(known) && !(kind.is_symlink() && path.is_dir()) {
                if !kind.is_file() && !kind.is_symlink() {
                    // Refused here, not in the middle of a run.
                    open_regular(&path).map_err(io_error(&path))?;
                }
                self.names += path.as_os_str().len();
                entries.push(path);
            }
            let found = self.files.len() + entries.len();
            if found > self.most || self.names > MAX_NAMES {
                return Err(Error::TooLarge {
                    file: printable::path(folder),
                    found: format!("more than {} pictures and folders", found - 1),
                    limit: format!("{}, with names of {MAX_NAMES} bytes,", self.most),
                    help: "give smaller folders",
                });
            }
        }
        entries.sort();
        for path in entries {
            if path.is_dir() {
                self.collect(&path, depth + 1)?;
            } else {
                self.files.push(path);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_too_many_pictures_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        for name in ["a.png", "b.png", "sub/c.npy", "other.txt"] {
            std::fs::write(folder.path().join(name), b"").unwrap();
        }
        let collected = |most| {
            let mut found = Found::of_at_most(most);
            found.collect(folder.path(), 0).map(|()| found.files.len())
        };
        assert_eq!(collected(3).unwrap(), 3);
        let error = collected(2).unwrap_err();
        assert!(
            error.to_string().contains("at most 2, with names"),
            "{error}"
        );
    }
}
