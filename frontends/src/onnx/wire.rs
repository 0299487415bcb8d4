//! A linear scan of the protobuf wire format, before the parser sees the bytes.
//!
//! The parser recurses on groups without a limit (RUSTSEC-2024-0437), trusts lengths, and makes
//! hundreds of bytes of an empty message. The scan uses an explicit stack, walks the messages of
//! ONNX's schema, and refuses group tags, lengths that leave their message, nesting beyond
//! [`MAX_DEPTH`], names beyond [`MAX_NAME`] and files that would take more memory than
//! [`SMALL`], [`GROWTH`] and [`MOST`] allow.

mod schema;

use schema::{Field, Schema};

/// Deepest nesting of messages; a graph in a node's attribute takes three levels.
const MAX_DEPTH: usize = 48;

/// Most bytes of the name of a node, an operator, a tensor or an attribute.
pub(super) const MAX_NAME: usize = 1 << 10;

/// Memory that a parsed file of any length may take, elements of tensors apart.
const SMALL: usize = 64 << 20;

/// How many times its length a longer file may take.
const GROWTH: usize = 10;

/// Most memory that a file of any length may take, elements of tensors apart.
const MOST: usize = 512_000_000;

/// Memory that an allocation takes beside what was asked for.
const HEAP: usize = 24;

/// Memory of an unknown field: the parser keeps them in a hash map of vectors.
const UNKNOWN: usize = 512;

/// Length from which the parser reserves in steps.
const STEPS: usize = 10_000_000;

/// A message that is being walked.
struct Frame {
    schema: Schema,
    end: usize,
    /// A bit for every repeated field that has begun.
    begun: u64,
}

/// The memory that the parser will take.
#[derive(Default)]
struct Memory {
    /// All of it.
    total: usize,
    /// Bytes of the file that are elements of tensors.
    elements: usize,
}

impl Memory {
    fn add(&mut self, bytes: usize) {
        self.total = self.total.saturating_add(bytes);
    }

    /// `added` more elements of `size` bytes each in a vector. One that grows doubles, and the
    /// first elements get room for four.
    fn grow(&mut self, frame: &mut Frame, field: u64, size: usize, added: usize) {
        let bit = 1 << (field % 64);
        let first = frame.begun & bit == 0;
        frame.begun |= bit;
        let room = match first {
            true if added < STEPS => added.max(4),
            _ => added.saturating_mul(2),
        };
        self.add(
            room.saturating_mul(size)
                .saturating_add(if first { HEAP } else { 0 }),
        );
    }

    /// Whether that is too much for a file of `length` bytes.
    fn check(&self, length: usize) -> Result<(), String> {
        let most = length
            .saturating_mul(GROWTH)
            .clamp(SMALL, MOST)
            .saturating_add(self.elements);
        if self.total <= most {
            return Ok(());
        }
        Err(format!(
            "its {length} bytes would take {} MB of memory, at most {} MB are given to them",
            self.total / 1_000_000,
            most / 1_000_000
        ))
    }
}

/// Checks that `bytes` can be handed to the parser as an ONNX model.
///
/// # Errors
/// What is wrong and at which byte.
pub(super) fn scan(bytes: &[u8]) -> Result<(), String> {
    estimate(bytes)?.check(bytes.len())
}

fn estimate(bytes: &[u8]) -> Result<Memory, String> {
    let mut at = 0;
    let mut memory = Memory::default();
    let mut stack = vec![Frame {
        schema: Schema::Model,
        end: bytes.len(),
        begun: 0,
    }];
    while let Some(frame) = stack.last_mut() {
        let end = frame.end;
        if at == end {
            stack.pop();
            continue;
        }
        let start = at;
        let key = varint(bytes, &mut at, end)?;
        let number = key >> 3;
        if number == 0 || number > 0x1FFF_FFFF {
            return Err(format!("field number {number} at byte {start}"));
        }
        let field = frame.schema.field(number, key & 7);
        let length = match key & 7 {
            0 => {
                varint(bytes, &mut at, end)?;
                None
            }
            1 => Some(8),
            2 => Some(varint(bytes, &mut at, end)?),
            3 | 4 => {
                return Err(format!(
                    "group tag at byte {start}, which ONNX does not use"
                ));
            }
            5 => Some(4),
            other => return Err(format!("wire type {other} at byte {start}")),
        };
        let left = end - at;
        let length = length.unwrap_or(0);
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= left)
            .ok_or_else(|| {
                format!("the field at byte {start} claims {length} bytes, {left} are left")
            })?;
        let after = at + length;
        match field {
            Field::Number => {}
            Field::Numbers { size } => memory.grow(frame, number, size, 1),
            Field::Packed { size, width } => {
                memory.elements += length;
                memory.grow(frame, number, size, length / width);
            }
            Field::Name | Field::Names if length > MAX_NAME => {
                return Err(format!(
                    "the name at byte {start} has {length} bytes, at most {MAX_NAME} are read"
                ));
            }
            Field::Name | Field::Text => memory.add(length + HEAP),
            Field::Elements => {
                memory.elements += length;
                memory.add(length + HEAP);
            }
            Field::Names | Field::Texts => {
                memory.grow(frame, number, size_of::<String>(), 1);
                memory.add(length + HEAP);
            }
            Field::Unknown => memory.add(length.saturating_add(UNKNOWN)),
            Field::Message(child) | Field::Messages(child) => {
                if matches!(field, Field::Messages(_)) {
                    memory.grow(frame, number, child.size(), 1);
                } else {
                    memory.add(child.size() + HEAP);
                }
                if stack.len() > MAX_DEPTH {
                    return Err(format!(
                        "more than {MAX_DEPTH} nested messages at byte {start}"
                    ));
                }
                stack.push(Frame {
                    schema: child,
                    end: after,
                    begun: 0,
                });
                continue;
            }
        }
        at = after;
    }
    Ok(memory)
}

