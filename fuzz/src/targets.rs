//! The bodies of the targets. Each answers whether a reader accepted the input, and panics where
//! something that was accepted does not keep what the reader promises.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use heddle_cli::Record;
use heddle_frontends::image::{self, Pixels};
use heddle_frontends::onnx::{ImportOptions, import_bytes};
use heddle_ir::eval::ckks::ClearInterpreter;
use heddle_ir::file::Existing;
use heddle_ir::plan::{ClientPlan, Plan};
use heddle_ir::preprocess::Preprocess;
use heddle_ir::text::{
    parse_ckks, parse_nn, parse_slot, plan_summary, print_ckks, print_nn, print_slot, summary,
};
use heddle_ir::verify;
use heddle_params::{Accept, ParametersLiteral};
use heddle_runtime::client::{Client, Disclosure, KeyLimit};
use heddle_runtime::files::{ciphertext as ciphertexts, keys as key_files};
use heddle_runtime::message::EncryptedAnswer;
use heddle_runtime::protocol::Protocol;

use crate::files::{scratch, with_file};
use crate::frame::Framed;
use crate::mutate::Format;
use crate::oracle::{self, check_keys, check_parameters, needs_of};
use crate::seeds::{COMPILED, TINY, any};

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// How its inputs are built.
    pub format: Format,
    /// Its body.
    pub body: fn(&[u8]) -> bool,
}

/// All targets.
pub const ALL: [Target; 8] = [
    Target {
        name: "onnx",
        format: Format::Protobuf,
        body: onnx,
    },
    Target {
        name: "plan",
        format: Format::Framed,
        body: plan,
    },
    Target {
        name: "client",
        format: Format::Framed,
        body: client,
    },
    Target {
        name: "keys",
        format: Format::Framed,
        body: keys,
    },
    Target {
        name: "ciphertext",
        format: Format::Framed,
        body: ciphertext,
    },
    Target {
        name: "texts",
        format: Format::Text,
        body: texts,
    },
    Target {
        name: "images",
        format: Format::Image,
        body: images,
    },
    Target {
        name: "json",
        format: Format::Text,
        body: json,
    },
];

/// The target of a name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> Target {
    *ALL.iter()
        .find(|target| target.name == name)
        .expect("the target exists")
}

/// Largest ring over which accepted plans are also executed or given keys.
const SMALL_RING: u32 = 10;

/// An ONNX model: the scan, the parser and the import. What is imported passes the verifier, and
/// its text parses back.
pub fn onnx(data: &[u8]) -> bool {
    let options = ImportOptions {
        max_folded_elements: 1 << 18,
        ..ImportOptions::default()
    };
    let Ok(model) = import_bytes("fuzz.onnx", data, &options) else {
        return false;
    };
    let violations = verify::nn::verify(&model);
    assert!(violations.is_empty(), "{:?}", violations.iter().next());
    let text = print_nn(&model);
    let parsed = parse_nn(&text, model.weights.clone()).expect("what is printed parses");
    assert_eq!(print_nn(&parsed), text);
    true
}

/// A plan. What is accepted is written and read again as the same, has a table, a client plan of
/// its own, and runs on plain numbers, unless its linear maps are refused when they are expanded.
pub fn plan(data: &[u8]) -> bool {
    let Ok(plan) = Plan::read(data, "fuzz.plan", any()) else {
        return false;
    };
    let written = plan
        .write(Vec::new(), "plan")
        .expect("what was read fits a file");
    let again = Plan::read(&written[..], "again.plan", any()).expect("what is written is read");
    assert_eq!(again.write(Vec::new(), "plan").expect("it fits"), written);
    assert_eq!(
        again.digest().expect("it fits"),
        plan.digest().expect("it fits")
    );
    let sound = verify::ckks::verify_diagonals(&plan.schedule, &plan.weights).is_empty();
    let _ = plan_summary(&plan).map(|text| assert!(!text.is_empty()));
    let _ = plan.schedule.frees();
    let client = plan
        .client_plan()
        .expect("a checked plan has its inputs and one output");
    client
        .check()
        .expect("the client plan of a checked plan holds");
    let bytes = client
        .write(Vec::new(), "client plan")
        .expect("it is small");
    let read = ClientPlan::read(&bytes[..], "client.plan", any()).expect("it is read");
    assert_eq!(
        read.digest().expect("it fits"),
        client.digest().expect("it fits")
    );
    if plan.parameters.log_n <= SMALL_RING {
        let machine = ClearInterpreter::new(&plan.schedule, &plan.weights, &plan.bootstrap);
        if let (Ok(machine), true) = (machine, sound) {
            let pieces = plan.input.pieces.iter();
            let image: Vec<Vec<f64>> = pieces
                .map(|piece| vec![0.25; piece.layout.period()])
                .collect();
            let _ = machine.run(&image, |_, _| {});
        }
    }
    true
}

