//! Mutation by structure: [`crate::frame`] and [`crate::proto`] for files of blocks and protobuf,
//! [`crate::plain`] for what has no structure.

use std::io::{Read, Write};

use crate::frame::Framed;
use crate::plain::{Plain, bytes, text};
use crate::proto;
use crate::rng::Rng;

/// How the inputs of a target are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Blocks with checksums behind a protobuf header.
    Framed,
    /// A protobuf message.
    Protobuf,
    /// Text.
    Text,
    /// Pictures and tensors of many kinds.
    Image,
}

/// Most bytes that a gzipped image is unpacked to before it is mutated.
const MAX_UNPACKED: u64 = 1 << 20;

/// Changes an input in one to three places. `plain` changes parts without structure.
pub fn mutate(format: Format, input: &mut Vec<u8>, seed: u64, plain: &mut Plain<'_>) {
    let mut rng = Rng::new(seed);
    if rng.one_in(64) {
        // Whatever the structure is, without its checksums.
        return bytes(input, &mut rng, plain);
    }
    let times = 1 + rng.below(3);
    match format {
        Format::Framed => match Framed::parse(input) {
            Some(mut framed) => {
                (0..times).for_each(|_| framed.mutate(&mut rng, plain));
                *input = framed.write();
            }
            None => bytes(input, &mut rng, plain),
        },
        Format::Protobuf => match proto::parse(input) {
            Some(mut fields) if !fields.is_empty() => {
                (0..times).for_each(|_| match fields.is_empty() {
                    true => {}
                    false => proto::mutate(&mut fields, &mut rng, plain),
                });
                *input = proto::write(&fields);
            }
            _ => bytes(input, &mut rng, plain),
        },
        Format::Text => (0..times).for_each(|_| text(input, &mut rng, plain)),
        Format::Image => image(input, &mut rng, plain),
    }
}

/// Changes an image; PNG chunks get their checksums, and what is gzipped is packed again.
fn image(input: &mut Vec<u8>, rng: &mut Rng, plain: &mut Plain<'_>) {
    if input.starts_with(&[0x1f, 0x8b]) && !rng.one_in(4) {
        let mut unpacked = Vec::new();
        let read = flate2::read::MultiGzDecoder::new(&input[..])
            .take(MAX_UNPACKED)
            .read_to_end(&mut unpacked);
        if read.is_ok() {
            bytes(&mut unpacked, rng, plain);
            *input = gzip(&unpacked);
            return;
        }
    }
    if input.starts_with(b"\x93NUMPY") && rng.one_in(2) {
        return text(input, rng, plain);
    }
    bytes(input, rng, plain);
    if input.starts_with(b"\x89PNG\r\n\x1a\n") && !rng.one_in(16) {
        seal_png(input);
    }
}

/// The bytes as a gzip file.
pub fn gzip(input: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let _ = writer.write_all(input);
    writer.finish().unwrap_or_default()
}

/// Makes the checksums of a PNG's chunks right, as far as their lengths make sense.
fn seal_png(input: &mut [u8]) {
    let mut at = 8;
    while let Some(length) = input.get(at..at + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(end) = length
            .checked_add(at + 8)
            .filter(|end| end + 4 <= input.len())
        else {
            return;
        };
        let sum = crc32fast::hash(&input[at + 4..end]);
        input[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}
