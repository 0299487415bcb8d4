//! Protobuf messages as trees of fields, without a schema.

use crate::plain::{Plain, bytes as mutate_bytes, number, text};
use crate::rng::Rng;

/// Deepest nesting that is taken apart.
const MAX_DEPTH: usize = 8;

/// One field of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The field's number.
    pub number: u64,
    /// What it holds.
    pub value: Value,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number of variable length.
    Varint(u64),
    /// Eight bytes, such as a double.
    Eight([u8; 8]),
    /// Four bytes, such as a float.
    Four([u8; 4]),
    /// A string, bytes or packed numbers.
    Bytes(Vec<u8>),
    /// Bytes that are a message themselves, as far as can be told.
    Message(Vec<Field>),
}

/// Cuts a number of variable length off `bytes`.
pub fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7F) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn cut<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(taken)
}

/// The fields of a message; `None` if the bytes are none.
pub fn parse(bytes: &[u8]) -> Option<Vec<Field>> {
    parse_at(bytes, 0)
}

fn parse_at(mut bytes: &[u8], depth: usize) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let number = key >> 3;
        if number == 0 || number > 200 {
            return None;
        }
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut bytes)?),
            1 => Value::Eight(cut(&mut bytes, 8)?.try_into().ok()?),
            2 => {
                let len = varint(&mut bytes)?;
                let inner = cut(&mut bytes, usize::try_from(len).ok()?)?;
                let nested = match depth < MAX_DEPTH && inner.len() > 1 {
                    true => parse_at(inner, depth + 1),
                    false => None,
                };
                nested.map_or_else(|| Value::Bytes(inner.to_vec()), Value::Message)
            }
            5 => Value::Four(cut(&mut bytes, 4)?.try_into().ok()?),
            _ => return None,
        };
        fields.push(Field { number, value });
    }
    Some(fields)
}

/// The bytes of a message, with the lengths of all that it holds.
pub fn write(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field { number, value } in fields {
        let key = |wire_type: u64| number << 3 | wire_type;
        match value {
            Value::Varint(value) => {
                put_varint(&mut bytes, key(0));
                put_varint(&mut bytes, *value);
            }
            Value::Eight(value) => {
                put_varint(&mut bytes, key(1));
                bytes.extend_from_slice(value);
            }
            Value::Bytes(value) => put_bytes(&mut bytes, key(2), value),
            Value::Message(fields) => put_bytes(&mut bytes, key(2), &write(fields)),
            Value::Four(value) => {
                put_varint(&mut bytes, key(5));
                bytes.extend_from_slice(value);
            }
        }
    }
    bytes
}

fn put_bytes(bytes: &mut Vec<u8>, key: u64, value: &[u8]) {
    put_varint(bytes, key);
    put_varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}

/// Number of fields, those of nested messages included.
fn count(fields: &[Field]) -> usize {
    fields.iter().map(|field| 1 + inner(field)).sum()
}

fn inner(field: &Field) -> usize {
    match &field.value {
        Value::Message(fields) => count(fields),
        _ => 0,
    }
}

/// Changes one field, wherever it is nested.
pub fn mutate(fields: &mut Vec<Field>, rng: &mut Rng, plain: &mut Plain<'_>) {
    let at = rng.below(count(fields));
    mutate_at(fields, at, rng, plain);
}

fn mutate_at(fields: &mut Vec<Field>, mut at: usize, rng: &mut Rng, plain: &mut Plain<'_>) {
    let mut index = 0;
    while index < fields.len() {
        let inner = inner(&fields[index]);
        match (at, &mut fields[index].value) {
            (0, _) => return mutate_field(fields, index, rng, plain),
            (_, Value::Message(nested)) if at <= inner => {
                return mutate_at(nested, at - 1, rng, plain);
            }
            _ => at -= 1 + inner,
        }
        index += 1;
    }
}

fn mutate_field(fields: &mut Vec<Field>, index: usize, rng: &mut Rng, plain: &mut Plain<'_>) {
    match rng.below(12) {
        0 => drop(fields.remove(index)),
        1 => {
            let (copy, to) = (fields[index].clone(), rng.below(fields.len() + 1));
            fields.insert(to, copy);
        }
        2 => {
            let other = rng.below(fields.len());
            fields.swap(index, other);
        }
        3 => {
            // The value of another field in this one's place.
            let value = fields[rng.below(fields.len())].value.clone();
            fields[index].value = value;
        }
        4 if rng.one_in(3) => fields[index].number = 1 + rng.below(22) as u64,
        _ => match &mut fields[index].value {
            Value::Varint(value) => *value = number(*value, rng),
            Value::Eight(value) => {
                let old = f64::from_le_bytes(*value);
                *value = float(old, rng).to_le_bytes();
            }
            Value::Four(value) => {
                let old = f64::from(f32::from_le_bytes(*value));
                *value = (float(old, rng) as f32).to_le_bytes();
            }
            Value::Bytes(value) => match std::str::from_utf8(value) {
                Ok(_) if rng.one_in(2) => text(value, rng, plain),
                _ => mutate_bytes(value, rng, plain),
            },
            Value::Message(nested) => match nested.is_empty() {
                true => nested.push(Field {
                    number: 1 + rng.below(8) as u64,
                    value: Value::Varint(rng.word() >> rng.below(64)),
                }),
                false => mutate(nested, rng, plain),
            },
        },
    }
}

/// Another floating-point number.
fn float(old: f64, rng: &mut Rng) -> f64 {
    const SPECIAL: [f64; 12] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        40.0,
        1e12,
        1e300,
        -1e300,
        f64::MIN_POSITIVE,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    match rng.below(4) {
        0 => *rng.pick(&SPECIAL),
        1 => old * 2.0,
        2 => old + 1.0,
        _ => f64::from_bits(old.to_bits() ^ (1 << rng.below(64))),
    }
}
