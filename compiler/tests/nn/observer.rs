//! What an observer sees, and that it changes nothing.

use std::sync::Mutex;

use heddle_compiler::{Explain, Observer, Options, PassRecord, Ring, compile};
use heddle_ir::preprocess::Preprocess;

use crate::build::{images, residual};

#[derive(Default)]
struct Seen {
    passes: Mutex<Vec<&'static str>>,
    images: Mutex<Vec<(usize, usize)>>,
}

impl Observer for Seen {
    fn pass_finished(&self, pass: &PassRecord) {
        self.passes.lock().unwrap().push(pass.name);
    }

    fn images_calibrated(&self, done: usize, total: usize) {
        self.images.lock().unwrap().push((done, total));
    }
}

/// The same model and options give the byte-identical plan, watched or not, explained or not.
#[test]
fn an_observer_sees_every_pass_and_changes_nothing() {
    let mut options = Options {
        samples: images(10, 192),
        ring: Ring::Insecure { log_n: 10 },
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    let digest = |compilation: &heddle_compiler::Compilation| compilation.plan.digest().unwrap();
    let unwatched = compile(residual(), &options, &()).unwrap();
    options.explain = Explain::Graphs;
    let seen = Seen::default();
    let watched = compile(residual(), &options, &seen).unwrap();
    assert_eq!(digest(&watched), digest(&unwatched));

    let logged = watched.log.records().iter().map(|record| record.name);
    assert_eq!(
        seen.passes.into_inner().unwrap(),
        logged.collect::<Vec<_>>()
    );
    let expected = [
        "import",
        "remove-identity",
        "fold-padding",
        "lower-max-pool",
        "add-checkpoints",
        "centre-operands",
        "calibrate-ranges",
        "fold-batch-norm",
        "approximate-activations",
        "split-channels",
        "pack",
        "fuse-linear-maps",
        "share-sums",
        "place-bootstraps",
        "schedule",
        "select-keys",
    ];
    let names = unwatched.log.records().iter().map(|record| record.name);
    assert_eq!(names.collect::<Vec<_>>(), expected);
    let mut images = seen.images.into_inner().unwrap();
    images.sort_unstable();
    assert_eq!(images, (1..=10).map(|done| (done, 10)).collect::<Vec<_>>());
}
