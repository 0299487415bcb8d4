//! The oracle itself: it agrees with the library where that is known to be right, and notices what
//! is wrong.

use heddle_fuzz::oracle::{Target, check_keys, check_parameters};
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::eval_mod::EvalMod;
use heddle_params::keys::{KeyNeed, KeyUse, required};
use heddle_params::{Parameters, named};

fn needs(parameters: &Parameters) -> Vec<KeyNeed> {
    let mut needs = Vec::new();
    for level in [0, 3, 4, 17, parameters.max_level()] {
        needs.push(KeyNeed::Product { level });
        for by in [1, 2, 3, 1000, parameters.n() / 2 - 1] {
            needs.push(KeyNeed::Rotation { by, level });
        }
    }
    needs
}

#[test]
fn named_sets_need_what_the_oracle_says() {
    let sets = [
        (
            named::n16_qp1684_dense(),
            named::n16_qp1684_dense_bootstrap(),
        ),
        (named::n16_qp1714_dense(), BootstrapParameters::default()),
        (
            named::toy_with(12, 10).unwrap(),
            BootstrapParameters::with_eval_mod(EvalMod::Arcsine { degree: 5 }),
        ),
        (named::toy(8).unwrap(), BootstrapParameters::default()),
    ];
    for (parameters, bootstrap) in sets {
        check_parameters(&parameters, parameters.is_insecure());
        let target = Target {
            parameters: parameters.literal(),
            bootstrap: &bootstrap,
        };
        for log_slots in 0..parameters.log_n() {
            for variant in [BootstrapVariant::Real, BootstrapVariant::Complex] {
                let mut needs = match parameters.log_n() {
                    12.. => needs(&parameters),
                    _ => vec![KeyNeed::Product { level: 1 }],
                };
                needs.push(KeyNeed::Bootstrap { log_slots, variant });
                let found = required(&parameters, &bootstrap, needs.iter().copied()).unwrap();
                check_keys(target, &found, &target.keys(needs));
            }
        }
    }
}

/// The keys of `N16_QP1714_DENSE` for a few operations, edited.
fn edited(edit: impl FnOnce(&mut Vec<KeyUse>)) {
    let (parameters, bootstrap) = (named::n16_qp1714_dense(), BootstrapParameters::default());
    let target = Target {
        parameters: parameters.literal(),
        bootstrap: &bootstrap,
    };
    let needs = needs(&parameters);
    let mut found = required(&parameters, &bootstrap, needs.iter().copied()).unwrap();
    edit(&mut found);
    check_keys(target, &found, &target.keys(needs));
}

#[test]
#[should_panic(expected = "left == right")]
fn a_missing_key_is_noticed() {
    edited(|keys| {
        keys.remove(3);
    });
}

#[test]
#[should_panic(expected = "left == right")]
fn a_key_too_many_is_noticed() {
    edited(|keys| {
        let key = KeyUse {
            level: keys[0].level - 1,
            ..keys[0]
        };
        keys.insert(0, key);
    });
}

#[test]
#[should_panic(expected = "marked insecure")]
fn a_wrong_mark_is_noticed() {
    check_parameters(&named::n16_qp1714_dense(), true);
}
