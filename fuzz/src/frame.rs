//! The framing of plans, keys and ciphertexts (`heddle_ir::file`), written from its description:
//! taken apart without a check, put together with right lengths and checksums.

use crate::plain::{self, Plain};
use crate::proto::{self, Field, Value, varint};
use crate::rng::Rng;

/// Most bytes of weights that a mutated plan is filled up with.
const MAX_WEIGHTS: usize = 1 << 16;

/// A file of blocks.
#[derive(Clone, Debug, PartialEq)]
pub struct Framed {
    /// Magic, version and kind: twelve bytes.
    pub prefix: [u8; 12],
    /// The header, a protobuf message.
    pub header: Vec<u8>,
    /// The blocks.
    pub blocks: Vec<Vec<u8>>,
}

fn cut<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

fn word(bytes: &mut &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(cut(bytes, 4)?.try_into().ok()?) as usize)
}

impl Framed {
    /// Takes a file apart as far as its lengths make sense.
    pub fn parse(mut bytes: &[u8]) -> Option<Self> {
        let prefix = cut(&mut bytes, 12)?.try_into().ok()?;
        let len = word(&mut bytes)?;
        let header = cut(&mut bytes, len)?.to_vec();
        word(&mut bytes)?;
        let mut blocks = Vec::new();
        while let Some(len) = word(&mut bytes).filter(|len| *len > 0) {
            let Some(block) = cut(&mut bytes, len) else {
                break;
            };
            blocks.push(block.to_vec());
            word(&mut bytes);
        }
        Some(Self {
            prefix,
            header,
            blocks,
        })
    }

    /// The file, with lengths, checksums and end marker.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = self.prefix.to_vec();
        bytes.extend_from_slice(&(self.header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.header);
        seal(&mut bytes, 0);
        let blocks = self.blocks.iter().filter(|block| !block.is_empty());
        let mut count = 0_u64;
        for block in blocks {
            count += 1;
            let start = bytes.len();
            bytes.extend_from_slice(&(block.len() as u32).to_le_bytes());
            bytes.extend_from_slice(block);
            seal(&mut bytes, start);
        }
        let start = bytes.len();
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        bytes.extend_from_slice(&count.to_le_bytes());
        seal(&mut bytes, start);
        bytes
    }

    /// What the file is a kind of, by its number.
    pub fn kind(&self) -> u16 {
        u16::from_le_bytes([self.prefix[10], self.prefix[11]])
    }

    /// Changes header, blocks or, now and then, the rest.
    pub fn mutate(&mut self, rng: &mut Rng, plain: &mut Plain<'_>) {
        match rng.below(16) {
            0 => {
                let at = rng.below(self.prefix.len());
                self.prefix[at] ^= 1 << rng.below(8);
            }
            1 => self.mutate_blocks(rng),
            2..=8 => {
                self.mutate_header(rng, plain);
            }
            _ => {
                let index = rng.below(self.blocks.len());
                match self.blocks.get_mut(index) {
                    Some(block) if std::str::from_utf8(block).is_ok() => {
                        plain::text(block, rng, plain);
                    }
                    Some(block) => plain::bytes(block, rng, plain),
                    None => self.mutate_header(rng, plain),
                }
            }
        }
        if self.kind() == 1 && !rng.one_in(16) {
            self.fit_plan();
        }
    }

    fn mutate_header(&mut self, rng: &mut Rng, plain: &mut Plain<'_>) {
        match proto::parse(&self.header) {
            Some(mut fields) => {
                proto::mutate(&mut fields, rng, plain);
                self.header = proto::write(&fields);
            }
            None => plain::bytes(&mut self.header, rng, plain),
        }
    }

    fn mutate_blocks(&mut self, rng: &mut Rng) {
        let index = rng.below(self.blocks.len());
        let Some(block) = self.blocks.get(index).cloned() else {
            return self.blocks.push(vec![rng.word() as u8; rng.below(64)]);
        };
        match rng.below(3) {
            0 => drop(self.blocks.remove(index)),
            1 => self.blocks.insert(index, block),
            _ => {
                let (left, right) = block.split_at(rng.below(block.len()));
                let parts = [left.to_vec(), right.to_vec()];
                self.blocks.splice(index..=index, parts);
            }
        }
    }

    /// Makes the lengths in a plan's header and its blocks agree: the schedule's, and a block for
    /// every weight.
    fn fit_plan(&mut self) {
        const SCHEDULE_BYTES: u64 = 13;
        const WEIGHT: u64 = 14;
        let Some(mut fields) = proto::parse(&self.header) else {
            return;
        };
        let schedule = self.blocks.first().map_or(0, |block| block.len() as u64);
        for field in &mut fields {
            if field.number == SCHEDULE_BYTES {
                field.value = Value::Varint(schedule);
            }
        }
        self.header = proto::write(&fields);
        let weights = fields.iter().filter(|field| field.number == WEIGHT);
        let sizes: Vec<usize> = weights.map(weight_bytes).collect();
        if sizes.iter().any(|size| *size > MAX_WEIGHTS) {
            return;
        }
        self.blocks.resize(1 + sizes.len(), Vec::new());
        for (block, size) in self.blocks[1..].iter_mut().zip(sizes) {
            block.resize(size, 0);
        }
    }
}

/// Bytes that a weight's elements take, from its message in the header.
fn weight_bytes(field: &Field) -> usize {
    let encoded = match &field.value {
        Value::Message(fields) => proto::write(fields),
        Value::Bytes(bytes) => bytes.clone(),
        _ => return 0,
    };
    let mut bytes = &encoded[..];
    let mut elements = 4_usize;
    while let Some(key) = varint(&mut bytes) {
        let Some(value) = varint(&mut bytes) else {
            break;
        };
        let mut extents = match key {
            // Packed extents.
            0x12 => match cut(&mut bytes, value.min(1 << 20) as usize) {
                Some(extents) => extents,
                None => break,
            },
            _ => {
                if key & 7 == 2 {
                    cut(&mut bytes, value.min(1 << 20) as usize);
                }
                continue;
            }
        };
        while let Some(extent) = varint(&mut extents) {
            elements = elements.saturating_mul(usize::try_from(extent).unwrap_or(usize::MAX));
        }
    }
    elements
}

/// Appends the CRC-32 of what follows `start`.
fn seal(bytes: &mut Vec<u8>, start: usize) {
    let sum = crc32fast::hash(&bytes[start..]);
    bytes.extend_from_slice(&sum.to_le_bytes());
}