/// A plan or client plan, as the client sees it. What is accepted has the parameters, the security
/// and the keys that a computation from scratch gives, and is refused without the word *insecure*
/// if it is.
pub fn client(data: &[u8]) -> bool {
    let (client, needs) = match Framed::parse(data).map(|framed| framed.kind()) {
        Some(1) => {
            let Ok(plan) = Plan::read(data, "fuzz.plan", any()) else {
                return false;
            };
            let secure = Plan::read(data, "fuzz.plan", Accept::Secure);
            assert_eq!(secure.is_ok(), !plan.insecure);
            let client = plan.client_plan().expect("it has one input and one output");
            let needs = needs_of(&plan.schedule);
            assert_eq!(client.needs, needs);
            assert_eq!(
                client.required_keys().expect("the plan is checked"),
                plan.required_keys().expect("the plan is checked")
            );
            (client, needs)
        }
        _ => {
            let Ok(client) = ClientPlan::read(data, "fuzz.plan", any()) else {
                return false;
            };
            let secure = ClientPlan::read(data, "fuzz.plan", Accept::Secure);
            assert_eq!(secure.is_ok(), !client.insecure);
            let needs = client.needs.clone();
            (client, needs)
        }
    };
    let parameters = client.checked_parameters().expect("the plan is checked");
    check_parameters(&parameters, client.insecure);
    let target = oracle::Target {
        parameters: &client.parameters,
        bootstrap: &client.bootstrap,
    };
    let keys = client.required_keys().expect("the plan is checked");
    check_keys(target, &keys, &target.keys(needs));
    if client.parameters.log_n <= SMALL_RING {
        follow(client);
    }
    true
}

/// What a client does with a plan that it accepts.
fn follow(client: ClientPlan) {
    let small = client.parameters.log_n <= 5;
    let protocol = Protocol::new(client, any()).expect("an accepted plan has a protocol");
    let bytes = protocol.key_bytes().expect("the keys fit the parameters");
    if !small || protocol.keys().len() > 8 {
        return;
    }
    let client = Client::generate(&protocol).expect("the parameters allow a secret");
    let made = client.server_keys(KeyLimit(bytes), &());
    let made = made.expect("a client can make the keys of a plan that it accepts");
    assert_eq!(made.keys.len(), protocol.keys().len());
    let refused = client.server_keys(KeyLimit(bytes.saturating_sub(1)), &());
    assert!(refused.is_err() || bytes == 0);
    let tensor = vec![0.0; protocol.plan().input.packing.elements()];
    // A scale may leave no room for a number.
    let _ = client.encrypt("zeros", &tensor);
}

/// A secret key, public key or evaluation keys for one protocol. What is accepted is written again
/// as it was, but for where its blocks are cut.
pub fn keys(data: &[u8]) -> bool {
    let out = scratch(1);
    let same = |path: &Path| {
        let whole = |bytes: &[u8]| {
            let framed = Framed::parse(bytes).expect("an accepted file is one of blocks");
            (framed.kind(), framed.blocks.concat())
        };
        let written = fs::read(path).expect("the file was written");
        assert_eq!(whole(&written), whole(data));
        let _ = fs::remove_file(path);
    };
    with_file(data, |path| {
        let secret = key_files::read_secret(path, &TINY);
        let public = key_files::read_public(path, &TINY);
        let evaluation = key_files::read_evaluation(path, &TINY, &());
        let staged = match (secret, public, evaluation) {
            (Ok(client), Err(_), Err(_)) => key_files::stage_secret(&out, &client),
            (Err(_), Ok(key), Err(_)) => {
                key_files::stage_public(&out, Existing::Replace, &TINY, &key)
            }
            (Err(_), Err(_), Ok(made)) => {
                let key = made.key;
                key_files::stage_evaluation(&out, Existing::Replace, &TINY, key, |sink| {
                    TINY.keys().iter().try_for_each(|used| {
                        let key = made.keys.iter().find(|key| key.key_use() == *used);
                        sink(key.expect("every key was read").as_ref().clone())
                    })
                })
            }
            (Err(_), Err(_), Err(_)) => return false,
            _ => panic!("one file was read as two kinds"),
        };
        let staged = staged.expect("what was read is written");
        staged.commit().expect("nothing is in the way");
        same(&out);
        true
    })
}

