//! Outputs take the place of no input, of no secret key and of no file of another kind.

use std::fs;
use std::os::unix::fs::symlink;

use heddle_tests::program::{files, spellings};

use crate::folder::{DECRYPT, ENCRYPT, Folder, KEYGEN, RUN, words};

#[test]
fn a_secret_key_is_never_replaced() {
    let folder = Folder::complete();
    for force in ["", " --force"] {
        folder.refuses(
            &format!("keygen toy.client.plan --secret client.key --eval new.keys{force}"),
            &["`client.key` is a secret key, which is never replaced"],
        );
        for output in ["client.key", "./client.key"] {
            let kept = "is a secret key, which is never replaced";
            folder.refuses(
                &format!("keygen toy.client.plan --secret new.key --eval {output}{force}"),
                &[output, kept],
            );
            let public = format!(
                "keygen toy.client.plan --secret new.key --eval new.keys --public {output}{force}"
            );
            folder.refuses(&public, &[output, kept]);
            // An input of this one.
            let image =
                format!("encrypt toy.client.plan --secret client.key image.npy -o {output}{force}");
            folder.refuses(&image, &["client.key", "input"]);
            for run in [
                format!("run toy.plan --eval eval.keys image.ct -o {output}{force}"),
                format!("run toy.plan --eval eval.keys image.ct -o x.ct --trace {output}{force}"),
                format!("eval toy.plan --data image.npy --resume {output}"),
            ] {
                folder.refuses(&run, &[output, kept]);
            }
        }
    }
    // A secret key of any version is one.
    let mut old = fs::read(folder.path("client.key")).unwrap();
    old[8] = 1;
    fs::write(folder.path("old.key"), old).unwrap();
    let image = ENCRYPT.replace("image.ct", "old.key");
    folder.refuses(&image, &["`old.key` is a secret key"]);
    folder.refuses(
        "keygen toy.client.plan --secret old.key --eval new.keys",
        &["`old.key` is a secret key, which is never replaced"],
    );
    // The key still decrypts.
    folder.succeed(&words(DECRYPT));
}

#[test]
fn one_name_for_two_outputs_is_refused() {
    let folder = Folder::complete();
    let absolute = folder.path("new").display().to_string();
    let roundabout = format!("../{}/new", folder.name());
    for other in ["new", "./new", &absolute, &roundabout] {
        for arguments in [
            format!("keygen toy.client.plan --secret new --eval {other}"),
            format!("keygen toy.client.plan --secret {other} --eval new --force"),
            format!("keygen toy.client.plan --secret a --eval new --public {other}"),
            format!("run toy.plan --eval eval.keys image.ct -o new --trace {other}"),
        ] {
            folder.refuses(&arguments, &["is the same file as the output"]);
        }
    }
    // A name that exists already, too.
    folder.refuses(
        "run toy.plan --eval eval.keys image.ct -o logits.ct --trace logits.ct --force",
        &["is the same file as the output `logits.ct`"],
    );
}

#[test]
fn an_output_takes_the_place_of_no_input_under_any_name() {
    let folder = Folder::complete();
    folder.image("images.npy", 5);
    let commands = [
        (
            "keygen toy.client.plan --secret new.key --eval",
            "toy.client.plan",
        ),
        ("keygen toy.plan --secret new.key --eval", "toy.plan"),
        (
            "keygen toy.client.plan --eval new.keys --secret",
            "toy.client.plan",
        ),
        (
            "encrypt toy.client.plan --secret client.key image.npy -o",
            "image.npy",
        ),
        (
            "encrypt toy.client.plan --secret client.key image.npy -o",
            "toy.client.plan",
        ),
        ("run toy.plan --eval eval.keys image.ct -o", "toy.plan"),
        ("run toy.plan --eval eval.keys image.ct -o", "eval.keys"),
        ("run toy.plan --eval eval.keys image.ct -o", "image.ct"),
        (
            "run toy.plan --eval eval.keys image.ct -o new.ct --trace",
            "image.ct",
        ),
        (
            "run toy.plan --eval eval.keys image.ct -o new.ct --trace",
            "toy.plan",
        ),
        ("eval toy.plan --data images.npy --resume", "toy.plan"),
        ("eval toy.plan --data images.npy --resume", "images.npy"),
        ("eval toy.plan --data images.npy#0 --resume", "images.npy"),
    ];
    for (command, input) in commands {
        let force = if command.starts_with("eval") {
            ""
        } else {
            " --force"
        };
        for spelling in spellings(&folder, input) {
            folder.refuses(
                &format!("{command} {spelling}{force}"),
                &[&spelling, "input"],
            );
            let link = fs::read_link(folder.path("dir/link")).unwrap();
            assert_eq!(link, folder.path(input));
        }
    }
}

