//! An input of another type than the schedule's is refused by name, in every backend.

use std::sync::Arc;

use heddle_ckks::Encoder;
use heddle_ckks::SecretEncryptor;
use heddle_ckks::{Ciphertext, Plaintext};
use heddle_ckks::{EvaluationKeys, KeySwitchKey};
use heddle_ir::file::Existing;
use heddle_ir::plan::Plan;
use heddle_params::keys::{KeyKind, KeyUse};
use heddle_runtime::Error;
use heddle_runtime::backend::Backend;
use heddle_runtime::backend::ckks::CkksBackend;
use heddle_runtime::backend::noisy::NoisyInterpreter;
use heddle_runtime::client::{Client, Disclosure, KeyLimit};
use heddle_runtime::executor::execute;
use heddle_runtime::files::ciphertext::{read_answer, read_image, write_answer, write_image};
use heddle_runtime::memory::Memory;
use heddle_runtime::message::{EncryptedAnswer, EncryptedImage, FreshCiphertext, ServerKeys};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;
use heddle_tests::toy;

use crate::any;
use crate::clear_backend::ClearBackend;

struct Parties {
    plan: Arc<Plan>,
    client: Client,
    keys: ServerKeys,
}

fn parties() -> Parties {
    let plan = Arc::new(toy::plan());
    let client = Client::generate(&Protocol::of(&plan, any()).unwrap()).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    Parties { plan, client, keys }
}

impl Parties {
    fn protocol(&self) -> &Arc<Protocol> {
        self.client.protocol()
    }

    /// A ciphertext under the client's key with these slots, level and scale.
    fn ciphertext(&self, log_slots: u32, level: usize, scale: f64) -> Ciphertext {
        let context = self.protocol().context();
        let encoder = Encoder::new(context.log_n() - 1);
        let slots = vec![0.25; 1 << log_slots];
        let plaintext = Plaintext::encode_real(&encoder, &slots, scale).unwrap();
        let encryptor = SecretEncryptor::new(context, self.client.secret());
        encryptor.encrypt(&plaintext, level).unwrap().expand()
    }

