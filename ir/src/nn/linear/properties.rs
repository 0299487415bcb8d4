//! What must hold of every operation: its parts say the same about one matrix.

use super::moments::reach;
use super::*;

/// Numbers between −1 and 1, from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        // Knuth's multiplier for 64 bits; the upper bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    fn list(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.next()).collect()
    }
}

/// An operation and the operand that it takes.
struct Case {
    op: LinearOp,
    operand: TensorType,
}

/// At least one of every operation; a new one without a case fails
/// [`every_operation_has_a_case`].
fn cases(numbers: &mut Numbers, weights: &mut Weights) -> Vec<Case> {
    let mut weight = |name: &str, shape: &[usize]| {
        let data = numbers.list(shape.iter().product());
        weights.push(Tensor::new(name, shape.to_vec(), data))
    };
    let window = Window {
        kernel: [3, 2],
        stride: [2, 1],
        pads: [1, 0, 1, 1],
        dilation: [1, 2],
    };
    let (scale, shift) = (weight("scale", &[4]), weight("shift", &[4]));
    let pool = |padding| AveragePool {
        window: Window {
            dilation: [1, 1],
            ..window
        },
        padding,
    };
    let axis = |picks: &[i64], step: u32| -> Vec<Option<u32>> {
        let offset = |pick: &i64| u32::try_from(*pick).ok().map(|pick| pick * step);
        picks.iter().map(offset).collect()
    };
    let picks = vec![
        axis(&[2, -1, 0, 2, 3], 20),
        axis(&[3, 2, 1], 5),
        axis(&[0, 4, -1], 1),
    ];
    let shuffle = vec![
        axis(&[0, 1], 20),
        axis(&[0, 1], 40),
        axis(&[1, 0], 10),
        axis(&[1, 0], 1),
    ];
    let map = || TensorType::new([4, 4, 5]);
    let case = |op: LinearOp, operand: TensorType| Case { op, operand };
    let conv = |weight, bias, groups| Conv {
        weight,
        bias,
        window,
        groups,
    };
    let mut list = vec![
        case(
            conv(weight("a", &[3, 4, 3, 2]), Some(weight("b", &[3])), 1).into(),
            map(),
        ),
        case(conv(weight("c", &[6, 2, 3, 2]), None, 2).into(), map()),
        case(
            ChannelAffine {
                scale: Some(scale),
                shift: Some(shift),
            }
            .into(),
            map(),
        ),
        case(
            ElementAffine {
                scale: Some(weight("d", &[4, 4, 5])),
                shift: Some(weight("e", &[4, 4, 5])),
            }
            .into(),
            map(),
        ),
        case(pool(PaddingInMean::Counted).into(), map()),
        case(pool(PaddingInMean::Excluded).into(), map()),
        case(
            Gemm {
                weight: weight("f", &[3, 4]),
                bias: Some(weight("g", &[3])),
            }
            .into(),
            TensorType::new([4]),
        ),
        case(
            Slice {
                start: [1, 0, 1],
                end: [4, 3, 4],
                step: [2, 2, 1],
            }
            .into(),
            map(),
        ),
        case(
            Separable {
                rows: Some(weight("h", &[2, 4])),
                columns: Some(weight("i", &[6, 5])),
                stride: [2, 1],
            }
            .into(),
            map(),
        ),
        case(
            Pad {
                before: [1, 0, 2],
                after: [2, 1, 0],
            }
            .into(),
            map(),
        ),
        case(Rearrange::whole(picks, [4, 4, 5], [5, 3, 3]).into(), map()),
        case(
            Rearrange::whole(shuffle, [4, 4, 5], [4, 2, 2]).into(),
            map(),
        ),
        case(LinearOp::GlobalAveragePool, map()),
        case(LinearOp::Flatten, map()),
    ];
    let [mean, variance] = [weight("mean", &[4]), weight("deviation", &[4])];
    let squares = weights.get(variance).data.iter().map(|x| x * x).collect();
    let variance = weights.push(Tensor::new("variance", vec![4], squares));
    list.push(case(
        BatchNorm {
            scale,
            bias: shift,
            mean,
            variance,
            epsilon: 0.1,
        }
        .into(),
        map(),
    ));
    list
}

/// Runs a check on every case, with several seeds.
fn for_all(check: impl Fn(&Case, &mut Numbers, &mut Weights)) {
    for seed in 1..20 {
        let mut numbers = Numbers(seed);
        let mut weights = Weights::default();
        for case in cases(&mut numbers, &mut weights) {
            check(&case, &mut numbers, &mut weights);
        }
    }
}

