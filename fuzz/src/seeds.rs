//! What the fuzzer starts from: small inputs of every kind, and the models and plans behind them.

use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use heddle_cli::Record;
use heddle_compiler::{Compilation, Convolution, Options, Ring, compile};
use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::MultiplexedLayout;
use heddle_ir::ckks::CiphertextType;
use heddle_ir::file::Existing;
use heddle_ir::nn::Region;
use heddle_ir::plan::{ClientPlan, InputPacking, InputPiece, InputPort, OutputKind, Plan, Port};
use heddle_ir::preprocess::Preprocess;
use heddle_ir::slot::SlotType;
use heddle_ir::text::{print_ckks, print_nn, print_slot};
use heddle_params::bootstrap::{BootstrapParameters, BootstrapVariant};
use heddle_params::keys::KeyNeed;
use heddle_params::{Accept, Insecure, ParametersLiteral, Secret};
use heddle_runtime::client::{Client, KeyLimit};
use heddle_runtime::files::{ciphertext, keys};
use heddle_runtime::message::{EncryptedAnswer, FreshCiphertext};
use heddle_runtime::protocol::Protocol;
use heddle_tests::onnx_builder::{Attr, OnnxBuilder};
use heddle_tests::toy;

use crate::files::scratch;
use crate::mutate::gzip;

/// Any parameters: those of small rings are insecure.
pub fn any() -> Accept {
    Accept::Any(Insecure::acknowledged())
}

fn ramp(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| (i * 37 % 23) as f32 / 23.0 - 0.4)
        .collect()
}

/// A convolution of one 4×4 channel to two, what `middle` adds behind it, and three logits.
fn model(opset: i64, middle: impl FnOnce(&mut OnnxBuilder) -> &'static str) -> Vec<u8> {
    let mut onnx = OnnxBuilder::new(opset);
    onnx.input("image", &[1, 1, 4, 4]);
    onnx.floats("w", &[2, 1, 3, 3], &ramp(18));
    onnx.floats("b", &[2], &ramp(2));
    let attributes = [
        ("kernel_shape", Attr::Ints(vec![3, 3])),
        ("pads", Attr::Ints(vec![1; 4])),
    ];
    onnx.node("Conv", &["image", "w", "b"], "conv", &attributes);
    let last = middle(&mut onnx);
    onnx.node("GlobalAveragePool", &[last], "pool", &[]);
    onnx.node("Flatten", &["pool"], "flat", &[]);
    onnx.floats("fc", &[3, 2], &ramp(6));
    onnx.node(
        "Gemm",
        &["flat", "fc"],
        "logits",
        &[("transB", Attr::Int(1))],
    );
    onnx.output("logits");
    onnx.build()
}

