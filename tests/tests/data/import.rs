//! Models are imported, and compute what onnxruntime computes.

use std::path::Path;

use heddle_frontends::Error;
use heddle_frontends::onnx::{ImportOptions, import};
use heddle_ir::eval;
use heddle_ir::nn::{Activation, AxisOrder, Op};

use crate::data;

const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
const CIFAR10: [[f32; 3]; 2] = [[0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]];

/// Image `index` of the CIFAR-10 test batch, normalised.
fn image(data: &Path, index: usize, [mean, deviation]: [[f32; 3]; 2]) -> Vec<f32> {
    let batch = std::fs::read(data.join("cifar10_test_0-4999.bin")).unwrap();
    let pixels = &batch[index * 3073 + 1..][..3072];
    pixels
        .chunks(1024)
        .enumerate()
        .flat_map(|(channel, plane)| {
            plane
                .iter()
                .map(move |pixel| (f32::from(*pixel) / 255.0 - mean[channel]) / deviation[channel])
        })
        .collect()
}

/// Logits of onnxruntime 1.31.1 for the first two test images.
#[test]
#[cfg_attr(not(heddle_data), ignore = "needs HEDDLE_DATA")]
fn logits_are_those_of_onnxruntime() {
    let data = data();
    #[rustfmt::skip]
    let cases = [
        ("ace/resnet20_cifar10_pre", IMAGENET, [
            [-2.535363, -2.342220, -2.545957, 21.821243, -3.259277, 2.033973, -3.078408, -2.701421, -5.069703, -2.323178],
            [1.636633, 3.652609, -3.608493, -1.515774, -3.779248, -3.902079, -2.012796, -3.919894, 15.800080, -2.351392],
        ]),
        ("snu/resnet20_cifar10_bn_dyn", CIFAR10, [
            [-6.579554, 2.356297, 1.844910, 22.441223, -5.862296, 5.582763, -3.487004, -7.594896, -1.997187, -6.700179],
            [5.277588, 13.087240, -9.847802, -3.992146, -16.216049, -12.560621, -1.812455, -7.725754, 29.104036, 4.695264],
        ]),
        ("akamaster/resnet20_cifar10_optA_legacy_op13", IMAGENET, [
            [-5.309684, -0.495772, 0.877255, 23.730516, -4.105039, 4.463734, -0.234351, -5.417926, -3.711790, -9.882182],
            [5.953948, 11.690820, -8.771255, -6.911051, -11.668475, -8.162960, -6.041222, -8.321341, 32.132416, -0.004065],
        ]),
        ("akamaster/resnet20_cifar10_optA_torch215_default", IMAGENET, [
            [-5.309684, -0.495772, 0.877250, 23.730516, -4.105040, 4.463737, -0.234349, -5.417927, -3.711792, -9.882182],
            [5.953948, 11.690821, -8.771256, -6.911052, -11.668472, -8.162960, -6.041223, -8.321342, 32.132416, -0.004066],
        ]),
    ];
    for (name, normalisation, expected) in cases {
        let path = data.join("models").join(name).with_extension("onnx");
        let model = import(&path, &ImportOptions::default()).unwrap();
        let relus = model.graph.values().filter(|value| {
            matches!(
                model.graph.node(*value).op,
                Op::Activation {
                    function: Activation::Relu,
                    ..
                }
            )
        });
        assert_eq!(relus.count(), 19, "{name}");
        for (index, expected) in expected.iter().enumerate() {
            let logits = eval::nn::run(&model, &image(&data, index, normalisation)).unwrap();
            assert_close(&logits, expected, name);
        }
    }
}

fn assert_close(logits: &[f32], expected: &[f64], what: &str) {
    assert_eq!(logits.len(), expected.len(), "{what}");
    for (logit, expected) in logits.iter().zip(expected) {
        assert!(
            (f64::from(*logit) - expected).abs() < 1e-4 * expected.abs().max(1.0),
            "{what}: {logit}, expected {expected}"
        );
    }
}

