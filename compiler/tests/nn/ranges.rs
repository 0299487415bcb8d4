//! Ranges cover what the interpreter shows, whatever they come from.

use heddle_compiler::analysis::ranges::{
    BoundOrigin, FLOOR, IMAGE_MARGIN, InputBound, Policy, RangeOverride, Ranges, calibrate,
};
use heddle_compiler::passes::{fold_batch_norm, remove_identity};
use heddle_compiler::{Error, Observer};
use heddle_ir::ValueId;
use heddle_ir::eval::nn::run_all;
use heddle_ir::nn::{ActivationId, ChannelAffine, LinearOp, Model, Op};
use std::sync::Mutex;

use crate::build::{Builder, images, residual};

/// The largest |operand| of every activation, in order, and the largest |logit|.
fn observed(model: &Model, samples: &[Vec<f32>]) -> Vec<f64> {
    let graph = &model.graph;
    let targets: Vec<ValueId> = model
        .activations()
        .map(|value| graph.operands(value)[0])
        .chain([model.output()])
        .collect();
    let mut largest = vec![0.0_f64; targets.len()];
    for sample in samples {
        let values = run_all(model, sample).unwrap();
        for (max, target) in largest.iter_mut().zip(&targets) {
            for x in &values[target.index()] {
                *max = max.max(f64::from(x.abs()));
            }
        }
    }
    largest
}

/// The bounds of all activations, by id.
fn bounds(ranges: &Ranges) -> Vec<f64> {
    ranges
        .activations()
        .values()
        .map(|range| range.bound)
        .collect()
}

fn first_bound(ranges: &Ranges) -> f64 {
    ranges.activation(ActivationId(0)).bound
}

fn given(text: &[&str]) -> Vec<RangeOverride> {
    text.iter().map(|text| text.parse().unwrap()).collect()
}

/// A model without statistics.
fn folded() -> Model {
    fold_batch_norm::run(residual()).unwrap().0
}

/// What an observer was told of calibration.
#[derive(Default)]
struct Progress(Mutex<Vec<(usize, usize)>>);

impl Observer for Progress {
    fn images_calibrated(&self, done: usize, total: usize) {
        self.0.lock().unwrap().push((done, total));
    }
}

fn sentences(ranges: &Ranges) -> Vec<String> {
    ranges.notes().iter().map(ToString::to_string).collect()
}

#[test]
fn a_range_with_little_room_carries_a_note() {
    let (model, samples) = (residual(), images(120, 192));
    let expected = observed(&model, &samples);
    let notes = |factor: f64| {
        let bound = format!("stem.relu={}", factor * expected[0]);
        let ranges = calibrate(&model, &samples, &given(&[&bound]), 1.0, &()).unwrap();
        sentences(&ranges).join("\n")
    };
    assert!(
        notes(1.1).contains("91 % of the range of `stem.relu`"),
        "{}",
        notes(1.1)
    );
    assert!(!notes(1.3).contains("stem.relu"), "{}", notes(1.3));
}

#[test]
fn samples_give_their_maximum_times_the_margin() {
    let (model, samples) = (residual(), images(20, 192));
    let progress = Progress::default();
    let ranges = calibrate(&model, &samples, &[], 2.5, &progress).unwrap();
    let mut seen = progress.0.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (1..=20).map(|done| (done, 20)).collect::<Vec<_>>());
    assert_eq!(ranges.input(), 2.5);
    let expected = observed(&model, &samples);
    let names: Vec<&str> = ranges.details().map(|range| range.name.as_str()).collect();
    assert_eq!(names, ["stem.relu", "block.relu1", "block.relu2", "fc"]);
    for (range, expected) in ranges.details().zip(&expected) {
        assert_eq!(range.origin, BoundOrigin::Images);
        assert_eq!(range.observed, Some(*expected));
        assert_eq!(range.bound, IMAGE_MARGIN * expected);
        assert!((range.used().unwrap() - 1.0 / IMAGE_MARGIN).abs() < 1e-12);
    }
    let bounds: Vec<f64> = ranges
        .activations()
        .values()
        .chain([ranges.logits()])
        .map(|range| range.bound)
        .collect();
    assert_eq!(
        bounds,
        ranges
            .details()
            .map(|range| range.bound)
            .collect::<Vec<f64>>()
    );
    assert!(
        sentences(&ranges)
            .iter()
            .any(|note| note.contains("20 sample images"))
    );
}