type Named = (&'static str, Vec<u8>);

/// ONNX files, the first two of which plans are made from.
fn models() -> Vec<Named> {
    vec![
        (
            "relu",
            model(13, |onnx| {
                onnx.node("Relu", &["conv"], "relu", &[]);
                "relu"
            }),
        ),
        (
            "deep",
            model(13, |onnx| {
                onnx.node("Relu", &["conv"], "relu1", &[]);
                onnx.floats("w2", &[2, 2, 1, 1], &ramp(4));
                onnx.node("Conv", &["relu1", "w2"], "conv2", &[]);
                onnx.node("Add", &["conv2", "relu1"], "sum", &[]);
                onnx.node("Relu", &["sum"], "relu2", &[]);
                "relu2"
            }),
        ),
        (
            "norm",
            model(9, |onnx| {
                for name in ["scale", "shift", "mean"] {
                    onnx.floats(name, &[2], &ramp(2));
                }
                onnx.floats("variance", &[2], &[1.0, 0.5]);
                let inputs = ["conv", "scale", "shift", "mean", "variance"];
                onnx.node(
                    "BatchNormalization",
                    &inputs,
                    "norm",
                    &[("epsilon", Attr::Float(1e-3))],
                );
                onnx.node(
                    "LeakyRelu",
                    &["norm"],
                    "leaky",
                    &[("alpha", Attr::Float(0.1))],
                );
                onnx.node("Add", &["leaky", "conv"], "sum", &[]);
                "sum"
            }),
        ),
        (
            "pools",
            model(17, |onnx| {
                let window = || {
                    [
                        ("kernel_shape", Attr::Ints(vec![2, 2])),
                        ("strides", Attr::Ints(vec![2, 2])),
                    ]
                };
                onnx.node("MaxPool", &["conv"], "max", &window());
                onnx.node("AveragePool", &["max"], "mean", &window());
                onnx.node("Sigmoid", &["mean"], "sigmoid", &[]);
                "sigmoid"
            }),
        ),
        (
            "folded",
            model(13, |onnx| {
                onnx.node("Shape", &["conv"], "shape", &[]);
                onnx.ints("zero", &[0]);
                onnx.ints("one", &[1]);
                onnx.node("Gather", &["shape", "zero"], "batch", &[]);
                onnx.ints("rest", &[2, 4, 4]);
                onnx.node(
                    "Concat",
                    &["batch", "rest"],
                    "target",
                    &[("axis", Attr::Int(0))],
                );
                onnx.node("Reshape", &["conv", "target"], "same", &[]);
                onnx.floats("two", &[1], &[2.0]);
                onnx.node("Mul", &["same", "two"], "double", &[]);
                onnx.node(
                    "Transpose",
                    &["double"],
                    "turned",
                    &[("perm", Attr::Ints(vec![0, 1, 2, 3]))],
                );
                onnx.node("Clip", &["turned"], "clipped", &[]);
                "clipped"
            }),
        ),
    ]
}

fn compiled(model: usize, convolution: Convolution, ring: Ring) -> Compilation {
    let options = Options {
        samples: vec![ramp(16)],
        labels: ["cat", "dog", "frog"].map(String::from).to_vec(),
        ring,
        convolution,
        output_kind: OutputKind::Probabilities,
        ..Options::new(Preprocess::named("mnist").expect("a known set"))
    };
    let (name, bytes) = &models()[model];
    let model = import_bytes(name, bytes, &ImportOptions::default()).expect("the model imports");
    compile(model, &options, &()).expect("the model compiles")
}

const TOY: Ring = Ring::Insecure { log_n: 8 };

/// A small model compiled in each of the three ways, and one that bootstraps.
pub static COMPILED: LazyLock<Vec<(&str, Compilation)>> = LazyLock::new(|| {
    vec![
        ("single", compiled(0, Convolution::SingleLevel, TOY)),
        (
            "parallel",
            compiled(0, Convolution::MultiplexedParallel, TOY),
        ),
        ("siso", compiled(0, Convolution::Siso, TOY)),
        ("deep", compiled(1, Convolution::SingleLevel, TOY)),
    ]
});

/// A client plan of the smallest ring, so that its keys and ciphertexts take a few hundred bytes.
/// An image takes two ciphertexts.
pub fn tiny() -> ClientPlan {
    let ciphertext = |log_slots| CiphertextType {
        log_slots,
        level: 2,
        log_scale: 20.0,
    };
    let piece = |channels: std::ops::Range<usize>| InputPiece {
        layout: MultiplexedLayout::dense(channels.len(), 1, 1),
        region: Region {
            channels,
            rows: 0..1,
        },
    };
    let input = InputPort {
        packing: InputPacking {
            shape: [4, 1, 1],
            range: 4.0,
            pieces: vec![piece(0..3), piece(3..4)],
        },
        ciphertexts: vec![ciphertext(2), ciphertext(0)],
    };
    let output = Port {
        packing: SlotType {
            layout: MultiplexedLayout::dense(3, 1, 1),
            range: 4.0,
        },
        ciphertext: ciphertext(2),
    };
    ClientPlan {
        name: "tiny".into(),
        plan_digest: [7; 32],
        parameters: ParametersLiteral {
            log_n: 4,
            log_q: vec![26, 24, 24, 24, 24, 24, 24, 24],
            log_p: vec![30, 30],
            secret: Secret::DenseTernary,
            encapsulation_weight: Some(4),
        },
        insecure: true,
        bootstrap: BootstrapParameters {
            k: 2,
            degree: 2,
            double_angles: 0,
            log_scale: 20,
            slot_to_coeff_levels: 1,
            coeff_to_slot_levels: 1,
            ..BootstrapParameters::default()
        },
        needs: [
            KeyNeed::Rotation { by: 1, level: 1 },
            KeyNeed::Product { level: 2 },
        ]
        .into(),
        input,
        output,
        output_kind: OutputKind::Logits,
        preprocess: Preprocess::named("unit").expect("a known set"),
        labels: Vec::new(),
    }
}

/// The protocol of [`tiny`], which the seeds of keys and ciphertexts belong to.
pub static TINY: LazyLock<Arc<Protocol>> =
    LazyLock::new(|| Protocol::new(tiny(), any()).expect("the tiny client plan holds"));

fn client_plans() -> Vec<Named> {
    let of = |plan: &ClientPlan| plan.write(Vec::new(), "client plan").expect("it is small");
    let derived = |plan: &Plan| of(&plan.client_plan().expect("it has one input and output"));
    let secure = |convolution| derived(&compiled(1, convolution, Ring::Secure).plan);
    let mut bootstraps = tiny();
    bootstraps.needs.insert(KeyNeed::Bootstrap {
        log_slots: 2,
        variant: BootstrapVariant::Complex,
    });
    vec![
        ("tiny", of(&tiny())),
        ("tiny-bootstrap", of(&bootstraps)),
        ("secure", secure(Convolution::SingleLevel)),
        ("secure-parallel", secure(Convolution::MultiplexedParallel)),
        ("siso", derived(&COMPILED[2].1.plan)),
        ("whole", plans().swap_remove(3).1),
    ]
}

fn plans() -> Vec<Named> {
    let written = |plan: &Plan| plan.write(Vec::new(), "plan").expect("it is small");
    let compiled = COMPILED.iter();
    let compiled = compiled.map(|(name, compiled)| (*name, written(&compiled.plan)));
    let pieces = ("pieces", written(&toy::plan_in_pieces()));
    compiled.chain([pieces]).collect()
}

/// What a writer of files leaves at a path.
fn file(write: impl FnOnce(&Path)) -> Vec<u8> {
    let path = scratch(1);
    let _ = fs::remove_file(&path);
    write(&path);
    let bytes = fs::read(&path).expect("the file was written");
    let _ = fs::remove_file(&path);
    bytes
}

fn key_files(client: &Client) -> Vec<Named> {
    let secret = file(|path| {
        let staged = keys::stage_secret(path, client).expect("the key is written");
        staged.commit().expect("the file is new");
    });
    let public = file(|path| {
        let key = client.image_key().expect("the key is fresh");
        let staged = keys::stage_public(path, Existing::Replace, &TINY, &key);
        staged
            .expect("the key is written")
            .commit()
            .expect("the file is new");
    });
    let evaluation = file(|path| {
        let staged = keys::stage_evaluation(path, Existing::Replace, &TINY, client.id(), |sink| {
            client.generate_keys(KeyLimit::default(), &(), sink)
        });
        staged
            .expect("the keys are written")
            .commit()
            .expect("the file is new");
    });
    vec![
        ("secret", secret),
        ("public", public),
        ("evaluation", evaluation),
    ]
}

fn ciphertexts(client: &Client) -> Vec<Named> {
    let tensor = [0.5, -1.0, 2.0, 0.0];
    let seeded = client.encrypt("image", &tensor).expect("the image fits");
    let public = client.image_key().expect("the key is fresh");
    let whole = public.encrypt("image", &tensor).expect("the image fits");
    let image = |image| {
        file(|path| {
            ciphertext::write_image(path, Existing::Replace, &TINY, image).expect("it is written");
        })
    };
    // The first piece has the type of an answer.
    let FreshCiphertext::Whole(fresh) = whole.ciphertexts[0].clone() else {
        unreachable!("a public key gives a whole ciphertext");
    };
    let answer = EncryptedAnswer {
        key: client.id(),
        ciphertext: fresh,
    };
    let answer = file(|path| {
        ciphertext::write_answer(path, Existing::Replace, &TINY, &answer).expect("it is written");
    });
    vec![
        ("seeded", image(&seeded)),
        ("whole", image(&whole)),
        ("answer", answer),
    ]
}

fn texts() -> Vec<Named> {
    let mut texts = vec![("nn", print_nn(&COMPILED[0].1.model).into_bytes())];
    for ((ckks, slot), (_, compiled)) in [
        ("ckks-single", "slot-single"),
        ("ckks-parallel", "slot-parallel"),
        ("ckks-siso", "slot-siso"),
        ("ckks-deep", "slot-deep"),
    ]
    .into_iter()
    .zip(&*COMPILED)
    {
        texts.push((ckks, print_ckks(&compiled.plan.schedule).into_bytes()));
        texts.push((slot, print_slot(&compiled.packed).into_bytes()));
    }
    texts
}

fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(elements);
    bytes
}

