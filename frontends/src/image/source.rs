//! Finding out what a file holds, and reading one image of it at a time.

use std::fs::File;
use std::io::{Cursor, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::image::{ImageReader, Limits};

use super::npy::{self, Npy};
use super::records::{self, Records};
use super::{Error, Picture, Pixels, Raster};

/// Most bytes that a file may hold, unpacked.
const MAX_BYTES: u64 = 1 << 30;
/// Most rows or columns of a PNG or JPEG.
const MAX_SIDE: u32 = 1 << 14;
/// How deep subfolders are searched.
const MAX_DEPTH: usize = 8;
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "npy"];

#[derive(Debug)]
enum Layout {
    Npy(Npy),
    Records(Records),
}

#[derive(Debug)]
struct Container {
    file: String,
    bytes: Vec<u8>,
    layout: Layout,
}

#[derive(Clone, Debug)]
enum Source {
    File(PathBuf),
    Image(Arc<Container>, usize),
}

/// The images that a name stands for. PNG, JPEG and `.npy` files of a folder are opened only when
/// they are read; a batch is held as the bytes of its file and cut into images on demand.
#[derive(Clone, Debug)]
pub struct Sources {
    items: Vec<Source>,
}

/// Looks up what `spec` names, without decoding images.
///
/// # Errors
/// If a file cannot be read, is no picture, or the selection after `#` is none.
pub fn sources(spec: &str) -> Result<Sources, Error> {
    let (path, selection) = match spec.rsplit_once('#') {
        Some((path, selection)) if !Path::new(spec).exists() => (path, Some(selection)),
        _ => (spec, None),
    };
    let path = Path::new(path);
    let mut items = if path.is_dir() {
        let mut files = Vec::new();
        collect(path, 0, &mut files)?;
        if files.is_empty() {
            return Err(Error::Empty {
                folder: path.display().to_string(),
            });
        }
        files.into_iter().map(Source::File).collect()
    } else {
        open(path)?
    };
    if let Some(selection) = selection {
        let range = parse(selection).filter(|range| !range.is_empty() && range.end <= items.len());
        let Some(range) = range else {
            let file = path.display().to_string();
            let selection = selection.into();
            return Err(Error::Selection {
                file,
                selection,
                count: items.len(),
            });
        };
        items = items.drain(range).collect();
    }
    Ok(Sources { items })
}

impl Sources {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Keeps the first `limit` images.
    pub fn truncate(&mut self, limit: usize) {
        self.items.truncate(limit);
    }

    /// Appends the images of `other`.
    pub fn extend(&mut self, other: Self) {
        self.items.extend(other.items);
    }

    /// Reads the image `index`; `None` when there are not as many.
    ///
    /// # Errors
    /// If its file cannot be read or is damaged.
    pub fn get(&self, index: usize) -> Option<Result<Picture, Error>> {
        self.items.get(index).map(Source::read)
    }

    /// Reads one image after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Picture, Error>> + '_ {
        self.items.iter().map(Source::read)
    }
}

impl Source {
    fn read(&self) -> Result<Picture, Error> {
        match self {
            Self::File(path) => photo_or_first(path),
            Self::Image(container, index) => Ok(container.image(*index)),
        }
    }
}

impl Container {
    fn count(&self) -> usize {
        match &self.layout {
            Layout::Npy(npy) => npy.count,
            Layout::Records(records) => records.count,
        }
    }

    fn image(&self, index: usize) -> Picture {
        let (pixels, label, many) = match &self.layout {
            Layout::Npy(npy) => (npy.image(&self.bytes, index), None, npy.is_batch()),
            Layout::Records(records) => {
                let (pixels, label) = records.image(&self.bytes, index);
                (pixels, label, true)
            }
        };
        let name = if many {
            format!("{}#{index}", self.file)
        } else {
            self.file.clone()
        };
        Picture {
            name,
            pixels,
            label,
        }
    }
}

/// `17` or `0..10`.
fn parse(selection: &str) -> Option<Range<usize>> {
    match selection.split_once("..") {
        Some((start, end)) => Some(start.parse().ok()?..end.parse().ok()?),
        None => {
            let index: usize = selection.parse().ok()?;
            Some(index..index.checked_add(1)?)
        }
    }
}

