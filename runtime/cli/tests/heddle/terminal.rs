//! What the binary reads and prints: it waits at no pipe, obeys no name, and a reader that leaves
//! is no error.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use heddle_ir::plan::RangeRecord;
use heddle_ir::weights::Weights;
use heddle_tests::processes::closed_pipe;
use heddle_tests::program::files;
use heddle_tests::terminal::{
    HOSTILE, assert_tame, first_line, odd_files, reader_may_leave, refuses_at_once,
};
use heddle_tests::toy;

use crate::folder::{DECRYPT, Folder, said, words};

/// Runs what must fail at once with exit code 1 and name `named`.
fn refuses(folder: &Folder, arguments: &str, named: &str) {
    refuses_at_once(&mut folder.command(&words(arguments)), named);
}

#[test]
fn pipes_devices_and_folders_are_refused_at_once_by_name() {
    let folder = Folder::complete();
    let odd_files = odd_files(&folder);
    symlink("/dev/zero", folder.path("zero.npy")).unwrap();
    symlink(folder.path("pipe"), folder.path("pipe.png")).unwrap();
    let before = files(folder.root());
    for odd in odd_files {
        let named = format!("`{odd}`");
        for arguments in [
            format!("inspect {odd}"),
            format!("keygen {odd} --secret new.key --eval new.keys"),
            format!("encrypt {odd} --secret client.key image.npy -o new.ct"),
            format!("encrypt toy.client.plan --secret {odd} image.npy -o new.ct"),
            format!("encrypt toy.client.plan --public {odd} image.npy -o new.ct"),
            format!("run {odd} --eval eval.keys image.ct -o new.ct"),
            format!("run toy.plan --eval {odd} image.ct -o new.ct"),
            format!("run toy.plan --eval eval.keys {odd} -o new.ct"),
            format!("decrypt {odd} --secret client.key logits.ct"),
            format!("decrypt toy.client.plan --secret {odd} logits.ct"),
            format!("decrypt toy.client.plan --secret client.key {odd}"),
            format!("infer {odd} image.npy"),
            format!("infer toy.plan image.npy --reference {odd}"),
            format!("eval {odd} --data image.npy"),
            format!("eval toy.plan --data image.npy --resume {odd}"),
        ] {
            refuses(&folder, &arguments, &named);
        }
    }
    for odd in [
        "pipe",
        "/dev/zero",
        "dir",
        "link",
        "zero.npy",
        "pipe.png",
        "zero.npy#0",
    ] {
        let named = odd.trim_end_matches("#0");
        refuses(
            &folder,
            &format!("encrypt toy.client.plan --secret client.key {odd} -o new.ct"),
            named,
        );
        refuses(&folder, &format!("infer toy.plan {odd}"), named);
        refuses(&folder, &format!("eval toy.plan --data {odd}"), named);
    }
    // A pipe among the pictures of a folder.
    symlink(folder.path("pipe"), folder.path("dir/a.png")).unwrap();
    refuses(&folder, "eval toy.plan --data dir", "dir/a.png");
    assert_eq!(files(folder.root()), before);
}

#[test]
fn more_threads_than_cores_are_taken_by_force_alone() {
    let folder = Folder::new();
    let cores = std::thread::available_parallelism().unwrap().get();
    let infer = "infer toy.plan image.npy --backend clear --threads 1024";
    let capped = folder.run(&words(infer));
    let capped_says = said(&capped);
    assert!(capped.status.success(), "{capped_says}");
    if cores < 1024 {
        assert!(
            capped_says.contains(&format!("note: {cores} threads, one per core")),
            "{capped_says}"
        );
    }
    let forced = folder.run(&words(&format!("{infer} --oversubscribe")));
    assert!(forced.status.success());
    assert!(!said(&forced).contains("one per core"));
}

/// The text with 24 bytes.
fn padded(text: &str) -> String {
    text.to_owned() + &"-".repeat(24 - text.len())
}

/// A file of Heddle's with `new` in place of `old` wherever it stands, which is as long, and with
/// the right checksums.
fn forge(file: &[u8], old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = file.to_vec();
    let found: Vec<usize> = (0..file.len() - old.len())
        .filter(|at| file[*at..].starts_with(old.as_bytes()))
        .collect();
    assert!(!found.is_empty(), "{old} is not in the file");
    for at in found {
        bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    }
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap()) as usize;
    // Header and blocks from their first byte that is summed to the last.
    let (mut start, mut end) = (0, 16 + word(12));
    loop {
        let sum = crc32fast::hash(&bytes[start..end]).to_le_bytes();
        bytes[end..end + 4].copy_from_slice(&sum);
        start = end + 4;
        if start + 4 >= file.len() || word(start) == 0 {
            return bytes;
        }
        end = start + 4 + word(start);
    }
}

