//! What hostile files may cost: each is read in a process of its own, whose peak memory and time
//! are then looked at.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[path = "budgets/images.rs"]
mod images;
#[path = "budgets/models.rs"]
mod models;

const MB: u64 = 1_000_000;

/// Names the folder to the process that is measured.
const FOLDER: &str = "HEDDLE_BUDGETS_FOLDER";

/// What reading a hostile file took.
struct Cost {
    /// Most memory at any time, in bytes.
    peak: u64,
    time: Duration,
}

impl Cost {
    /// Checks it; the limits in time are wide, for slow machines.
    #[track_caller]
    fn at_most(&self, peak: u64, seconds: u64) {
        eprintln!(
            "peak {} MB, {:.2} s",
            self.peak / MB,
            self.time.as_secs_f64()
        );
        assert!(self.peak <= peak, "took {} bytes", self.peak);
        assert!(self.time <= Duration::from_secs(seconds), "{:?}", self.time);
    }
}

/// Lets `prepare` fill a folder, and `attack` read from it in another process: the test `name` of
/// this file, started once more. `None` there.
fn measured(name: &str, prepare: impl FnOnce(&Path), attack: impl FnOnce(&Path)) -> Option<Cost> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        attack(Path::new(&folder));
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let started = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let time = started.elapsed();
    let output = String::from_utf8_lossy(&child.stdout);
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{output}\n{errors}");
    let peak = errors
        .lines()
        .find_map(|line| line.strip_prefix("peak: ")?.parse().ok());
    let peak = peak.unwrap_or_else(|| panic!("the test `{name}` did not run:\n{output}"));
    Some(Cost { peak, time })
}

/// Says how much memory the process has taken at most.
fn report_peak() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: u64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    eprintln!("peak: {}", kilobytes * 1024);
}

/// A test that reads a hostile file within limits: name, megabytes, seconds, what writes the file,
/// what reads it.
macro_rules! hostile {
    ($name:ident, $megabytes:expr, $seconds:expr, $prepare:expr, $attack:expr) => {
        #[test]
        fn $name() {
            let module = module_path!().split_once("::").unwrap().1;
            let name = format!("{module}::{}", stringify!($name));
            let attack = |folder: &std::path::Path| {
                let attack: fn(&std::path::Path) = $attack;
                attack(folder);
                $crate::report_peak();
            };
            let prepare: fn(&std::path::Path) = $prepare;
            if let Some(cost) = $crate::measured(&name, prepare, attack) {
                cost.at_most($megabytes * $crate::MB, $seconds);
            }
        }
    };
}
use hostile;
