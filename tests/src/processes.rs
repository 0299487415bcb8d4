//! Programs as processes: with a time limit, stopped and killed at a chosen moment, on a full disk.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::program::files;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Longer than any process of these tests takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the names of partial files end: outputs while they are written.
pub const PARTIAL: &str = ".heddle-part";

/// The name of an output's partial file, as a test: `.output.random.heddle-part`.
pub fn is_partial(name: &str, output: &str) -> bool {
    name.ends_with(PARTIAL) && name.starts_with(&format!(".{output}."))
}

/// Numbers between 0 and 1, spread evenly however many there are: multiples of the golden ratio.
pub fn spread(count: u32) -> impl Iterator<Item = f64> {
    (0..count).map(|index| (f64::from(index) * 0.618_033_988_75 + 0.3).fract())
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).expect("a process has an id")
}

/// Runs a command and collects what it writes.
///
/// # Panics
/// If it takes longer than `limit`; it is killed then.
pub fn output_within(command: &mut Command, limit: Duration) -> Output {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.spawn().expect("the program exists");
    collect(child, limit, &format!("{command:?}"))
}

/// Runs a command that takes no longer than two minutes.
///
/// # Panics
/// If it does.
pub fn output(command: &mut Command) -> Output {
    output_within(command, PATIENCE)
}

fn collect(child: Child, limit: Duration, what: &str) -> Output {
    let id = pid(&child);
    let (sender, ended) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match ended.recv_timeout(limit) {
        Ok(output) => output.expect("the output can be read"),
        Err(_) => {
            let _ = kill_process(id, Signal::KILL);
            panic!("{what} takes longer than {limit:?}");
        }
    }
}

/// Makes a folder's regular files those of `files`.
///
/// # Panics
/// If that cannot be done.
pub fn restore(folder: &Path, wanted: &BTreeMap<String, Vec<u8>>) {
    let found = files(folder);
    for name in found.keys().filter(|name| !wanted.contains_key(*name)) {
        fs::remove_file(folder.join(name)).expect("files can be removed");
    }
    for (name, bytes) in wanted
        .iter()
        .filter(|(name, bytes)| found.get(*name) != Some(bytes))
    {
        fs::write(folder.join(name), bytes).expect("files can be written");
    }
}

/// The partial files of a folder, by name, with their lengths.
///
/// # Panics
/// If the folder cannot be read.
pub fn partial_files(folder: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(folder).expect("the folder exists");
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let len = entry.metadata().ok()?.len();
            name.ends_with(PARTIAL).then_some((name, len))
        })
        .collect()
}

