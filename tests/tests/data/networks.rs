//! Networks of other people and those that `tests/torch/make_models.py` writes, at full size on
//! plain numbers.

use std::path::{Path, PathBuf};

use heddle_compiler::{Options, compile};
use heddle_frontends::{image, onnx};
use heddle_ir::eval::{ckks::ClearInterpreter, nn};
use heddle_ir::preprocess::{Channels, Preprocess};
use heddle_runtime::packing::{class_of, pack, unpack};

use crate::data;

/// Compiles a model and runs `images` through its schedule; `expected` are its logits for them.
fn check(
    path: &Path,
    preprocess: Preprocess,
    samples: Vec<Vec<f32>>,
    images: &[Vec<f32>],
    expected: impl Fn(usize) -> Option<Vec<f64>>,
) {
    let name = path.display();
    let model = onnx::import(path, &onnx::ImportOptions::default()).unwrap();
    let options = Options {
        samples,
        ..Options::new(preprocess)
    };
    let plan = compile(model.clone(), &options, &()).unwrap().plan;
    let clear = ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap).unwrap();
    let packed: Vec<Vec<Vec<f64>>> = images
        .iter()
        .map(|image| pack(&plan.input, "image", image).unwrap())
        .collect();
    let batch = clear.run_batch(&packed).unwrap();
    let (mut worst, mut scale) = (0.0_f64, 0.0_f64);
    for (index, (image, slots)) in images.iter().zip(&batch.outputs).enumerate() {
        let found = unpack(&plan.output, slots).unwrap();
        let logits = nn::run(&model, image).unwrap();
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        // What another framework computes is what the imported graph computes.
        if let Some(expected) = expected(index) {
            assert_eq!(expected.len(), logits.len(), "{name}");
            for (expected, logit) in expected.iter().zip(&logits) {
                let difference = (expected - logit).abs();
                assert!(
                    difference < 1e-4 * expected.abs().max(1.0),
                    "{name}: {logit}, {expected}"
                );
            }
        }
        assert!(
            found.iter().all(|logit| logit.is_finite()),
            "{name}, image {index}: a value left its range: {found:?}"
        );
        let difference = |(found, logit): (&f64, &f64)| (found - logit).abs();
        let largest = found
            .iter()
            .zip(&logits)
            .map(difference)
            .fold(0.0, f64::max);
        worst = worst.max(largest);
        scale = logits.iter().fold(scale, |max, logit| max.max(logit.abs()));
        let mut sorted = logits.clone();
        sorted.sort_by(f64::total_cmp);
        let lead = sorted[sorted.len() - 1] - sorted[sorted.len() - 2];
        assert!(
            class_of(&found) == class_of(&logits) || lead < 0.01 * scale,
            "{name}, image {index}: {found:?}, {logits:?}"
        );
    }
    println!(
        "{name}: {} images agree, logits of up to {scale:.1} within {worst:.4}; {} bootstraps",
        images.len(),
        plan.schedule.bootstraps()
    );
    assert!(worst < 0.01 * scale, "{name}: {worst}");
}

/// `count` preprocessed images of a data set from `start`.
fn images(
    set: &Path,
    preprocess: &Preprocess,
    shape: [usize; 3],
    start: usize,
    count: usize,
) -> Vec<Vec<f32>> {
    let spec = format!("{}#{start}..{}", set.display(), start + count);
    image::read(&spec)
        .unwrap()
        .iter()
        .map(|picture| image::to_tensor(picture, preprocess, shape).unwrap().0)
        .collect()
}

/// Where a real model's images come from and how they are normalised.
struct Case {
    model: &'static str,
    train: &'static str,
    test: &'static str,
    preprocess: Preprocess,
}

fn normalised(mean: [f64; 3], std: [f64; 3]) -> Preprocess {
    Preprocess {
        scale: 1.0 / 255.0,
        mean: mean.to_vec(),
        std: std.to_vec(),
        channels: Channels::Rgb,
    }
}

fn named(name: &str) -> Preprocess {
    Preprocess::named(name).unwrap()
}

fn cifar10(model: &'static str, preprocess: Preprocess) -> Case {
    Case {
        model,
        train: "cifar10_train_1000.bin",
        test: "cifar10_test_0-4999.bin",
        preprocess,
    }
}

fn cifar100(model: &'static str, preprocess: Preprocess) -> Case {
    Case {
        model,
        train: "cifar100_train_1000.bin",
        test: "cifar100_test_0-4999.bin",
        preprocess,
    }
}

