//! The framing that plans, keys and ciphertexts share.
//!
//! ```text
//! magic (8 bytes) · format version (u16) · kind (u16) · header length (u32)
//! header, a protobuf message · CRC-32 of everything so far
//! any number of blocks: length (u32, not 0) · bytes · CRC-32 of length and bytes
//! end marker: 0 (u32) · number of blocks (u64) · CRC-32 of both
//! ```
//!
//! Integers are little-endian. A block has at most 64 MiB, a header fewer, so that a reader never
//! allocates much for a file that lies about its lengths, and a header has at most 65,536 fields,
//! since an empty one takes two bytes in the file and a hundred in memory. Checksums find damage,
//! not malice.

mod outputs;
mod partial;
mod place;
mod regular;
#[cfg(all(unix, feature = "signals"))]
pub mod signals;
mod staged;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use crate::error::Error;
use crate::printable;

pub use outputs::{Content, Outputs, Overwrite};
pub use partial::remove_unfinished;
pub use regular::{MAX_TEXT, open_regular, read_regular, read_text};
pub use staged::{Access, Existing, Staged, commit_together, write_atomically};

/// First bytes of every file. The first is no ASCII, the last a line end, so that transfers that
/// mangle either are noticed.
const MAGIC: [u8; 8] = *b"\x8aHeddle\n";

/// Version of the framing and of all headers.
pub const VERSION: u16 = 4;

/// Most bytes of a header or a block.
pub const MAX_BLOCK: usize = 64 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
#[non_exhaustive]
pub enum Kind {
    /// A compiled network.
    Plan = 1,
    /// A secret key.
    SecretKey = 2,
    /// Evaluation keys.
    EvaluationKeys = 3,
    /// One or several ciphertexts.
    Ciphertext = 4,
    /// A public encryption key.
    PublicKey = 5,
    /// What a client needs of a compiled network.
    ClientPlan = 6,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Plan,
        Self::SecretKey,
        Self::EvaluationKeys,
        Self::Ciphertext,
        Self::PublicKey,
        Self::ClientPlan,
    ];

    /// Most bytes of a header. What a header decodes to takes at most ten times as many.
    fn max_header(self) -> usize {
        match self {
            Self::Plan => 16 << 20,
            Self::ClientPlan => 4 << 20,
            _ => 64 << 10,
        }
    }

    fn of_code(code: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == code)
    }

    /// How to get a sound file of this kind.
    fn remedy(self) -> &'static str {
        match self {
            Self::Plan | Self::ClientPlan => "make the plan again with `heddlec`",
            Self::SecretKey | Self::PublicKey | Self::EvaluationKeys => {
                "make the keys again with `heddle keygen`"
            }
            Self::Ciphertext => "encrypt or evaluate again with `heddle`",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plan => "plan",
            Self::SecretKey => "secret key",
            Self::EvaluationKeys => "set of evaluation keys",
            Self::Ciphertext => "ciphertext",
            Self::PublicKey => "public key",
            Self::ClientPlan => "client plan",
        })
    }
}

fn io_error(file: &str, source: io::Error) -> Error {
    Error::Io {
        file: file.to_owned(),
        source,
    }
}

/// Writes one file of blocks.
#[derive(Debug)]
pub struct BlockWriter<W> {
    writer: W,
    file: String,
    blocks: u64,
}

