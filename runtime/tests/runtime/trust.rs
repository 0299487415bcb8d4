//! What one party sends cannot hurt the other: each hole that was once found, and its kind.

use std::collections::BTreeSet;
use std::fs;

use heddle_ckks::Ciphertext;
use heddle_ckks::ring::{Basis, RnsPoly};
use heddle_ckks::scheme::wire::write_poly;
use heddle_ir::plan::{ClientPlan, Plan};
use heddle_ir::text;
use heddle_params::bootstrap::BootstrapVariant;
use heddle_params::keys::{KeyKind, KeyNeed};
use heddle_params::{Accept, Insecure, Secret};
use heddle_runtime::Error;
use heddle_runtime::client::{Client, KeyLimit, Share};
use heddle_runtime::memory::Memory;
use heddle_runtime::message::{EncryptedAnswer, EncryptedImage};
use heddle_runtime::progress::Show;
use heddle_runtime::protocol::Protocol;
use heddle_runtime::server::Server;

use crate::folder::Folder;
use crate::toy;

const RUN: [&str; 7] = [
    "run",
    "toy.plan",
    "--eval",
    "eval.keys",
    "image.ct",
    "-o",
    "logits.ct",
];
const DECRYPT: [&str; 5] = [
    "decrypt",
    "toy.client.plan",
    "--secret",
    "client.key",
    "logits.ct",
];

fn any() -> Accept {
    Accept::Any(Insecure::acknowledged())
}

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
    let keys = client
        .server_keys(KeyLimit::default(), Show::Nothing)
        .unwrap();
    let protocol = client.protocol();
    let server = Server::load(plan, protocol, keys, Memory::FullSpeed, Show::Nothing).unwrap();
    server.run(image, Show::Nothing).unwrap().0
}

// 0. Clients get no weights.

#[test]
fn the_client_plan_is_all_that_a_client_needs() {
    let folder = Folder::new();
    let away = |name: &str| fs::rename(folder.path(name), folder.path(&format!("{name}.away")));
    let back = |name: &str| fs::rename(folder.path(&format!("{name}.away")), folder.path(name));
    away("toy.plan").unwrap();
    folder.keygen();
    folder.encrypt();
    back("toy.plan").unwrap();
    away("toy.client.plan").unwrap();
    folder.succeed(&RUN);
    back("toy.client.plan").unwrap();
    away("toy.plan").unwrap();
    let shown = folder.succeed(&DECRYPT);
    assert_eq!(shown.lines().count(), 4, "{shown}");
}

#[test]
fn a_client_plan_is_bound_to_its_plan() {
    let plan = toy::plan();
    let mut forged = plan.client_plan().unwrap();
    forged.plan_digest[0] ^= 1;
    let client = Client::generate(&Protocol::new(forged, any()).unwrap()).unwrap();
    let folder = Folder::new();
    let path = folder.path("forged.ct");
    let image = client.encrypt("x", &toy::tensor(1)).unwrap();
    let refuse = heddle_ir::file::Existing::Refuse;
    heddle_runtime::files::ciphertext::write_image(&path, refuse, client.protocol(), &image)
        .unwrap();
    folder.keygen();
    let mut run = RUN;
    run[4] = "forged.ct";
    let error = folder.fail(1, &run);
    assert!(
        error.contains("`forged.ct` was made for another plan"),
        "{error}"
    );
}

// 1. No key that publishes the secret.

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

// 2. No seed twice, no disk filled.

#[test]
fn a_plan_that_needs_every_rotation_is_refused_by_the_size_of_its_keys() {
    let folder = Folder::new();
    let mut hostile = toy::plan().client_plan().unwrap();
    let rotations = (1..512).flat_map(|by| (0..=28).map(move |level| (by, level)));
    hostile
        .needs
        .extend(rotations.map(|(by, level)| KeyNeed::Rotation { by, level }));
    hostile
        .write_file(&folder.path("hostile.client.plan"))
        .unwrap();
    let keygen = [
        "keygen",
        "hostile.client.plan",
        "--secret",
        "client.key",
        "--eval",
        "eval.keys",
        "--max-keys",
        "100MiB",
    ];
    let before = fs::read_dir(folder.path("")).unwrap().count();
    let error = folder.fail(1, &keygen);
    for part in [
        "evaluation keys of",
        "at most 0.10 GiB",
        "help: ",
        "--max-keys",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path("")).unwrap().count(), before);
    // In memory too.
    let client = Client::generate(&Protocol::new(hostile, any()).unwrap()).unwrap();
    let refused = client.server_keys(KeyLimit(100 << 20), Show::Nothing);
    assert!(matches!(refused, Err(Error::KeyLimit { .. })));
}

