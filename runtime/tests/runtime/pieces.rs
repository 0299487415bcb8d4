//! An image of several ciphertexts: from the plan's file to the answer.

use std::fs;

use heddle_ir::file::Existing;
use heddle_ir::plan::{ClientPlan, Plan};
use heddle_params::Accept;
use heddle_runtime::Error;
use heddle_runtime::client::{Client, Disclosure, ImageKey, KeyLimit};
use heddle_runtime::executor::execute;
use heddle_runtime::files::ciphertext::{read_image, write_image};
use heddle_runtime::memory::Memory;
use heddle_runtime::message::{EncryptedImage, FreshCiphertext};
use heddle_runtime::packing::{InputTensor, pack};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::runner::Runner;
use heddle_runtime::server::Server;
use heddle_tests::toy;

use crate::any;
use crate::clear_backend::ClearBackend;

fn client() -> Client {
    let protocol = Protocol::of(&toy::plan_in_pieces(), any()).unwrap();
    Client::generate(&protocol).unwrap()
}

fn image(seed: usize) -> InputTensor {
    InputTensor {
        name: "x".into(),
        elements: toy::tensor(seed),
    }
}

#[test]
fn pieces_hold_the_elements_of_their_regions() {
    let plan = toy::plan_in_pieces();
    let tensor = toy::tensor(5);
    let packed = pack(&plan.input, "x", &tensor).unwrap();
    let periods: Vec<usize> = packed.iter().map(Vec::len).collect();
    assert_eq!(periods, [128, 64, 32]);
    // Two whole channels of 8×8, then rows 3 to 7 and rows 0 to 2 of the third.
    let naive = |elements: &[f32], period: usize| {
        let mut slots: Vec<f64> = elements.iter().map(|x| f64::from(*x)).collect();
        slots.resize(period, 0.0);
        slots
    };
    assert_eq!(packed[0], naive(&tensor[..128], 128));
    assert_eq!(packed[1], naive(&tensor[128 + 24..], 64));
    assert_eq!(packed[2], naive(&tensor[128..128 + 24], 32));
    assert!(pack(&plan.input, "x", &tensor[..191]).is_err());
}

#[test]
fn plan_and_client_plan_survive_their_files() {
    let plan = toy::plan_in_pieces();
    plan.check().unwrap();
    let bytes = plan.write(Vec::new(), "p").unwrap();
    assert_eq!(Plan::read(&*bytes, "p", any()).unwrap(), plan);
    let client = plan.client_plan().unwrap();
    assert_eq!(client.input.ciphertexts.len(), 3);
    let bytes = client.write(Vec::new(), "c").unwrap();
    assert_eq!(ClientPlan::read(&*bytes, "c", any()).unwrap(), client);
}

#[test]
fn a_client_refuses_pieces_that_do_not_hold_together() {
    let refused = |edit: fn(&mut ClientPlan), said: &str| {
        let mut client = toy::plan_in_pieces().client_plan().unwrap();
        edit(&mut client);
        let bytes = client.write(Vec::new(), "c").unwrap();
        let message = ClientPlan::read(&*bytes, "c", any())
            .unwrap_err()
            .to_string();
        assert!(message.contains(said), "{message}");
    };
    refused(
        |c| c.input.ciphertexts[1].level += 1,
        "are pieces of one image, but differ in level",
    );
    refused(|c| c.input.ciphertexts[2].log_scale += 1.0, "or scale");
    refused(|c| c.input.ciphertexts[0].log_slots = 6, "does not hold");
    refused(
        |c| c.input.packing.pieces[1].region.rows = 2..7,
        "rows in common",
    );
    refused(
        |c| c.input.packing.pieces[1].region.channels = 0..2,
        "its layout",
    );
    refused(|c| c.input.packing.shape[0] = 4, "do not cover");
    refused(|c| c.input.packing.pieces[0].layout.width = 7, "its layout");
    refused(|c| c.input.packing.pieces.clear(), "of 0 pieces");
    refused(
        |c| {
            let piece = c.input.packing.pieces[2].clone();
            c.input.packing.pieces.resize(5000, piece);
            let ty = c.input.ciphertexts[2];
            c.input.ciphertexts.resize(5000, ty);
        },
        "5000 pieces",
    );
}

#[test]
fn every_backend_answers_as_to_an_image_in_one_piece() {
    let whole = Runner::clear(toy::plan()).unwrap();
    let expected = whole.predict(&image(2)).unwrap();
    let plan = toy::plan_in_pieces();
    let clear = Runner::clear(plan.clone()).unwrap();
    let found = clear.run(&[image(1), image(2)], 0, &()).unwrap();
    for (found, expected) in found.answers[1]
        .as_ref()
        .unwrap()
        .iter()
        .zip(&expected.values)
    {
        assert!((found - expected).abs() < 1e-12);
    }
    let noisy = Runner::noisy(plan.clone()).unwrap();
    let encrypted = Runner::encrypted(plan, any(), Memory::FullSpeed, &()).unwrap();
    for runner in [&noisy, &encrypted] {
        let found = runner.predict(&image(2)).unwrap();
        assert_ne!(found.values, expected.values);
        for (found, expected) in found.values.iter().zip(&expected.values) {
            assert!((found - expected).abs() < 1e-3);
        }
    }
}

#[test]
fn an_executor_takes_as_many_inputs_as_the_schedule_has() {
    let plan = toy::plan_in_pieces();
    let backend = ClearBackend::load(&plan);
    let packed = pack(&plan.input, "x", &toy::tensor(0)).unwrap();
    let run = |inputs| execute(&plan.schedule, &backend, inputs, &mut |_, _| {});
    assert!(run(packed.clone()).is_ok());
    let (mut fewer, mut more) = (packed.clone(), packed.clone());
    fewer.pop();
    more.push(packed[0].clone());
    let mut swapped = packed;
    swapped.swap(0, 1);
    for inputs in [fewer, more, swapped] {
        assert!(matches!(run(inputs), Err(Error::Input { .. })));
    }
}