/// The first ten logits of onnxruntime 1.31.1 for an artificial image: other exporters,
/// channels-last files and networks that end in a softmax among them.
#[test]
#[cfg_attr(not(heddle_data), ignore = "needs HEDDLE_DATA")]
fn other_exporters_agree_with_onnxruntime() {
    let data = data();
    #[rustfmt::skip]
    let cases = [
        ("tiny/mlperf_resnet8_tf2onnx_op13", [2.530565, -7.208478, -3.426236, 1.848411, 3.231654, -3.093173, -1.569555, -1.035837, -1.664792, -5.898995]),
        ("vnncomp/cifar10_small", [-0.197451, 3.495164, -3.182329, -1.982127, -3.367215, -2.622014, -0.862931, -2.268081, 0.414215, 1.723853]),
        ("vnncomp/cifar_base_kw", [0.527003, -1.740812, 1.494929, -0.100219, 1.830617, -0.387249, 2.252189, -0.305535, -1.510042, -2.060956]),
        ("vnncomp/resnet_2b", [-0.043308, -1.636771, 2.713740, -0.059957, 0.982989, -1.303758, 5.883988, -2.506895, -1.312301, -2.717698]),
        ("autofhe/vgg11-cifar10", [0.981195, 0.052020, -0.616557, 2.060462, -0.943737, -1.481926, 0.649967, -2.041668, -0.213446, 1.553535]),
        ("ace/resnet44_cifar10_pre", [-0.251329, -0.999122, 3.277157, 0.031185, 0.628430, -2.729542, 6.591072, -3.466937, 0.079080, -3.160336]),
        ("ace/resnet32_cifar100_pre", [-7.238841, 5.009382, 1.784840, 3.602188, -11.894264, 9.016988, 5.118943, -2.165644, -1.515612, 15.870594]),
        ("autofhe/resnet32-cifar100", [-5.259996, 0.931549, -4.018966, 1.670357, -1.692305, -4.110210, 4.495341, -0.149878, -5.017873, 0.414382]),
        ("snu/resnet110_cifar10_bn_dyn", [-0.494780, 0.306016, -1.343822, 3.351163, 0.298611, -5.630123, 13.165722, -2.683986, -3.304147, -3.562181]),
        ("snu/resnet32_cifar100_bn_dyn", [-4.657847, -4.953210, 2.179860, -1.201732, -0.167458, -2.731864, 0.314091, -3.772285, -3.501071, 0.593131]),
        ("dacapo/squeezeNet_relu_maxpool_model", [2.476897, 0.439453, 0.902267, 1.420073, 0.313473, 0.026464, 6.357183, 0.000000, 2.430961, 1.681461]),
        ("mnist/ms_cntk_mnist", [-0.573020, -0.359547, -0.003635, 0.788027, 0.171703, 0.756155, -0.700281, -0.011489, -0.732337, 0.769154]),
        ("mnist/Convnet_maxpool", [-182.895355, 227.221802, -1.337980, -89.971497, -71.007614, -86.127678, -87.704895, 77.403038, -226.564911, -195.077942]),
        ("mnist/wuhan_mnist-sm", [-7.029541, -82.628616, 30.987083, 37.944069, -46.860439, 22.181068, -16.450686, -67.785721, 16.982933, -33.016094]),
        ("dacapo/resnet20_silu_model", [5.907392, 9.163253, -5.684919, 4.074759, -8.573644, -0.118135, 1.236329, -12.096669, 7.196568, -1.118802]),
        ("mnist/burn_mnist", [4.822672, 2.434087, 5.133893, 4.305025, 3.580114, 1.476416, 4.865101, -0.734036, 23.817423, 8.691696]),
    ];
    for (name, expected) in cases {
        let path = data.join("models").join(name).with_extension("onnx");
        let model = import(&path, &ImportOptions::default()).unwrap();
        let elements: usize = model.image_shape().iter().product();
        let image: Vec<f32> = (0..elements)
            .map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0)
            .collect();
        let logits = eval::nn::run(&model, &image).unwrap();
        assert!(matches!(logits.len(), 10 | 100), "{name}");
        assert_close(&logits[..10], &expected, name);
    }
}

/// Every file is imported, or refused with all reasons.
#[test]
#[cfg_attr(not(heddle_data), ignore = "needs HEDDLE_DATA")]
fn every_model_imports_or_says_why_not() {
    let data = data();
    let refused = [(
        "broken/missing_external_data_swiftinfer_cifar10",
        "external data",
    )];
    let mut imported = Vec::new();
    for folder in std::fs::read_dir(data.join("models")).unwrap() {
        for file in std::fs::read_dir(folder.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "onnx") {
                continue;
            }
            let refused = refused
                .iter()
                .find(|(name, _)| path.with_extension("").ends_with(Path::new(name)));
            match (import(&path, &ImportOptions::default()), refused) {
                (Ok(model), None) => imported.push((path, model)),
                (Err(Error::Unsupported { problems, .. }), Some((name, kind))) => {
                    assert!(
                        problems.list.iter().any(|problem| problem.kind == *kind),
                        "{name}"
                    );
                }
                (Ok(_), Some((name, _))) => panic!("{name} should be refused"),
                (Err(error), _) => panic!("{error}"),
            }
        }
    }
    assert!(imported.len() >= 20);
    for (path, model) in imported {
        let channels_last = [
            "mlperf_resnet8_tf2onnx_op13",
            "cifar10_small",
            "wuhan_mnist-sm",
        ]
        .iter()
        .any(|name| path.to_string_lossy().contains(name));
        let order = if channels_last {
            AxisOrder::Hwc
        } else {
            AxisOrder::Chw
        };
        assert_eq!(model.input_order, order, "{}", path.display());
        let elements: usize = model.image_shape().iter().product();
        let logits = eval::nn::run(&model, &vec![0.25; elements]).unwrap();
        assert!(logits.iter().all(|logit| logit.is_finite()));
    }
}
