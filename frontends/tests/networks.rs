//! Whole residual networks with seeded weights, against onnxruntime 1.31.1.

use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::eval;
use heddle_tests::resnet::{Shortcut, Spec, cifar};
use heddle_tests::small;

fn check(bytes: &[u8], values: usize, expected: &[f32]) {
    let model = import_bytes("resnet.onnx", bytes, &ImportOptions::default()).unwrap();
    assert_eq!(model.graph.len(), values);
    let elements: usize = model.image_shape().iter().product();
    let image: Vec<f32> = (0..elements)
        .map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0)
        .collect();
    let mut largest = 0.0_f32;
    let logits = eval::nn::run_with(&model, &image, |_, value| {
        largest = value
            .iter()
            .fold(largest, |largest, x| largest.max(x.abs()));
    })
    .unwrap();
    assert!(largest < 50.0, "activations grow to {largest}");
    assert_eq!(logits.len(), expected.len());
    for (logit, expected) in logits.iter().zip(expected) {
        assert!(
            (logit - expected).abs() < 1e-4,
            "{logits:?}, expected {expected:?}"
        );
    }
}

#[test]
fn resnet_20_with_option_a() {
    check(
        &cifar(20, Shortcut::A, 1),
        74,
        &[
            0.656456, -0.984644, 2.183318, -0.223265, -1.9759, 0.035045, 0.806756, 1.074243,
            -0.964339, 1.926898,
        ],
    );
}

#[test]
fn resnet_20_with_option_b() {
    check(
        &cifar(20, Shortcut::B, 2),
        74,
        &[
            -1.224509, 0.497077, -1.348898, -0.395486, 1.063934, -0.280208, 1.927271, -3.455533,
            -0.054976, -1.755202,
        ],
    );
}

#[test]
fn resnet_110_with_option_a() {
    check(
        &cifar(110, Shortcut::A, 3),
        389,
        &[
            0.473466, 1.622396, -1.010129, -1.315019, 2.125354, 1.343663, 0.319026, 1.920788,
            -0.737904, 1.282941,
        ],
    );
}

#[test]
fn a_small_network_of_another_shape() {
    let spec = Spec {
        image: [1, 12, 20],
        seed: 4,
        ..small::network(4, 3, Shortcut::B)
    };
    check(&spec.build(), 23, &[0.021156, -0.201813, -0.701062]);
}
