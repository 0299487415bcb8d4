//! `kill -9`, signals and full disks: no file is lost, none is torn, and the next run clears up.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use heddle_runtime::files::ciphertext::{read_answer, read_image};
use heddle_runtime::files::keys::{read_evaluation, read_public, read_secret};
use heddle_runtime::protocol::Protocol;
use heddle_tests::processes::{
    Moment, PARTIAL, Stepped, is_partial, on_small_disk, output, partial_files, restore, spread,
    with_file_limit,
};
use heddle_tests::program::{assert_one_error, files};
use rustix::process::Signal;

use crate::folder::{ENCRYPT, Folder, HEDDLE, KEYGEN, RUN, any, insecure, said, words};

type Files = BTreeMap<String, Vec<u8>>;

/// A command in a folder that has all that it needs, and old outputs that it may replace.
struct Case {
    folder: Folder,
    protocol: Arc<Protocol>,
    arguments: Vec<&'static str>,
    /// In the order in which they get their names.
    outputs: &'static [&'static str],
    /// Files that are there before, and what they hold.
    before: Files,
    /// How long the command takes.
    takes: Duration,
}

impl Case {
    /// Measures how long the command takes, and makes its folder what it was before.
    fn new(folder: Folder, arguments: &'static str, outputs: &'static [&'static str]) -> Self {
        let protocol = Protocol::open(&folder.path("toy.client.plan"), any()).unwrap();
        let before = files(folder.root());
        let mut case = Self {
            folder,
            protocol,
            arguments: words(arguments),
            outputs,
            before,
            takes: Duration::ZERO,
        };
        let started = Instant::now();
        case.folder.succeed(&case.arguments);
        case.takes = started.elapsed();
        restore(case.folder.root(), &case.before);
        case
    }

    fn keygen() -> Self {
        let folder = Folder::new();
        folder.succeed(&words(
            "keygen toy.client.plan --secret old.key --eval eval.keys --public public.key",
        ));
        let command = "keygen toy.client.plan --secret client.key --eval eval.keys --public public.key --force";
        Self::new(folder, command, &["client.key", "public.key", "eval.keys"])
    }

    fn encrypt() -> Self {
        let folder = Folder::new();
        folder.keygen();
        folder.encrypt();
        let command = "encrypt toy.client.plan --secret client.key image.npy -o image.ct --force";
        Self::new(folder, command, &["image.ct"])
    }

    fn run() -> Self {
        let folder = Folder::new();
        folder.keygen();
        folder.encrypt();
        folder.succeed(&words(RUN));
        // The answer to another encryption is another.
        folder.succeed(&words(&format!("{ENCRYPT} --force")));
        fs::write(folder.path("trace.json"), "{\"seconds\": 1}").unwrap();
        let command =
            "run toy.plan --eval eval.keys image.ct -o logits.ct --trace trace.json --force";
        Self::new(folder, command, &["logits.ct", "trace.json"])
    }

    /// Writes its record three times, as it takes 64 images at once.
    fn eval() -> Self {
        let folder = Folder::new();
        folder.many_images("images.npy");
        let command = "eval toy.plan --data images.npy --json --resume record.json";
        folder.succeed(&words(&format!("{command} --limit 10")));
        Self::new(folder, command, &["record.json"])
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path(name)
    }

    /// Whether the output is another than before.
    fn is_new(&self, name: &str) -> bool {
        let found = fs::read(self.path(name)).ok();
        found.as_ref() != self.before.get(name)
    }

    /// Checks that whatever has an output's name is whole, and says which of them are new.
    fn new_outputs(&self) -> String {
        let new = || self.outputs.iter().filter(|name| self.is_new(name));
        for name in new() {
            let path = self.path(name);
            let read = match *name {
                "client.key" => read_secret(&path, &self.protocol).map(drop),
                "public.key" => read_public(&path, &self.protocol).map(drop),
                "eval.keys" => read_evaluation(&path, &self.protocol, &()).map(drop),
                "image.ct" => read_image(&path, &self.protocol).map(drop),
                "logits.ct" => read_answer(&path, &self.protocol).map(drop),
                _ => {
                    let text = fs::read(&path).unwrap();
                    assert!(
                        serde_json::from_slice::<serde_json::Value>(&text).is_ok(),
                        "{name}"
                    );
                    Ok(())
                }
            };
            read.unwrap();
        }
        if self.is_new("eval.keys") && self.outputs.contains(&"eval.keys") {
            let secret = read_secret(&self.path("client.key"), &self.protocol).unwrap();
            let eval = read_evaluation(&self.path("eval.keys"), &self.protocol, &());
            assert_eq!(eval.unwrap().key, secret.id());
        }
        new().copied().collect::<Vec<_>>().join(" ")
    }

    /// Checks what a killed process left, and says which outputs are new.
    fn check_left(&self, what: &str) -> String {
        let after = files(self.folder.root());
        for (name, bytes) in &self.before {
            let found = after.get(name);
            let replaced = self.outputs.contains(&name.as_str()) && found.is_some();
            assert!(replaced || found == Some(bytes), "{name} is lost, {what}");
        }
        let partial = |name: &str| self.outputs.iter().any(|output| is_partial(name, output));
        for name in after.keys() {
            let known = self.before.contains_key(name) || self.outputs.contains(&name.as_str());
            assert!(known || partial(name), "{name} appeared, {what}");
        }
        let new = self.new_outputs();
        // They get their names in order.
        let all = self.outputs.join(" ");
        assert!(all.starts_with(&new), "only {new} is new, {what}");
        new
    }

    /// Runs the command after one that was killed: it succeeds, or says what to do and then
    /// succeeds.
    fn check_next_run(&self, what: &str) {
        if self.path("client.key").exists() && self.outputs.contains(&"client.key") {
            let finished = || {
                let mut found = files(self.folder.root());
                found.retain(|name, _| !name.ends_with(PARTIAL));
                found
            };
            let left = finished();
            let said = self.folder.fail(1, &self.arguments);
            let help = "`client.key` is a secret key, which is never replaced\nhelp: give another name, or move the key away";
            assert!(said.contains(help), "{said}");
            assert_eq!(finished(), left);
            fs::remove_file(self.path("client.key")).unwrap();
        }
        let printed = self.folder.succeed(&self.arguments);
        if self.outputs == ["record.json"] {
            let report: serde_json::Value = serde_json::from_str(&printed).unwrap();
            assert_eq!(report["images"], 150, "{what}");
        }
        assert_eq!(partial_files(self.folder.root()), [], "{what}");
        self.new_outputs();
        restore(self.folder.root(), &self.before);
    }

    /// Kills the command at a moment. Returns which outputs are new, or `None` if it had ended
    /// before.
    fn kill(&self, moment: Moment) -> Option<String> {
        let root = self.folder.root();
        let mut process = Stepped::start(&mut self.folder.command(&self.arguments));
        let reached = process.until(root, moment);
        let status = process.kill();
        let what = format!("{moment:?}, {status}");
        let new = self.check_left(&what);
        self.check_next_run(&what);
        (reached && status.signal() == Some(9)).then_some(new)
    }

    /// Kills it at a moment that must be met, if not at once.
    fn kill_at(&self, moment: Moment) -> String {
        let met = (0..10).find_map(|_| self.kill(moment));
        met.unwrap_or_else(|| panic!("{:?} never met {moment:?}", self.arguments))
    }

    /// Kills it when each output has begun, is on its way to the disk, and has its name.
    fn kill_at_every_stage(&self) {
        for name in self.outputs {
            self.kill_at(Moment::Begun(name));
            self.kill_at(Moment::Grown(name, 1));
            let new = self.kill_at(Moment::Placed(name));
            assert!(new.contains(name), "{new}");
        }
    }

    /// Kills it at moments spread over its time, and returns how often which outputs were new.
    fn kill_at_random(&self, times: u32) -> BTreeMap<String, u32> {
        let mut seen = BTreeMap::new();
        for fraction in spread(times) {
            let new = self.kill(Moment::After(self.takes.mul_f64(fraction)));
            *seen
                .entry(new.unwrap_or_else(|| "(had ended)".into()))
                .or_default() += 1;
        }
        seen
    }
}

fn stopped_at(folder: &Folder, command: &'static str, moments: &[Moment]) -> Stepped {
    let command = || folder.command(&words(command));
    Stepped::at_first_met(folder.root(), command, moments)
}

#[test]
fn kill_nine_at_every_stage_of_keygen_loses_nothing() {
    let case = Case::keygen();
    case.kill_at_every_stage();
    // Between two placements the first is kept, and the second is the old one.
    assert_eq!(case.kill_at(Moment::Placed("client.key")), "client.key");
    case.kill_at_random(4);
}

#[test]
fn kill_nine_at_every_stage_of_encrypt_loses_nothing() {
    let case = Case::encrypt();
    case.kill_at_every_stage();
    case.kill_at_random(4);
}

#[test]
fn kill_nine_at_every_stage_of_run_loses_nothing() {
    let case = Case::run();
    case.kill_at_every_stage();
    case.kill_at_random(4);
}

#[test]
fn kill_nine_at_every_stage_of_eval_keeps_its_record() {
    let case = Case::eval();
    case.kill_at_every_stage();
    case.kill_at_random(4);
}

#[test]
#[ignore = "minutes"]
fn a_hundred_kills_at_random_moments_lose_nothing() {
    for case in [Case::keygen(), Case::encrypt(), Case::run(), Case::eval()] {
        let seen = case.kill_at_random(100);
        eprintln!(
            "{} ({:?}): new when killed: {seen:?}",
            case.arguments[0], case.takes
        );
    }
}

#[test]
fn a_partial_file_is_left_by_kill_nine_and_removed_by_the_next_run() {
    let folder = Folder::new();
    stopped_at(&folder, KEYGEN, &[Moment::Begun("eval.keys"); 10]).kill();
    assert!(!partial_files(folder.root()).is_empty());
    folder.keygen();
    assert_eq!(partial_files(folder.root()), []);
}

#[test]
fn a_run_that_has_nothing_left_to_write_clears_up_too() {
    let folder = Folder::new();
    let eval = "eval toy.plan --data image.npy --resume record.json";
    folder.succeed(&words(eval));
    let before = files(folder.root());
    let stale = folder.path(".record.json.0123456789abcdef.heddle-part");
    fs::write(stale, "what the record was before it was replaced").unwrap();
    folder.succeed(&words(eval));
    assert_eq!(files(folder.root()), before);
}

#[test]
fn signals_end_keygen_and_run_with_their_status_and_leave_no_partial_file() {
    let folder = Folder::new();
    for signal in [Signal::INT, Signal::TERM] {
        let before = files(folder.root());
        let process = stopped_at(&folder, KEYGEN, &[Moment::Begun("eval.keys"); 10]);
        let status = process.signalled(signal).status;
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        assert_eq!(files(folder.root()), before);
    }
    folder.keygen();
    folder.encrypt();
    let before = files(folder.root());
    let started = Instant::now();
    folder.succeed(&words(RUN));
    let takes = started.elapsed();
    restore(folder.root(), &before);
    for signal in [Signal::INT, Signal::TERM] {
        let moments =
            [0.6, 0.4, 0.2, 0.1, 0.05, 0.02].map(|part| Moment::After(takes.mul_f64(part)));
        let status = stopped_at(&folder, RUN, &moments).signalled(signal).status;
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        assert_eq!(files(folder.root()), before);
    }
    // Sent when the file is already on its way, it comes before or after, and never between.
    let process = stopped_at(&folder, RUN, &[Moment::Begun("logits.ct"); 10]);
    let status = process.signalled(Signal::TERM).status;
    assert!(status.success() || status.signal() == Some(15), "{status}");
    assert_eq!(partial_files(folder.root()), []);
}

/// A command that failed for want of room: it says where, and every file is what it was.
fn check_full(output: &Output, (before, after): (&Files, &Files), named: &str, why: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(1), "{}: {said}", output.status);
    assert!(
        said.contains(&format!("`{named}`")) && said.contains(why),
        "{said}"
    );
    assert_one_error(&said);
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after));
    assert!(before == after, "a file has changed");
}