/// A secret key for the protocol of the seeds.
static CLIENT: LazyLock<Client> =
    LazyLock::new(|| Client::generate(&TINY).expect("the system gives randomness"));

/// An encrypted image or answer for one protocol. What is accepted has the plan's type, is written
/// again as it was, and decrypts to numbers within the plan's range or not at all.
pub fn ciphertext(data: &[u8]) -> bool {
    let out = scratch(1);
    let body = |bytes: &[u8]| Framed::parse(bytes).map(|framed| framed.blocks.concat());
    with_file(data, |path| {
        let image = ciphertexts::read_image(path, &TINY);
        let answer = ciphertexts::read_answer(path, &TINY);
        let plan = TINY.plan();
        match (image, answer) {
            (Ok(image), Err(_)) => {
                ciphertexts::write_image(&out, Existing::Replace, &TINY, &image)
                    .expect("what was read is written");
                let pieces = image.expand();
                let found = pieces
                    .iter()
                    .map(|piece| (piece.level(), piece.log_slots()));
                let expected = plan.input.ciphertexts.iter();
                assert!(found.eq(expected.map(|ty| (ty.level, ty.log_slots))));
            }
            (Err(_), Ok(answer)) => {
                ciphertexts::write_answer(&out, Existing::Replace, &TINY, &answer)
                    .expect("what was read is written");
                assert!(
                    CLIENT.decrypt(&answer, Disclosure::Private).is_err(),
                    "of another key"
                );
                let forged = EncryptedAnswer {
                    key: CLIENT.id(),
                    ..answer
                };
                if let Ok(numbers) = CLIENT.decrypt(&forged, Disclosure::Private) {
                    let most = 4.0 * plan.output.packing.range;
                    assert!(numbers.iter().all(|x| x.abs() <= most), "{numbers:?}");
                }
            }
            (Err(_), Err(_)) => return false,
            _ => panic!("one file was read as two kinds"),
        }
        assert_eq!(body(&fs::read(&out).expect("it was written")), body(data));
        let _ = fs::remove_file(&out);
        true
    })
}

/// The text of a stage. What parses is printed and parsed to the same, and verified without a
/// panic.
pub fn texts(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let same = |printed: &str, again: Option<String>| {
        let again = again.expect("what is printed parses");
        assert_eq!(printed, again);
    };
    let mut accepted = false;
    if let Ok(schedule) = parse_ckks(text) {
        accepted = true;
        let printed = print_ckks(&schedule);
        same(
            &printed,
            parse_ckks(&printed).ok().map(|again| print_ckks(&again)),
        );
        for (_, compiled) in &*COMPILED {
            let plan = &compiled.plan;
            let parameters = plan.checked_parameters().expect("the plan is sound");
            let target = heddle_ir::ckks::Target {
                parameters: &parameters,
                bootstrap: &plan.bootstrap,
            };
            if verify::ckks::verify(&schedule, target, Some(&plan.weights)).is_empty() {
                verify::ckks::verify_diagonals(&schedule, &plan.weights);
                summary(&schedule);
            }
        }
    }
    if let Ok(graph) = parse_slot(text) {
        accepted = true;
        let printed = print_slot(&graph);
        same(
            &printed,
            parse_slot(&printed).ok().map(|again| print_slot(&again)),
        );
        for (_, compiled) in &*COMPILED {
            verify::slot::verify(&graph, &compiled.model.weights);
        }
    }
    if let Ok(model) = parse_nn(text, COMPILED[0].1.model.weights.clone()) {
        accepted = true;
        let printed = print_nn(&model);
        let again = parse_nn(&printed, model.weights.clone()).ok();
        same(&printed, again.map(|again| print_nn(&again)));
        verify::nn::verify(&model);
    }
    accepted
}

