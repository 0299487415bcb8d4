//! Round trips, damage and interrupted writes.

use std::fs;

use super::*;

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
}

fn sample() -> Vec<u8> {
    let header = Header {
        name: "sample".into(),
    };
    let mut writer = BlockWriter::new(Vec::new(), "s", Kind::Plan, &header).unwrap();
    writer.block(b"first").unwrap();
    writer.bytes(&[7; 100]).unwrap();
    writer.bytes(&[]).unwrap();
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<(Header, Vec<Vec<u8>>), Error> {
    let (mut reader, header) = BlockReader::new(bytes, "f.plan", Kind::Plan)?;
    let mut blocks = Vec::new();
    while let Some(block) = reader.next_block()? {
        blocks.push(block);
    }
    Ok((header, blocks))
}

#[test]
fn round_trips() {
    let (header, blocks) = read(&sample()).unwrap();
    assert_eq!(header.name, "sample");
    assert_eq!(blocks, [b"first".to_vec(), vec![7; 100]]);
    let bytes = sample();
    let (mut reader, _) = BlockReader::new::<Header>(&*bytes, "f", Kind::Plan).unwrap();
    assert_eq!(reader.bytes(5).unwrap(), b"first");
    assert_eq!(reader.bytes(100).unwrap(), [7; 100]);
    reader.finish().unwrap();
}

#[test]
fn every_cut_and_every_flipped_byte_is_noticed() {
    let whole = sample();
    for len in 0..whole.len() {
        let error = read(&whole[..len]).unwrap_err();
        assert!(
            matches!(&error, Error::File { file, .. } if file == "f.plan"),
            "{error}"
        );
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        assert!(read(&damaged).is_err(), "byte {at}");
    }
    let mut longer = whole;
    longer.push(0);
    assert!(
        read(&longer)
            .unwrap_err()
            .to_string()
            .contains("follows its end")
    );
}

#[test]
fn messages_say_what_it_is_and_how_to_fix_it() {
    let message = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert_eq!(message(b"PK\x03\x04"), "`f.plan` is not a file of Heddle's");
    assert_eq!(
        message(b""),
        "`f.plan` is cut short\nhelp: copy it again, or make the plan again with `heddlec`"
    );
    let mut other = sample();
    other[8] = 9;
    assert!(message(&other).contains("format version 9, this program reads version 4"));
    let mut key = sample();
    key[10] = 2;
    assert_eq!(message(&key), "`f.plan` is a secret key, expected a plan");
    let mut damaged = sample();
    let at = damaged.len() - 30;
    damaged[at] ^= 1;
    assert!(message(&damaged).contains("checksum of block 2 is wrong\nhelp: make the plan"));
}

/// An empty record takes two bytes in a file and a hundred in memory.
#[test]
fn a_header_of_33_million_empty_records_is_refused_before_it_is_decoded() {
    #[derive(Clone, PartialEq, Message)]
    struct Notes {
        #[prost(string, repeated, tag = "12")]
        notes: Vec<String>,
    }
    let with = |count: usize| {
        let notes = vec![String::new(); count];
        BlockWriter::new(Vec::new(), "f", Kind::Plan, &Notes { notes })
            .and_then(BlockWriter::finish)
    };
    let read =
        |bytes: &[u8]| BlockReader::new::<Notes>(bytes, "f", Kind::Plan).map(|(_, notes)| notes);
    let most = with(1 << 16).unwrap();
    assert_eq!(read(&most).unwrap().notes.len(), 1 << 16);
    let more = with((1 << 16) + 1).unwrap();
    assert!(
        read(&more)
            .unwrap_err()
            .to_string()
            .contains("more than 65536 fields")
    );
    assert!(
        with(33_000_000)
            .unwrap_err()
            .to_string()
            .contains("at most 16777216")
    );
    // A header that claims as much is refused by its length alone.
    let mut claims = with(1).unwrap();
    claims[12..16].copy_from_slice(&66_000_000_u32.to_le_bytes());
    assert!(
        read(&claims)
            .unwrap_err()
            .to_string()
            .contains("claims 66000000 bytes")
    );
}

#[test]
fn a_wrong_number_of_bytes_is_an_error() {
    let bytes = sample();
    let open = || {
        BlockReader::new::<Header>(&*bytes, "f", Kind::Plan)
            .unwrap()
            .0
    };
    assert!(open().bytes(4).is_err());
    assert!(open().bytes(1000).is_err());
    assert!(open().finish().is_err());
    let long = vec![0; MAX_BLOCK + 1];
    let mut writer = BlockWriter::new(io::sink(), "f", Kind::Plan, &Header::default()).unwrap();
    assert!(writer.block(&long).is_err());
    writer.bytes(&long).unwrap();
    assert_eq!(writer.blocks, 2);
}

/// A device that takes or gives so many bytes, and then fails.
struct Failing(usize);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Failing {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let whole = sample();
        let at = whole.len() - self.0.min(whole.len());
        if at > 30 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        bytes[0] = whole[at];
        self.0 -= 1;
        Ok(1)
    }
}

/// Whoever writes or reads learns of a failing device, whichever call meets it.
#[test]
fn a_failing_device_is_an_error_that_names_the_file() {
    let whole = sample().len();
    let write = |room: usize| -> Result<Failing, Error> {
        let header = Header {
            name: "sample".into(),
        };
        let mut writer = BlockWriter::new(Failing(room), "s", Kind::Plan, &header)?;
        writer.block(b"first")?;
        writer.bytes(&[7; 100])?;
        writer.finish()
    };
    for room in 0..whole {
        let error = write(room).err().expect("there is no room");
        assert!(
            matches!(&error, Error::Io { file, .. } if file == "s"),
            "{error}"
        );
    }
    assert!(write(whole).is_ok());
    let reading = BlockReader::new::<Header>(Failing(whole), "f", Kind::Plan);
    let error = reading.and_then(|(reader, _)| reader.finish()).unwrap_err();
    assert!(
        matches!(&error, Error::Io { file, .. } if file == "f"),
        "{error}"
    );
}

#[test]
fn files_appear_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.plan");
    let listed = || fs::read_dir(folder.path()).unwrap().count();
    let failed: Result<(), Error> = write_atomically(&path, Access::Default, |writer| {
        writer.write_all(b"half").unwrap();
        Err(Error::File {
            file: "x".into(),
            message: "failed".into(),
        })
    });
    assert!(failed.is_err());
    assert_eq!(listed(), 0);
    fs::write(&path, b"old").unwrap();
    write_atomically::<_, Error>(&path, Access::Owner, |writer| {
        writer.write_all(&sample()).unwrap();
        Ok(())
    })
    .unwrap();
    assert_eq!(listed(), 1);
    assert_eq!(kind_of(&path).unwrap(), Kind::Plan);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let (reader, header) = BlockReader::open::<Header>(&path, Kind::Plan).unwrap();
    assert_eq!(
        (reader.file(), header.name.as_str()),
        (path.to_str().unwrap(), "sample")
    );
    let nowhere = folder.path().join("missing").join("a");
    assert!(write_atomically::<_, Error>(&nowhere, Access::Default, |_| Ok(())).is_err());
    assert!(BlockReader::open::<Header>(&nowhere, Kind::Plan).is_err());
    fs::write(&path, b"x").unwrap();
    assert!(kind_of(&path).is_err());
}
