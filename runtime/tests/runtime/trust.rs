//! What one party sends cannot hurt the other: one test for each hole that was once found.

use std::collections::BTreeSet;

use heddle_ckks::Ciphertext;
use heddle_ckks::ring::{Basis, RnsPoly};
use heddle_ckks::scheme::wire::write_poly;
use heddle_ir::plan::{ClientPlan, Plan};
use heddle_ir::text;
use heddle_params::bootstrap::BootstrapVariant;
use heddle_params::keys::{KeyKind, KeyNeed};
use heddle_params::{Accept, Secret};
use heddle_runtime::Error;
use heddle_runtime::client::{Client, Disclosure, KeyLimit};
use heddle_runtime::memory::Memory;
use heddle_runtime::message::{EncryptedAnswer, EncryptedImage};
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;
use heddle_tests::toy;

use crate::any;

/// A client of the toy plan and the plan's answer to one image.
fn answered() -> (Client, EncryptedAnswer) {
    let plan = toy::plan();
    let protocol = Protocol::of(&plan, any()).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let image = client.encrypt("x", &toy::tensor(1)).unwrap();
    let answer = answer(&plan, &client, image);
    (client, answer)
}

fn answer(plan: &Plan, client: &Client, image: EncryptedImage) -> EncryptedAnswer {
    let keys = client.server_keys(KeyLimit::default(), &()).unwrap();
    let protocol = client.protocol();
    let server = Server::load(plan.clone(), protocol, keys, Memory::FullSpeed, &()).unwrap();
    server.run(image, &()).unwrap().0
}

// No key that publishes the secret.

#[test]
fn a_plan_cannot_list_keys() {
    let schedule = text::print_ckks(&toy::plan().schedule);
    for key in [
        "key {kind={Galois=0}, level=3}",
        "key {kind={Galois=5}, level=3}",
        "key galois 4 3",
    ] {
        let forged = schedule.replacen("%0 =", &format!("{key}\n%0 ="), 1);
        assert_ne!(forged, schedule);
        let error = text::parse_ckks(&forged).unwrap_err().to_string();
        assert!(error.starts_with("line "), "{error}");
    }
}

#[test]
fn every_key_of_a_plan_is_called_for_by_an_operation() {
    let protocol = Protocol::of(&toy::plan(), any()).unwrap();
    let n = protocol.context().n() as u32;
    let mut needs = protocol.plan().needs.clone();
    let all = protocol.keys().len();
    assert!(all > 20);
    for key in protocol.keys() {
        if let KeyKind::Galois(galois) = key.kind {
            assert!(galois.exponent() % 2 == 1 && galois.exponent() < 2 * n);
        }
    }
    // Without its operations, a key is gone.
    needs.retain(|need| !matches!(need, KeyNeed::Bootstrap { .. }));
    let fewer = ClientPlan {
        needs,
        ..protocol.plan().clone()
    };
    let fewer = fewer.required_keys().unwrap();
    assert!(fewer.len() < all && fewer.iter().all(|key| key.kind != KeyKind::Encapsulate));
}

// No seed twice, no disk filled.

#[test]
fn a_plan_that_needs_every_rotation_is_refused_by_the_size_of_its_keys() {
    let mut hostile = toy::plan().client_plan().unwrap();
    let rotations = (1..512).flat_map(|by| (0..=28).map(move |level| (by, level)));
    hostile
        .needs
        .extend(rotations.map(|(by, level)| KeyNeed::Rotation { by, level }));
    let client = Client::generate(&Protocol::new(hostile, any()).unwrap()).unwrap();
    let refused = client.server_keys(KeyLimit(100 << 20), &());
    assert!(matches!(refused, Err(Error::KeyLimit { .. })));
}

// Nothing insecure without a word.

#[test]
fn a_secret_of_weight_one_is_refused_with_its_bits() {
    let mut plan = toy::plan();
    plan.parameters.secret = Secret::SparseTernary(1);
    let bytes = plan
        .client_plan()
        .unwrap()
        .write(Vec::new(), "weak")
        .unwrap();
    let error = ClientPlan::read(&*bytes, "weak", Accept::Secure).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("128 are needed") && message.contains("`weak`"),
        "{message}"
    );
    // A plan that calls itself secure is no better.
    plan.insecure = false;
    let bytes = plan
        .client_plan()
        .unwrap()
        .write(Vec::new(), "weak")
        .unwrap();
    for accept in [Accept::Secure, any()] {
        assert!(ClientPlan::read(&*bytes, "weak", accept).is_err());
    }
    // In memory too, nothing is done with it without the token.
    let plan = toy::plan();
    assert!(Protocol::of(&plan, any()).is_ok());
    assert!(matches!(
        Protocol::of(&plan, Accept::Secure),
        Err(Error::Parameters(_))
    ));
}

// Wrong keys give no answer.

