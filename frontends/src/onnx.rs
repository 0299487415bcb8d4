//! Reads ONNX files of convolutional classifiers.
//!
//! Bytes pass a linear scan (`wire`) before the protobuf parser sees them. Of the nodes that the
//! output depends on, those with constant inputs are evaluated (`fold`), and the others go through
//! a table of builders (`ops`) to the tensor graph. Reshapes and transposes move no data: they
//! change how a value is seen (`view`). Every problem is collected before import fails.
//!
//! A model is foreign input. Its file and its external data have at most 2 GiB each; parsed, it
//! takes at most ten times its bytes and 512 MB beyond its tensors (`wire`), and what its nodes
//! make of it is bounded likewise, in memory and in work (`budget`).

mod attr;
mod budget;
mod build;
mod call;
mod dims;
mod external;
mod fold;
mod import;
mod ops;
mod opset;
mod options;
mod plane;
mod supported;
mod tensor;
mod view;
mod wire;

use std::path::Path;

use heddle_ir::file::read_regular;
use heddle_ir::nn::Model;
use heddle_ir::printable;
use onnx_protobuf::{Message, ModelProto};
use sha2::{Digest, Sha256};

use crate::error::Error;
use external::ExternalData;
pub use options::{FixedInput, ImportOptions, InputShape};
pub use supported::supported_operators;

/// Most bytes of a model's file; protobuf knows no longer messages.
pub const MAX_MODEL_BYTES: u64 = (1 << 31) - 1;

/// Imports the ONNX file at `path`, with external data from its folder.
///
/// The result is verified. Its digest is the SHA-256 of the model's bytes followed by those of its
/// external files in the order of first use; what the options change does not enter it.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::NotOnnx`] if it is foreign or damaged,
/// [`Error::Unsupported`] with all problems if the model cannot be compiled.
pub fn import(path: &Path, options: &ImportOptions) -> Result<Model, Error> {
    let io = |source| Error::Io {
        path: path.to_path_buf(),
        source,
    };
    let bytes = read_regular(path, MAX_MODEL_BYTES).map_err(io)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    let name = printable::line(&name);
    let external = ExternalData::new(Some(folder.to_path_buf()));
    let parsed = Parsed::new(&name, &bytes)?;
    drop(bytes);
    parsed.import(&name, external, options)
}

/// Imports a model from memory, where it can have no external data; errors as in [`import`].
///
/// `name` stands for the file in messages.
pub fn import_bytes(name: &str, bytes: &[u8], options: &ImportOptions) -> Result<Model, Error> {
    Parsed::new(name, bytes)?.import(name, ExternalData::new(None), options)
}

/// A parsed file.
struct Parsed {
    proto: ModelProto,
    /// Has seen the file's bytes.
    digest: Sha256,
    /// Number of those.
    length: usize,
}

impl Parsed {
    fn new(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let foreign = |reason: String| Error::NotOnnx {
            model: name.to_string(),
            reason,
            help: "give the whole `.onnx` file as the exporter wrote it",
        };
        wire::scan(bytes).map_err(foreign)?;
        let proto =
            ModelProto::parse_from_bytes(bytes).map_err(|error| foreign(error.to_string()))?;
        if proto.graph.is_none() || proto.graph.node.is_empty() {
            return Err(foreign("it holds no graph".into()));
        }
        Ok(Self {
            proto,
            digest: Sha256::new_with_prefix(bytes),
            length: bytes.len(),
        })
    }

    fn import(
        &self,
        name: &str,
        external: ExternalData,
        options: &ImportOptions,
    ) -> Result<Model, Error> {
        import::import(name, self, external, options).map_err(|problems| Error::Unsupported {
            model: name.to_string(),
            problems,
        })
    }
}
