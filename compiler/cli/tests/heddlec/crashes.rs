//! `kill -9`, signals and full disks: plans are whole, and old ones are not lost.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use heddle_tests::processes::{
    Moment, Stepped, is_partial, on_small_disk, output, partial_files, restore, spread,
    with_file_limit,
};
use heddle_tests::program::{assert_one_error, files, said};
use heddle_tests::resnet::Shortcut;
use rustix::process::Signal;

use crate::folder::{Folder, HEDDLEC, folder, network};

const COMPILE: [&str; 7] = [
    "model.onnx",
    "-o",
    "x.plan",
    "--insecure-log-n",
    "10",
    "--preprocess",
    "unit",
];

/// In the order in which they get their names.
const OUTPUTS: [&str; 2] = ["x.plan", "x.client.plan"];

/// A folder with a model and the plans of another; a compilation is the same each time.
struct Case {
    folder: Folder,
    before: BTreeMap<String, Vec<u8>>,
    after: BTreeMap<String, Vec<u8>>,
    takes: Duration,
}

impl Case {
    fn new() -> Self {
        let folder = folder();
        folder.write("model.onnx", network(Shortcut::A));
        assert!(folder.run(&COMPILE).status.success());
        folder.write("model.onnx", network(Shortcut::B));
        let before = files(folder.root());
        let started = Instant::now();
        assert!(folder.run(&COMPILE).status.success());
        let takes = started.elapsed();
        let after = files(folder.root());
        assert!(OUTPUTS.iter().all(|name| before[*name] != after[*name]));
        restore(folder.root(), &before);
        Self {
            folder,
            before,
            after,
            takes,
        }
    }

    /// Kills a compilation at a moment, checks what it left and that the next one succeeds. Returns
    /// how many plans were new, or `None` if it had ended before.
    fn kill(&self, moment: Moment) -> Option<usize> {
        let root = self.folder.root();
        let mut process = Stepped::start(&mut self.folder.command(&COMPILE));
        let reached = process.until(root, moment);
        let status = process.kill();
        let left = files(root);
        let partial = |name: &str| OUTPUTS.iter().any(|output| is_partial(name, output));
        for (name, bytes) in &left {
            let whole = [&self.before, &self.after].map(|files| files.get(name) == Some(bytes));
            assert!(whole.contains(&true) || partial(name), "{name}, {moment:?}");
        }
        assert!(self.before.keys().all(|name| left.contains_key(name)));
        let new = OUTPUTS.map(|name| left[name] == self.after[name]);
        assert!(
            new[0] || !new[1],
            "the client plan alone is new, {moment:?}"
        );
        assert!(self.folder.run(&COMPILE).status.success());
        assert!(files(root) == self.after, "{moment:?}");
        restore(root, &self.before);
        let count = new.into_iter().filter(|new| *new).count();
        (reached && status.signal() == Some(9)).then_some(count)
    }

    /// Kills it at a moment that must be met, if not at once.
    fn kill_at(&self, moment: Moment) -> usize {
        let met = (0..10).find_map(|_| self.kill(moment));
        met.unwrap_or_else(|| panic!("never met {moment:?}"))
    }

    fn kill_at_random(&self, times: u32) -> BTreeMap<Option<usize>, u32> {
        let mut seen = BTreeMap::new();
        for fraction in spread(times) {
            let new = self.kill(Moment::After(self.takes.mul_f64(fraction)));
            *seen.entry(new).or_default() += 1;
        }
        seen
    }
}

#[test]
fn kill_nine_at_every_stage_leaves_whole_plans() {
    let case = Case::new();
    for name in OUTPUTS {
        case.kill_at(Moment::Begun(name));
        case.kill_at(Moment::Grown(name, 1));
        assert!(case.kill_at(Moment::Placed(name)) >= 1);
    }
    case.kill_at_random(4);
}

#[test]
#[ignore = "minutes"]
fn a_hundred_kills_at_random_moments_lose_nothing() {
    let case = Case::new();
    let seen = case.kill_at_random(100);
    eprintln!("{:?}: new plans when killed: {seen:?}", case.takes);
}

#[test]
fn signals_end_a_compilation_with_their_status_and_leave_no_partial_file() {
    let case = Case::new();
    let root = case.folder.root();
    let stopped_at =
        |moments: &[Moment]| Stepped::at_first_met(root, || case.folder.command(&COMPILE), moments);
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let moments = [5, 10, 20, 40, 80].map(|part| Moment::After(case.takes / part));
        let status = stopped_at(&moments).signalled(signal).status;
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        assert!(files(root) == case.before);
    }
    // Sent when a plan is on its way, it comes before both are in place or after.
    let process = stopped_at(&[Moment::Begun("x.client.plan"); 10]);
    let status = process.signalled(Signal::TERM).status;
    assert!(status.success() || status.signal() == Some(15), "{status}");
    assert_eq!(partial_files(root), []);
    let left = files(root);
    assert!(left == case.before || left == case.after);
}

#[test]
fn a_full_disk_is_one_clear_error_and_keeps_the_old_plans() {
    let case = Case::new();
    let root = case.folder.root();
    let check = |output: std::process::Output, after: BTreeMap<String, Vec<u8>>, why: &str| {
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("`x.plan`") && said.contains(why), "{said}");
        assert_one_error(&said);
        assert!(after == case.before, "{:?}", after.keys());
    };
    let kib = |bytes: &Vec<u8>| (bytes.len() as u64).div_ceil(4096) * 4;
    let disk = case.before.values().map(kib).sum::<u64>() + 8;
    match on_small_disk(root, disk, HEDDLEC, &COMPILE) {
        Some((output, after)) => check(output, after, "No space left on device"),
        None => eprintln!("this system lets nobody mount a small disk"),
    }
    let mut limited = with_file_limit(4, HEDDLEC, &COMPILE);
    check(
        output(limited.current_dir(root)),
        files(root),
        "File too large",
    );
}

#[test]
fn a_disk_full_at_the_second_plan_leaves_neither() {
    let case = Case::new();
    for name in OUTPUTS {
        fs::remove_file(case.folder.path(name)).unwrap();
    }
    let before = files(case.folder.root());
    let kib = |bytes: &Vec<u8>| (bytes.len() as u64).div_ceil(4096) * 4;
    // Room for the plan, and none for the client plan.
    let disk = before.values().map(kib).sum::<u64>() + kib(&case.after["x.plan"]);
    match on_small_disk(case.folder.root(), disk, HEDDLEC, &COMPILE) {
        Some((output, after)) => {
            let said = said(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("`x.client.plan`"), "{said}");
            assert!(after == before, "{:?}", after.keys());
        }
        None => eprintln!("skipped: this system lets nobody mount a small disk"),
    }
}
