//! Reads ONNX files of convolutional classifiers.
//!
//! Bytes pass a linear scan (`wire`) before the protobuf parser sees them. Of the nodes that the
//! output depends on, those with constant inputs are evaluated (`fold`), and the others go through
//! a table of builders (`ops`) to the tensor graph. Reshapes and transposes move no data: they change
//! how a value is seen (`view`). Every problem is collected before import fails.

mod attr;
mod build;
mod dims;
mod external;
mod fold;
mod import;
mod ops;
mod opset;
mod supported;
mod tensor;
mod view;
mod wire;

use std::path::Path;

use heddle_ir::nn::Model;
use onnx_protobuf::{Message, ModelProto};
use sha2::{Digest, Sha256};

use crate::error::Error;
use external::ExternalData;
pub use supported::supported_operators;

/// Limits of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// Most elements that all constants made by evaluating nodes may have together. Initialisers
    /// do not count: they cannot be larger than their file.
    pub max_folded_elements: usize,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            max_folded_elements: 1 << 26,
        }
    }
}

/// Imports the ONNX file at `path`, with external data from its folder.
///
/// The result is verified. Its digest is the SHA-256 of the model's bytes followed by those of its
/// external files in the order of first use.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::NotOnnx`] if it is foreign or damaged,
/// [`Error::Unsupported`] with all problems if the model cannot be compiled.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Model, Error> {
    let io = |source| Error::Io {
        path: path.to_path_buf(),
        source,
    };
    if !std::fs::metadata(path).map_err(io)?.is_file() {
        return Err(io(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "not a file",
        )));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    let external = ExternalData::new(Some(folder.to_path_buf()));
    import_with(&name, &bytes, external, options)
}

/// Imports a model from memory, where it can have no external data; errors as in [`import`].
///
/// `name` stands for the file in messages.
pub fn import_bytes(name: &str, bytes: &[u8], options: &ImportOptions) -> Result<Model, Error> {
    import_with(name, bytes, ExternalData::new(None), options)
}

fn import_with(
    name: &str,
    bytes: &[u8],
    external: ExternalData,
    options: &ImportOptions,
) -> Result<Model, Error> {
    let foreign = |reason: String| Error::NotOnnx {
        model: name.to_string(),
        reason,
        help: "give the whole `.onnx` file as the exporter wrote it",
    };
    wire::scan(bytes).map_err(foreign)?;
    let proto = ModelProto::parse_from_bytes(bytes).map_err(|error| foreign(error.to_string()))?;
    if proto.graph.is_none() || proto.graph.node.is_empty() {
        return Err(foreign("it holds no graph".into()));
    }
    import::import(
        name,
        &proto,
        Sha256::new_with_prefix(bytes),
        external,
        options,
    )
    .map_err(|problems| Error::Unsupported {
        model: name.to_string(),
        problems,
    })
}
