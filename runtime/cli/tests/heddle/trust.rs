//! What one party sends cannot hurt the other, as the command line shows it.

use std::fs;

use heddle_ir::file::Existing;
use heddle_params::keys::KeyNeed;
use heddle_runtime::client::Client;
use heddle_runtime::files::ciphertext::write_image;
use heddle_runtime::protocol::Protocol;
use heddle_tests::toy;

use crate::folder::{DECRYPT, Folder, KEYGEN, RUN, any, said, words};

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
    folder.succeed(&words(RUN));
    back("toy.client.plan").unwrap();
    away("toy.plan").unwrap();
    let shown = folder.succeed(&words(DECRYPT));
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
    write_image(&path, Existing::Refuse, client.protocol(), &image).unwrap();
    folder.keygen();
    let mut run = words(RUN);
    run[4] = "forged.ct";
    let error = folder.fail(1, &run);
    assert!(
        error.contains("`forged.ct` was made for another plan"),
        "{error}"
    );
}

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
    folder.refuses(
        "keygen hostile.client.plan --secret client.key --eval eval.keys --max-keys 100MiB",
        &["evaluation keys of", "at most 0.10 GiB", "--max-keys"],
    );
}

#[test]
fn keygen_says_first_how_many_keys_of_how_many_bytes_it_makes() {
    let folder = Folder::new();
    let output = folder.run(&words(KEYGEN));
    let said = said(&output);
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

#[test]
fn every_command_refuses_parameters_below_128_bits_unless_told() {
    let folder = Folder::complete();
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
    let mut run = words(RUN);
    run[6] = "x.ct";
    let decrypt = words(DECRYPT);
    let commands: [&[&str]; 10] = [
        &keygen,
        &image,
        &run,
        &decrypt,
        &["infer", "toy.plan", "image.npy"],
        &["eval", "toy.plan", "--data", "image.npy"],
        &["inspect", "toy.plan"],
        &["inspect", "toy.client.plan"],
        &["inspect", "client.key"],
        &["inspect", "image.ct"],
    ];
    for command in commands {
        let output = folder.as_typed(command).output().unwrap();
        let error = said(&output);
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
fn keys_and_ciphertexts_of_another_client_are_refused_by_name() {
    let folder = Folder::complete();
    for name in ["client.key", "eval.keys", "image.ct", "logits.ct"] {
        fs::rename(folder.path(name), folder.path(&format!("first.{name}"))).unwrap();
    }
    folder.keygen();
    folder.encrypt();
    folder.succeed(&words(RUN));
    let mut run = words(RUN);
    run[3] = "first.eval.keys";
    run[6] = "mixed.ct";
    let error = folder.fail(1, &run);
    assert!(
        error.contains("first.eval.keys and image.ct belong to different secret keys"),
        "{error}"
    );
    assert!(!folder.path("mixed.ct").exists());
    let mut decrypt = words(DECRYPT);
    decrypt[3] = "first.client.key";
    for share in [&[][..], &["--share", "class"], &["--share"], &["--json"]] {
        let output = folder.run(&[&decrypt[..], share].concat());
        let error = said(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("belong to different secret keys"), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn share_class_shows_the_class_alone() {
    let folder = Folder::complete();
    let exact: serde_json::Value =
        serde_json::from_str(&folder.succeed(&[&words(DECRYPT)[..], &["--json"]].concat()))
            .unwrap();
    let label = exact["label"].as_str().unwrap();
    let class = folder.succeed(&[&words(DECRYPT)[..], &["--share", "class"]].concat());
    assert_eq!(class, format!("{label}\n"));
    let json = folder.succeed(&[&words(DECRYPT)[..], &["--share", "class", "--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_object().unwrap().len(), 2);
    assert_eq!(json["class"], exact["class"]);
    let noisy = folder.succeed(&[&words(DECRYPT)[..], &["--share=6"]].concat());
    assert_eq!(
        noisy,
        folder.succeed(&[&words(DECRYPT)[..], &["--share"]].concat())
    );
    folder.fail(2, &[&words(DECRYPT)[..], &["--share", "all"]].concat());
}

#[test]
fn whoever_has_the_public_key_encrypts_and_decrypts_nothing() {
    let folder = Folder::new();
    folder.succeed(&words(&format!("{KEYGEN} --public public.key")));
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
    folder.succeed(&words(RUN));
    let mut decrypt = words(DECRYPT);
    decrypt[3] = "public.key";
    let error = folder.fail(1, &decrypt);
    assert!(
        error.contains("`public.key` is a public key, expected a secret key"),
        "{error}"
    );
    fs::rename(folder.path("away"), folder.path("client.key")).unwrap();
    let by_public = folder.succeed(&words(DECRYPT));
    // The same image, encrypted with the secret key, has the same class.
    fs::remove_file(folder.path("image.ct")).unwrap();
    folder.encrypt();
    folder.succeed(&[&words(RUN)[..], &["--force"]].concat());
    let first = |text: &str| text.split_whitespace().next().map(str::to_owned);
    assert_eq!(first(&by_public), first(&folder.succeed(&words(DECRYPT))));
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
    let error = folder.fail(1, &words(RUN));
    assert!(
        error.contains("its header contradicts the plan that it names"),
        "{error}"
    );
}