#[test]
fn ranges_do_not_depend_on_earlier_passes() {
    let samples = images(8, 192);
    let model = residual();
    let before = calibrate(&model, &samples, &[], 1.0, &()).unwrap();
    let (model, _) = remove_identity::run(model).unwrap();
    let (model, _) = fold_batch_norm::run(model).unwrap();
    let after = calibrate(&model, &samples, &[], 1.0, &()).unwrap();
    let pairs = before
        .activations()
        .values()
        .zip(after.activations().values());
    for (before, after) in pairs {
        assert!((before.bound / after.bound - 1.0).abs() < 1e-5);
    }
}

#[test]
fn many_samples_need_no_note_and_a_large_image_widens_the_input() {
    let mut samples = images(100, 192);
    samples[99][5] = -9.0;
    let ranges = calibrate(&residual(), &samples, &[], 1.0, &()).unwrap();
    assert_eq!(ranges.input(), IMAGE_MARGIN * 9.0);
    assert!(ranges.notes().is_empty(), "{:?}", ranges.notes());
}

#[test]
fn the_input_of_tensors_has_the_margin_and_that_of_pixels_is_exact() {
    let (model, samples) = (residual(), images(4, 192));
    let largest = samples
        .iter()
        .flatten()
        .fold(0.0_f32, |max, x| max.max(x.abs()));
    let input = |margin: f64, input| {
        let policy = Policy { margin, input };
        calibrate(&model, &samples, &[], policy, &())
            .unwrap()
            .input()
    };
    let largest = f64::from(largest);
    assert_eq!(
        input(3.0, InputBound::Tensors(0.5 * largest)),
        3.0 * largest
    );
    assert_eq!(
        input(1.0, InputBound::Tensors(7.0 * largest)),
        7.0 * largest
    );
    assert_eq!(input(3.0, InputBound::Pixels(largest)), largest);
    // Rounding of the preprocessing is no reason for a margin, an element beyond its bound is.
    assert_eq!(
        input(3.0, InputBound::Pixels(largest * (1.0 - 1e-7))),
        largest
    );
    assert_eq!(input(3.0, InputBound::Pixels(0.9 * largest)), 3.0 * largest);
}

#[test]
fn the_margin_is_that_of_every_range() {
    let (model, samples) = (residual(), images(120, 192));
    let expected = observed(&model, &samples);
    let policy = |margin: f64| Policy {
        margin,
        ..Policy::from(1.0)
    };
    let ranges = calibrate(&model, &samples, &[], policy(1.125), &()).unwrap();
    for (range, expected) in ranges.details().zip(&expected) {
        assert_eq!(range.bound, 1.125 * expected);
    }
    // The user asked for little room: a note for each range would say nothing new.
    assert!(ranges.notes().is_empty(), "{:?}", ranges.notes());
    for margin in [0.99, 1001.0, f64::NAN, f64::INFINITY, -2.0] {
        let error = calibrate(&model, &samples, &[], policy(margin), &()).unwrap_err();
        assert!(error.to_string().contains("--margin"), "{error}");
    }
}

#[test]
fn the_input_takes_a_range_by_its_name_alone() {
    let (model, samples) = (residual(), images(4, 192));
    let name = model
        .graph
        .node(model.inputs().next().unwrap())
        .name
        .clone();
    let range = format!("{name}=40");
    let ranges = calibrate(&model, &samples, &given(&[&range]), 1.0, &()).unwrap();
    assert_eq!(ranges.input(), 40.0);
    let ranges = calibrate(&model, &samples, &given(&["*=4000"]), 1.0, &()).unwrap();
    assert!(ranges.input() < 40.0);
    let narrow = format!("{name}=0.0001");
    let error = calibrate(&model, &samples, &given(&[&narrow]), 1.0, &()).unwrap_err();
    assert!(matches!(error, Error::RangeTooSmall { .. }));
    let error = calibrate(&model, &[], &given(&["other=3"]), 1.0, &()).unwrap_err();
    assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
}