    /// Ciphertexts that differ from the plan's input in level, slots and scale, with what a refusal
    /// says.
    fn misfits(&self) -> [(Ciphertext, &'static str); 4] {
        let ty = self.protocol().plan().input.ciphertexts[0];
        let (slots, level, scale) = (ty.log_slots, ty.level, ty.scale());
        [
            (
                self.ciphertext(slots, level - 1, scale),
                "is at level 7, but level 8 is expected",
            ),
            (
                self.ciphertext(slots, level + 1, scale),
                "is at level 9, but level 8 is expected",
            ),
            (
                self.ciphertext(slots - 1, level, scale),
                "holds 2^7 slots at scale 2^40.000, but 2^8 at 2^40.000",
            ),
            (
                self.ciphertext(slots, level, scale * 1.001),
                "at scale 2^40.001, but 2^8 at 2^40.000",
            ),
        ]
    }

    fn encrypted(&self, ciphertext: Ciphertext) -> EncryptedImage {
        EncryptedImage {
            key: self.client.id(),
            ciphertexts: vec![FreshCiphertext::Whole(ciphertext)],
        }
    }
}

fn refused(error: Error, what: &str, said: &str) {
    assert!(matches!(error, Error::Input { .. }), "{error}");
    let message = error.to_string();
    assert!(message.starts_with(what), "{message}");
    assert!(message.contains(said), "no `{said}` in: {message}");
    assert!(message.contains("\nhelp: encrypt"), "{message}");
}

#[test]
fn a_server_refuses_an_image_of_another_type() {
    let parties = parties();
    let (plan, keys) = (parties.plan.clone(), parties.keys.clone());
    let server = Server::load(plan, parties.protocol(), keys, Memory::FullSpeed, &()).unwrap();
    for (ciphertext, said) in parties.misfits() {
        let image = parties.encrypted(ciphertext);
        refused(server.run(image, &()).err().unwrap(), "the image: ", said);
    }
    let ty = parties.protocol().plan().input.ciphertexts[0];
    let fitting = parties.ciphertext(ty.log_slots, ty.level, ty.scale());
    assert!(server.run(parties.encrypted(fitting), &()).is_ok());
}

#[test]
fn the_ckks_backend_refuses_an_input_of_another_type() {
    let parties = parties();
    let (plan, keys) = (parties.plan.clone(), Arc::new(parties.keys.keys.clone()));
    let context = parties.protocol().context();
    let backend = CkksBackend::load(plan, context, keys, Memory::FullSpeed, &()).unwrap();
    for (ciphertext, said) in parties.misfits() {
        let error = execute(
            &parties.plan.schedule,
            &backend,
            vec![ciphertext],
            &mut |_, _| {},
        );
        refused(error.err().unwrap(), "the input: ", said);
    }
}

/// What a backend on plain numbers says to inputs with too few and too many slots.
fn refuses_other_slots<B: Backend<Value = Vec<f64>>>(backend: &B) {
    let schedule = &toy::plan().schedule;
    for slots in [0, 128, 255, 257, 512] {
        let error = execute(schedule, backend, vec![vec![0.25; slots]], &mut |_, _| {});
        let error = error.err().unwrap();
        assert!(matches!(error, Error::Input { .. }), "{error}");
        let said = format!("the input: it has {slots} slots, but the plan's input has 256");
        assert!(error.to_string().starts_with(&said), "{error}");
    }
}

#[test]
fn backends_on_plain_numbers_refuse_inputs_of_another_length() {
    let plan = toy::plan();
    refuses_other_slots(&ClearBackend::load(&plan));
    let interpreter = NoisyInterpreter::load(&plan).unwrap();
    refuses_other_slots(&interpreter.execution(1));
}

#[test]
fn a_client_refuses_an_answer_of_another_type() {
    let parties = parties();
    let ty = parties.protocol().plan().output.ciphertext;
    for (slots, level, scale) in [
        (ty.log_slots, ty.level + 1, ty.scale()),
        (ty.log_slots + 1, ty.level, ty.scale()),
        (ty.log_slots, ty.level, ty.scale() * 1.001),
    ] {
        let answer = EncryptedAnswer {
            key: parties.client.id(),
            ciphertext: parties.ciphertext(slots, level, scale),
        };
        let error = parties.client.decrypt(&answer, Disclosure::Private);
        let message = error.err().unwrap().to_string();
        assert!(message.starts_with("the answer: "), "{message}");
        assert!(
            message.contains("help: give what `heddle run` wrote"),
            "{message}"
        );
    }
}

#[test]
fn files_of_images_and_answers_are_refused_with_help_of_their_own() {
    let parties = parties();
    let protocol = parties.protocol();
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (
        protocol.plan().input.ciphertexts[0],
        protocol.plan().output.ciphertext,
    );
    let path = folder.path().join("image.ct");
    let ciphertext = parties.ciphertext(input.log_slots, input.level, input.scale() * 1.001);
    let image = parties.encrypted(ciphertext);
    write_image(&path, Existing::Refuse, protocol, &image).unwrap();
    let message = read_image(&path, protocol).err().unwrap().to_string();
    assert!(
        message.contains("scale 2^40.001")
            && message.contains("help: encrypt the image for this plan with `heddle encrypt`"),
        "{message}"
    );

    let path = folder.path().join("answer.ct");
    let answer = EncryptedAnswer {
        key: parties.client.id(),
        ciphertext: parties.ciphertext(output.log_slots, output.level, output.scale() * 1.001),
    };
    write_answer(&path, Existing::Refuse, protocol, &answer).unwrap();
    let message = read_answer(&path, protocol).err().unwrap().to_string();
    assert!(
        message.contains("scale 2^40.001")
            && message.contains("help: give the encrypted answer that `heddle run` wrote"),
        "{message}"
    );
}

#[test]
fn a_missing_key_is_named_before_anything_runs() {
    let parties = parties();
    let required = parties.plan.required_keys().unwrap();
    let galois = |key: &&KeyUse| matches!(key.kind, KeyKind::Galois(_));
    let of_kind = |kind| required.iter().find(|key| key.kind == kind).unwrap();
    for (missing, named) in [
        (required.iter().find(galois).unwrap(), None),
        (required.iter().rev().find(galois).unwrap(), None),
        (of_kind(KeyKind::Relin), Some("relinearisation")),
        (of_kind(KeyKind::Encapsulate), Some("encapsulation")),
        (of_kind(KeyKind::Decapsulate), Some("decapsulation")),
    ] {
        // A key serves lower levels too, so all of the kind are left out.
        let mut keys = EvaluationKeys::new();
        for key_use in required.iter().filter(|key| key.kind != missing.kind) {
            let key = parties.keys.keys.get(key_use.kind, key_use.level).unwrap();
            keys.insert(KeySwitchKey::clone(key));
        }
        let keys = ServerKeys {
            key: parties.client.id(),
            keys,
        };
        let plan = parties.plan.clone();
        let error = Server::load(plan, parties.protocol(), keys, Memory::FullSpeed, &());
        let message = error.err().unwrap().to_string();
        let first = required
            .iter()
            .find(|key| key.kind == missing.kind)
            .unwrap();
        let expected = match (missing.kind, named) {
            (KeyKind::Galois(galois), _) => {
                format!(
                    "no key for the Galois element {galois} at level {}",
                    first.level
                )
            }
            (_, named) => format!("no key for {} at level {}", named.unwrap(), first.level),
        };
        assert!(
            message.starts_with(&expected),
            "{message}, expected {expected}"
        );
    }
}

#[test]
fn a_server_refuses_the_protocol_of_another_plan() {
    let parties = parties();
    let mut other = toy::plan();
    other.name = "other".into();
    let keys = parties.keys.clone();
    let error = Server::load(other, parties.protocol(), keys, Memory::FullSpeed, &());
    let message = error.err().unwrap().to_string();
    assert!(
        message.starts_with("the protocol: it is that of another plan"),
        "{message}"
    );
}
