//! Checks that a command's outputs replace nothing that anyone may miss.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::staged::{Existing, check_possible, refuse, same_output, split};
use super::{Kind, MAGIC, PREFIX, io_error, partial, place, read_up_to};
use crate::error::Error;
use crate::printable;

/// Bytes that tell what a file holds; enough for white space and a key of JSON.
const HEAD: usize = 256;

/// What an output will hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// One of Heddle's binary files.
    Heddle(Kind),
    /// A JSON object whose first key is this one, by which files of its kind are recognised.
    Json {
        /// Without quotes.
        first_key: &'static str,
    },
}

/// Whether an output may take the place of a file of its own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Only with `--force`, which was not given.
    Refuse,
    /// It may.
    Allow,
}

/// What is at a path, links not followed.
#[derive(Debug)]
pub(super) enum Found {
    Empty,
    /// A file of Heddle's, of any version; `None` if its kind is unknown or cut off.
    Heddle(Option<Kind>),
    /// The first bytes of any other regular file.
    Foreign(Vec<u8>),
    /// A regular file that this process may not read.
    Unreadable(io::Error),
    Link(PathBuf),
    /// Neither file nor link.
    Other(&'static str),
}

/// What is at `path`, if anything.
pub(super) fn look(path: &Path) -> Result<Option<Found>, Error> {
    let fail = |source| io_error(&printable::path(path), source);
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    if kind.is_symlink() {
        return Ok(Some(Found::Link(fs::read_link(path).unwrap_or_default())));
    }
    if kind.is_dir() {
        return Ok(Some(Found::Other("a folder")));
    }
    if !kind.is_file() {
        return Ok(Some(Found::Other("not a regular file")));
    }
    let mut head = [0; HEAD];
    let read = place::open_regular(path, OpenOptions::new().read(true))
        .and_then(|mut file| read_up_to(&mut file, &mut head));
    Ok(Some(match read {
        Ok(read) => identify(&head[..read]),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => Found::Unreadable(error),
    }))
}

fn identify(head: &[u8]) -> Found {
    if head.is_empty() {
        return Found::Empty;
    }
    // The kind stands at the same place in every version: keys that this one cannot read are
    // keys all the same.
    let Some(rest) = head.strip_prefix(&MAGIC) else {
        return Found::Foreign(head.to_vec());
    };
    let code = (head.len() >= PREFIX).then(|| u16::from_le_bytes([rest[2], rest[3]]));
    Found::Heddle(code.and_then(Kind::of_code))
}

impl Content {
    fn fits(self, found: &Found) -> bool {
        match (self, found) {
            (_, Found::Empty) => true,
            (Self::Heddle(kind), Found::Heddle(Some(found))) => kind == *found,
            (Self::Json { first_key }, Found::Foreign(head)) => {
                starts_with_key(head, first_key).is_some()
            }
            _ => false,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Heddle(kind) => kind.to_string(),
            Self::Json { first_key } => format!("JSON that begins with `{{\"{first_key}\"`"),
        }
    }
}

/// `Some` if a text begins as a JSON object with this first key.
fn starts_with_key(head: &[u8], key: &str) -> Option<()> {
    let rest = head.trim_ascii_start().strip_prefix(b"{")?;
    let rest = rest.trim_ascii_start().strip_prefix(b"\"")?;
    let rest = rest.strip_prefix(key.as_bytes())?.strip_prefix(b"\"")?;
    rest.trim_ascii_start().starts_with(b":").then_some(())
}

/// A name of a file and all by which it is told that another name is the same file.
#[derive(Debug)]
struct Name {
    path: PathBuf,
    /// The file it leads to, over any links.
    file: Option<(u64, u64)>,
    /// Where it is, or would be if it does not exist.
    place: PathBuf,
}

impl Name {
    fn new(path: &Path) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let canonical = fs::canonicalize(&absolute).or_else(|error| {
            match (absolute.parent(), absolute.file_name()) {
                (Some(folder), Some(name)) => Ok(fs::canonicalize(folder)?.join(name)),
                _ => Err(error),
            }
        });
        Self {
            path: path.to_owned(),
            file: fs::metadata(path).ok().as_ref().and_then(place::identity),
            place: canonical.unwrap_or(absolute),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.place == other.place || (self.file.is_some() && self.file == other.file)
    }
}

/// The files that a command reads and those that it will write, checked against each other
/// before it begins.
///
/// ```no_run
/// # use heddle_ir::file::{Access, Content, Kind, Outputs, Overwrite, Staged};
/// # use std::path::Path;
/// # fn main() -> Result<(), heddle_ir::Error> {
/// let mut outputs = Outputs::new([Path::new("model.plan")]);
/// let path = Path::new("eval.keys");
/// let existing = outputs.check(path, Content::Heddle(Kind::EvaluationKeys), Overwrite::Refuse)?;
/// let staged = Staged::create(path, Access::Default, existing)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Outputs {
    inputs: Vec<Name>,
    outputs: Vec<Name>,
}

