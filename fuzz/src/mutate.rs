//! Mutation by structure.

use std::io::{Read, Write};

use crate::frame::Framed;
use crate::proto;
use crate::rng::Rng;

/// Changes bytes that have no structure.
pub type Plain<'a> = dyn FnMut(&mut Vec<u8>) + 'a;

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

/// A [`Plain`] without libFuzzer.
pub fn havoc(input: &mut Vec<u8>, rng: &mut Rng) {
    let at = rng.below(input.len());
    match (rng.below(6), input.is_empty()) {
        (_, true) | (0, _) => input.insert(at, rng.word() as u8),
        (1, _) => drop(input.remove(at)),
        (2, _) => input[at] ^= 1 << rng.below(8),
        (3, _) => input[at] = *rng.pick(&[0, 1, 2, 3, 7, 16, 64, 127, 128, 255]),
        (4, _) => {
            let end = (at + 1 + rng.below(16)).min(input.len());
            let part = input[at..end].to_vec();
            let to = rng.below(input.len() + 1);
            input.splice(to..to, part);
        }
        (_, _) => {
            let end = (at + 1 + rng.below(16)).min(input.len());
            input.drain(at..end);
        }
    }
}

/// Changes bytes of unknown meaning.
pub fn bytes(input: &mut Vec<u8>, rng: &mut Rng, plain: &mut Plain<'_>) {
    match rng.one_in(2) {
        true => plain(input),
        false => havoc(input, rng),
    }
}

/// Another whole number.
pub fn number(old: u64, rng: &mut Rng) -> u64 {
    match rng.below(6) {
        0 => rng.below(70) as u64,
        1 => old.wrapping_add(1),
        2 => old.wrapping_sub(1),
        3 => (1_u64 << rng.below(64)).wrapping_sub(rng.below(2) as u64),
        4 => old.wrapping_mul(2),
        _ => u64::MAX >> rng.below(64),
    }
}

/// Ends of the runs of letters and digits in a text, as ranges.
fn tokens(input: &[u8]) -> Vec<(usize, usize)> {
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'.';
    let mut tokens = Vec::new();
    let mut start = None;
    for (at, byte) in input.iter().enumerate() {
        match (word(byte), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                tokens.push((from, at));
                start = None;
            }
            _ => {}
        }
    }
    tokens.extend(start.map(|from| (from, input.len())));
    tokens
}

/// Changes a text: a number, a word, a line, or any bytes.
pub fn text(input: &mut Vec<u8>, rng: &mut Rng, plain: &mut Plain<'_>) {
    const NUMBERS: [&str; 12] = [
        "0",
        "-1",
        "1e308",
        "-1e308",
        "NaN",
        "inf",
        "1e-320",
        "0.5",
        "65535",
        "4294967295",
        "18446744073709551615",
        "18446744073709551616",
    ];
    let tokens = tokens(input);
    let lines: Vec<Vec<u8>> = input
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    let choice = match tokens.is_empty() {
        true => 9,
        false => rng.below(10),
    };
    match choice {
        0..=4 => {
            // Numbers carry most of the meaning.
            let numbers: Vec<_> = tokens
                .iter()
                .filter(|(from, _)| input[*from].is_ascii_digit())
                .collect();
            let (from, to) = match numbers.is_empty() {
                true => *rng.pick(&tokens),
                false => **rng.pick(&numbers),
            };
            let old = std::str::from_utf8(&input[from..to]).ok();
            let old = old.and_then(|text| text.parse::<u64>().ok());
            let new = match old.filter(|_| !rng.one_in(4)) {
                Some(old) => number(old, rng).to_string(),
                None => (*rng.pick(&NUMBERS)).to_owned(),
            };
            input.splice(from..to, new.into_bytes());
        }
        5 | 6 => {
            let (from, to) = *rng.pick(&tokens);
            let (other, end) = *rng.pick(&tokens);
            let word = input[other..end].to_vec();
            input.splice(from..to, word);
        }
        7 | 8 => {
            let mut lines = lines;
            let at = rng.below(lines.len());
            let to = rng.below(lines.len());
            match rng.below(3) {
                0 => drop(lines.remove(at)),
                1 => lines.swap(at, to),
                _ => lines.insert(to, lines[at].clone()),
            }
            *input = lines.concat();
        }
        _ => bytes(input, rng, plain),
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