/// Bytes that the files of a folder take on a disk of 4 KiB blocks.
fn blocks(folder: &Path) -> u64 {
    files(folder)
        .values()
        .map(|bytes| (bytes.len() as u64).div_ceil(4096) * 4)
        .sum()
}

/// Runs a command where its output `named` finds `room` KiB beside the folder's files, and as a
/// file of at most `limit` KiB.
fn fill(folder: &Folder, arguments: &str, named: &str, (room, limit): (u64, u64)) {
    let arguments = insecure(&words(arguments));
    let before = files(folder.root());
    let disk = blocks(folder.root()) + room;
    match on_small_disk(folder.root(), disk, HEDDLE, &arguments) {
        Some((output, after)) => {
            // The room for keys is known before any is made.
            let why = match named {
                "eval.keys" => "are free there",
                _ => "No space left on device",
            };
            check_full(&output, (&before, &after), named, why);
        }
        None => eprintln!("this system lets nobody mount a small disk"),
    }
    let mut limited = with_file_limit(limit, HEDDLE, &arguments);
    let output = output(limited.current_dir(folder.root()));
    check_full(
        &output,
        (&before, &files(folder.root())),
        named,
        "File too large",
    );
}

fn kib(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len() >> 10
}

#[test]
fn a_full_disk_is_one_clear_error_and_changes_no_file() {
    let folder = Folder::new();
    fill(&folder, KEYGEN, "eval.keys", (64, 64));
    folder.keygen();
    fill(&folder, ENCRYPT, "image.ct", (4, 4));
    folder.encrypt();
    fill(&folder, &format!("{ENCRYPT} --force"), "image.ct", (4, 4));
    fill(&folder, RUN, "logits.ct", (4, 4));
    folder.succeed(&words(RUN));
    fill(&folder, &format!("{RUN} --force"), "logits.ct", (4, 4));

    folder.many_images("images.npy");
    let eval = "eval toy.plan --data images.npy --resume record.json";
    fill(&folder, eval, "record.json", (4, 4));
    folder.succeed(&words(&format!("{eval} --limit 10")));
    fill(
        &folder,
        eval,
        "record.json",
        (4, kib(&folder.path("record.json"))),
    );
}

#[test]
fn a_disk_full_at_the_second_file_of_keygen_leaves_neither() {
    let folder = Folder::new();
    folder.keygen();
    let sizes = ["client.key", "eval.keys"].map(|name| kib(&folder.path(name)));
    for name in ["client.key", "eval.keys"] {
        fs::remove_file(folder.path(name)).unwrap();
    }
    let before = files(folder.root());
    // Room for the evaluation keys, which are written first, and half of the secret key's file.
    let room = (sizes[1] + 4).next_multiple_of(4) + sizes[0] / 2;
    let disk = blocks(folder.root()) + room;
    match on_small_disk(folder.root(), disk, HEDDLE, &insecure(&words(KEYGEN))) {
        Some((output, after)) => {
            check_full(
                &output,
                (&before, &after),
                "client.key",
                "No space left on device",
            );
        }
        None => eprintln!("skipped: this system lets nobody mount a small disk"),
    }
}