/// Most pixels of a PNG or JPEG that is decoded, so that the fuzzer's time goes into many small
/// ones.
const MAX_PIXELS: usize = 1 << 14;

/// Whether a photo states a size that is worth the time.
fn is_small(data: &[u8]) -> bool {
    let at = |at: usize, bytes: usize| {
        let bytes = data.get(at..at + bytes)?;
        Some(
            bytes
                .iter()
                .fold(0, |number, byte| number << 8 | usize::from(*byte)),
        )
    };
    let fits = |height: Option<usize>, width: Option<usize>| {
        let pixels = height.unwrap_or(0).saturating_mul(width.unwrap_or(0));
        pixels <= MAX_PIXELS || pixels > image::MAX_PIXELS
    };
    if data.starts_with(b"\x89PNG") {
        return fits(at(16, 4), at(20, 4));
    }
    if data.starts_with(&[0xff, 0xd8]) {
        // Anything that may be a frame's header.
        let mut frames = data.windows(2).enumerate();
        return frames.all(|(place, marker)| {
            marker[0] != 0xff
                || !(0xc0..=0xcf).contains(&marker[1])
                || fits(at(place + 5, 2), at(place + 7, 2))
        });
    }
    true
}

/// A file of one or many images. What is read has as many elements as its shape says, and becomes a
/// tensor of finite numbers or an error.
pub fn images(data: &[u8]) -> bool {
    if !is_small(data) {
        return false;
    }
    let sets = ["cifar10", "mnist", "unit"].map(|name| Preprocess::named(name).expect("known"));
    with_file(data, |path| {
        let name = path.to_str().expect("the scratch folder's name is text");
        let Ok(sources) = image::image_set(name) else {
            return false;
        };
        let mut accepted = false;
        for index in [0, sources.len() / 2, sources.len() - 1] {
            let Ok(picture) = sources.get(index).expect("the index is below the number") else {
                continue;
            };
            accepted = true;
            let (elements, found) = match &picture.pixels {
                Pixels::Photo(raster) | Pixels::Record(raster) => {
                    let elements = raster.channels * raster.height * raster.width;
                    (elements, raster.data.len())
                }
                Pixels::Bytes { shape, data } => (shape.iter().product(), data.len()),
                Pixels::Floats { shape, data } => (shape.iter().product(), data.len()),
            };
            assert_eq!(elements, found);
            for (set, shape) in sets.iter().zip([[3, 4, 4], [1, 4, 4], [1, 1, 9]]) {
                if let Ok((tensor, _)) = image::to_tensor(&picture, set, shape) {
                    assert_eq!(tensor.len(), shape.iter().product::<usize>());
                    assert!(tensor.iter().all(|x| x.is_finite()));
                }
            }
        }
        assert!(sources.get(sources.len()).is_none());
        accepted
    })
}

/// The JSON of a preprocessing, of a record of `heddle eval --resume`, or of parameters. What is
/// accepted is written and read again as the same.
pub fn json(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let mut accepted = false;
    if let Ok(set) = Preprocess::parse("fuzz", text) {
        accepted = true;
        let again = serde_json::to_string(&set).expect("it serialises");
        assert_eq!(
            Preprocess::parse("again", &again).expect("it was a set"),
            set
        );
        for pixels in [0, 1, 3, 12] {
            assert_eq!(set.apply(&vec![7; pixels]).len(), pixels);
        }
        assert!(set.bound() >= 0.0);
    }
    if let Ok(record) = Record::parse(data) {
        accepted = true;
        let sealed = record.sealed().expect("it serialises");
        let written = sealed.to_json().expect("it serialises");
        let again = Record::parse(written.as_bytes()).expect("what is written is read");
        assert!(again.is_sealed().expect("it serialises"));
        assert_eq!(again, sealed);
        assert!(!again.figures().is_empty());
    }
    if let Ok(literal) = serde_json::from_str::<ParametersLiteral>(text) {
        let _ = heddle_params::Parameters::accepted(literal, any());
    }
    accepted
}