impl<W: Write> BlockWriter<W> {
    /// Starts a file of the given kind; `file` names it in errors.
    ///
    /// # Errors
    /// If the header has more bytes than its kind allows or writing fails.
    pub fn new(
        writer: W,
        file: impl Into<String>,
        kind: Kind,
        header: &impl Message,
    ) -> Result<Self, Error> {
        let mut this = Self {
            writer,
            file: file.into(),
            blocks: 0,
        };
        let header = header.encode_to_vec();
        this.check_length(header.len(), kind.max_header())?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(kind as u16).to_le_bytes());
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        this.write_checked(&[&bytes])?;
        Ok(this)
    }

    fn check_length(&self, len: usize, most: usize) -> Result<(), Error> {
        if len <= most {
            return Ok(());
        }
        let message = format!("would need a block of {len} bytes; at most {most} are allowed");
        Err(Error::File {
            file: self.file.clone(),
            message,
        })
    }

    fn write_checked(&mut self, parts: &[&[u8]]) -> Result<(), Error> {
        let mut crc = crc32fast::Hasher::new();
        let mut write = |bytes: &[u8]| self.writer.write_all(bytes);
        let mut result = Ok(());
        for part in parts {
            crc.update(part);
            result = result.and_then(|()| write(part));
        }
        result
            .and_then(|()| write(&crc.finalize().to_le_bytes()))
            .map_err(|source| io_error(&self.file, source))
    }

    /// Writes one block; an empty one is left out.
    ///
    /// # Errors
    /// If it has more than [`MAX_BLOCK`] bytes or writing fails.
    pub fn block(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.check_length(bytes.len(), MAX_BLOCK)?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.blocks += 1;
        self.write_checked(&[&(bytes.len() as u32).to_le_bytes(), bytes])
    }

    /// Writes any number of bytes, in as many blocks as needed.
    ///
    /// # Errors
    /// If writing fails.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        bytes
            .chunks(MAX_BLOCK)
            .try_for_each(|block| self.block(block))
    }

    /// Writes the end marker and flushes.
    ///
    /// # Errors
    /// If writing fails.
    pub fn finish(mut self) -> Result<W, Error> {
        let blocks = self.blocks.to_le_bytes();
        self.write_checked(&[&0_u32.to_le_bytes(), &blocks])?;
        self.writer
            .flush()
            .map_err(|source| io_error(&self.file, source))?;
        Ok(self.writer)
    }
}

/// Reads one file of blocks.
#[derive(Debug)]
pub struct BlockReader<R> {
    reader: R,
    file: String,
    kind: Kind,
    blocks: u64,
}

/// Magic, version, kind and header length.
const PREFIX: usize = MAGIC.len() + 8;

/// Most fields of a header, repetitions included.
const MAX_FIELDS: usize = 1 << 16;

/// Refuses a header of too many fields before it is decoded. What the decoder alone finds wrong is
/// left to it.
fn count_fields(mut header: &[u8]) -> Result<(), String> {
    let mut fields = 0;
    while !header.is_empty() {
        fields += 1;
        if fields > MAX_FIELDS {
            return Err(format!("has more than {MAX_FIELDS} fields"));
        }
        let cut = |_| "ends inside a field".to_owned();
        let (tag, wire_type) = decode_key(&mut header).map_err(|error| error.to_string())?;
        skip_field(wire_type, tag, &mut header, DecodeContext::default()).map_err(cut)?;
    }
    Ok(())
}

/// The kind and the header's length that a prefix states.
fn parse_prefix(file: &str, prefix: &[u8; PREFIX]) -> Result<(Kind, usize), Error> {
    let fail = |message: String| {
        Err(Error::File {
            file: file.to_owned(),
            message,
        })
    };
    let (magic, rest) = prefix.split_at(MAGIC.len());
    if magic != MAGIC {
        return fail("is not a file of Heddle's".to_owned());
    }
    let word = |at: usize| u16::from_le_bytes([rest[at], rest[at + 1]]);
    let (version, code) = (word(0), word(2));
    let kind = Kind::of_code(code);
    if version != VERSION {
        let what = kind.map_or("file".to_owned(), |kind| kind.to_string());
        let remedy = kind.map_or("make it again", Kind::remedy);
        return fail(format!(
            "is a {what} of format version {version}, this program reads version {VERSION}\n\
             help: {remedy} of this version"
        ));
    }
    let Some(kind) = kind else {
        return fail(format!("holds something unknown (kind {code})"));
    };
    let len = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
    if len > kind.max_header() {
        return fail(format!(
            "is damaged: its header claims {len} bytes\nhelp: {}",
            kind.remedy()
        ));
    }
    Ok((kind, len))
}

