//! Names of nodes play no part in what is compiled.

use heddle_compiler::{Options, Ring, compile};
use heddle_ir::ckks::Schedule;
use heddle_ir::nn::Model;
use heddle_ir::plan::Plan;
use heddle_ir::preprocess::Preprocess;

use crate::build::{images, residual};

/// The model with other names, in another order.
fn renamed(mut model: Model) -> Model {
    for value in model.graph.values() {
        let count = model.graph.len();
        model.graph.node_mut(value).name = format!("node {}", count - value.index());
    }
    model
}

fn plan(model: Model) -> Plan {
    let options = Options {
        samples: images(10, 192),
        ring: Ring::Insecure { log_n: 10 },
        ..Options::new(Preprocess::named("unit").unwrap())
    };
    compile(model, &options, &()).unwrap().plan
}

fn nameless(mut schedule: Schedule) -> Schedule {
    for value in schedule.graph.values() {
        schedule.graph.node_mut(value).name = String::new();
    }
    schedule
}

#[test]
fn renaming_every_node_changes_names_only() {
    let (one, two) = (plan(residual()), plan(renamed(residual())));
    assert_ne!(one.schedule, two.schedule);
    assert_eq!(nameless(one.schedule), nameless(two.schedule));
    assert_eq!(one.weights, two.weights);
    let bounds = |ranges: &[heddle_ir::plan::RangeRecord]| -> Vec<(f64, Option<f64>)> {
        ranges
            .iter()
            .map(|range| (range.bound, range.observed))
            .collect()
    };
    assert_eq!(bounds(&one.ranges), bounds(&two.ranges));
    assert_eq!((one.input, one.output), (two.input, two.output));
}
