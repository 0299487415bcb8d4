//! How much memory a server takes, and how it makes do with less.
//!
//! Keys must be in memory, and so must what the largest operation works on. Under a limit the bootstraps' transforms are
//! kept as integers, and what is left goes to encoded weights; those that find no place are encoded again at every use.

use heddle_ckks::Context;
use heddle_ckks::buffer::POOL_LIMIT;
use heddle_ckks::circuits::linear::GROUP_BYTES;

use crate::Error;

/// How much memory a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Memory {
    /// As much as full speed takes.
    #[default]
    FullSpeed,
    /// At most this many bytes.
    AtMost(u64),
}

/// Polynomials over the whole chain, the special primes included, that the largest operation works on, those between
/// uses included: CoeffToSlot with the partial sums of its giant steps.
const WORKING: u64 = 50;

/// The program itself, its tables, the plan, and what buffers are rounded up by; measured.
const FIXED: u64 = 700 << 20;

/// The bytes that a limit leaves to encoded weights.
pub(crate) struct Room {
    left: Option<u64>,
}

impl Memory {
    /// Divides the memory among what must be there, `keys` and `transforms` bytes of it, and the rest, and bounds the
    /// engine's pool of buffers accordingly. The largest linear map takes `largest_map` bytes encoded.
    ///
    /// # Errors
    /// [`Error::Memory`] when the limit is below what must be there.
    pub(crate) fn room(
        self,
        context: &Context,
        keys: u64,
        transforms: u64,
        largest_map: u64,
    ) -> Result<Room, Error> {
        let Self::AtMost(limit) = self else {
            context.pool().set_limit(POOL_LIMIT);
            return Ok(Room { left: None });
        };
        let parameters = context.parameters();
        let limbs = parameters.q().len() + parameters.p().len();
        let polynomial = (8 * limbs * context.n()) as u64;
        // A map without a place is made for each use, and of its diagonals, two of which are kept as one, those of one
        // group are transformed in every thread. Its sums are at lower levels than a bootstrap's.
        let transformed = (2 * largest_map).min(GROUP_BYTES as u64);
        let map = largest_map + transformed * rayon::current_num_threads() as u64;
        let working = (WORKING * polynomial).max(WORKING / 2 * polynomial + map);
        let needed = FIXED + keys + transforms + working;
        let Some(left) = limit.checked_sub(needed) else {
            return Err(Error::Memory {
                limit,
                needed,
                keys,
                transforms,
            });
        };
        // Less would have common sizes come from the system again and again.
        context.pool().set_limit((working / 4) as usize);
        Ok(Room { left: Some(left) })
    }
}

impl Room {
    /// Whether so many bytes still have a place, which they then take.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let Some(left) = &mut self.left else {
            return true;
        };
        let fits = bytes <= *left;
        if fits {
            *left -= bytes;
        }
        fits
    }
}

/// A number of bytes like `4GiB`, `6.5 GB` or `900MiB`.
///
/// # Errors
/// Anything else, in words.
pub fn parse_size(text: &str) -> Result<u64, String> {
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
    use heddle_params::named;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_size("4GiB"), Ok(4 << 30));
        assert_eq!(parse_size("1.5 GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("900MiB"), Ok(900 << 20));
        for wrong in ["", "4", "GiB", "-1GiB", "4TiB", "nanGiB", "1e9GiB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_leaves_room_or_says_what_is_needed() {
        let context = Context::new(named::toy(6).unwrap()).unwrap();
        let mut free = Memory::FullSpeed.room(&context, 1 << 40, 0, 0).unwrap();
        assert!(free.take(1 << 50));
        let mut room = Memory::AtMost(1 << 30)
            .room(&context, 100 << 20, 0, 0)
            .unwrap();
        assert!(room.take(100 << 20) && !room.take(1 << 30) && room.take(100 << 20));
        let error = Memory::AtMost(1 << 30).room(&context, 1 << 30, 5, 0);
        assert!(matches!(error, Err(Error::Memory { needed, .. }) if needed > 1 << 30));
        let error = Memory::AtMost(1 << 30).room(&context, 0, 0, 1 << 30);
        assert!(matches!(error, Err(Error::Memory { needed, .. }) if needed > 1 << 30));
    }
}