#[test]
fn keygen_says_first_how_many_keys_of_how_many_bytes_it_makes() {
    let folder = Folder::new();
    let output = folder.run(&[
        "keygen",
        "toy.client.plan",
        "--secret",
        "client.key",
        "--eval",
        "eval.keys",
    ]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let keys = Protocol::of(&toy::plan(), any()).unwrap().keys().len();
    assert!(
        said.contains(&format!("{keys} evaluation keys, ")),
        "{said}"
    );
    let size = fs::metadata(folder.path("eval.keys")).unwrap().len();
    let stated = Protocol::of(&toy::plan(), any())
        .unwrap()
        .key_bytes()
        .unwrap();
    assert!(
        (stated..stated + stated / 50).contains(&size),
        "{stated} {size}"
    );
}

// 3. Nothing insecure without a word.

#[test]
fn every_command_refuses_parameters_below_128_bits_unless_told() {
    let folder = Folder::new();
    folder.keygen();
    folder.encrypt();
    folder.succeed(&RUN);
    let image = [
        "encrypt",
        "toy.plan",
        "--secret",
        "client.key",
        "image.npy",
        "-o",
        "x.ct",
    ];
    let keygen = [
        "keygen", "toy.plan", "--secret", "x.key", "--eval", "x.keys",
    ];
    let mut run = RUN;
    run[6] = "x.ct";
    let commands: [&[&str]; 10] = [
        &keygen,
        &image,
        &run,
        &DECRYPT,
        &["infer", "toy.plan", "image.npy"],
        &["eval", "toy.plan", "--data", "image.npy"],
        &["inspect", "toy.plan"],
        &["inspect", "toy.client.plan"],
        &["inspect", "client.key"],
        &["inspect", "image.ct"],
    ];
    for command in commands {
        let output = folder.run_exactly(command);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {error}");
        assert!(output.stdout.is_empty());
        for part in [" bits of security", "128 are needed", "`--insecure`"] {
            assert!(error.contains(part), "{command:?}: {error}");
        }
    }
    assert!(!folder.path("x.key").exists() && !folder.path("x.ct").exists());
    // Told so, they say it and the bits.
    let told = folder.run(&["inspect", "toy.plan"]);
    let shown = String::from_utf8(told.stdout).unwrap();
    assert!(shown.contains("INSECURE, for tests only: "), "{shown}");
}

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

// 4. Wrong keys give no answer.

#[test]
fn keys_and_ciphertexts_of_another_client_are_refused_by_name() {
    let folder = Folder::new();
    folder.keygen();
    folder.encrypt();
    folder.succeed(&RUN);
    for name in ["client.key", "eval.keys", "image.ct", "logits.ct"] {
        fs::rename(folder.path(name), folder.path(&format!("first.{name}"))).unwrap();
    }
    folder.keygen();
    folder.encrypt();
    folder.succeed(&RUN);
    let mut run = RUN;
    run[3] = "first.eval.keys";
    run[6] = "mixed.ct";
    let error = folder.fail(1, &run);
    assert!(
        error.contains("first.eval.keys and image.ct belong to different secret keys"),
        "{error}"
    );
    assert!(!folder.path("mixed.ct").exists());
    let mut decrypt = DECRYPT;
    decrypt[3] = "first.client.key";
    for share in [&[][..], &["--share", "class"], &["--share"], &["--json"]] {
        let output = folder.run(&[&decrypt[..], share].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("belong to different secret keys"), "{error}");
        assert!(output.stdout.is_empty());
    }
}

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
    let relabelled = EncryptedAnswer {
        key: one.id(),
        ..crossed.clone()
    };
    for (client, answer) in [(&other, &crossed), (&one, &relabelled)] {
        assert!(matches!(
            client.decrypt(answer, Share::Private),
            Err(Error::OutOfRange)
        ));
        assert!(matches!(client.classify(answer), Err(Error::OutOfRange)));
        let shared = client.decrypt(answer, Share::Noisy { bits: 8 });
        assert!(matches!(shared, Err(Error::OutOfRange)));
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

// 6. What active servers send.

/// An answer of the plan's type with `c1` constant, so that it decrypts to multiples of the secret's
/// coefficients.
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
            client.decrypt(&answer, Share::Private),
            Err(Error::OutOfRange)
        ));
        let shared = client.decrypt(&answer, Share::Noisy { bits: 8 });
        assert!(matches!(shared, Err(Error::OutOfRange)));
    }
    let message = Error::OutOfRange.to_string();
    assert!(!message.chars().any(|c| c.is_ascii_digit()), "{message}");
}

