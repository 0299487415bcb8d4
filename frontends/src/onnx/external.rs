//! Weights in files beside the model.

use std::path::{Component, Path, PathBuf};

use heddle_ir::file::read_regular;
use heddle_ir::printable;
use indexmap::IndexMap;
use onnx_protobuf::TensorProto;
use onnx_protobuf::tensor_proto::DataLocation;

/// Most bytes of all files together, as many as the model's own file may have.
const MAX_BYTES: u64 = 1 << 31;

/// Where external data may come from, and the files read from there so far.
pub(super) struct ExternalData {
    /// The model's folder; `None` for a model in memory.
    folder: Option<PathBuf>,
    files: IndexMap<String, Vec<u8>>,
    /// Bytes of those files.
    read: u64,
}

/// What is wrong with external data, and what it is about.
#[derive(Debug)]
pub(super) struct Failure {
    /// The file's name if the whole file is at fault, else `None`: the tensor is.
    pub(super) file: Option<String>,
    pub(super) message: String,
}

impl ExternalData {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self {
            folder,
            files: IndexMap::new(),
            read: 0,
        }
    }

    /// The bytes of a tensor that lies in another file, `None` if it lies in the model, and the
    /// number of bytes of all files read so far.
    pub(super) fn bytes(&mut self, proto: &TensorProto) -> Result<(Option<&[u8]>, usize), Failure> {
        if proto.data_location.enum_value() != Ok(DataLocation::EXTERNAL) {
            return Ok((None, self.read as usize));
        }
        let of_tensor = |message: String| Failure {
            file: None,
            message,
        };
        let entry = |key: &str| {
            proto
                .external_data
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| &entry.value)
        };
        let location = entry("location")
            .ok_or_else(|| of_tensor("names no file for its external data".into()))?;
        let number = |key: &str| {
            entry(key)
                .map(|value| value.trim().parse::<usize>())
                .transpose()
                .map_err(|_| of_tensor(format!("has an external {key} that is not a number")))
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        if !self.files.contains_key(location) {
            let bytes = self.read(location).map_err(|message| Failure {
                file: Some(location.clone()),
                message,
            })?;
            self.read += bytes.len() as u64;
            self.files.insert(location.clone(), bytes);
        }
        let bytes = &self.files[location];
        let end = length.map_or(Some(bytes.len()), |length| offset.checked_add(length));
        let range = end.and_then(|end| bytes.get(offset..end));
        let read = self.read as usize;
        range.map(|range| (Some(range), read)).ok_or_else(|| {
            let length = length.map_or("the rest".into(), |length| format!("{length} bytes"));
            of_tensor(format!(
                "wants {length} at offset {offset} of `{location}`, which has {} bytes",
                bytes.len()
            ))
        })
    }

    /// The contents of all files read, in the order of first use.
    pub(super) fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.files.values().map(Vec::as_slice)
    }

    fn read(&self, location: &str) -> Result<Vec<u8>, String> {
        let Some(folder) = &self.folder else {
            return Err("external data needs a model file, this one is in memory".into());
        };
        let leaves = "leaves the model's folder; external data must lie in it";
        let plain = Path::new(location)
            .components()
            .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
        if !plain || location.is_empty() {
            return Err(leaves.into());
        }
        let path = folder.join(location);
        let missing = |error: std::io::Error| {
            format!(
                "external data cannot be read from `{}`: {error}",
                printable::path(&path)
            )
        };
        // Links are resolved before the comparison, so that none leads outside.
        let resolved = path.canonicalize().map_err(missing)?;
        if !resolved.starts_with(folder.canonicalize().map_err(missing)?) {
            return Err(leaves.into());
        }
        if !resolved.is_file() {
            return Err("is not a regular file".into());
        }
        read_regular(&resolved, MAX_BYTES - self.read).map_err(missing)
    }
}
