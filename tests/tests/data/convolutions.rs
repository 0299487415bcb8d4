//! A real network with every kind of convolution agrees with plaintext.

use heddle_compiler::{Convolution, Options, Ring, compile};
use heddle_frontends::{image, onnx};
use heddle_ir::eval::{ckks::ClearInterpreter, nn};
use heddle_ir::preprocess::Preprocess;
use heddle_runtime::packing::{class_of, pack, unpack};
use heddle_tests::small::largest_difference;

use crate::data;

#[test]
#[cfg_attr(not(heddle_data), ignore = "needs HEDDLE_DATA")]
fn a_real_resnet20_agrees_on_the_clear_backend_in_every_way() {
    let data = data();
    let model = data.join("models/ace/resnet20_cifar10_pre.onnx");
    let model = onnx::import(&model, &onnx::ImportOptions::default()).unwrap();
    let preprocess = Preprocess::named("imagenet").unwrap();
    let tensors = |spec: String| -> Vec<Vec<f32>> {
        let pictures = image::read(data.join(spec).to_str().unwrap()).unwrap();
        let tensor = |picture| {
            image::to_tensor(picture, &preprocess, [3, 32, 32])
                .unwrap()
                .0
        };
        pictures.iter().map(tensor).collect()
    };
    let samples = tensors("cifar10_train_1000.bin#0..100".into());
    let images = tensors("cifar10_test_0-4999.bin#0..8".into());
    for (convolution, ring) in [
        (Convolution::MultiplexedParallel, Ring::Secure),
        (Convolution::Siso, Ring::Insecure { log_n: 16 }),
    ] {
        let options = Options {
            samples: samples.clone(),
            ring,
            convolution,
            ..Options::new(preprocess.clone())
        };
        let plan = compile(model.clone(), &options, &()).unwrap().plan;
        let interpreter =
            ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap).unwrap();
        let inputs: Vec<Vec<Vec<f64>>> = images
            .iter()
            .map(|image| pack(&plan.input, "image", image).unwrap())
            .collect();
        let batch = interpreter.run_batch(&inputs).unwrap();
        for (image, slots) in images.iter().zip(&batch.outputs) {
            let reference: Vec<f64> = nn::run(&model, image)
                .unwrap()
                .into_iter()
                .map(f64::from)
                .collect();
            let logits = unpack(&plan.output, slots).unwrap();
            assert_eq!(class_of(&logits), class_of(&reference));
            let off = largest_difference(&logits, &reference);
            assert!(off < 0.1, "{logits:?} {reference:?}");
        }
    }
}
