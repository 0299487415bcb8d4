//! How much memory a server takes, and how it works with less.
//!
//! Keys must be in memory, and so must what the largest operation works on. Under a limit, the
//! transforms of bootstraps are kept as integers, and what is left goes to encoded weights; without
//! one, these take 6 GiB at most. Weights that do not fit are encoded again at every use,
//! a few diagonals at a time.

use heddle_ckks::Context;
use heddle_ckks::buffer::POOL_LIMIT;
use heddle_ir::ValueId;
use heddle_ir::ckks::{Op, Schedule};

use crate::Error;

/// How much memory a server may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Memory {
    /// As much as full speed takes: encoded weights up to 6 GiB, and all else.
    #[default]
    FullSpeed,
    /// At most this many bytes.
    AtMost(u64),
}

/// Polynomials over the whole chain, special primes included, that the largest operation works on:
/// CoeffToSlot with the partial sums of its giant rotations. Unused buffers count too, and two
/// ciphertexts that are alive beside it.
const WORKING: u64 = 50;

/// Most bytes of encoded weights without a limit.
const KEPT: u64 = 6 << 30;

/// Bytes of the program, its tables, the plan, and the rounding of buffer sizes; measured.
const FIXED: u64 = 700 << 20;

/// What must be in memory, in bytes, or is made again at each use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Needs {
    /// Of the evaluation keys.
    pub(crate) keys: u64,
    /// Of the transforms of bootstraps.
    pub(crate) transforms: u64,
    /// Of the largest linear map, encoded.
    pub(crate) largest_map: u64,
    /// Of the ciphertexts that are alive at once.
    pub(crate) live: u64,
}

/// Bytes of the most ciphertexts that are alive at once while a schedule runs in a ring of degree
/// `n`: where an image or a feature map takes several, they add up.
pub(crate) fn live_bytes(schedule: &Schedule, n: usize) -> u64 {
    let graph = &schedule.graph;
    let bytes = |value: ValueId| 16 * n as u64 * (graph.ty(value).level as u64 + 1);
    // The whole image is there before the first operation.
    let mut live: u64 = schedule.inputs().map(bytes).sum();
    let mut most = live;
    for (value, freed) in graph.values().zip(schedule.frees()) {
        if !matches!(graph.node(value).op, Op::Input) {
            live += bytes(value);
        }
        most = most.max(live);
        live -= freed.into_iter().map(bytes).sum::<u64>();
    }
    most
}

/// How a server's memory is divided: what encoded weights may take, and what the engine's pool of
/// unused buffers may hold.
pub(crate) struct Budget {
    left: u64,
    pool: usize,
}

impl Memory {
    /// Divides the memory among what must be there and the encoded weights.
    ///
    /// # Errors
    /// [`Error::Memory`] when the limit is below what must be there.
    pub(crate) fn budget(self, context: &Context, needs: Needs) -> Result<Budget, Error> {
        let Needs {
            keys,
            transforms,
            largest_map,
            live,
        } = needs;
        let Self::AtMost(limit) = self else {
            return Ok(Budget {
                left: KEPT,
                pool: POOL_LIMIT,
            });
        };
        let parameters = context.parameters();
        let limbs = parameters.q().len() + parameters.p().len();
        let polynomial = (8 * limbs * context.n()) as u64;
        // A map that does not fit is encoded in use, one group of diagonals at a time. Every thread
        // then transforms the group; two diagonals are kept as one. The sums of a map are at lower
        // levels than those of a bootstrap.
        let transformed = 2 * largest_map;
        let map = largest_map + transformed * rayon::current_num_threads() as u64;
        let working = (WORKING * polynomial).max(WORKING / 2 * polynomial + map);
        let alive = live.saturating_sub(4 * polynomial);
        let needed = FIXED + keys + transforms + working + alive;
        let Some(left) = limit.checked_sub(needed) else {
            return Err(Error::Memory {
                limit,
                needed,
                keys,
                transforms,
            });
        };
        Ok(Budget {
            left,
            // With a smaller pool, buffers of common sizes come from the system each time.
            pool: (working / 4) as usize,
        })
    }
}

impl Budget {
    /// Whether so many bytes still fit; they are taken if they do.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let fits = bytes <= self.left;
        if fits {
            self.left -= bytes;
        }
        fits
    }

    /// Bounds the context's pool of unused buffers.
    pub(crate) fn bound_pool(&self, context: &Context) {
        context.pool().set_limit(self.pool);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heddle_ir::Graph;
    use heddle_ir::ckks::CiphertextType;
    use heddle_params::named;

    #[test]
    fn a_limit_leaves_bytes_to_weights_or_says_what_is_needed() {
        let context = Context::new(named::toy(6).unwrap()).unwrap();
        let budget = |limit, keys, transforms, largest_map| {
            let needs = Needs {
                keys,
                transforms,
                largest_map,
                live: 0,
            };
            Memory::AtMost(limit).budget(&context, needs)
        };
        let large = Needs {
            keys: 1 << 40,
            ..Needs::default()
        };
        let mut free = Memory::FullSpeed.budget(&context, large).unwrap();
        assert!(free.take(KEPT - 5) && !free.take(6) && free.take(5));
        assert_eq!(free.pool, POOL_LIMIT);
        let mut bounded = budget(1 << 30, 100 << 20, 0, 0).unwrap();
        assert!(bounded.take(100 << 20) && !bounded.take(1 << 30) && bounded.take(100 << 20));
        assert!(bounded.pool < POOL_LIMIT);
        for refused in [
            budget(1 << 30, 1 << 30, 5, 0),
            budget(1 << 30, 0, 0, 1 << 30),
        ] {
            assert!(matches!(refused, Err(Error::Memory { needed, .. }) if needed > 1 << 30));
        }
        let many = Needs {
            live: 1 << 30,
            ..Needs::default()
        };
        assert!(Memory::AtMost(1 << 30).budget(&context, many).is_err());
    }

    #[test]
    fn all_pieces_of_an_image_are_alive_at_the_start() {
        let ty = |level| CiphertextType {
            log_slots: 2,
            level,
            log_scale: 20.0,
        };
        let mut graph = Graph::new();
        let inputs = [0; 3].map(|_| graph.add(Op::Input, &[], ty(1), ""));
        let first = graph.add(Op::Add, &inputs[..2], ty(1), "");
        let last = graph.add(Op::Add, &[first, inputs[2]], ty(1), "");
        graph.set_outputs(vec![last]);
        let schedule = Schedule {
            graph,
            linear_maps: Vec::new(),
            polynomials: Vec::new(),
        };
        // Three pieces and their first sum, two polynomials of two limbs each.
        assert_eq!(live_bytes(&schedule, 64), 4 * 2 * 2 * 64 * 8);
    }
}
