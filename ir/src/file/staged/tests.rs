//! What only the inside shows; the rest is in `tests/staged.rs`.

use super::*;
use crate::file::MAGIC;

fn secret_key() -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[2, 0, Kind::SecretKey as u8, 0, 0, 0, 0, 0]);
    bytes
}

fn stage(path: &Path, text: &[u8]) -> Staged {
    let mut staged = Staged::create(path, Access::Default, Existing::Replace).unwrap();
    staged.write_all(text).unwrap();
    staged.flush().unwrap();
    staged
}

#[cfg(target_os = "linux")]
#[test]
fn what_is_found_only_after_an_exchange_gets_its_place_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let staged = stage(&path, b"new");
    // The key appears between the last look and the exchange.
    fs::write(&path, secret_key()).unwrap();
    place::exchange(&staged.partial.path, &path)
        .unwrap()
        .unwrap();
    let text = staged.check_exchanged().unwrap_err().to_string();
    assert!(text.contains("never replaced"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), secret_key());
    drop(staged);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn taking_back_leaves_what_another_put_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let staged = stage(&path, b"new");
    let placed = staged.place(&[]).unwrap();
    assert!(matches!(placed, Placed::New));
    let other = folder.path().join("other");
    fs::write(&other, b"of another").unwrap();
    fs::rename(&other, &path).unwrap();
    staged.take_back(placed);
    assert_eq!(fs::read(&path).unwrap(), b"of another");
}

#[test]
fn two_names_that_are_one_file_do_not_replace_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("K"), folder.path().join("k"));
    let staged = [stage(&first, b"1"), stage(&second, b"2")];
    staged[0].place(&[]).unwrap();
    // As on a file system without case, the second name now leads to the first file.
    fs::hard_link(&first, &second).unwrap();
    let text = staged[1].place(&staged[..1]).unwrap_err().to_string();
    assert!(text.contains("same file as the output"), "{text}");
    assert_eq!(fs::read(&first).unwrap(), b"1");
}

#[test]
fn a_failed_write_cannot_be_committed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    let mut staged = stage(&path, b"first");
    staged.failed = Some(io::ErrorKind::StorageFull);
    staged.write_all(b"second").unwrap();
    let text = staged.commit().unwrap_err().to_string();
    assert!(text.contains("an earlier write failed"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
