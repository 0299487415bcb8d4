//! Ranges of real networks hold on real images.

use std::path::Path;

use heddle_compiler::analysis::ranges::{Ranges, calibrate};
use heddle_compiler::passes::lower_max_pool;
use heddle_compiler::passes::split_channels::Splitting;
use heddle_frontends::onnx::{ImportOptions, import};
use heddle_ir::eval::nn::run_with;
use heddle_ir::nn::Model;
use rayon::prelude::*;

use crate::data;

const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
const CIFAR10: [[f32; 3]; 2] = [[0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]];
const CIFAR100: [[f32; 3]; 2] = [[0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]];

/// What one network is checked with.
struct Case {
    model: &'static str,
    normalisation: [[f32; 3]; 2],
    train: &'static str,
    test: &'static str,
    label_bytes: usize,
}

const fn cifar10(model: &'static str, normalisation: [[f32; 3]; 2]) -> Case {
    let (train, test) = ("cifar10_train_1000.bin", "cifar10_test_0-4999.bin");
    Case {
        model,
        normalisation,
        train,
        test,
        label_bytes: 1,
    }
}

const fn cifar100(model: &'static str, normalisation: [[f32; 3]; 2]) -> Case {
    Case {
        model,
        normalisation,
        train: "cifar100_train_1000.bin",
        test: "cifar100_test_0-4999.bin",
        label_bytes: 2,
    }
}

/// The networks on CIFAR images with channels first. `networks.rs` has all.
const CASES: [Case; 17] = [
    cifar10("ace/resnet20_cifar10_pre", IMAGENET),
    cifar10("ace/resnet44_cifar10_pre", IMAGENET),
    cifar100("ace/resnet32_cifar100_pre", CIFAR100),
    cifar10("akamaster/resnet20_cifar10_optA_legacy_op13", IMAGENET),
    cifar10("akamaster/resnet20_cifar10_optA_torch215_default", IMAGENET),
    cifar10("snu/resnet20_cifar10_bn_dyn", CIFAR10),
    cifar10("snu/resnet32_cifar10_bn_dyn", CIFAR10),
    cifar10("snu/resnet44_cifar10_bn_dyn", CIFAR10),
    cifar10("snu/resnet56_cifar10_bn_dyn", CIFAR10),
    cifar10("snu/resnet110_cifar10_bn_dyn", CIFAR10),
    cifar100("snu/resnet32_cifar100_bn_dyn", CIFAR100),
    cifar10("autofhe/vgg11-cifar10", CIFAR10),
    cifar100("autofhe/resnet32-cifar100", CIFAR10),
    cifar10("dacapo/squeezeNet_relu_maxpool_model", CIFAR10),
    cifar10("vnncomp/cifar_base_kw", [CIFAR10[0], [0.225; 3]]),
    cifar10("vnncomp/resnet_2b", [CIFAR10[0], [0.2471, 0.2435, 0.2616]]),
    cifar10("vnncomp/cifar10_small", [[0.0; 3], [1.0; 3]]),
];

/// The first images of a binary batch, normalised.
fn images(path: &Path, case: &Case, count: usize) -> Vec<Vec<f32>> {
    let bytes = std::fs::read(path).unwrap();
    let [mean, deviation] = case.normalisation;
    bytes
        .chunks_exact(3072 + case.label_bytes)
        .take(count)
        .map(|record| {
            let pixels = record[case.label_bytes..].iter().enumerate();
            let element = |(i, pixel): (usize, &u8)| {
                (f32::from(*pixel) / 255.0 - mean[i / 1024]) / deviation[i / 1024]
            };
            pixels.map(element).collect()
        })
        .collect()
}

/// How many images leave the range of some activation, and the largest |operand| / bound.
fn overflows(model: &Model, ranges: &Ranges, images: &[Vec<f32>]) -> (usize, f64) {
    let graph = &model.graph;
    let mut bounds = vec![None; graph.len()];
    for (value, range) in model.activations().zip(ranges.activations().values()) {
        bounds[graph.operands(value)[0].index()] = Some(range.bound);
    }
    let used = |image: &Vec<f32>| {
        let mut used = 0.0_f64;
        run_with(model, image, |value, elements| {
            if let Some(bound) = bounds[value.index()] {
                let largest = elements.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
                used = used.max(f64::from(largest) / bound);
            }
        })
        .unwrap();
        used
    };
    let used: Vec<f64> = images.par_iter().map(used).collect();
    (
        used.iter().filter(|used| **used > 1.0).count(),
        used.into_iter().fold(0.0, f64::max),
    )
}

fn check(case: &Case, folder: &Path, calibration: usize, tested: usize) {
    let file = folder.join("models").join(format!("{}.onnx", case.model));
    let model = import(&file, &ImportOptions::default()).unwrap();
    let (model, _) = lower_max_pool::run(model, Splitting::WhereNeeded, 1 << 15).unwrap();
    let train = images(&folder.join(case.train), case, calibration);
    let test = images(&folder.join(case.test), case, tested);
    let sampled = calibrate(&model, &train, &[], 2.7, &()).unwrap();
    let (count, used) = overflows(&model, &sampled, &test);
    println!(
        "{}: {count} of {tested} images overflow, at most {used:.3} used",
        case.model
    );
    assert_eq!(count, 0, "{}", case.model);
    if case.model.contains("_bn_") {
        let statistical = calibrate(&model, &[], &[], 2.7, &()).unwrap();
        let (count, used) = overflows(&model, &statistical, &test);
        let mut ratios: Vec<f64> = statistical
            .details()
            .zip(sampled.details())
            .map(|(statistical, sampled)| statistical.bound / sampled.bound)
            .collect();
        ratios.sort_by(f64::total_cmp);
        let (median, largest) = (ratios[ratios.len() / 2], ratios[ratios.len() - 1]);
        println!(
            "  statistics: {count} overflow, at most {used:.3} used; \
             {median:.2} times the sampled ranges in the median, {largest:.2} at most"
        );
        assert_eq!(count, 0, "{}", case.model);
        assert!(
            median < 2.5 && largest < 6.0,
            "{}: {median}, {largest}",
            case.model
        );
    } else {
        assert!(
            calibrate(&model, &[], &[], 2.7, &()).is_err(),
            "{}",
            case.model
        );
    }
}

#[test]
#[cfg_attr(not(heddle_data), ignore = "needs HEDDLE_DATA")]
fn ranges_hold_on_test_images() {
    let folder = data();
    for index in [0, 2, 5, 10, 13, 15] {
        check(&CASES[index], &folder, 100, 30);
    }
}

#[test]
#[ignore = "needs HEDDLE_DATA; 5,000 images and 17 networks: minutes"]
fn ranges_hold_on_all_test_images() {
    let folder = data();
    for case in &CASES {
        check(case, &folder, 1000, 5000);
    }
}