/// The uniform halves and constant parts of an image's ciphertexts, as bytes.
fn bytes(client: &Client, image: EncryptedImage) -> Vec<Vec<u8>> {
    let context = client.protocol().context();
    let write = |ciphertext: heddle_ckks::Ciphertext| {
        let mut bytes = Vec::new();
        ciphertext.write(context, &mut bytes).unwrap();
        // Level, slots and scale come first.
        bytes.split_off(16)
    };
    image.expand().into_iter().map(write).collect()
}

/// Two pieces under one seed would share their uniform half: their difference would show the
/// difference of the messages.
#[test]
fn every_piece_has_randomness_of_its_own() {
    let client = client();
    let zeros = vec![0.0; 192];
    let public = client.image_key().unwrap();
    let images = [
        client.encrypt("x", &zeros).unwrap(),
        client.encrypt("x", &zeros).unwrap(),
        public.encrypt("x", &zeros).unwrap(),
        public.encrypt("x", &zeros).unwrap(),
    ];
    let mut seen = Vec::new();
    for image in images {
        for piece in bytes(&client, image) {
            let (c0, c1) = piece.split_at(piece.len() / 2);
            seen.push(c0.to_vec());
            seen.push(c1.to_vec());
        }
    }
    let all = seen.len();
    assert_eq!(all, 4 * 3 * 2);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all);
}

#[test]
fn encrypted_images_in_pieces_survive_their_files_and_are_answered() {
    let client = client();
    let protocol = client.protocol();
    let folder = tempfile::tempdir().unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let plan = toy::plan_in_pieces();
    let server = Server::load(plan.clone(), protocol, keys, Memory::FullSpeed, &()).unwrap();
    let expected = Runner::clear(plan).unwrap().predict(&image(3)).unwrap();
    let public: ImageKey = client.image_key().unwrap();
    let tensor = toy::tensor(3);
    for (name, encrypted) in [
        ("seeded.ct", client.encrypt("x", &tensor).unwrap()),
        ("whole.ct", public.encrypt("x", &tensor).unwrap()),
    ] {
        let path = folder.path().join(name);
        write_image(&path, Existing::Refuse, protocol, &encrypted).unwrap();
        let read = read_image(&path, protocol).unwrap();
        assert!(bytes(&client, read.clone()) == bytes(&client, encrypted));
        let (answer, _) = server.run(read, &()).unwrap();
        let found = client.decrypt(&answer, Disclosure::Private).unwrap();
        for (found, expected) in found.iter().zip(&expected.values) {
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
    }
}

#[test]
fn images_with_other_pieces_are_refused() {
    let client = client();
    let protocol = client.protocol();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.ct");
    let encrypted = client.encrypt("x", &toy::tensor(0)).unwrap();
    let (mut fewer, mut mixed, mut swapped) =
        (encrypted.clone(), encrypted.clone(), encrypted.clone());
    fewer.ciphertexts.pop();
    mixed.ciphertexts[1] = FreshCiphertext::Whole(mixed.ciphertexts[1].clone().expand());
    swapped.ciphertexts.swap(0, 1);
    for image in [&fewer, &mixed] {
        let error = write_image(&path, Existing::Replace, protocol, image).unwrap_err();
        assert!(matches!(error, Error::Input { .. }), "{error}");
    }
    // A file whose pieces change places has as many bytes.
    write_image(&path, Existing::Replace, protocol, &swapped).unwrap();
    let message = read_image(&path, protocol).unwrap_err().to_string();
    assert!(message.contains("holds 2^6 slots"), "{message}");
    // The number of pieces is the plan's, not the file's.
    write_image(&path, Existing::Replace, protocol, &encrypted).unwrap();
    let whole = fs::read(&path).unwrap();
    for len in [whole.len() - 1, whole.len() / 2, whole.len() / 4] {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(read_image(&path, protocol).is_err());
    }
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let plan = toy::plan_in_pieces();
    let server = Server::load(plan, protocol, keys, Memory::FullSpeed, &()).unwrap();
    for (image, said) in [
        (fewer, "the image has 2 ciphertexts, but 3"),
        (swapped, "holds 2^6 slots"),
    ] {
        let message = server.run(image, &()).unwrap_err().to_string();
        assert!(message.contains(said), "{message}");
    }
}

#[test]
fn an_encrypted_image_of_absurd_size_is_refused() {
    // 4096 rows of one pixel, each in a ciphertext of its own at N = 2^16.
    let mut client = toy::plan_in_pieces().client_plan().unwrap();
    let piece = client.input.packing.pieces[2].clone();
    let ty = client.input.ciphertexts[2];
    let rows = 4096;
    client.parameters = heddle_params::named::n16_qp1714_dense_literal();
    client.insecure = false;
    client.needs.clear();
    client.input.packing.shape = [1, rows, 1];
    client.input.packing.pieces = (0..rows)
        .map(|row| {
            let mut piece = piece.clone();
            piece.region.channels = 0..1;
            piece.region.rows = row..row + 1;
            piece.layout = heddle_ir::MultiplexedLayout::dense(1, 1, 1);
            piece
        })
        .collect();
    client.input.ciphertexts = vec![ty; rows];
    let bytes = client.write(Vec::new(), "c").unwrap();
    let message = ClientPlan::read(&*bytes, "c", Accept::Secure)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("at most 8192 MiB are allowed"),
        "{message}"
    );
}