fn varint(bytes: &[u8], at: &mut usize, end: usize) -> Result<u64, String> {
    let start = *at;
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        if *at == end {
            return Err(format!("it ends inside the number at byte {start}"));
        }
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7F).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(format!(
        "the number at byte {start} is longer than ten bytes"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delimited(field: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![field << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn refuses_200_000_nested_groups() {
        let opening = vec![15 << 3 | 3; 200_000];
        assert!(scan(&opening).unwrap_err().contains("group tag at byte 0"));
        let inside_a_graph = delimited(7, &opening);
        assert!(
            scan(&inside_a_graph)
                .unwrap_err()
                .contains("group tag at byte 4")
        );
    }

    #[test]
    fn refuses_deeply_nested_graphs() {
        let mut graph = Vec::new();
        for _ in 0..40 {
            graph = delimited(1, &delimited(5, &delimited(6, &graph)));
        }
        assert!(
            scan(&delimited(7, &graph))
                .unwrap_err()
                .contains("nested messages")
        );
    }

    #[test]
    fn refuses_lengths_beyond_the_message() {
        let node = [1 << 3 | 2, 5, b'a', b'b'];
        assert!(
            scan(&delimited(7, &node))
                .unwrap_err()
                .contains("claims 5 bytes, 2 are left")
        );
        let huge = [
            7 << 3 | 2,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            0xFF,
            1,
        ];
        assert!(scan(&huge).unwrap_err().contains("claims"));
    }

    #[test]
    fn refuses_foreign_and_truncated_bytes() {
        assert!(scan(b"\x89PNG\r\n\x1a\n").is_err());
        assert!(
            scan(&[0x80; 11])
                .unwrap_err()
                .contains("longer than ten bytes")
        );
        assert!(
            scan(&[8 << 3, 0x80])
                .unwrap_err()
                .contains("ends inside the number")
        );
        assert!(scan(&[]).is_ok());
    }

    #[test]
    fn refuses_a_model_of_a_million_empty_nodes() {
        let graph = [1 << 3 | 2, 0].repeat(1_000_000);
        let error = scan(&delimited(7, &graph)).unwrap_err();
        assert!(error.contains("at most 67 MB"), "{error}");
        assert!(scan(&delimited(7, &graph[..20_000])).is_ok());
    }

    #[test]
    fn refuses_whatever_few_bytes_blow_up() {
        // Every repeated field of every message that a graph may hold, empty, two million times.
        for (messages, field) in [
            (&[7][..], 5),
            (&[7], 11),
            (&[7], 14),
            (&[7], 15),
            (&[7, 1], 1),
            (&[7, 1], 5),
            (&[7, 1, 5], 9),
            (&[7, 1, 5], 10),
            (&[7, 1, 5], 11),
            (&[7, 5], 6),
            (&[7, 5], 13),
            (&[14], 9),
            (&[], 8),
            // Unknown ones.
            (&[], 9),
            (&[7, 1], 15),
        ] {
            let mut bytes = [field << 3 | 2, 0].repeat(4_000_000);
            for message in messages.iter().rev() {
                bytes = delimited(*message, &bytes);
            }
            assert!(scan(&bytes).is_err(), "field {field} in {messages:?}");
        }
    }

    #[test]
    fn elements_of_tensors_may_take_what_they_need() {
        let mut tensor = delimited(9, &vec![0; 100 << 20]);
        tensor.extend(delimited(4, &vec![0; 30 << 20]));
        assert!(scan(&delimited(7, &delimited(5, &tensor))).is_ok());
        // Integers of one byte each become eight.
        let ints = delimited(7, &vec![0; 200 << 20]);
        assert!(scan(&delimited(7, &delimited(5, &ints))).is_err());
    }

    #[test]
    fn the_estimate_covers_what_the_parser_takes() {
        use onnx_protobuf::{Message, ModelProto};
        let node = |inputs: usize| {
            let mut node = delimited(1, b"x").repeat(inputs);
            node.extend(delimited(4, b"Relu"));
            delimited(1, &node)
        };
        for inputs in [0, 1, 5, 1000] {
            let bytes = delimited(7, &node(inputs).repeat(100));
            let proto = ModelProto::parse_from_bytes(&bytes).unwrap();
            let taken: usize = proto.graph.node.capacity() * Schema::Node.size()
                + proto
                    .graph
                    .node
                    .iter()
                    .map(|node| node.input.capacity() * size_of::<String>())
                    .sum::<usize>();
            let estimated = estimate(&bytes).unwrap().total;
            assert!(
                taken <= estimated && estimated < 3 * taken + 20_000,
                "{taken} {estimated}"
            );
        }
    }

    #[test]
    fn refuses_names_of_two_kilobytes() {
        let node = delimited(3, &[b'n'; 2048]);
        let error = scan(&delimited(7, &delimited(1, &node))).unwrap_err();
        assert!(error.contains("the name at byte"), "{error}");
    }
}