/// The serialised names of the cases are those of the whole list.
#[test]
fn every_operation_has_a_case() {
    let found: Vec<String> = cases(&mut Numbers(1), &mut Weights::default())
        .iter()
        .map(|case| {
            let value = serde_json::to_value(&case.op).unwrap();
            match value {
                serde_json::Value::String(name) => name,
                value => value.as_object().unwrap().keys().next().unwrap().clone(),
            }
        })
        .collect();
    // Serialised in snake case.
    let found: Vec<String> = found.iter().map(|name| name.replace('_', "")).collect();
    let named = |name: &&&str| found.contains(&name.to_lowercase());
    let missing: Vec<&&str> = LinearOp::NAMES.iter().filter(|name| !named(name)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

#[test]
fn rows_are_what_is_evaluated() {
    for_all(|Case { op, operand }, numbers, weights| {
        let operation = op.as_operation();
        let x = numbers.list(operand.elements());
        let from = operand.chw();
        let to = operation.shape(operand, weights).unwrap().chw();
        let found = operation.evaluate(&x, from, to, weights);
        let (matrix, shape) = operation.matrix(from, weights).unwrap();
        assert_eq!(shape, to, "{op:?}");
        let mut expected = matrix.bias().to_vec();
        let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        matrix.apply_add(&wide, &mut expected);
        assert_eq!(found.len(), expected.len(), "{op:?}");
        for (found, expected) in found.iter().zip(&expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-4, "{op:?}");
        }
        for row in 0..matrix.rows() {
            // The rows of a whole mean share no element, so that the operand bounds their entries.
            assert!(
                *op == LinearOp::GlobalAveragePool
                    || matrix.row(row).count() <= operation.row_entries(weights),
                "{op:?}"
            );
        }
        let (offset, _) = operation.offset(from, weights).unwrap();
        assert_eq!(offset, matrix.bias(), "{op:?}");
        let adds = offset.iter().any(|offset| *offset != 0.0);
        assert!(!adds || operation.has_offset(), "{op:?}");
    });
}

#[test]
fn gains_bound_every_row() {
    for_all(|Case { op, operand }, _, weights| {
        let operation = op.as_operation();
        let (matrix, [channels, _, _]) = operation.matrix(operand.chw(), weights).unwrap();
        let gains = operation.gains(channels, weights);
        let each = matrix.rows() / gains.len();
        assert!(
            [1, channels, matrix.rows()].contains(&gains.len()),
            "{op:?}"
        );
        for row in 0..matrix.rows() {
            let gain = gains[row / each];
            let sum: f64 = matrix.row(row).map(|(_, value)| value.abs()).sum();
            assert!(sum <= gain.gain + 1e-6, "{op:?}: {sum} and {gain:?}");
            assert!(
                matrix.bias()[row].abs() <= gain.shift + 1e-6,
                "{op:?}: {gain:?}"
            );
        }
    });
}

/// Every mean is that of some element of its channel, and no element goes farther than independent
/// ones would.
#[test]
fn moments_follow_the_rows() {
    for_all(|Case { op, operand }, numbers, weights| {
        let operation = op.as_operation();
        let from = operand.chw();
        let list = |numbers: &mut Numbers| -> Vec<f64> {
            (0..from[0]).map(|_| f64::from(numbers.next())).collect()
        };
        let [mut mean, mut deviation] = [list(numbers), list(numbers)];
        if let LinearOp::BatchNorm(norm) = op {
            // It tells what training saw, whatever the operand is said to be.
            let data = |id| weights.get(id).data.iter().copied().map(f64::from);
            mean = data(norm.mean).collect();
            let variances = data(norm.variance);
            deviation = variances.map(|v| (v + norm.epsilon).sqrt()).collect();
        }
        let known = Moments {
            mean,
            deviation: deviation.iter().map(|d| d.abs()).collect(),
        };
        let (matrix, [channels, height, width]) = operation.matrix(from, weights).unwrap();
        let Some(found) = operation.moments(Some(&known), from, weights) else {
            return;
        };
        assert_eq!(
            [found.mean.len(), found.deviation.len()],
            [channels; 2],
            "{op:?}"
        );
        let plane = from[1] * from[2];
        for channel in 0..channels {
            let rows = channel * height * width..(channel + 1) * height * width;
            let of_row = |row: usize| {
                let start = (matrix.bias()[row], 0.0);
                matrix
                    .row(row)
                    .fold(start, |(sum, variance), (column, value)| {
                        let operand = column / plane;
                        let deviation = value * known.deviation[operand];
                        (
                            sum + value * known.mean[operand],
                            variance + deviation * deviation,
                        )
                    })
            };
            let is_attained = rows
                .clone()
                .any(|row| (of_row(row).0 - found.mean[channel]).abs() < 1e-5);
            assert!(is_attained, "{op:?}: channel {channel} of {found:?}");
            // The position that goes farthest may stand for all of a channel.
            let farthest = reach(found.mean[channel], found.deviation[channel]);
            for row in rows {
                let (mean, variance) = of_row(row);
                let deviation = variance.sqrt();
                let is_bounded = deviation <= found.deviation[channel] + 1e-5
                    || reach(mean, deviation) <= farthest + 1e-5;
                assert!(is_bounded, "{op:?}: {mean} ± {deviation} and {found:?}");
            }
        }
    });
}

/// What the runs of channels give by themselves adds up to the whole.
#[test]
fn runs_of_channels_add_up() {
    for_all(|Case { op, operand }, numbers, weights| {
        // Behind a flattening, runs count the channels in front of it.
        if *op == LinearOp::Flatten {
            return;
        }
        let operation = op.as_operation();
        let [channels, height, width] = operand.chw();
        let x = numbers.list(operand.elements());
        let to = operation.shape(operand, weights).unwrap().chw();
        let whole = operation.evaluate(&x, operand.chw(), to, weights);
        let plane = to[1] * to[2];
        let mut sum = vec![0.0; whole.len()];
        for run in [0..1, 1..3, 3..channels] {
            let held = &x[run.start * height * width..run.end * height * width];
            let (part, reached) = match operation.on_channels(&run, weights) {
                OnChannels::Mixed => return,
                OnChannels::Dropped => continue,
                OnChannels::Moved(reached) => (held.to_vec(), reached),
                OnChannels::Applied(part, reached) => {
                    let ty = TensorType::new([run.len(), height, width]);
                    let shape = part.as_operation().shape(&ty, weights).unwrap().chw();
                    assert_eq!(shape, [reached.len(), to[1], to[2]], "{op:?}");
                    let part = part.as_operation();
                    (part.evaluate(held, ty.chw(), shape, weights), reached)
                }
            };
            for (index, element) in part.iter().enumerate() {
                sum[reached.start * plane + index] += element;
            }
        }
        for (sum, whole) in sum.iter().zip(&whole) {
            assert!((sum - whole).abs() < 1e-5, "{op:?}");
        }
    });
}
