//! Forms and single diagonals against the matrix, entry by entry.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::nn::linear::{AveragePool, ChannelAffine, PaddingInMean, Slice};
use crate::nn::{Conv, Gemm, LinearOp, Pad, Window};
use crate::test_support::ramp;
use crate::weights::{Tensor, WeightId};

/// Numbers to make choices with, one after the other.
struct Choices<'a>(std::slice::Iter<'a, u16>);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        self.0
            .next()
            .map_or(0, |number| usize::from(*number) % bound)
    }
}

/// Weights with zeros among them.
fn weight(weights: &mut Weights, shape: Vec<usize>, choices: &mut Choices<'_>) -> WeightId {
    let len = shape.iter().product();
    let (every, seed) = (choices.below(4) + 2, choices.below(23));
    let mut data = ramp(len, seed);
    for element in data.iter_mut().step_by(every) {
        *element = 0.0;
    }
    weights.push(Tensor::new("weight", shape, data))
}

/// A random operation for an operand of the shape.
fn operation(
    [channels, height, width]: [usize; 3],
    weights: &mut Weights,
    choices: &mut Choices<'_>,
) -> LinearOp {
    let shape = [channels, height, width];
    match choices.below(8) {
        0 => {
            let start = shape.map(|extent| choices.below(extent));
            let mut end = shape;
            for axis in 0..3 {
                end[axis] -= choices.below(shape[axis] - start[axis]);
            }
            let step = shape.map(|_| 1 + choices.below(2));
            Slice { start, end, step }.into()
        }
        1 => Pad {
            before: shape.map(|_| choices.below(2)),
            after: shape.map(|_| choices.below(2)),
        }
        .into(),
        2 => {
            let scale = Some(weight(weights, vec![channels], choices));
            ChannelAffine { scale, shift: None }.into()
        }
        3 => AveragePool {
            window: Window {
                kernel: [
                    1 + choices.below(height.min(3)),
                    1 + choices.below(width.min(3)),
                ],
                stride: [1 + choices.below(2), 1 + choices.below(2)],
                pads: [0; 4],
                dilation: [1; 2],
            },
            padding: match choices.below(2) {
                0 => PaddingInMean::Counted,
                _ => PaddingInMean::Excluded,
            },
        }
        .into(),
        4 => {
            let inputs = channels * height * width;
            let weight = weight(weights, vec![1 + choices.below(12), inputs], choices);
            Gemm { weight, bias: None }.into()
        }
        _ => {
            let groups = match choices.below(3) {
                0 => channels,
                _ => 1,
            };
            let outputs = groups * (1 + choices.below(4));
            let kernel = [1 + choices.below(3), 1 + choices.below(3)];
            let shape = vec![outputs, channels / groups, kernel[0], kernel[1]];
            let window = Window {
                kernel,
                stride: [1 + choices.below(2), 1 + choices.below(2)],
                pads: [2, 2, 2, 2].map(|pad| choices.below(pad) + 1),
                dilation: [1, 1 + choices.below(2)],
            };
            Conv {
                weight: weight(weights, shape, choices),
                bias: None,
                window,
                groups,
            }
            .into()
        }
    }
}

fn layout([channels, height, width]: [usize; 3], choices: &mut Choices<'_>) -> MultiplexedLayout {
    let gap = [1 << choices.below(3), 1 << choices.below(3)];
    // Grids need not be of powers of two.
    let room = |extent: usize, choices: &mut Choices<'_>| match choices.below(3) {
        0 => extent + choices.below(3),
        more => extent.next_power_of_two() << (more - 1),
    };
    MultiplexedLayout {
        gap,
        height,
        width,
        channels,
        grid_height: room(height * gap[0], choices),
        grid_width: room(width * gap[1], choices),
    }
}

/// A map of one term with a random chain, and its weights.
fn random_map(numbers: &[u16]) -> (LinearMap, Weights) {
    let mut choices = Choices(numbers.iter());
    let choices = &mut choices;
    let mut weights = Weights::default();
    let first = [
        1 + choices.below(6),
        1 + choices.below(6),
        1 + choices.below(6),
    ];
    let input = layout(first, choices);
    let mut ops = Vec::new();
    let mut shape = first;
    for _ in 0..1 + choices.below(3) {
        if choices.below(8) == 0 {
            ops.push(LinearOp::Flatten);
            shape = [shape.iter().product(), 1, 1];
        }
        let op = operation(shape, &mut weights, choices);
        let ty = crate::nn::TensorType::new(shape);
        let ty = match &op {
            LinearOp::Gemm(_) => crate::nn::TensorType::new([ty.elements()]),
            _ => ty,
        };
        let Ok(after) = op.as_operation().shape(&ty, &weights) else {
            continue;
        };
        shape = after.chw();
        ops.push(op);
    }
    let output = layout(shape, choices);
    let factor = 0.75;
    let term = LinearTerm { input, ops, factor };
    (LinearMap::new(vec![term], output, 1.0), weights)
}