#[test]
fn statistics_cover_what_samples_show() {
    let model = residual();
    let ranges = calibrate(&model, &[], &[], 1.0, &()).unwrap();
    let observed = observed(&model, &images(50, 192));
    for (range, observed) in ranges.details().zip(observed) {
        assert_eq!(
            (range.origin, range.observed),
            (BoundOrigin::Statistics, None)
        );
        assert!(
            range.bound > observed,
            "{}: {} < {observed}",
            range.name,
            range.bound
        );
        assert!(
            range.bound < 100.0 * observed,
            "{}: {}",
            range.name,
            range.bound
        );
    }
    assert!(
        sentences(&ranges)[0].contains("--calibrate"),
        "{:?}",
        ranges.notes()
    );
}

#[test]
fn statistics_reach_as_far_as_the_widest_position() {
    let mut b = Builder::new([2, 4, 4]);
    let x = b.conv(ValueId(0), [3, 3, 1, 1], "conv");
    let x = b.batch_norm(x, "norm");
    let x = b.elements(x, "elements");
    let x = b.relu(x, "relu");
    let out = b.head(x, 2);
    let model = b.finish(out);
    let tensor = |name: &str| {
        let mut weights = model.weights.iter();
        let (_, tensor) = weights.find(|(_, tensor)| tensor.name == name).unwrap();
        tensor.data.iter().copied().map(f64::from).collect()
    };
    let [mean, deviation, scale, shift]: [Vec<f64>; 4] = [
        tensor("norm.bias"),
        tensor("norm.scale"),
        tensor("elements.scale"),
        tensor("elements.shift"),
    ];
    let reaches = (0..48).map(|element| {
        let (mean, deviation) = (mean[element / 16], deviation[element / 16]);
        (scale[element] * mean + shift[element]).abs() + 16.0 * (scale[element] * deviation).abs()
    });
    let expected = reaches.fold(0.0, f64::max);
    let ranges = calibrate(&model, &[], &[], 1.0, &()).unwrap();
    let bound = first_bound(&ranges);
    assert!((bound / expected - 1.0).abs() < 1e-9, "{bound} {expected}");
}

#[test]
fn without_samples_and_statistics_the_error_names_the_ways_out() {
    let message = calibrate(&folded(), &[], &[], 1.0, &())
        .unwrap_err()
        .to_string();
    for part in ["`stem.relu`", "`block.relu2`", "--calibrate", "--range"] {
        assert!(message.contains(part), "{message}");
    }
    // One activation is not enough.
    let error = calibrate(&folded(), &[], &given(&["stem*=3"]), 1.0, &()).unwrap_err();
    assert!(
        matches!(&error, Error::UnknownRange { node, .. } if node == "block.relu1"),
        "{error}"
    );
}

#[test]
fn overrides_for_every_activation_are_enough() {
    let model = folded();
    let ranges = calibrate(&model, &[], &given(&["*=40"]), 1.0, &()).unwrap();
    assert!(
        ranges
            .details()
            .all(|range| range.bound == 40.0 && range.origin == BoundOrigin::User)
    );

    let ranges = calibrate(&model, &[], &given(&["*relu*=40", "block.*=9"]), 1.0, &()).unwrap();
    assert_eq!(bounds(&ranges), [40.0, 9.0, 9.0]);
    let logits = ranges.details().last().unwrap();
    assert_eq!(logits.origin, BoundOrigin::WorstCase);
    // A mean of eight features below 9, weights below 1, offset below 0.3.
    assert!(
        logits.bound > 9.0 && logits.bound < 8.0 * 9.0 + 0.3,
        "{}",
        logits.bound
    );
    assert!(
        sentences(&ranges)
            .iter()
            .any(|note| note.contains("worst case"))
    );
}