#[test]
fn an_output_takes_the_place_of_no_file_of_another_kind_even_by_force() {
    let folder = Folder::complete();
    fs::write(folder.path("thesis.txt"), "years of work").unwrap();
    fs::write(folder.path("other.json"), "{\"mine\": 1}").unwrap();
    fs::create_dir(folder.path("dir")).unwrap();
    symlink(folder.path("logits.ct"), folder.path("link.ct")).unwrap();
    symlink(folder.path("nothing"), folder.path("dangling.ct")).unwrap();
    for (command, others) in [
        (
            "keygen toy.client.plan --force --secret new.key --eval",
            &[
                "image.ct",
                "toy.plan",
                "trace.json",
                "thesis.txt",
                "image.npy",
                "dir",
                "link.ct",
            ][..],
        ),
        (
            "encrypt toy.client.plan --force --secret client.key image.npy -o",
            &[
                "eval.keys",
                "toy.plan",
                "thesis.txt",
                "dir",
                "link.ct",
                "dangling.ct",
            ],
        ),
        (
            "run toy.plan --force --eval eval.keys image.ct -o",
            &[
                "toy.client.plan",
                "trace.json",
                "image.npy",
                "dir",
                "link.ct",
                "dangling.ct",
            ],
        ),
        (
            "run toy.plan --force --eval eval.keys image.ct -o new.ct --trace",
            &[
                "logits.ct",
                "other.json",
                "thesis.txt",
                "toy.client.plan",
                "dir",
                "link.ct",
            ],
        ),
        (
            "eval toy.plan --data image.npy --resume",
            &[
                "toy.client.plan",
                "eval.keys",
                "other.json",
                "trace.json",
                "thesis.txt",
                "dir",
                "link.ct",
            ],
        ),
    ] {
        for other in others {
            folder.refuses(&format!("{command} {other}"), &[other]);
        }
    }
    assert!(folder.path("link.ct").is_symlink() && folder.path("dangling.ct").is_symlink());
    folder.refuses(
        "keygen toy.client.plan --secret missing/new.key --eval new.keys",
        &["there is no folder `missing`"],
    );
}

#[test]
fn force_replaces_evaluation_keys_and_results_and_nothing_does_without() {
    let folder = Folder::complete();
    let second = KEYGEN.replace("client.key", "second.key");
    for command in [&second, ENCRYPT, RUN] {
        folder.refuses(command, &["exists already", "`--force`"]);
    }
    let traced = "run toy.plan --eval eval.keys image.ct -o new.ct --trace trace.json";
    folder.refuses(traced, &["`trace.json` exists already", "`--force`"]);

    let before = files(folder.root());
    folder.succeed(&words(&format!("{ENCRYPT} --force")));
    folder.succeed(&words(&format!("{RUN} --trace trace.json --force")));
    folder.succeed(&words(DECRYPT));
    folder.succeed(&words(&format!("{second} --force")));
    let after = files(folder.root());
    for (name, bytes) in &before {
        let forced = ["image.ct", "logits.ct", "trace.json", "eval.keys"].contains(&name.as_str());
        assert_eq!(after[name] != *bytes, forced, "{name}");
    }
    assert_eq!(after.len(), before.len() + 1);
}
