//! Mutation of what has no structure, of numbers and of texts.

use crate::rng::Rng;

/// Changes bytes that have no structure.
pub type Plain<'a> = dyn FnMut(&mut Vec<u8>) + 'a;

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
