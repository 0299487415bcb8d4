//! Operations and whole runs, alone and in batches.

use super::*;
use crate::test_support::{parameters, schedule};

fn clear() -> ClearInterpreter {
    let (schedule, weights) = schedule();
    ClearInterpreter::new(&schedule, &weights, &parameters().1).unwrap()
}

fn image(seed: usize) -> Vec<f64> {
    (0..16)
        .map(|i| ((i * 7 + seed * 5) % 13) as f64 / 6.5 - 0.95)
        .collect()
}

#[test]
fn clenshaw_agrees_for_both_parities() {
    for degree in 0..20 {
        for parity in [1, 2] {
            let mut coefficients = vec![0.0; degree + 1];
            for index in (degree % 2..=degree).step_by(parity) {
                coefficients[index] = 1.0 / (index as f64 + 2.0);
            }
            let polynomial = Chebyshev { coefficients };
            let points: Vec<f64> = (0..300).map(|i| f64::from(i) / 150.0 - 1.0).collect();
            let mut found = points.clone();
            eval_polynomial(&polynomial, &mut found);
            for (x, y) in points.iter().zip(&found) {
                assert!((y - polynomial.eval(*x)).abs() < 1e-12, "{degree} {x}");
            }
        }
    }
    let mut empty = [0.5];
    eval_polynomial(
        &Chebyshev {
            coefficients: vec![],
        },
        &mut empty,
    );
    assert_eq!(empty, [0.0]);
}

#[test]
fn a_run_is_its_operations_one_by_one() {
    let interpreter = clear();
    let graph = &interpreter.schedule.graph;
    let mut seen: Vec<Vec<f64>> = Vec::new();
    let input = image(1);
    let output = interpreter
        .run(&[&input], |_, slots| seen.push(slots.to_vec()))
        .unwrap();
    for value in graph.values() {
        let operands = graph.operands(value);
        let mut operands: Vec<&[f64]> = operands
            .iter()
            .map(|operand| &*seen[operand.index()])
            .collect();
        if operands.is_empty() {
            operands.push(&input);
        }
        assert_eq!(
            interpreter.apply(value, &operands).unwrap(),
            seen[value.index()]
        );
    }
    assert_eq!(&output, seen.last().unwrap());
    assert_eq!(output.len(), 4);
    assert_eq!(output[3], 0.0);
}

#[test]
fn a_batch_agrees_with_single_runs() {
    let interpreter = clear();
    let images: Vec<Vec<Vec<f64>>> = (0..19).map(|seed| vec![image(seed)]).collect();
    let batch = interpreter.run_batch(&images).unwrap();
    assert_eq!(batch.outputs.len(), 19);
    for (image, output) in images.iter().zip(&batch.outputs) {
        let single = interpreter.run(image, |_, _| {}).unwrap();
        for (a, b) in single.iter().zip(output) {
            assert!((a - b).abs() < 1e-12);
        }
    }
    assert_eq!(interpreter.run_batch(&[]).unwrap().outputs.len(), 0);
}

#[test]
fn overflows_are_counted_before_every_activation() {
    let interpreter = clear();
    assert_eq!(interpreter.watched().len(), 2);
    let calm = interpreter.run_batch(&[vec![image(0)]]).unwrap();
    for range in &calm.ranges {
        assert_eq!(
            (range.name.as_str(), range.function.as_deref()),
            ("linear", Some("relu"))
        );
    }
    assert!(
        calm.ranges
            .iter()
            .all(|range| range.overflows == 0 && range.worst > 0.0)
    );
    let loud: Vec<f64> = image(0).iter().map(|x| x * 40.0).collect();
    let mut worst: f64 = 0.0;
    let first = interpreter.watched()[0];
    interpreter
        .run(&[&loud], |value, slots| {
            if value == first {
                worst = slots.iter().fold(0.0, |worst, slot| worst.max(slot.abs()));
            }
        })
        .unwrap();
    let ranges = interpreter
        .run_batch(&[vec![image(0)], vec![loud]])
        .unwrap()
        .ranges;
    assert!(ranges[0].overflows > 0 && worst > 1.0, "{ranges:?}");
    assert!((ranges[0].worst - worst).abs() < 1e-12);
}

#[test]
fn wrong_lengths_are_errors() {
    let interpreter = clear();
    assert!(interpreter.run(&[[0.0; 3]], |_, _| {}).is_err());
    assert!(
        interpreter
            .run_batch(&[vec![vec![0.0; 16]], vec![vec![]]])
            .is_err()
    );
    assert!(interpreter.run::<[f64; 16]>(&[], |_, _| {}).is_err());
    assert!(interpreter.run(&[[0.0; 16]; 2], |_, _| {}).is_err());
    assert!(
        interpreter
            .run_batch(&[vec![vec![0.0; 16]], vec![]])
            .is_err()
    );
    assert!(interpreter.apply(ValueId(1), &[&[0.0; 8]]).is_err());
    assert!(interpreter.apply(ValueId(1), &[]).is_err());
    let (schedule, _) = schedule();
    let parameters = BootstrapParameters::default();
    assert!(ClearInterpreter::new(&schedule, &Weights::default(), &parameters).is_err());
}
