//! Runs every target over its corpus and a fixed number of mutations of each seed.

use std::fs;
use std::path::{Path, PathBuf};

use heddle_fuzz::mutate::mutate;
use heddle_fuzz::plain::havoc;
use heddle_fuzz::rng::Rng;
use heddle_fuzz::targets::{Target, named};

/// Mutations of every seed; `HEDDLE_FUZZ_MUTATIONS` sets another number.
const MUTATIONS: u64 = 200;

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("every target has a corpus")
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let bytes = fs::read(&file).unwrap();
            (file, bytes)
        })
        .collect()
}

/// Runs a target; a panic of its body fails the test and names the input.
fn replay(name: &str) {
    let target = named(name);
    let mutations = std::env::var("HEDDLE_FUZZ_MUTATIONS");
    let mutations = mutations.map_or(MUTATIONS, |text| text.parse().unwrap());
    let (mut runs, mut accepted, mut sound) = (0, 0, 0);
    for (file, bytes) in corpus(&target) {
        println!("{}", file.display());
        sound += u64::from((target.body)(&bytes));
        for seed in 0..mutations {
            let mut mutated = bytes.clone();
            let mut rng = Rng::new(!seed);
            // Every fourth is changed more than once.
            for step in 0..=u64::from(seed % 4 == 0) * 3 {
                let mut plain = |bytes: &mut Vec<u8>| havoc(bytes, &mut rng);
                mutate(target.format, &mut mutated, seed << 8 | step, &mut plain);
            }
            println!("  mutation {seed}");
            accepted += u64::from((target.body)(&mutated));
            runs += 1;
        }
    }
    println!("{name}: {sound} seeds and {accepted} of {runs} mutations accepted");
    assert!(
        sound > 0,
        "no seed of `{name}` is accepted: write them anew with the program `seeds`"
    );
}

/// What the program itself writes is accepted: a check that refuses too much shows here.
#[test]
fn every_seed_is_accepted() {
    for (target, name, bytes) in heddle_fuzz::seeds::all() {
        assert!((named(target).body)(&bytes), "{target}/{name} is refused");
    }
}

macro_rules! targets {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            replay(stringify!($name));
        }
    )*};
}

targets! { onnx plan client keys ciphertext texts images json }