fn images() -> Vec<Named> {
    use image::{DynamicImage, ImageFormat, RgbaImage};
    let pixel = |x: u32, y: u32| image::Rgba([x as u8 * 60, y as u8 * 60, 100, 255]);
    let rgba = DynamicImage::ImageRgba8(RgbaImage::from_fn(4, 3, pixel));
    let encoded = |image: DynamicImage, format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image
            .write_to(&mut bytes, format)
            .expect("small pictures are written");
        bytes.into_inner()
    };
    let floats: Vec<u8> = ramp(16).iter().flat_map(|x| x.to_le_bytes()).collect();
    let doubles: Vec<u8> = ramp(9)
        .iter()
        .flat_map(|x| f64::from(*x).to_be_bytes())
        .collect();
    let mut idx = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4];
    idx.extend(0..32);
    let mut cifar = vec![7];
    cifar.extend((0..3072).map(|i| (i % 251) as u8));
    vec![
        ("rgba.png", encoded(rgba.clone(), ImageFormat::Png)),
        (
            "grey16.png",
            encoded(rgba.to_luma16().into(), ImageFormat::Png),
        ),
        ("rgb.jpg", encoded(rgba.to_rgb8().into(), ImageFormat::Jpeg)),
        ("floats.npy", npy("<f4", "1, 4, 4", &floats)),
        ("doubles.npy", npy(">f8", "3, 3", &doubles)),
        ("bytes.npy", npy("|u1", "2, 4, 4, 1", &[9; 32])),
        ("idx", idx.clone()),
        ("idx.gz", gzip(&idx)),
        ("cifar", cifar),
    ]
}