#[test]
fn texts_in_plans_that_a_terminal_would_obey_are_refused_by_name() {
    let folder = Folder::complete();
    let mut plan = toy::plan();
    plan.name = padded("name");
    plan.labels[1] = padded("label");
    plan.notes = vec![padded("note")];
    plan.ranges = vec![RangeRecord {
        name: padded("range"),
        bound: 1.0,
        observed: None,
        activation: None,
    }];
    let output = plan.schedule.graph.outputs()[0];
    plan.schedule.graph.node_mut(output).name = padded("node");
    let mut weights = Weights::default();
    for (id, tensor) in plan.weights.iter() {
        let mut tensor = tensor.clone();
        if id.0 == 0 {
            tensor.name = padded("weight");
        }
        weights.push(tensor);
    }
    plan.weights = weights;
    plan.write_file(&folder.path("toy.plan")).unwrap();
    let client = plan.client_plan().unwrap();
    client.write_file(&folder.path("toy.client.plan")).unwrap();
    let [whole, whole_client] =
        ["toy.plan", "toy.client.plan"].map(|name| fs::read(folder.path(name)).unwrap());
    folder.succeed(&["inspect", "toy.plan"]);
    folder.succeed(&["inspect", "toy.client.plan"]);
    for hostile in HOSTILE {
        let forged = &padded(hostile);
        for what in ["name", "label", "note", "range", "node", "weight"] {
            fs::write(
                folder.path("toy.plan"),
                forge(&whole, &padded(what), forged),
            )
            .unwrap();
            for arguments in [
                &words("inspect toy.plan")[..],
                &words("run toy.plan --eval eval.keys image.ct -o new.ct"),
                &words("infer toy.plan image.npy --json"),
            ] {
                let output = folder.run(arguments);
                let error = said(&output);
                assert_tame(&output.stderr, what);
                assert_eq!(
                    (output.status.code(), output.stdout.len()),
                    (Some(1), 0),
                    "{error}"
                );
                // The schedule is text, which does not parse with a control character of ASCII.
                let expected = match hostile.chars().any(|c| c.is_ascii_control()) {
                    true if what == "node" => "its schedule does not parse",
                    _ => what,
                };
                assert!(
                    error.contains("toy.plan") && error.contains(expected),
                    "{what}: {error}"
                );
            }
        }
        for what in ["name", "label"] {
            let client = forge(&whole_client, &padded(what), forged);
            fs::write(folder.path("toy.client.plan"), client).unwrap();
            for arguments in [
                "inspect toy.client.plan",
                "keygen toy.client.plan --secret new.key --eval new.keys",
                "encrypt toy.client.plan --secret client.key image.npy -o new.ct",
                DECRYPT,
            ] {
                let output = folder.run(&words(arguments));
                assert_tame(&output.stderr, what);
                assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
                let error = said(&output);
                let named = error.contains("`toy.client.plan`") && error.contains(what);
                assert!(named, "{arguments}, {what}: {error}");
            }
        }
    }
}

#[test]
fn the_plans_name_in_a_key_or_ciphertext_is_printed_escaped() {
    let folder = Folder::new();
    let mut plan = toy::plan();
    plan.name = "name".repeat(6);
    plan.write_file(&folder.path("toy.plan")).unwrap();
    let client = plan.client_plan().unwrap();
    client.write_file(&folder.path("toy.client.plan")).unwrap();
    folder.keygen();
    folder.encrypt();
    for hostile in HOSTILE {
        let forged = &padded(hostile);
        for name in ["client.key", "eval.keys", "image.ct"] {
            let whole = fs::read(folder.path(name)).unwrap();
            fs::write(folder.path("forged"), forge(&whole, &plan.name, forged)).unwrap();
            let printed = folder.succeed(&["inspect", "forged"]);
            assert_tame(printed.as_bytes(), name);
            assert!(printed.contains("\\u{"), "{printed}");
        }
    }
}

