//! Where bootstraps go, and how long it takes to find out.

use heddle_compiler::passes::place_bootstraps;
use heddle_compiler::{Compilation, Options, Ring, compile};
use heddle_ir::ValueId;
use heddle_ir::nn::{Model, Op};
use heddle_ir::preprocess::Preprocess;

use crate::build::{Builder, images, residual};
use crate::passes::assert_computes;

/// Branches that hold one to three ReLUs each, all alive until they are added up at the end.
fn branches(count: usize) -> Model {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [4, 3, 1, 1], "stem");
    let x = b.relu(x, "stem.relu");
    let mut ends: Vec<ValueId> = Vec::new();
    for branch in 0..count {
        let mut y = x;
        for step in 0..=branch % 3 {
            let name = format!("branch{branch}.{step}");
            y = b.conv(y, [4, 3, 1, 1], &name);
            y = b.relu(y, &format!("{name}.relu"));
        }
        ends.push(b.conv(y, [4, 1, 1, 1], &format!("branch{branch}.end")));
    }
    let sum = ends
        .into_iter()
        .reduce(|sum, end| b.keep(Op::Add, &[sum, end], "sum"));
    let x = b.relu(sum.expect("there are branches"), "relu");
    let out = b.head(x, 5);
    b.finish(out)
}

fn compiled(model: &Model, samples: &[Vec<f32>]) -> Compilation {
    let options = Options {
        samples: samples.to_vec(),
        ring: Ring::Insecure { log_n: 10 },
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    compile(model.clone(), &options, &()).unwrap()
}

fn remarks(compilation: &Compilation) -> &[String] {
    let mut records = compilation.log.records().iter();
    let record = records.find(|record| record.name == place_bootstraps::NAME);
    &record.expect("the pass ran").remarks
}

fn is_cut(remarks: &[String]) -> bool {
    remarks
        .iter()
        .any(|remark| remark.contains("most promising states"))
}

#[test]
fn a_residual_network_is_searched_whole() {
    let samples = images(10, 3 * 64);
    let compilation = compiled(&residual(), &samples);
    let remarks = remarks(&compilation);
    assert!(!is_cut(remarks), "{remarks:?}");
    let bootstraps = compilation.plan.schedule.bootstraps();
    assert!(
        remarks[0].starts_with(&format!("{bootstraps} bootstraps")),
        "{remarks:?}"
    );
}

#[test]
fn many_branches_at_once_are_placed_all_the_same() {
    let samples = images(10, 3 * 64);
    let model = branches(9);
    let compilation = compiled(&model, &samples);
    let remarks = remarks(&compilation);
    assert!(is_cut(remarks), "{remarks:?}");
    // One for every ReLU but the first, whose image comes high enough, and at most as many at the
    // ends of the branches.
    let relus = compilation.plan.ranges.len() - 1;
    let bootstraps = compilation.plan.schedule.bootstraps();
    assert!(
        (relus - 1..relus + 9).contains(&bootstraps),
        "{bootstraps} of {relus}"
    );
    assert_computes(&compilation.plan, &model, &samples[..3], 0.02);
}
