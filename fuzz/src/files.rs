//! Files for readers that take a path: in memory where the system has such a folder.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    match memory.is_dir() {
        true => memory,
        false => std::env::temp_dir(),
    }
});

/// A path that no other thread uses; a file there goes when its thread ends.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Scratch>> = const { RefCell::new(Vec::new()) };
}

/// The path of this thread's `number`th scratch file.
pub fn scratch(number: usize) -> PathBuf {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    SCRATCH.with_borrow_mut(|all| {
        while all.len() <= number {
            let id = THREADS.fetch_add(1, Ordering::Relaxed);
            let name = format!("heddle-fuzz-{}-{id}", std::process::id());
            all.push(Scratch(FOLDER.join(name)));
        }
        all[number].0.clone()
    })
}

/// Calls `read` with the path of a file that holds `bytes`.
///
/// # Panics
/// If the file cannot be written.
pub fn with_file<T>(bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let path = scratch(0);
    std::fs::write(&path, bytes).expect("the folder for scratch files is writable");
    let result = read(&path);
    let _ = std::fs::remove_file(&path);
    result
}
