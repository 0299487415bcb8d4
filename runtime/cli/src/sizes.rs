//! Sizes on the command line.

/// A number of bytes like `4GiB`, `6.5 GB` or `900MiB`.
///
/// # Errors
/// Anything else, in words.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let units = [
        ("GiB", 1u64 << 30),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
    ];
    units
        .iter()
        .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)))
        .and_then(|(number, bytes)| {
            let number: f64 = number.trim().parse().ok()?;
            (number > 0.0 && number < 1e6).then_some((number * *bytes as f64) as u64)
        })
        .ok_or_else(|| "expected a size like 4GiB, 6.5GB or 900MiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_size("4GiB"), Ok(4 << 30));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("900MiB"), Ok(900 << 20));
        for wrong in ["", "4", "GiB", "-1GiB", "4TiB", "nanGiB", "1e9GiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