#[test]
fn wrong_keys_under_the_right_id_give_no_answer() {
    let plan = toy::plan();
    let protocol = Protocol::of(&plan, any()).unwrap();
    let (one, other) = (
        Client::generate(&protocol).unwrap(),
        Client::generate(&protocol).unwrap(),
    );
    let image = EncryptedImage {
        key: other.id(),
        ..one.encrypt("x", &toy::tensor(1)).unwrap()
    };
    let crossed = answer(&plan, &other, image);
    let other_id = EncryptedAnswer {
        key: one.id(),
        ..crossed.clone()
    };
    for (client, answer) in [(&other, &crossed), (&one, &other_id)] {
        assert!(matches!(
            client.decrypt(answer, Disclosure::Private),
            Err(Error::OutOfRange { .. })
        ));
        assert!(matches!(
            client.classify(answer),
            Err(Error::OutOfRange { .. })
        ));
        let disclosed = client.decrypt(answer, Disclosure::Noisy { bits: 8 });
        assert!(matches!(disclosed, Err(Error::OutOfRange { .. })));
    }
}

#[test]
fn a_secret_key_that_is_not_the_one_of_its_id_is_refused() {
    let protocol = Protocol::of(&toy::plan(), any()).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let other = Client::generate(&protocol).unwrap();
    let context = protocol.context();
    let packed = client.secret().to_packed();
    let secret = || heddle_ckks::SecretKey::from_packed(context, &packed).unwrap();
    assert_eq!(
        Client::new(&protocol, secret(), client.identity())
            .unwrap()
            .id(),
        client.id()
    );
    assert!(Client::new(&protocol, secret(), other.identity()).is_err());
}

// What active servers send.

/// An answer of the plan's type with `c1` constant, so that it decrypts to multiples of the
/// secret's coefficients.
fn crafted(client: &Client, multiple: i64) -> EncryptedAnswer {
    let (context, ty) = (
        client.protocol().context(),
        client.protocol().plan().output.ciphertext,
    );
    let basis = Basis::q(ty.level);
    let mut bytes = (ty.level as u32).to_le_bytes().to_vec();
    bytes.extend(ty.log_slots.to_le_bytes());
    bytes.extend(ty.scale().to_le_bytes());
    for constant in [0, multiple] {
        let mut coefficients = vec![0; context.n()];
        coefficients[0] = constant;
        let poly = RnsPoly::from_i64(context, basis, &coefficients).into_eval();
        write_poly(context, &poly, &mut bytes).unwrap();
    }
    EncryptedAnswer {
        key: client.id(),
        ciphertext: Ciphertext::read(context, &mut &bytes[..]).unwrap(),
    }
}

#[test]
fn an_answer_made_of_the_secrets_coefficients_is_refused_before_a_number_is_known() {
    let protocol = Protocol::of(&toy::plan(), any()).unwrap();
    let client = Client::generate(&protocol).unwrap();
    let scale = protocol.plan().output.ciphertext.log_scale as u32;
    for multiple in [1 << (scale + 1), 1 << (scale + 10), -(1 << (scale + 3))] {
        let answer = crafted(&client, multiple);
        assert!(matches!(
            client.decrypt(&answer, Disclosure::Private),
            Err(Error::OutOfRange { .. })
        ));
        let disclosed = client.decrypt(&answer, Disclosure::Noisy { bits: 8 });
        assert!(matches!(disclosed, Err(Error::OutOfRange { .. })));
    }
    let refusal = client.decrypt(&crafted(&client, 1 << (scale + 4)), Disclosure::Private);
    let message = refusal.unwrap_err().to_string();
    assert!(!message.chars().any(|c| c.is_ascii_digit()), "{message}");
}

#[test]
fn disclosures_of_one_answer_are_the_same_so_that_an_average_removes_no_noise() {
    let (client, answer) = answered();
    let disclosed = |bits| client.decrypt(&answer, Disclosure::Noisy { bits }).unwrap();
    let exact = client.decrypt(&answer, Disclosure::Private).unwrap();
    let first = disclosed(6);
    for _ in 0..20 {
        assert_eq!(disclosed(6), first);
    }
    assert_ne!(first, exact);
    // Noise of another precision is not the same noise at another size.
    let ratios: BTreeSet<i64> = (disclosed(6).iter().zip(disclosed(7)).zip(&exact))
        .map(|((six, seven), exact)| ((six - exact) / (seven - exact) * 100.0) as i64)
        .collect();
    assert!(ratios.len() > 1, "{ratios:?}");
    // Another answer to the same image has other noise.
    let other = answered().0;
    let mut again = answer.clone();
    again.key = other.id();
    assert!(
        other
            .decrypt(&again, Disclosure::Noisy { bits: 6 })
            .is_err()
    );
}

// What the client derives, it does not believe.

#[test]
fn bootstraps_that_the_ring_does_not_have_are_no_needs() {
    let mut plan = toy::plan().client_plan().unwrap();
    plan.needs.insert(KeyNeed::Bootstrap {
        log_slots: 31,
        variant: BootstrapVariant::Real,
    });
    assert!(Protocol::new(plan, any()).is_err());
}