fn io_error(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::Io {
        file: path.display().to_string(),
        source,
    }
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io_error(folder))? {
        entries.push(entry.map_err(io_error(folder))?.path());
    }
    entries.sort();
    for path in entries {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_dir() {
            if depth < MAX_DEPTH && !path.is_symlink() {
                collect(&path, depth + 1, files)?;
            }
        } else if extension.is_some_and(|name| EXTENSIONS.contains(&&*name.to_ascii_lowercase())) {
            files.push(path);
        }
    }
    Ok(())
}

/// The file's bytes, unpacked if it is gzipped.
fn load(path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(io_error(path))?;
    let too_large = || Error::Kind {
        file: path.display().to_string(),
        reason: format!("it is larger than {} MiB", MAX_BYTES >> 20),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error(path))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large());
    }
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..])
            .take(MAX_BYTES + 1)
            .read_to_end(&mut unpacked)
            .map_err(|error| Error::Damaged {
                file: path.display().to_string(),
                reason: format!("it does not unpack ({error})"),
            })?;
        if unpacked.len() as u64 > MAX_BYTES {
            return Err(too_large());
        }
        bytes = unpacked;
    }
    Ok(bytes)
}

fn is_photo(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(&[0xff, 0xd8, 0xff])
}

fn container(path: &Path, bytes: Vec<u8>) -> Result<Container, Error> {
    let file = path.display().to_string();
    let layout = if bytes.starts_with(npy::MAGIC) {
        Layout::Npy(Npy::parse(&file, &bytes)?)
    } else if records::is_idx(&bytes) {
        let mut records = Records::idx(&file, &bytes)?;
        records.labels = sibling_labels(path, records.count);
        Layout::Records(records)
    } else if let Some(records) = Records::cifar(&bytes) {
        Layout::Records(records)
    } else {
        let reason = if bytes.is_empty() {
            "it is empty".into()
        } else {
            format!(
                "its first bytes are of no known kind, and {} bytes are no whole number of CIFAR records with valid labels",
                bytes.len()
            )
        };
        return Err(Error::Kind { file, reason });
    };
    Ok(Container {
        file,
        bytes,
        layout,
    })
}

/// MNIST keeps labels in a second file, named alike; without it the images have no labels.
fn sibling_labels(path: &Path, count: usize) -> Option<Vec<u8>> {
    let name = path.file_name()?.to_str()?;
    let labels = name.replace("images", "labels").replace("idx3", "idx1");
    let bytes = (labels != name).then(|| load(&path.with_file_name(labels)).ok())??;
    records::idx_labels(&bytes, count)
}

fn open(path: &Path) -> Result<Vec<Source>, Error> {
    let bytes = load(path)?;
    if is_photo(&bytes) {
        return Ok(vec![Source::File(path.to_path_buf())]);
    }
    let container = Arc::new(container(path, bytes)?);
    Ok((0..container.count())
        .map(|index| Source::Image(container.clone(), index))
        .collect())
}

fn photo_or_first(path: &Path) -> Result<Picture, Error> {
    let bytes = load(path)?;
    if is_photo(&bytes) {
        let name = path.display().to_string();
        let pixels = Pixels::Photo(photo(&name, bytes)?);
        return Ok(Picture {
            name,
            pixels,
            label: None,
        });
    }
    let container = container(path, bytes)?;
    if container.count() != 1 {
        return Err(Error::Tensor {
            file: container.file,
            reason: "a tensor in a folder must hold one image\nhelp: give a batch by its own name"
                .into(),
        });
    }
    Ok(container.image(0))
}

