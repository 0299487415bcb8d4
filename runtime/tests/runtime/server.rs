//! A server in a program of many threads.

use std::sync::Mutex;

use heddle_runtime::client::{Client, ImageKey, KeyLimit};
use heddle_runtime::memory::Memory;
use heddle_runtime::message::{EncryptedAnswer, EncryptedImage, ServerKeys};
use heddle_runtime::observer::{Activity, Observer};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::runner::Runner;
use heddle_runtime::server::Server;
use heddle_tests::toy;

use crate::any;

#[test]
fn what_a_program_holds_may_be_sent_to_and_shared_by_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Client>();
    check::<ImageKey>();
    check::<Server>();
    check::<Runner>();
    check::<Protocol>();
    check::<heddle_ir::plan::Plan>();
    check::<heddle_ir::plan::ClientPlan>();
    check::<EncryptedImage>();
    check::<EncryptedAnswer>();
    check::<ServerKeys>();
    check::<heddle_runtime::Error>();
}

#[test]
fn what_a_program_holds_prints_no_secret() {
    let plan = toy::plan();
    let protocol = Protocol::of(&plan, any()).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let image = client.encrypt("x", &toy::tensor(1)).unwrap();
    let id = client.id();
    assert_eq!(format!("{client:?}"), format!("Client(KeyId({id}))"));
    let image_key = client.image_key().unwrap();
    assert_eq!(format!("{image_key:?}"), format!("ImageKey(KeyId({id}))"));
    assert_eq!(
        format!("{keys:?}"),
        format!("ServerKeys {{ key: KeyId({id}), .. }}")
    );
    assert_eq!(
        format!("{image:?}"),
        format!("EncryptedImage {{ key: KeyId({id}), ciphertexts: [Seeded(..)] }}")
    );
    let server = Server::load(plan, &protocol, keys, Memory::FullSpeed, &()).unwrap();
    assert_eq!(
        format!("{server:?}"),
        format!("Server {{ plan: \"toy\", key: KeyId({id}), .. }}")
    );
}

/// The bytes of an answer's ciphertext.
fn bytes(server_of: &Protocol, answer: &EncryptedAnswer) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = answer.ciphertext.write(server_of.context(), &mut bytes);
    written.unwrap();
    bytes
}

#[test]
fn two_threads_run_one_server_and_get_the_answers_of_one_thread() {
    let plan = toy::plan();
    let protocol = Protocol::of(&plan, any()).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let server = Server::load(plan, &protocol, keys, Memory::FullSpeed, &()).unwrap();
    let images = [0, 1].map(|seed| client.encrypt("x", &toy::tensor(seed)).unwrap());
    let run = |image: &EncryptedImage| {
        let (answer, _) = server.run(image.clone(), &()).unwrap();
        bytes(&protocol, &answer)
    };
    let alone = [run(&images[0]), run(&images[1])];
    assert_ne!(alone[0], alone[1]);
    for _ in 0..3 {
        let together = std::thread::scope(|scope| {
            let threads = [0, 1].map(|at| {
                let image = &images[at];
                scope.spawn(move || run(image))
            });
            threads.map(|thread| thread.join().unwrap())
        });
        assert!(alone == together);
    }
}

/// Counts what it is told.
#[derive(Default)]
struct Counter(Mutex<Vec<(Activity, usize, usize, bool)>>);

impl Observer for Counter {
    fn begin(&self, activity: Activity, total: usize) {
        self.0.lock().unwrap().push((activity, total, 0, false));
    }

    fn advance(&self, activity: Activity) {
        let mut seen = self.0.lock().unwrap();
        let known = seen.iter_mut().rev().find(|known| known.0 == activity);
        known.unwrap().2 += 1;
    }

    fn end(&self, activity: Activity) {
        let mut seen = self.0.lock().unwrap();
        let known = seen.iter_mut().rev().find(|known| known.0 == activity);
        known.unwrap().3 = true;
    }
}

#[test]
fn observers_see_every_part_of_every_computation() {
    let plan = toy::plan();
    let keys = plan.required_keys().unwrap().len();
    let operations = plan.schedule.graph.len();
    let counter = Counter::default();
    let runner = Runner::encrypted(plan, any(), Memory::FullSpeed, &counter).unwrap();
    let image = heddle_runtime::packing::InputTensor {
        name: "x".into(),
        elements: toy::tensor(1),
    };
    runner.run(&[image], 0, &counter).unwrap();
    let seen = counter.0.into_inner().unwrap();
    let order: Vec<Activity> = seen.iter().map(|known| known.0).collect();
    assert_eq!(
        order,
        [
            Activity::MakingKeys,
            Activity::EncodingWeights,
            Activity::AnsweringImages,
            Activity::RunningPlan,
        ]
    );
    assert!(
        seen.iter()
            .all(|(_, total, parts, ended)| total == parts && *ended)
    );
    assert_eq!((seen[0].1, seen[2].1, seen[3].1), (keys, 1, operations));
}
