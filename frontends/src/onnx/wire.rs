//! A linear scan of the protobuf wire format, before the parser sees the bytes.
//!
//! The parser recurses on groups without a limit (RUSTSEC-2024-0437) and trusts lengths. The scan
//! uses an explicit stack, walks the messages of ONNX's schema, and refuses group tags, lengths that
//! leave their message, and nesting beyond [`MAX_DEPTH`].

/// Deepest nesting of messages; a graph in a node's attribute takes three levels.
const MAX_DEPTH: usize = 48;

/// The messages of ONNX's schema that hold other messages, and a leaf for those that do not.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Schema {
    Model,
    TrainingInfo,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Annotation,
    Type,
    TensorType,
    ElementType,
    MapType,
    Shape,
    Leaf,
}

impl Schema {
    /// The message in a length-delimited field; `None` for strings, bytes and unknown fields.
    fn child(self, field: u64) -> Option<Self> {
        use Schema::*;
        Some(match (self, field) {
            (Model, 7) => Graph,
            (Model, 8 | 14) => Leaf,
            (Model, 20) => TrainingInfo,
            (Model, 25) => Function,
            (TrainingInfo, 1 | 2) => Graph,
            (TrainingInfo, 3 | 4) => Leaf,
            (Function, 7) => Node,
            (Function, 9 | 14) => Leaf,
            (Function, 11) => Attribute,
            (Function, 12) => ValueInfo,
            (Graph, 1) => Node,
            (Graph, 5) => Tensor,
            (Graph, 11..=13) => ValueInfo,
            (Graph, 14) => Annotation,
            (Graph, 15) => SparseTensor,
            (Graph, 16) => Leaf,
            (Node, 5) => Attribute,
            (Node, 9) => Leaf,
            (Attribute, 5 | 10) => Tensor,
            (Attribute, 6 | 11) => Graph,
            (Attribute, 14 | 15) => Type,
            (Attribute, 22 | 23) => SparseTensor,
            (Tensor, 3 | 13 | 16) => Leaf,
            (SparseTensor, 1 | 2) => Tensor,
            (ValueInfo, 2) => Type,
            (ValueInfo, 4) => Leaf,
            (Annotation, 2) => Leaf,
            (Type, 1 | 8) => TensorType,
            (Type, 4 | 9) => ElementType,
            (Type, 5) => MapType,
            (TensorType, 2) => Shape,
            (ElementType, 1) | (MapType, 2) => Type,
            (Shape, 1) => Leaf,
            _ => return None,
        })
    }
}

/// Checks that `bytes` can be handed to the parser as an ONNX model.
///
/// # Errors
/// What is wrong and at which byte.
pub(super) fn scan(bytes: &[u8]) -> Result<(), String> {
    let mut at = 0;
    let mut stack = vec![(Schema::Model, bytes.len())];
    while let Some((schema, end)) = stack.last().copied() {
        if at == end {
            stack.pop();
            continue;
        }
        let start = at;
        let key = varint(bytes, &mut at, end)?;
        let field = key >> 3;
        if field == 0 || field > 0x1FFF_FFFF {
            return Err(format!("field number {field} at byte {start}"));
        }
        let length = match key & 7 {
            0 => {
                varint(bytes, &mut at, end)?;
                continue;
            }
            1 => 8,
            2 => varint(bytes, &mut at, end)?,
            3 | 4 => {
                return Err(format!(
                    "group tag at byte {start}, which ONNX does not use"
                ));
            }
            5 => 4,
            other => return Err(format!("wire type {other} at byte {start}")),
        };
        let left = end - at;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= left)
            .ok_or_else(|| {
                format!("the field at byte {start} claims {length} bytes, {left} are left")
            })?;
        match schema.child(field) {
            Some(child) if key & 7 == 2 => {
                if stack.len() > MAX_DEPTH {
                    return Err(format!(
                        "more than {MAX_DEPTH} nested messages at byte {start}"
                    ));
                }
                stack.push((child, at + length));
            }
            _ => at += length,
        }
    }
    Ok(())
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
}
