//! Damaged texts: parsers and verifiers answer with errors, whatever they are given.

use proptest::prelude::*;

use super::{parse_ckks, parse_nn, parse_slot, print_ckks, print_slot, summary};
use crate::ckks::Target;
use crate::test_support::{
    parallel_schedule, parallel_slot_graph, parameters, schedule, slot_graph,
};
use crate::verify;
use crate::weights::Weights;

/// A place in a text, how much of it goes, and what comes instead.
fn edit() -> impl Strategy<Value = (usize, usize, String)> {
    let numbers = prop_oneof![
        Just("0".to_owned()),
        Just("18446744073709551615".to_owned()),
        Just("1e308".to_owned()),
        Just("NaN".to_owned()),
        Just("-1".to_owned()),
        "[0-9]{1,6}",
        "[ -~µ→\n]{0,8}",
    ];
    (any::<usize>(), 0..4_usize, numbers)
}

/// The text with every edit made at a place that starts a number or anywhere.
fn edited(text: &str, edits: &[(usize, usize, String)]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (place, removed, inserted) in edits {
        let digits: Vec<usize> = (0..characters.len())
            .filter(|at| characters[*at].is_ascii_digit())
            .collect();
        let at = if place % 3 == 0 || digits.is_empty() {
            place % (characters.len() + 1)
        } else {
            digits[place % digits.len()]
        };
        let end = (at + removed).min(characters.len());
        characters.splice(at..end, inserted.chars());
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_schedules_do_not_panic(edits in prop::collection::vec(edit(), 1..4)) {
        let (parameters, bootstrap) = parameters();
        for (schedule, weights) in [schedule(), parallel_schedule()] {
            let text = edited(&print_ckks(&schedule), &edits);
            let Ok(parsed) = parse_ckks(&text) else { continue };
            let target = Target { parameters: &parameters, bootstrap: &bootstrap };
            let violations = verify::ckks::verify(&parsed, target, Some(&weights));
            if violations.is_empty() {
                verify::ckks::verify_diagonals(&parsed, &weights);
                summary(&parsed);
                prop_assert_eq!(parse_ckks(&print_ckks(&parsed)).unwrap(), parsed);
            }
        }
    }

    #[test]
    fn damaged_packed_graphs_do_not_panic(edits in prop::collection::vec(edit(), 1..4)) {
        for (graph, weights) in [slot_graph(), parallel_slot_graph()] {
            if let Ok(parsed) = parse_slot(&edited(&print_slot(&graph), &edits)) {
                verify::slot::verify(&parsed, &weights);
            }
        }
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC{0,200}") {
        for stage in ["", "ckks schedule\n", "slot graph\n", "nn graph \"\" {}\n"] {
            let text = format!("{stage}{text}");
            let _ = parse_ckks(&text);
            let _ = parse_slot(&text);
            let _ = parse_nn(&text, Weights::default());
        }
    }
}
