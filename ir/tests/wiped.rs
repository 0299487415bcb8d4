//! No copy of what was written stays in memory that was freed.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;

use heddle_ir::file::{Access, Existing, Staged};
use zeroize::Zeroize;

/// As long as one piece of the secret.
const PIECE: usize = 32;

/// One byte of the secret, which stands nowhere in memory but where it was written.
fn byte(at: usize) -> u8 {
    (black_box(at) * 89 + 43) as u8
}

/// Writes the secret many times over.
fn write_secret(writer: &mut impl Write) {
    let mut piece = [0; PIECE];
    for _ in 0..20_000 {
        (0..PIECE).for_each(|at| piece[at] = byte(at));
        writer.write_all(black_box(&piece)).unwrap();
        piece.zeroize();
    }
}

/// How often the secret stands in this process's writable memory.
fn copies() -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut page = [0; 4096];
    let mut copies = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split(' ').next().unwrap();
        let (from, to) = range.split_once('-').unwrap();
        let address = |text| u64::from_str_radix(text, 16).unwrap();
        for at in (address(from)..address(to)).step_by(page.len()) {
            if memory.read_exact_at(&mut page, at).is_ok() {
                let is_secret = |piece: &&[u8]| (0..PIECE).all(|at| piece[at] == byte(at));
                copies += page.windows(PIECE).filter(is_secret).count();
            }
            // Else the next look at this very page would find what it has seen.
            page.zeroize();
        }
    }
    copies
}

#[test]
fn the_buffer_of_what_was_written_is_wiped() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // After this the allocator keeps large blocks that are freed.
    drop(black_box(vec![1_u8; 16 << 20]));
    for commit in [true, false] {
        let mut staged = Staged::create(&path("x"), Access::Owner, Existing::Replace).unwrap();
        write_secret(&mut staged);
        assert!(copies() > 10_000, "the buffer itself is not found");
        if commit {
            staged.commit().unwrap();
        } else {
            drop(staged);
        }
        assert!(copies() < 10, "{} copies stay", copies());
    }
    // The same search finds what a common buffer leaves.
    let mut common = BufWriter::with_capacity(1 << 20, File::create(path("y")).unwrap());
    write_secret(&mut common);
    drop(common);
    assert!(copies() > 10_000, "the search finds nothing");
}