/// The diagonals from the matrix, entry by entry.
fn naive(map: &LinearMap, weights: &Weights) -> BTreeMap<usize, Vec<f64>> {
    let matrix = map.slot_matrix(0, weights).unwrap();
    let (input, result) = (map.terms[0].input.period(), map.output.period());
    let shares = map.term_period(0);
    let work = input.max(shares);
    let mut all: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for row in 0..matrix.rows() {
        for (column, value) in matrix.row(row) {
            let ahead = (column + result - row % result) % result;
            let distance = match 2 * ahead <= result {
                true => ahead,
                false => ahead + work - result,
            };
            let share = (column + work - distance % work) % shares;
            for slot in (share..work).step_by(shares) {
                let diagonal = (column + work - slot) % input;
                let entries = all.entry(diagonal).or_insert_with(|| vec![0.0; work]);
                entries[slot] += map.share_factor(0) * value;
            }
        }
    }
    if all.is_empty() {
        all.insert(0, vec![0.0; work]);
    }
    all
}

fn assert_near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs();
        assert!(off < 1e-12, "{index}: {found} for {expected}");
    }
}

/// Diagonals and evaluation agree with the matrix, at every number of shares.
fn check(map: &LinearMap, weights: &Weights) {
    let (input, result) = (map.terms[0].input.period(), map.output.period());
    let most = (input / result).max(1).ilog2();
    for log_shares in 0..=most {
        let map = LinearMap {
            log_shares,
            ..map.clone()
        };
        let expected = naive(&map, weights);
        let source = map.diagonal_source(0, weights).unwrap();
        let indices: Vec<usize> = expected.keys().copied().collect();
        assert_eq!(source.indices(), indices);
        for (index, expected) in &expected {
            assert_near(&source.diagonal(*index, weights), expected);
        }
        let residues = map.diagonal_residues(0, weights).unwrap();
        assert_eq!(map.diagonal_indices(0, &residues), indices);
        if let Some(form) = TermForm::of(&map, 0, weights) {
            let operand: Vec<[f64; 2]> = ramp(2 * input, 5)
                .chunks(2)
                .map(|pair| [f64::from(pair[0]), f64::from(pair[1])])
                .collect();
            let mut found = vec![[0.0; 2]; map.term_period(0)];
            let mut expected = found.clone();
            form.apply_add_lanes(weights, map.share_factor(0), &operand, &mut found);
            let matrix = map.share_matrix(0, weights).unwrap();
            matrix.apply_add_lanes(&operand, &mut expected);
            assert_near(found.as_flattened(), expected.as_flattened());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn diagonals_and_sums_are_those_of_the_matrix(
        numbers in proptest::collection::vec(any::<u16>(), 64..65)
    ) {
        let (map, weights) = random_map(&numbers);
        check(&map, &weights);
    }
}

fn has_form(input: [usize; 3], ops: Vec<LinearOp>, output: [usize; 3], weights: &Weights) -> bool {
    let dense = |[c, h, w]: [usize; 3]| MultiplexedLayout::dense(c, h, w);
    let term = LinearTerm {
        input: dense(input),
        ops,
        factor: 1.0,
    };
    let map = LinearMap::new(vec![term], dense(output), 1.0);
    check(&map, weights);
    TermForm::of(&map, 0, weights).is_some()
}

#[test]
fn chains_with_one_filter_have_a_form() {
    let mut weights = Weights::default();
    let mut choices = Choices([0, 3].iter());
    let mut filter = |shape| weight(&mut weights, shape, &mut choices);
    let conv = |weight, kernel| {
        LinearOp::from(Conv {
            weight,
            bias: None,
            window: Window::square(kernel, 1),
            groups: 1,
        })
    };
    let wide = conv(filter(vec![4, 2, 3, 3]), 3);
    let narrow = conv(filter(vec![4, 2, 1, 1]), 1);
    let scale = filter(vec![4]);
    let dense = LinearOp::from(Gemm {
        weight: filter(vec![5, 64]),
        bias: None,
    });
    let rows = LinearOp::from(Slice {
        start: [0, 1, 0],
        end: [2, 5, 4],
        step: [1; 3],
    });
    let pad = LinearOp::from(Pad {
        before: [0, 1, 2],
        after: [0, 1, 0],
    });
    let some = LinearOp::from(Slice {
        start: [1, 0, 0],
        end: [4, 4, 3],
        step: [2, 1, 1],
    });
    let scaled = LinearOp::from(ChannelAffine {
        scale: Some(scale),
        shift: None,
    });
    let pool = LinearOp::from(AveragePool {
        window: Window {
            kernel: [2; 2],
            stride: [2; 2],
            pads: [0; 4],
            dilation: [1; 2],
        },
        padding: PaddingInMean::Counted,
    });
    let banded = vec![rows, wide.clone(), some.clone()];
    assert!(has_form([2, 6, 4], banded, [2, 4, 3], &weights));
    let padded = vec![pad, wide.clone(), scaled.clone(), some];
    assert!(has_form([2, 4, 4], padded, [2, 4, 3], &weights));
    let pooled = vec![narrow, scaled, pool.clone()];
    assert!(has_form([2, 4, 6], pooled, [4, 2, 3], &weights));
    let flat = vec![LinearOp::Flatten, dense];
    assert!(has_form([4, 4, 4], flat, [5, 1, 1], &weights));
    // Several taps lead from one element to another.
    let mixed = vec![wide, pool];
    assert!(!has_form([2, 4, 6], mixed, [4, 2, 3], &weights));
}
