//! Reading files that someone else chose: only regular files, and never more bytes than a limit.
//!
//! Opening a named pipe waits for a writer, and a device such as `/dev/zero` never ends. Whatever
//! reads a file goes through these functions, each with a limit that its caller states.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a text that a person writes, such as a list of class names.
pub const MAX_TEXT: u64 = 4 << 20;

/// Opens a regular file, or a link to one, for reading. It never waits, whatever `path` is.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for folders, named pipes, sockets and devices, and the system's
/// answer if opening fails.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "is not a regular file");
    // Opening has effects on some devices, so they are refused by name.
    if !fs::metadata(path)?.is_file() {
        return Err(refused());
    }
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        // The name may have become a pipe's or a terminal's in the meantime.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    }
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(refused())
    }
}

/// Reads a regular file of at most `limit` bytes. Not more than `limit + 1` are read of a file that
/// grows meanwhile or hides its length.
///
/// # Errors
/// Those of [`open_regular`], [`io::ErrorKind::FileTooLarge`] if the file is longer than `limit`,
/// and the system's answer if reading fails.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let too_large = |length: String| {
        let message = format!("has {length} bytes, at most {limit} are read");
        io::Error::new(io::ErrorKind::FileTooLarge, message)
    };
    let length = file.metadata()?.len();
    if length > limit {
        return Err(too_large(length.to_string()));
    }
    let mut bytes = Vec::new();
    // One byte more than its length lets the end be seen without growing.
    let capacity = usize::try_from(length.saturating_add(1)).unwrap_or(usize::MAX);
    bytes
        .try_reserve_exact(capacity)
        .map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(format!("more than {limit}")));
    }
    Ok(bytes)
}

/// Reads a regular file of at most `limit` bytes as text.
///
/// # Errors
/// Those of [`read_regular`], and [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(read_regular(path, limit)?).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("is not text in UTF-8 (byte {at})");
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_up_to_the_limit_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_regular(&path, 5).unwrap(), b"12345");
        let error = read_regular(&path, 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(error.to_string(), "has 5 bytes, at most 4 are read");
        fs::write(&path, b"").unwrap();
        assert_eq!(read_regular(&path, 0).unwrap(), b"");
        let missing = read_regular(&folder.path().join("none"), 9).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn text_must_be_utf8() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels");
        fs::write(&path, "Käfer\nstork\n").unwrap();
        assert_eq!(read_text(&path, MAX_TEXT).unwrap(), "Käfer\nstork\n");
        fs::write(&path, b"cat\n\xff\n").unwrap();
        let error = read_text(&path, MAX_TEXT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), "is not text in UTF-8 (byte 4)");
    }

    #[test]
    fn a_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = open_regular(folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "is not a regular file");
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::fs::symlink;
        use std::os::unix::net::UnixListener;

        fn assert_refused(path: &Path) {
            let error = read_regular(path, 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
            assert_eq!(error.to_string(), "is not a regular file");
        }

        #[test]
        fn a_named_pipe_a_socket_and_links_to_them_are_refused_without_waiting() {
            let folder = tempfile::tempdir().unwrap();
            let pipe = folder.path().join("pipe");
            let made = std::process::Command::new("mkfifo").arg(&pipe).status();
            assert!(made.unwrap().success());
            assert_refused(&pipe);
            let socket = folder.path().join("socket");
            let _listener = UnixListener::bind(&socket).unwrap();
            assert_refused(&socket);
            let link = folder.path().join("link");
            symlink(&pipe, &link).unwrap();
            assert_refused(&link);
        }

        #[test]
        fn devices_are_refused() {
            for device in ["/dev/zero", "/dev/null", "/dev/tty"] {
                if Path::new(device).exists() {
                    assert_refused(Path::new(device));
                }
            }
        }

        #[test]
        fn a_link_to_a_regular_file_is_followed() {
            let folder = tempfile::tempdir().unwrap();
            let (file, link) = (folder.path().join("file"), folder.path().join("link"));
            fs::write(&file, b"x").unwrap();
            symlink(&file, &link).unwrap();
            assert_eq!(read_regular(&link, 1).unwrap(), b"x");
        }

        #[cfg(target_os = "linux")]
        #[test]
        fn a_file_that_hides_its_length_is_read_up_to_the_limit() {
            // The system says 0 bytes, but there are more.
            let path = Path::new("/proc/self/status");
            assert_eq!(fs::metadata(path).unwrap().len(), 0);
            let error = read_regular(path, 10).unwrap_err();
            assert_eq!(
                error.to_string(),
                "has more than 10 bytes, at most 10 are read"
            );
        }
    }
}
