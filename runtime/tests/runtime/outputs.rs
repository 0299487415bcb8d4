//! Outputs take the place of no input, of no secret key and of no file of another kind.

use std::fs;
use std::os::unix::fs::symlink;

use heddle_tests::processes::files;

use crate::folder::{DECRYPT, ENCRYPT, Folder, KEYGEN, RUN, words};

/// A folder with all files of client and server.
fn complete() -> Folder {
    let folder = Folder::new();
    folder.keygen();
    folder.encrypt();
    folder.succeed(&words(&format!("{RUN} --trace trace.json")));
    folder
}

/// Runs what must be refused with all of `said`, and leave everything as it was.
fn refuses(folder: &Folder, arguments: &str, said: &[&str]) {
    let before = files(folder.root());
    let error = folder.fail(1, &words(arguments));
    for part in said {
        assert!(error.contains(part), "{arguments}: no {part:?} in {error}");
    }
    assert!(error.contains("help:"), "{arguments}: {error}");
    let after = files(folder.root());
    assert!(
        before.keys().eq(after.keys()),
        "{arguments}: {:?}",
        after.keys()
    );
    assert!(before == after, "{arguments} changed a file");
}

#[test]
fn a_secret_key_is_never_replaced() {
    let folder = complete();
    for force in ["", " --force"] {
        refuses(
            &folder,
            &format!("keygen toy.client.plan --secret client.key --eval new.keys{force}"),
            &["`client.key` is a secret key, which is never replaced"],
        );
        for output in ["client.key", "./client.key"] {
            let kept = "is a secret key, which is never replaced";
            refuses(
                &folder,
                &format!("keygen toy.client.plan --secret new.key --eval {output}{force}"),
                &[output, kept],
            );
            let public = format!(
                "keygen toy.client.plan --secret new.key --eval new.keys --public {output}{force}"
            );
            refuses(&folder, &public, &[output, kept]);
            // An input of this one.
            let image =
                format!("encrypt toy.client.plan --secret client.key image.npy -o {output}{force}");
            refuses(&folder, &image, &["client.key", "input"]);
            for run in [
                format!("run toy.plan --eval eval.keys image.ct -o {output}{force}"),
                format!("run toy.plan --eval eval.keys image.ct -o x.ct --trace {output}{force}"),
                format!("eval toy.plan --data image.npy --resume {output}"),
            ] {
                refuses(&folder, &run, &[output, kept]);
            }
        }
    }
    // A secret key of any version is one.
    let mut old = fs::read(folder.path("client.key")).unwrap();
    old[8] = 1;
    fs::write(folder.path("old.key"), old).unwrap();
    let image = ENCRYPT.replace("image.ct", "old.key");
    refuses(&folder, &image, &["`old.key` is a secret key"]);
    refuses(
        &folder,
        "keygen toy.client.plan --secret old.key --eval new.keys",
        &["`old.key` is a secret key, which is never replaced"],
    );
    // The key still decrypts.
    folder.succeed(&words(DECRYPT));
}

#[test]
fn one_name_for_two_outputs_is_refused() {
    let folder = complete();
    let absolute = folder.path("new").display().to_string();
    let name = folder
        .root()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    let roundabout = format!("../{name}/new");
    for other in ["new", "./new", &absolute, &roundabout] {
        for arguments in [
            format!("keygen toy.client.plan --secret new --eval {other}"),
            format!("keygen toy.client.plan --secret {other} --eval new --force"),
            format!("keygen toy.client.plan --secret a --eval new --public {other}"),
            format!("run toy.plan --eval eval.keys image.ct -o new --trace {other}"),
        ] {
            refuses(&folder, &arguments, &["is the same file as the output"]);
        }
    }
    // A name that exists already, too.
    refuses(
        &folder,
        "run toy.plan --eval eval.keys image.ct -o logits.ct --trace logits.ct --force",
        &["is the same file as the output `logits.ct`"],
    );
}

#[test]
fn an_output_takes_the_place_of_no_input_under_any_name() {
    let folder = complete();
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
    let name = folder
        .root()
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    fs::create_dir(folder.path("dir")).unwrap();
    for (command, input) in commands {
        let (link, hard) = (folder.path("dir/link"), folder.path("dir/hard"));
        symlink(folder.path(input), &link).unwrap();
        fs::hard_link(folder.path(input), &hard).unwrap();
        let force = if command.starts_with("eval") {
            ""
        } else {
            " --force"
        };
        for spelling in [
            input.to_owned(),
            format!("./{input}"),
            format!("../{name}/{input}"),
            format!("dir/../{input}"),
            folder.path(input).display().to_string(),
            "dir/link".to_owned(),
            "dir/hard".to_owned(),
        ] {
            refuses(
                &folder,
                &format!("{command} {spelling}{force}"),
                &[&spelling, "input"],
            );
            assert_eq!(fs::read_link(&link).unwrap(), folder.path(input));
        }
        fs::remove_file(link).unwrap();
        fs::remove_file(hard).unwrap();
    }
}

#[test]
fn an_output_takes_the_place_of_no_file_of_another_kind_even_by_force() {
    let folder = complete();
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
            refuses(&folder, &format!("{command} {other}"), &[other]);
        }
    }
    assert!(folder.path("link.ct").is_symlink() && folder.path("dangling.ct").is_symlink());
    refuses(
        &folder,
        "keygen toy.client.plan --secret missing/new.key --eval new.keys",
        &["there is no folder `missing`"],
    );
}

#[test]
fn force_replaces_evaluation_keys_and_results_and_nothing_does_without() {
    let folder = complete();
    let second = KEYGEN.replace("client.key", "second.key");
    for command in [&second, ENCRYPT, RUN] {
        refuses(&folder, command, &["exists already", "`--force`"]);
    }
    let traced = "run toy.plan --eval eval.keys image.ct -o new.ct --trace trace.json";
    refuses(
        &folder,
        traced,
        &["`trace.json` exists already", "`--force`"],
    );

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