#[test]
fn names_of_files_that_a_terminal_would_obey_are_printed_escaped() {
    let folder = Folder::new();
    folder.keygen();
    folder.encrypt();
    for hostile in HOSTILE {
        let [image, missing, new, dir] =
            ["image.npy", "missing", "new", "dir"].map(|name| format!("{hostile}{name}"));
        folder.image(&image, 7);
        fs::create_dir(folder.path(&dir)).unwrap();
        fs::write(folder.path(&dir).join("broken.png"), "no picture").unwrap();
        let plan = "toy.client.plan";
        // Run twice: the second time, the output exists.
        let run = [
            "run",
            "toy.plan",
            "--eval",
            "eval.keys",
            &new,
            "-o",
            &missing,
        ];
        for (code, arguments) in [
            (
                0,
                &[
                    "encrypt",
                    plan,
                    "--secret",
                    "client.key",
                    &image,
                    "-o",
                    &new,
                ][..],
            ),
            (0, &["inspect", &new]),
            (0, &["infer", "toy.plan", &image, "--backend", "clear"]),
            (
                0,
                &["infer", "toy.plan", &image, "--backend", "clear", "--json"],
            ),
            (0, &["eval", "toy.plan", "--data", &image, "--json"]),
            (0, &run),
            (1, &run),
            (
                1,
                &[
                    "run",
                    "toy.plan",
                    "--eval",
                    "eval.keys",
                    &new,
                    "-o",
                    "x",
                    "--trace",
                    &new,
                    "--force",
                ],
            ),
            (1, &["inspect", &image]),
            (1, &["inspect", &dir]),
            (
                1,
                &["encrypt", plan, "--secret", &image, "image.npy", "-o", "x"],
            ),
            (
                1,
                &["encrypt", plan, "--secret", "client.key", &dir, "-o", "x"],
            ),
            (
                1,
                &[
                    "encrypt",
                    plan,
                    "--secret",
                    "client.key",
                    &format!("{image}#7"),
                    "-o",
                    "x",
                ],
            ),
            (1, &["decrypt", plan, "--secret", "client.key", &image]),
            (1, &["keygen", &image, "--secret", "x", "--eval", "y"]),
            (1, &["keygen", plan, "--secret", &image, "--eval", &image]),
            (
                1,
                &[
                    "keygen",
                    plan,
                    "--secret",
                    "x",
                    "--eval",
                    &format!("{missing}/y"),
                ],
            ),
            (1, &["infer", "toy.plan", &image, "--reference", &image]),
            (1, &["infer", "toy.plan", &dir]),
            (1, &["eval", "toy.plan", "--data", &format!("{dir}x")]),
            (
                1,
                &[
                    "eval",
                    "toy.plan",
                    "--data",
                    "image.npy",
                    "--resume",
                    &image,
                ],
            ),
            (2, &[hostile]),
            (2, &["inspect", "toy.plan", hostile]),
            (2, &["infer", "toy.plan", "image.npy", "--backend", hostile]),
            (2, &["infer", "toy.plan", "image.npy", "--threads", hostile]),
            (
                2,
                &[
                    "decrypt",
                    plan,
                    "--secret",
                    "client.key",
                    "x",
                    "--share",
                    hostile,
                ],
            ),
        ] {
            let output = match code {
                2 => folder.as_typed(arguments).output().unwrap(),
                _ => folder.run(arguments),
            };
            let what = format!("{arguments:?}");
            let error = said(&output);
            assert_eq!(output.status.code(), Some(code), "{what}: {error}");
            assert_tame(&output.stdout, &what);
            assert_tame(&output.stderr, &what);
            if arguments.contains(&"--json") {
                let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
                assert!(json.is_object());
            }
        }
        fs::remove_dir_all(folder.path(&dir)).unwrap();
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = Folder::complete();
    for arguments in [
        "inspect toy.plan",
        "inspect eval.keys",
        "decrypt toy.client.plan --secret client.key logits.ct",
        "decrypt toy.client.plan --secret client.key logits.ct --json",
        "infer toy.plan image.npy",
        "infer toy.plan image.npy --backend clear --json",
        "eval toy.plan --data image.npy --json",
        "eval toy.plan --data image.npy",
        "run toy.plan --eval eval.keys image.ct -o logits.ct --force",
        "run toy.plan --eval eval.keys image.ct -o logits.ct --force --trace -",
        "encrypt toy.client.plan --secret client.key image.npy -o image.ct --force",
        "keygen toy.client.plan --secret new.key --eval new.keys",
        "bench --insecure-log-n 10 --repeat 1 --only ops",
    ] {
        reader_may_leave(&mut folder.command(&words(arguments)));
    }
    for arguments in ["--help", "--version", "help run", "run --help"] {
        let output = reader_may_leave(&mut folder.as_typed(&words(arguments)));
        assert!(output.stderr.is_empty(), "{arguments}");
    }
    // Nor is one that leaves standard error.
    let mut command = folder.command(&words("inspect missing"));
    let status = command.stderr(closed_pipe()).status().unwrap();
    assert_eq!(status.code(), Some(1));
    // A reader that takes one line.
    let output = first_line(&folder, "inspect --insecure toy.plan");
    assert!(output.stderr.is_empty());
}

#[test]
fn standard_output_that_cannot_be_written_is_an_error() {
    if !Path::new("/dev/full").exists() {
        return;
    }
    let folder = Folder::new();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = folder.command(&words("inspect toy.plan"));
    let child = command.stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let error = said(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(error.contains("`standard output`"), "{error}");
}
