//! The states that a search goes on from: the Pareto frontier of cost and levels, and where that is
//! too large, its most promising states.

/// A state: the level of every live value, of which more is better, and the cost of getting there.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State<T> {
    /// The levels.
    pub(super) levels: Vec<u16>,
    /// The cost.
    pub(super) cost: f64,
    /// How it was reached.
    pub(super) step: T,
}

/// The states that are kept.
#[derive(Debug, PartialEq)]
pub(super) struct Frontier<T> {
    /// The states, the most promising first.
    pub(super) states: Vec<State<T>>,
    /// Whether the limit left states of the frontier out.
    pub(super) is_cut: bool,
}

/// The Pareto frontier of cost and levels, at most `limit` states of it; ties keep the first. A
/// state dominates another if it costs no more and leaves every live value at least as high. Where
/// the frontier is larger, the states stay whose cost, less what their levels are worth, is least;
/// `worth` is that of one level, by live value, and not negative.
pub(super) fn pareto_frontier<T>(
    states: Vec<State<T>>,
    worth: &[f64],
    limit: usize,
) -> Frontier<T> {
    let score = |state: &State<T>| {
        let levels = state.levels.iter().zip(worth);
        state.cost - levels.map(|(l, w)| f64::from(*l) * w).sum::<f64>()
    };
    // A dominating state has no higher score, so that it comes first; ties in score are decided by
    // cost and levels.
    let mut states: Vec<(f64, State<T>)> = states.into_iter().map(|s| (score(&s), s)).collect();
    states.sort_by(|(left, a), (right, b)| {
        left.total_cmp(right)
            .then_with(|| a.cost.total_cmp(&b.cost))
            .then_with(|| b.levels.cmp(&a.levels))
    });
    let words = worth.len().div_ceil(PER_WORD).max(1);
    let mut packed: Vec<u64> = Vec::new();
    let mut frontier = Frontier {
        states: Vec::new(),
        is_cut: false,
    };
    for (_, state) in states {
        let levels = pack(&state.levels);
        let is_dominated = packed
            .chunks_exact(words)
            .zip(&frontier.states)
            .any(|(other, kept)| kept.cost <= state.cost && covers(other, &levels));
        if is_dominated {
            continue;
        }
        if frontier.states.len() == limit {
            frontier.is_cut = true;
            break;
        }
        packed.extend(levels);
        frontier.states.push(state);
    }
    frontier
}

/// Levels in a word, 15 bits each and a guard bit.
const PER_WORD: usize = 4;

/// The guard bit of every level.
const GUARDS: u64 = 0x8000_8000_8000_8000;

/// Levels, which must be below 2^15, four to a word; one word where there are none.
fn pack(levels: &[u16]) -> Vec<u64> {
    let word = |levels: &[u16]| {
        let levels = levels.iter().rev();
        levels.fold(0, |word, level| word << 16 | u64::from(*level))
    };
    match levels {
        [] => vec![0],
        levels => levels.chunks(PER_WORD).map(word).collect(),
    }
}

/// Whether every level on the left is at least as high. Exactly then all guard bits survive the
/// subtraction; a guard bit also keeps a borrow from reaching the level above.
fn covers(left: &[u64], right: &[u64]) -> bool {
    left.iter()
        .zip(right)
        .all(|(left, right)| ((left | GUARDS) - right) & GUARDS == GUARDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Case = (Vec<State<()>>, Vec<f64>);

    /// States of one to nine live values with few different levels and costs, so that many are
    /// equal or dominated.
    fn cases() -> impl Strategy<Value = Case> {
        (1..10_usize).prop_flat_map(|values| {
            let state = (prop::collection::vec(0..5_u16, values), 0..6_u8);
            let state = state.prop_map(|(levels, cost)| State {
                levels,
                cost: f64::from(cost),
                step: (),
            });
            let worth = prop::collection::vec(prop_oneof![Just(0.0), 0.0..3.0], values);
            (prop::collection::vec(state, 0..60), worth)
        })
    }

    fn dominates(left: &State<()>, right: &State<()>) -> bool {
        let mut levels = left.levels.iter().zip(&right.levels);
        left.cost <= right.cost && levels.all(|(left, right)| left >= right)
    }

    /// By comparing every state with every other.
    fn naive(states: &[State<()>]) -> Vec<State<()>> {
        let mut kept: Vec<State<()>> = Vec::new();
        for state in states {
            let dominated = |other: &State<()>| dominates(other, state) && other != state;
            if !states.iter().any(dominated) && !kept.contains(state) {
                kept.push(state.clone());
            }
        }
        kept
    }

    proptest! {
        #[test]
        fn the_frontier_is_kept((states, worth) in cases()) {
            let mut expected = naive(&states);
            let mut found = pareto_frontier(states, &worth, usize::MAX);
            prop_assert!(!found.is_cut);
            let order = |left: &State<()>, right: &State<()>| {
                left.levels.cmp(&right.levels).then(left.cost.total_cmp(&right.cost))
            };
            expected.sort_by(order);
            found.states.sort_by(order);
            prop_assert_eq!(found.states, expected);
        }

        #[test]
        fn a_limit_keeps_the_most_promising((states, worth) in cases(), limit in 1..8_usize) {
            let whole = pareto_frontier(states.clone(), &worth, usize::MAX).states;
            let cut = pareto_frontier(states, &worth, limit);
            prop_assert_eq!(cut.is_cut, whole.len() > limit);
            prop_assert_eq!(&cut.states[..], &whole[..limit.min(whole.len())]);
        }

        #[test]
        fn words_compare_level_by_level(pairs in prop::collection::vec((0..0x8000_u16, 0..0x8000_u16), 0..12)) {
            let (left, right): (Vec<u16>, Vec<u16>) = pairs.iter().copied().unzip();
            let expected = pairs.iter().all(|(left, right)| left >= right);
            prop_assert_eq!(covers(&pack(&left), &pack(&right)), expected);
            prop_assert!(covers(&pack(&left), &pack(&left)));
        }
    }

    #[test]
    fn of_equal_states_the_first_stays() {
        let state = |step| State {
            levels: vec![3, 4],
            cost: 1.0,
            step,
        };
        let frontier = pareto_frontier(vec![state("first"), state("second")], &[1.0, 0.0], 9);
        assert_eq!(frontier.states, [state("first")]);
    }
}