impl BlockReader<BufReader<File>> {
    /// Opens a file that must be of the given kind and reads its header.
    ///
    /// # Errors
    /// As [`BlockReader::new`], and if the file cannot be opened.
    pub fn open<H: Message + Default>(path: &Path, kind: Kind) -> Result<(Self, H), Error> {
        let file = printable::path(path);
        let opened = open_regular(path).map_err(|source| io_error(&file, source))?;
        Self::new(BufReader::new(opened), file, kind)
    }
}

impl<R: Read> BlockReader<R> {
    /// Starts to read what must be of the given kind; `file` names it in errors.
    ///
    /// # Errors
    /// [`Error::File`] if it is foreign, damaged, of another kind or version; [`Error::Io`] if
    /// reading fails.
    pub fn new<H: Message + Default>(
        mut reader: R,
        file: impl Into<String>,
        kind: Kind,
    ) -> Result<(Self, H), Error> {
        let file = file.into();
        let mut prefix = [0; PREFIX];
        let read = read_up_to(&mut reader, &mut prefix).map_err(|e| io_error(&file, e))?;
        if read < PREFIX && prefix[..read] != MAGIC[..read.min(MAGIC.len())] {
            let message = "is not a file of Heddle's".to_owned();
            return Err(Error::File { file, message });
        }
        let mut this = Self {
            reader,
            file,
            kind,
            blocks: 0,
        };
        if read < PREFIX {
            return Err(this.truncated());
        }
        let (found, len) = parse_prefix(&this.file, &prefix)?;
        if found != kind {
            let message = format!("is a {found}, expected a {kind}");
            return Err(Error::File {
                file: this.file,
                message,
            });
        }
        let mut header = Vec::new();
        this.read_onto(len, &mut header)?;
        this.check_sum([&prefix, &header], || "its header".into())?;
        count_fields(&header).map_err(|what| this.damaged(&format!("its header {what}")))?;
        let header = H::decode(&*header)
            .map_err(|error| this.damaged(&format!("its header does not decode ({error})")))?;
        Ok((this, header))
    }

    /// The file's name, for errors about what the blocks hold.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// An error that says that the file is damaged, what shows it, and how to fix it.
    pub fn damaged(&self, what: &str) -> Error {
        let message = format!("is damaged: {what}\nhelp: {}", self.kind.remedy());
        Error::File {
            file: self.file.clone(),
            message,
        }
    }

    fn truncated(&self) -> Error {
        let message = format!(
            "is cut short\nhelp: copy it again, or {}",
            self.kind.remedy()
        );
        Error::File {
            file: self.file.clone(),
            message,
        }
    }

    /// Appends the next `len` bytes.
    fn read_onto(&mut self, len: usize, bytes: &mut Vec<u8>) -> Result<(), Error> {
        // Grows with what is there, so that a wrong length costs no more memory than the file has.
        bytes.reserve(len.min(1 << 20));
        let read = (&mut self.reader).take(len as u64).read_to_end(bytes);
        match read {
            Ok(read) if read == len => Ok(()),
            Ok(_) => Err(self.truncated()),
            Err(source) => Err(io_error(&self.file, source)),
        }
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        match read_up_to(&mut self.reader, &mut bytes) {
            Ok(read) if read == N => Ok(bytes),
            Ok(_) => Err(self.truncated()),
            Err(source) => Err(io_error(&self.file, source)),
        }
    }

    /// Compares the checksum that comes next with that of `parts`.
    fn check_sum(&mut self, parts: [&[u8]; 2], what: impl FnOnce() -> String) -> Result<(), Error> {
        let stored = self.read_array::<4>()?;
        let mut crc = crc32fast::Hasher::new();
        parts.iter().for_each(|part| crc.update(part));
        if stored == crc.finalize().to_le_bytes() {
            Ok(())
        } else {
            Err(self.damaged(&format!("the checksum of {} is wrong", what())))
        }
    }

