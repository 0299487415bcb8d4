//! A process that asks for it writes no core file. In a process of its own, which stays so.

#![cfg(target_os = "linux")]

use heddle_ckks::secret::forbid_core_dumps;

#[test]
fn a_hardened_process_writes_no_core_file() {
    assert!(forbid_core_dumps());
    let limits = std::fs::read_to_string("/proc/self/limits").expect("the process has limits");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let fields: Vec<_> = line.expect("a limit").split_whitespace().collect();
    assert_eq!(fields[..2], ["0", "0"]);
    let dumpable = rustix::process::dumpable_behavior().expect("the kernel tells");
    assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
    assert!(forbid_core_dumps(), "it may be asked for again");
}