/// A moment in the life of a process that writes files.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// It has begun to write the file of this name: there is a partial file.
    Begun(&'static str),
    /// The partial file has this many bytes.
    Grown(&'static str, u64),
    /// The file of this name is another than when the process began.
    Placed(&'static str),
    /// So much time has passed.
    After(Duration),
}

/// The number of the file of this name, if there is one.
fn number(folder: &Path, name: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::symlink_metadata(folder.join(name)).ok()?;
    Some(metadata.ino())
}

/// A process that runs in slices of time and is stopped in between. What a test sees at a stop is
/// what there is when it kills the process.
#[derive(Debug)]
pub struct Stepped {
    child: Child,
    what: String,
    started: Instant,
}

impl Stepped {
    /// Starts a process, in a group of its own.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        Self {
            what: format!("{command:?}"),
            child: command.spawn().expect("the program exists"),
            started: Instant::now(),
        }
    }

    fn send(&self, signal: Signal) {
        // A process that has ended stays there until it is waited for.
        kill_process(pid(&self.child), signal).expect("one's own process can be sent signals");
    }

    /// Stops it, or says `false` if it has ended.
    fn stop(&self) -> bool {
        self.send(Signal::STOP);
        // Its end is left for the child's own wait.
        let what = WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let state = waitid(WaitId::Pid(pid(&self.child)), what);
        let state = state.expect("a child can be waited for");
        state.is_some_and(|state| state.stopped())
    }

    /// Starts a command and stops it at the first of `moments`; where that passes unseen, as it can
    /// on a busy machine, puts the folder's files back and tries the next.
    ///
    /// # Panics
    /// If no moment is met.
    pub fn at_first_met(folder: &Path, command: impl Fn() -> Command, moments: &[Moment]) -> Self {
        let before = files(folder);
        let met = moments.iter().find_map(|moment| {
            let mut process = Self::start(&mut command());
            if process.until(folder, *moment) {
                return Some(process);
            }
            process.kill();
            restore(folder, &before);
            None
        });
        met.unwrap_or_else(|| panic!("{:?} never met one of {moments:?}", command()))
    }

    /// Lets the process run until the moment has come, and stops it there; `false` if it ended
    /// before.
    ///
    /// # Panics
    /// If it takes longer than two minutes.
    pub fn until(&mut self, folder: &Path, moment: Moment) -> bool {
        let (name, slice) = match moment {
            Moment::After(time) => {
                std::thread::sleep(time.saturating_sub(self.started.elapsed()));
                return self.stop();
            }
            Moment::Begun(name) => (name, Duration::from_micros(300)),
            Moment::Grown(name, _) | Moment::Placed(name) => (name, Duration::from_micros(30)),
        };
        let (before, prefix) = (number(folder, name), format!(".{name}."));
        while self.stop() {
            let grown = |least| {
                let mut partial = partial_files(folder).into_iter();
                partial.any(|(file, len)| file.starts_with(&prefix) && len >= least)
            };
            let reached = match moment {
                Moment::Begun(_) => grown(0),
                Moment::Grown(_, least) => grown(least),
                Moment::Placed(_) => number(folder, name) != before,
                Moment::After(_) => true,
            };
            if reached {
                return true;
            }
            assert!(
                self.started.elapsed() < PATIENCE,
                "{} takes too long",
                self.what
            );
            self.send(Signal::CONT);
            std::thread::sleep(slice);
        }
        false
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    /// If it cannot be waited for.
    pub fn kill(mut self) -> ExitStatus {
        self.send(Signal::KILL);
        self.child.wait().expect("a child can be waited for")
    }

    /// Sends it a signal, lets it run to its end and collects what it wrote.
    ///
    /// # Panics
    /// If it takes longer than two minutes.
    pub fn signalled(self, signal: Signal) -> Output {
        self.send(signal);
        self.send(Signal::CONT);
        collect(self.child, PATIENCE, &self.what)
    }
}

/// Runs a command in the files of `folder`, copied to a disk of `kib` KiB, and returns what it said
/// with the files that are there afterwards; `None` where the system lets nobody mount a disk.
///
/// # Panics
/// If the files do not fit, or copying fails.
pub fn on_small_disk(
    folder: &Path,
    kib: u64,
    program: &str,
    arguments: &[&str],
) -> Option<(Output, BTreeMap<String, Vec<u8>>)> {
    let probe = Command::new("unshare").args(["-rm", "true"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        return None;
    }
    let scratch = tempfile::tempdir().expect("temporary folders can be made");
    let (disk, after) = (scratch.path().join("disk"), scratch.path().join("after"));
    fs::create_dir(&disk).expect("folders can be made");
    fs::create_dir(&after).expect("folders can be made");
    // 99 says that the disk could not be set up, 98 that it could not be read.
    let script = "mount -t tmpfs -o size=\"$KIB\"k tmpfs \"$DISK\" && cp -a \"$FROM\"/. \"$DISK\" \
        && cd \"$DISK\" || exit 99; \"$0\" \"$@\"; status=$?; cp -a \"$DISK\"/. \"$AFTER\" || exit 98; exit $status";
    let output = output(
        Command::new("unshare")
            .args(["-rm", "sh", "-c", script, program])
            .args(arguments)
            .env("KIB", kib.to_string())
            .env("FROM", folder)
            .env("DISK", &disk)
            .env("AFTER", &after),
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !matches!(output.status.code(), Some(98 | 99)),
        "the disk of {kib} KiB: {said}"
    );
    Some((output, files(&after)))
}

/// A command that may write no file of more than `kib` KiB.
pub fn with_file_limit(kib: u64, program: &str, arguments: &[&str]) -> Command {
    // The shell's unit is 512 bytes.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -f \"$0\"; exec \"$@\""])
        .arg((2 * kib).to_string())
        .arg(program)
        .args(arguments);
    command
}

/// Standard output or error whose reader has gone.
///
/// # Panics
/// If no pipe can be made.
pub fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("pipes can be made");
    drop(reader);
    writer.into()
}