    /// Appends the next block to `bytes`; `false` at the end marker, after which nothing may
    /// follow.
    fn next_block_onto(&mut self, bytes: &mut Vec<u8>) -> Result<bool, Error> {
        let length = self.read_array::<4>()?;
        let len = u32::from_le_bytes(length) as usize;
        if len > MAX_BLOCK {
            return Err(self.damaged(&format!("a block claims {len} bytes")));
        }
        if len > 0 {
            self.blocks += 1;
            let (number, start) = (self.blocks, bytes.len());
            self.read_onto(len, bytes)?;
            self.check_sum([&length, &bytes[start..]], || format!("block {number}"))?;
            return Ok(true);
        }
        let blocks = self.read_array::<8>()?;
        self.check_sum([&length, &blocks], || "the end marker".into())?;
        if blocks != self.blocks.to_le_bytes() {
            return Err(self.damaged("blocks are missing"));
        }
        let mut rest = [0];
        let read = read_up_to(&mut self.reader, &mut rest);
        match read.map_err(|source| io_error(&self.file, source))? {
            0 => Ok(false),
            _ => Err(self.damaged("something follows its end marker")),
        }
    }

    /// The next block, or `None` at the end marker, after which nothing may follow.
    ///
    /// # Errors
    /// [`Error::File`] if the file is cut short or damaged; [`Error::Io`] if reading fails.
    pub fn next_block(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut bytes = Vec::new();
        Ok(self.next_block_onto(&mut bytes)?.then_some(bytes))
    }

    /// The next block, which must exist.
    ///
    /// # Errors
    /// As [`next_block`](Self::next_block), and if there is no block left.
    pub fn block(&mut self) -> Result<Vec<u8>, Error> {
        self.next_block()?.ok_or_else(|| self.too_few())
    }

    fn too_few(&self) -> Error {
        self.damaged("it has fewer blocks than it states")
    }

    /// The next `len` bytes, written by [`BlockWriter::bytes`].
    ///
    /// # Errors
    /// As [`bytes_into`](Self::bytes_into).
    pub fn bytes(&mut self, len: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.bytes_into(len, &mut bytes)?;
        Ok(bytes)
    }

    /// The next `len` bytes, written by [`BlockWriter::bytes`], in place of what `bytes` held:
    /// where much is read in pieces, one buffer serves them all.
    ///
    /// # Errors
    /// As [`block`](Self::block), and if the blocks do not have `len` bytes.
    pub fn bytes_into(&mut self, len: usize, bytes: &mut Vec<u8>) -> Result<(), Error> {
        bytes.clear();
        while bytes.len() < len {
            if !self.next_block_onto(bytes)? {
                return Err(self.too_few());
            }
        }
        if bytes.len() == len {
            Ok(())
        } else {
            Err(self.damaged(&format!("a part of {len} bytes is longer than that")))
        }
    }

    /// Checks that the end marker comes next and nothing behind it.
    ///
    /// # Errors
    /// As [`next_block`](Self::next_block), and if there is another block.
    pub fn finish(mut self) -> Result<(), Error> {
        self.finish_ref()
    }

    /// [`finish`](Self::finish) for callers that still need the reader to name the file in errors.
    pub(crate) fn finish_ref(&mut self) -> Result<(), Error> {
        match self.next_block()? {
            None => Ok(()),
            Some(_) => Err(self.damaged("it has more blocks than it states")),
        }
    }
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match reader.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// What a file holds, from its first bytes.
///
/// # Errors
/// [`Error::File`] if it is foreign or of another version; [`Error::Io`] if reading fails.
pub fn kind_of(path: &Path) -> Result<Kind, Error> {
    let file = printable::path(path);
    let mut prefix = [0; PREFIX];
    let read = open_regular(path).and_then(|mut opened| read_up_to(&mut opened, &mut prefix));
    if read.map_err(|source| io_error(&file, source))? < PREFIX {
        let message = "is not a file of Heddle's, or is cut short".to_owned();
        return Err(Error::File { file, message });
    }
    parse_prefix(&file, &prefix).map(|(kind, _)| kind)
}

#[cfg(test)]
mod tests;
