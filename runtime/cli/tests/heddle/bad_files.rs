//! Bad files: each is refused by name, with one error, and nothing is written.

use heddle_tests::npy::npy;
use heddle_tests::program::files;
use heddle_tests::toy;

use crate::folder::{DECRYPT, ENCRYPT, Folder, KEYGEN, RUN, words};

/// A folder with keys and an encrypted image.
fn prepared() -> Folder {
    let folder = Folder::new();
    folder.keygen();
    folder.encrypt();
    folder
}

/// Damages `file` in many ways: each time, `command` is refused with an error that names the file.
fn damaged(folder: &Folder, file: &str, command: &str) {
    let before = files(folder.root());
    let whole = folder.read(file);
    let refused = || {
        folder
            .fail(1, &words(command))
            .contains(&format!("`{file}`"))
    };
    for length in [0, 5, 40, whole.len() / 2, whole.len() - 1] {
        folder.write(file, &whole[..length]);
        assert!(refused(), "cut to {length} bytes");
    }
    for at in [whole.len() / 3, whole.len() / 2, whole.len() - 20] {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        folder.write(file, &changed);
        assert!(refused(), "byte {at} changed");
    }
    folder.write(file, &whole);
    assert!(files(folder.root()) == before, "a file was written");
}

#[test]
fn damaged_plans() {
    damaged(&prepared(), "toy.plan", RUN);
}

#[test]
fn damaged_client_plans() {
    let keygen = KEYGEN.replace("client.key", "new.key");
    damaged(&Folder::new(), "toy.client.plan", &keygen);
}

#[test]
fn damaged_secret_keys() {
    damaged(&prepared(), "client.key", &format!("{ENCRYPT} --force"));
}

#[test]
fn damaged_public_keys() {
    let folder = Folder::new();
    folder.succeed(&words(&format!("{KEYGEN} --public public.key")));
    let encrypt = "encrypt toy.client.plan --public public.key image.npy -o image.ct";
    damaged(&folder, "public.key", encrypt);
}

#[test]
fn damaged_evaluation_keys() {
    damaged(&prepared(), "eval.keys", RUN);
}

#[test]
fn damaged_encrypted_images() {
    damaged(&prepared(), "image.ct", RUN);
}

#[test]
fn damaged_encrypted_answers() {
    let folder = Folder::complete();
    damaged(&folder, "logits.ct", DECRYPT);
}

#[test]
fn keys_and_images_of_another_plan() {
    let folder = prepared();
    let mut other = toy::plan();
    other.name = "other".into();
    other.write_file(&folder.path("other.plan")).unwrap();
    for (file, command) in [
        (
            "image.ct",
            "run other.plan --eval eval.keys image.ct -o out.ct",
        ),
        (
            "client.key",
            "encrypt other.plan --secret client.key image.npy -o out.ct",
        ),
    ] {
        folder.refuses(command, &[&format!("`{file}` was made for another plan")]);
    }
}

#[test]
fn files_of_another_kind() {
    let folder = prepared();
    for (command, found, expected) in [
        (
            "decrypt toy.plan --secret client.key image.ct",
            "`image.ct`: is an encrypted image",
            "expected an encrypted answer",
        ),
        (
            "run toy.plan --eval client.key image.ct -o out.ct",
            "`client.key` is a secret key",
            "set of evaluation keys",
        ),
        (
            "run toy.plan --eval image.ct image.ct -o out.ct",
            "`image.ct` is a ciphertext",
            "set of evaluation keys",
        ),
        (
            "inspect image.npy",
            "`image.npy`",
            "is not a file of Heddle's",
        ),
    ] {
        let said = folder.fail(1, &words(command));
        assert!(
            said.contains(found) && said.contains(expected),
            "{command}: {said}"
        );
    }
    assert!(!folder.path("out.ct").exists());
}

#[test]
fn files_that_are_not_there() {
    let folder = prepared();
    for (missing, command) in [
        (
            "no.key",
            "encrypt toy.plan --secret no.key image.npy -o out.ct",
        ),
        ("no.plan", "keygen no.plan --secret new.key --eval new.keys"),
        ("no.ct", "run toy.plan --eval eval.keys no.ct -o out.ct"),
    ] {
        let said = folder.fail(1, &words(command));
        assert!(said.contains(&format!("`{missing}`")), "{said}");
    }
    assert!(!folder.path("out.ct").exists() && !folder.path("new.key").exists());
}

#[test]
fn images_that_do_not_fit_the_plan() {
    let folder = Folder::new();
    folder.keygen();
    let values = |value: f32| value.to_le_bytes().repeat(192);
    folder.write("nan.npy", npy("<f4", "3, 8, 8", &values(f32::NAN)));
    folder.write("large.npy", npy("<f4", "3, 8, 8", &values(3.0)));
    folder.write("small.npy", npy("|u1", "1, 8, 8", &[0; 64]));
    folder.write("two.npy", npy("|u1", "2, 3, 8, 8", &[0; 384]));
    folder.write("text.png", "no picture");
    for (image, word) in [
        ("nan.npy", "NaN"),
        ("large.npy", "values up to 1"),
        ("small.npy", "3×8×8"),
        ("two.npy", "2 images"),
        ("two.npy#2", "selects no images"),
        ("text.png", "is no picture"),
        ("missing.png", "missing.png"),
    ] {
        let encrypt = format!("encrypt toy.plan --secret client.key {image} -o out.ct");
        let error = folder.fail(1, &words(&encrypt));
        assert!(error.contains(word), "{image}: {error}");
        assert!(!folder.path("out.ct").exists());
    }
}