#[test]
fn overrides_match_the_node_in_front_too() {
    let samples = images(4, 192);
    let ranges = calibrate(&residual(), &samples, &given(&["block.add=50"]), 1.0, &()).unwrap();
    assert_eq!(ranges.activation(ActivationId(2)).bound, 50.0);
    assert_eq!(ranges.details().nth(2).unwrap().origin, BoundOrigin::User);
}

#[test]
fn an_override_that_matches_nothing_is_an_error() {
    let error = calibrate(&residual(), &[], &given(&["layer9*=3"]), 1.0, &()).unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::RangeUnmatched { .. }));
    assert!(
        message.contains("`--range layer9*=3`") && message.contains("`stem.relu`"),
        "{message}"
    );
    let bad = RangeOverride {
        pattern: "*".to_owned(),
        bound: f64::NAN,
    };
    assert!(matches!(
        calibrate(&residual(), &[], &[bad], 1.0, &()),
        Err(Error::RangeSyntax { .. })
    ));
}

#[test]
fn an_override_below_the_samples_is_an_error_with_their_figure() {
    let samples = images(4, 192);
    let figure = observed(&residual(), &samples)[1];
    let error = calibrate(
        &residual(),
        &samples,
        &given(&["block.relu1=0.125"]),
        1.0,
        &(),
    )
    .unwrap_err();
    let message = error.to_string();
    assert!(matches!(error, Error::RangeTooSmall { bound: 0.125, .. }));
    assert!(
        message.contains("`block.relu1`") && message.contains(&format!("{figure:.4}")),
        "{message}"
    );
}

#[test]
fn nearly_dead_activations_get_a_floor() {
    let mut b = Builder::new([3, 8, 8]);
    let x = b.conv(ValueId(0), [4, 3, 1, 1], "stem");
    let x = b.relu(x, "relu1");
    let dead = LinearOp::ChannelAffine(ChannelAffine {
        scale: Some(b.weight("zero", &[4], 0.0, 0.0)),
        shift: Some(b.weight("tiny", &[4], 1e-9, 0.0)),
    });
    let y = b.keep(Op::Linear(dead), &[x], "dead");
    let y = b.relu(y, "relu2");
    let z = b.keep(Op::Add, &[x, y], "add");
    let z = b.relu(z, "relu3");
    let out = b.head(z, 3);
    let model = b.finish(out);
    let ranges = calibrate(&model, &images(5, 192), &[], 1.0, &()).unwrap();
    let dead = ranges.details().nth(1).unwrap();
    assert_eq!(dead.origin, BoundOrigin::Floor);
    assert!(dead.bound >= FLOOR * ranges.logits().bound.min(first_bound(&ranges)));
    assert!(
        sentences(&ranges)
            .iter()
            .any(|note| note.contains("`relu2` is nearly dead"))
    );
}

#[test]
fn a_network_of_zeros_still_has_ranges() {
    let mut b = Builder::new([1, 2, 2]);
    let x = b.relu(ValueId(0), "relu");
    let out = b.head(x, 2);
    let model = b.finish(out);
    let ranges = calibrate(&model, &[vec![0.0; 4]], &[], 1.0, &()).unwrap();
    assert!(bounds(&ranges).iter().all(|bound| *bound > 0.0));
    assert!(ranges.logits().bound > 0.0);
}

#[test]
fn samples_of_the_wrong_size_or_with_nan_are_errors() {
    let model = residual();
    assert!(matches!(
        calibrate(&model, &images(1, 3), &[], 1.0, &()),
        Err(Error::Ir(_))
    ));
    let mut samples = images(4, 192);
    samples[1][0] = f32::NAN;
    samples[3][0] = f32::INFINITY;
    match calibrate(&model, &samples, &[], 1.0, &()) {
        Err(Error::NotFinite { image: 1, node }) => assert_eq!(node, "stem.bn"),
        other => panic!("{other:?}"),
    }
}