#[test]
fn shares_of_one_answer_are_the_same_so_that_averaging_wins_nothing() {
    let (client, answer) = answered();
    let share = |bits| client.decrypt(&answer, Share::Noisy { bits }).unwrap();
    let exact = client.decrypt(&answer, Share::Private).unwrap();
    let first = share(6);
    for _ in 0..20 {
        assert_eq!(share(6), first);
    }
    assert_ne!(first, exact);
    // Noise of another precision is not the same noise at another size.
    let ratios: BTreeSet<i64> = (share(6).iter().zip(share(7)).zip(&exact))
        .map(|((six, seven), exact)| ((six - exact) / (seven - exact) * 100.0) as i64)
        .collect();
    assert!(ratios.len() > 1, "{ratios:?}");
    // Another answer to the same image has other noise.
    let other = answered().0;
    let mut again = answer.clone();
    again.key = other.id();
    assert!(other.decrypt(&again, Share::Noisy { bits: 6 }).is_err());
}

#[test]
fn share_class_shows_the_class_alone() {
    let folder = Folder::new();
    folder.keygen();
    folder.encrypt();
    folder.succeed(&RUN);
    let exact: serde_json::Value =
        serde_json::from_str(&folder.succeed(&[&DECRYPT[..], &["--json"]].concat())).unwrap();
    let label = exact["label"].as_str().unwrap();
    let class = folder.succeed(&[&DECRYPT[..], &["--share", "class"]].concat());
    assert_eq!(class, format!("{label}\n"));
    let json = folder.succeed(&[&DECRYPT[..], &["--share", "class", "--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 2);
    assert_eq!(json["class"], exact["class"]);
    let noisy = folder.succeed(&[&DECRYPT[..], &["--share=6"]].concat());
    assert_eq!(
        noisy,
        folder.succeed(&[&DECRYPT[..], &["--share"]].concat())
    );
    folder.fail(2, &[&DECRYPT[..], &["--share", "all"]].concat());
}

// 13. Encryption without the secret.

#[test]
fn whoever_has_the_public_key_encrypts_and_decrypts_nothing() {
    let folder = Folder::new();
    folder.succeed(&[
        "keygen",
        "toy.client.plan",
        "--secret",
        "client.key",
        "--eval",
        "eval.keys",
        "--public",
        "public.key",
    ]);
    fs::rename(folder.path("client.key"), folder.path("away")).unwrap();
    let encrypt = |plan, key| {
        [
            "encrypt",
            plan,
            "--public",
            key,
            "image.npy",
            "-o",
            "image.ct",
        ]
    };
    folder.succeed(&encrypt("toy.client.plan", "public.key"));
    folder.succeed(&RUN);
    let mut decrypt = DECRYPT;
    decrypt[3] = "public.key";
    let error = folder.fail(1, &decrypt);
    assert!(
        error.contains("`public.key` is a public key, expected a secret key"),
        "{error}"
    );
    fs::rename(folder.path("away"), folder.path("client.key")).unwrap();
    let by_public = folder.succeed(&DECRYPT);
    // The same image, encrypted with the secret key, has the same class.
    fs::remove_file(folder.path("image.ct")).unwrap();
    folder.encrypt();
    folder.succeed(&[&RUN[..], &["--force"]].concat());
    let first = |text: &str| text.split_whitespace().next().map(str::to_owned);
    assert_eq!(first(&by_public), first(&folder.succeed(&DECRYPT)));
    // The key is bound to its plan, and its id is the digest of what it holds.
    let mut other = toy::plan();
    other.name = "other".into();
    other
        .client_plan()
        .unwrap()
        .write_file(&folder.path("other.plan"))
        .unwrap();
    let other = encrypt("other.plan", "public.key");
    let error = folder.fail(1, &[&other[..], &["--force"]].concat());
    assert!(
        error.contains("`public.key` was made for another plan"),
        "{error}"
    );
    let shown = folder.succeed(&["inspect", "public.key"]);
    assert!(
        shown.contains("public key") && shown.contains("decrypt nothing"),
        "{shown}"
    );
    folder.fail(2, &["encrypt", "toy.plan", "image.npy", "-o", "x.ct"]);
}

// What the client derives, it does not believe.

#[test]
fn headers_that_contradict_their_plan_are_refused() {
    let folder = Folder::new();
    folder.keygen();
    folder.encrypt();
    let whole = fs::read(folder.path("image.ct")).unwrap();
    // The plan's name in the header, checksum made right again.
    let at = whole
        .windows(3)
        .position(|window| window == b"toy")
        .unwrap();
    let mut forged = whole.clone();
    forged[at] = b'b';
    let header = u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
    let sum = crc32fast::hash(&forged[..16 + header]);
    forged[16 + header..20 + header].copy_from_slice(&sum.to_le_bytes());
    fs::write(folder.path("image.ct"), forged).unwrap();
    let error = folder.fail(1, &RUN);
    assert!(
        error.contains("its header contradicts the plan that it names"),
        "{error}"
    );
}

#[test]
fn bootstraps_that_the_ring_does_not_have_are_no_needs() {
    let mut plan = toy::plan().client_plan().unwrap();
    plan.needs.insert(KeyNeed::Bootstrap {
        log_slots: 31,
        variant: BootstrapVariant::Real,
    });
    assert!(Protocol::new(plan, any()).is_err());
}