fn photo(file: &str, bytes: Vec<u8>) -> Result<Raster, Error> {
    let damaged = |reason: String| Error::Damaged {
        file: file.into(),
        reason,
    };
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| damaged(error.to_string()))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let decoded = reader
        .decode()
        .map_err(|error| damaged(error.to_string()))?;
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    if width == 0 || height == 0 {
        return Err(damaged("it has no pixels".into()));
    }
    let (channels, interleaved) = if decoded.color().has_color() {
        (3, decoded.into_rgb8().into_raw())
    } else {
        (1, decoded.into_luma8().into_raw())
    };
    let data = super::tensor::planes(&interleaved, channels);
    Ok(Raster {
        channels,
        height,
        width,
        data,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::read;

    fn batch(folder: &Path) -> String {
        let path = folder.join("batch.bin");
        let records: Vec<u8> = (0..4u8)
            .flat_map(|label| std::iter::once(label).chain(vec![label * 10; 3072]))
            .collect();
        std::fs::write(&path, records).unwrap();
        path.display().to_string()
    }

    #[test]
    fn batches_take_an_index_or_a_range() {
        let folder = tempfile::tempdir().unwrap();
        let path = batch(folder.path());
        let labels = |spec: &str| -> Vec<Option<u8>> {
            read(spec)
                .unwrap()
                .iter()
                .map(|picture| picture.label)
                .collect()
        };
        assert_eq!(labels(&path).len(), 4);
        assert_eq!(labels(&format!("{path}#2")), [Some(2)]);
        assert_eq!(labels(&format!("{path}#1..3")), [Some(1), Some(2)]);
        assert_eq!(
            read(&format!("{path}#3")).unwrap()[0].name,
            format!("{path}#3")
        );
        for selection in ["4", "3..5", "2..2", "3..1", "x", "", "-1", "..2"] {
            let error = read(&format!("{path}#{selection}")).unwrap_err();
            assert!(
                matches!(error, Error::Selection { count: 4, .. }),
                "{selection}: {error}"
            );
        }
    }

    #[test]
    fn gzipped_idx_files_find_their_labels() {
        use std::io::Write;
        let folder = tempfile::tempdir().unwrap();
        let gzip = |name: &str, bytes: &[u8]| {
            let file = File::create(folder.path().join(name)).unwrap();
            let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        };
        gzip(
            "t-images-idx3-ubyte.gz",
            &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 42],
        );
        gzip("t-labels-idx1-ubyte.gz", &[0, 0, 8, 1, 0, 0, 0, 1, 5]);
        let spec = folder.path().join("t-images-idx3-ubyte.gz");
        let pictures = read(spec.to_str().unwrap()).unwrap();
        assert_eq!(pictures[0].label, Some(5));
    }

    #[test]
    fn folders_are_read_in_order_of_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        for name in ["b.png", "a/z.PNG", "notes.txt"] {
            let image = ::image::RgbImage::from_pixel(2, 1, ::image::Rgb([1, 2, 3]));
            let path = folder.path().join(name);
            image
                .save_with_format(path, ::image::ImageFormat::Png)
                .unwrap();
        }
        let pictures = read(folder.path().to_str().unwrap()).unwrap();
        assert_eq!(pictures.len(), 2);
        assert!(pictures[0].name.ends_with("z.PNG"));
        let Pixels::Photo(raster) = &pictures[0].pixels else {
            panic!("a photo")
        };
        assert_eq!(raster.data, [1, 1, 2, 2, 3, 3]);
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            read(empty.path().to_str().unwrap()),
            Err(Error::Empty { .. })
        ));
    }

    #[test]
    fn foreign_and_truncated_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let image = ::image::RgbImage::from_fn(9, 9, |x, y| ::image::Rgb([x as u8, y as u8, 7]));
        let mut png = Vec::new();
        image
            .write_to(&mut Cursor::new(&mut png), ::image::ImageFormat::Png)
            .unwrap();
        let path = folder.path().join("x");
        let spec = path.to_str().unwrap();
        for length in 0..png.len() - 12 {
            std::fs::write(&path, &png[..length]).unwrap();
            assert!(read(spec).is_err(), "{length} bytes");
        }
        std::fs::write(&path, b"\x1f\x8bnot gzip").unwrap();
        assert!(matches!(read(spec), Err(Error::Damaged { .. })));
        assert!(matches!(read("no/such/file"), Err(Error::Io { .. })));
    }

    #[test]
    fn the_official_files_are_read() {
        let Some(data) = std::env::var_os("HEDDLE_DATA").map(PathBuf::from) else {
            eprintln!("skipped: HEDDLE_DATA is not set");
            return;
        };
        for (file, count, label) in [
            ("cifar10_test_0-4999.bin", 5000, Some(3)),
            ("cifar100_test_0-4999.bin", 5000, Some(49)),
            ("cifar10_train_1000.bin", 1000, None),
            ("mnist/t10k-images-idx3-ubyte.gz", 10_000, Some(7)),
        ] {
            let sources = sources(data.join(file).to_str().unwrap()).unwrap();
            assert_eq!(sources.len(), count);
            let first = sources.get(0).unwrap().unwrap();
            assert!(
                label.is_none() || first.label == label,
                "{file}: {:?}",
                first.label
            );
        }
    }
}