fn json() -> Vec<Named> {
    let set = r#"{"scale": 0.00392156862745098, "mean": [0.5, 0.4, 0.3], "std": [0.2], "channels": "bgr"}"#;
    let record = r#"{"run": {"plan": "00", "data": "test.bin#0..2", "reference": "11", "backend": "ckks"},
 "answers": [{"image": "test.bin#0", "class": 1, "logits": [0.5, 2.25], "reference_class": 1,
   "reference_logits": [0.5, 2.0], "seconds": 1.5, "label": 1, "pixels": "22", "key": "33"},
  {"image": "test.bin#1", "class": 0, "logits": [1.0, -1e300], "reference_class": null,
   "reference_logits": null, "seconds": 0.5, "label": null, "pixels": "44", "key": null}],
 "ranges": [{"value": 3, "name": "relu", "function": "relu", "worst": 0.9, "overflows": 2}],
 "digest": ""}"#;
    let record = Record::parse(record.as_bytes())
        .map_err(|error| error.to_string())
        .and_then(|record| record.sealed().map_err(|error| error.to_string()))
        .and_then(|record| record.to_json().map_err(|error| error.to_string()));
    let record = record.expect("the record is one");
    vec![("preprocess", set.into()), ("record", record.into())]
}

/// All seeds: target, name, bytes. Keys and ciphertexts are new at every call.
///
/// # Panics
/// If one of them cannot be made.
pub fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let client = Client::generate(&TINY).expect("the system gives randomness");
    let groups: [(&'static str, Vec<Named>); 8] = [
        ("onnx", models()),
        ("plan", plans()),
        ("client", client_plans()),
        ("keys", key_files(&client)),
        ("ciphertext", ciphertexts(&client)),
        ("texts", texts()),
        ("images", images()),
        ("json", json()),
    ];
    let seed = |target| move |(name, bytes)| (target, name, bytes);
    groups
        .into_iter()
        .flat_map(|(target, named)| named.into_iter().map(seed(target)))
        .collect()
}