fn mnist(model: &'static str, preprocess: Preprocess) -> Case {
    let set = "mnist/t10k-images-idx3-ubyte.gz";
    Case {
        model,
        train: set,
        test: set,
        preprocess: Preprocess {
            channels: Channels::Grey,
            ..preprocess
        },
    }
}

const CIFAR10_MEAN: [f64; 3] = [0.4914, 0.4822, 0.4465];

fn small() -> Vec<Case> {
    vec![
        mnist("mnist/wuhan_mnist-sm", named("unit")),
        mnist("mnist/ms_cntk_mnist", named("mnist")),
        cifar10("vnncomp/cifar10_small", named("unit")),
        cifar10(
            "vnncomp/cifar_base_kw",
            normalised(CIFAR10_MEAN, [0.225; 3]),
        ),
        cifar10(
            "vnncomp/resnet_2b",
            normalised(CIFAR10_MEAN, [0.2471, 0.2435, 0.2616]),
        ),
    ]
}

fn large() -> Vec<Case> {
    vec![
        mnist("mnist/Convnet_maxpool", named("unit")),
        mnist("mnist/burn_mnist", named("mnist")),
        cifar10("autofhe/vgg11-cifar10", named("cifar10")),
        cifar10("tiny/mlperf_resnet8_tf2onnx_op13", named("none")),
        cifar10("ace/resnet20_cifar10_pre", named("imagenet")),
        cifar10("ace/resnet44_cifar10_pre", named("imagenet")),
        cifar10(
            "akamaster/resnet20_cifar10_optA_legacy_op13",
            named("imagenet"),
        ),
        cifar10(
            "akamaster/resnet20_cifar10_optA_torch215_default",
            named("imagenet"),
        ),
        cifar10("snu/resnet20_cifar10_bn_dyn", named("cifar10")),
        cifar10("snu/resnet32_cifar10_bn_dyn", named("cifar10")),
        cifar10("snu/resnet44_cifar10_bn_dyn", named("cifar10")),
        cifar10("snu/resnet56_cifar10_bn_dyn", named("cifar10")),
        cifar10("snu/resnet110_cifar10_bn_dyn", named("cifar10")),
        cifar100("ace/resnet32_cifar100_pre", named("cifar100")),
        cifar100("autofhe/resnet32-cifar100", named("cifar10")),
        cifar100("snu/resnet32_cifar100_bn_dyn", named("cifar100")),
    ]
}

fn check_all(cases: Vec<Case>, samples: usize, tested: usize) {
    let data = data();
    for case in cases {
        let path = data.join("models").join(format!("{}.onnx", case.model));
        let model = onnx::import(&path, &onnx::ImportOptions::default()).unwrap();
        let shape = model.image_shape();
        // Where training and test images come from one file, they are not the same ones.
        let start = if case.train == case.test { 1000 } else { 0 };
        let train = images(
            &data.join(case.train),
            &case.preprocess,
            shape,
            start,
            samples,
        );
        let test = images(&data.join(case.test), &case.preprocess, shape, 0, tested);
        check(&path, case.preprocess, train, &test, |_| None);
    }
}

#[test]
#[cfg_attr(not(heddle_data), ignore = "needs HEDDLE_DATA")]
fn small_real_networks_agree_with_plaintext() {
    check_all(small(), 200, 8);
}

#[test]
#[ignore = "needs HEDDLE_DATA; 16 networks of up to 110 layers: minutes"]
fn every_other_real_network_agrees_with_plaintext() {
    check_all(large(), 500, 50);
}

#[derive(serde::Deserialize)]
struct Run {
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f64>>,
}

#[test]
#[ignore = "needs the files that tests/torch/make_models.py writes, in HEDDLE_TORCH_MODELS"]
fn networks_made_on_the_spot_agree_with_pytorch() {
    let folder = std::env::var_os("HEDDLE_TORCH_MODELS").map(PathBuf::from);
    let folder = folder.expect("HEDDLE_TORCH_MODELS names the folder that make_models.py wrote");
    for name in ["vgg", "separable", "resnet"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let run: Run = serde_json::from_str(&text).unwrap();
        let (test, train) = run.inputs.split_at(10);
        let path = folder.join(format!("{name}.onnx"));
        let outputs = |index: usize| Some(run.outputs[index].clone());
        // The normalisation that the script applies.
        let preprocess = normalised([0.5; 3], [0.2; 3]);
        check(&path, preprocess, train.to_vec(), test, outputs);
    }
}