impl Outputs {
    /// Of a command that reads `inputs`, files or folders. A file that it reads and then writes
    /// again, as a record of what was done so far, is not one of them.
    pub fn new<P: AsRef<Path>>(inputs: impl IntoIterator<Item = P>) -> Self {
        let inputs = inputs.into_iter();
        Self {
            inputs: inputs.map(|path| Name::new(path.as_ref())).collect(),
            outputs: Vec::new(),
        }
    }

    /// Checks one output, and says how to [stage](super::Staged) it.
    ///
    /// Secret keys, of whatever version, are never replaced; files of another kind and whatever
    /// is no regular file neither; nor files of the same kind unless `overwrite` allows it. An
    /// empty file counts as one of the same kind. What dead writers left of the output is removed.
    ///
    /// # Errors
    /// [`Error::Output`] if the output is also an input or another output, under any spelling
    /// or link, or would take the place of what may not be replaced; [`Error::Io`] if that
    /// cannot be told.
    pub fn check(
        &mut self,
        path: &Path,
        content: Content,
        overwrite: Overwrite,
    ) -> Result<Existing, Error> {
        let (folder, file_name) = split(path)?;
        // Also if nothing is left to be written, or may be.
        partial::remove_stale(folder, file_name);
        let name = Name::new(path);
        if let Some(input) = self.inputs.iter().find(|input| input.is_same(&name)) {
            let message = if input.path == path {
                "is an input of this command".to_owned()
            } else {
                format!(
                    "is the same file as the input `{}`",
                    printable::path(&input.path)
                )
            };
            return Err(refuse(path, message, "give the output another name"));
        }
        if let Some(output) = self.outputs.iter().find(|output| output.is_same(&name)) {
            return Err(same_output(path, &output.path));
        }
        self.outputs.push(name);
        let replaces = content != Content::Heddle(Kind::SecretKey);
        let existing = match overwrite {
            Overwrite::Allow if replaces => Existing::Replace,
            _ => Existing::Refuse,
        };
        let Some(found) = look(path)? else {
            return Ok(existing);
        };
        check_possible(path, &found)?;
        if !content.fits(&found) {
            let found = match found {
                Found::Heddle(Some(kind)) => kind.to_string(),
                Found::Heddle(None) => "an unknown file of Heddle's".to_owned(),
                _ => "something else".to_owned(),
            };
            let message = format!(
                "holds something of another kind: expected {}, found {found}",
                content.name()
            );
            let help = "give another name, or move the file away";
            return Err(refuse(path, message, help));
        }
        match existing {
            Existing::Replace => Ok(existing),
            Existing::Refuse => {
                let help = if replaces {
                    "give another name, or pass `--force` to replace it"
                } else {
                    "give another name, or move the file away"
                };
                Err(refuse(path, "exists already", help))
            }
        }
    }
}

#[cfg(test)]
mod tests;
