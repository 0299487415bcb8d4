//! Image sets: finding out what files hold, and reading one image at a time.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heddle_ir::file::open_regular;
use heddle_ir::printable;

use super::folder::Found;
use super::npy::{self, Npy};
use super::photo::Place;
use super::records::{self, Records};
use super::{Error, MAX_BYTES, MAX_FILES, Picture, Pixels, io_error, photo, too_large};

/// Bytes to which every gzipped file may unpack; beyond, it may grow to ten times its length.
const MAX_SMALL: u64 = 64 << 20;

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

/// Where images are read from.
#[derive(Clone, Debug)]
enum Origin {
    /// A file with one image.
    File(PathBuf),
    /// A run of images of a batch, from this one on.
    Batch(Arc<Container>, usize),
}

/// A run of images of one origin, and the number of images up to its last one.
#[derive(Clone, Debug)]
struct Run {
    end: usize,
    origin: Origin,
}

/// The images that a name stands for. PNG, JPEG and `.npy` files of a folder are opened only when
/// they are read; a batch is held as the bytes of its file and cut into images on demand.
#[derive(Clone, Debug)]
pub struct ImageSet {
    runs: Vec<Run>,
}

/// The file or folder that `spec` names, without a selection.
pub fn path_of(spec: &str) -> PathBuf {
    split(spec).0.into()
}

/// A path and the selection behind `#`, if that does not belong to a file's name.
fn split(spec: &str) -> (&str, Option<&str>) {
    match spec.rsplit_once('#') {
        Some((path, selection)) if !Path::new(spec).exists() => (path, Some(selection)),
        _ => (spec, None),
    }
}

/// Looks up what `spec` names, without decoding images.
///
/// # Errors
/// If a file cannot be read, is no picture or too large, or the selection after `#` is none.
pub fn image_set(spec: &str) -> Result<ImageSet, Error> {
    look_up(spec, None)
}

/// As [`image_set`], for a model that takes `shape` (channels, height, width). An `.npy` tensor
/// whose first axis counts tensors of as many elements is a batch then: `[N, F]` for a vector of
/// `F` numbers, `[N, H, W]` for a grey image, `[N, C, T]` for a signal.
///
/// # Errors
/// As those of [`image_set`].
pub fn image_set_for(spec: &str, shape: [usize; 3]) -> Result<ImageSet, Error> {
    look_up(spec, Some(shape))
}

/// Reads an `.npy` tensor of any shape that takes at most
/// [`MAX_PICTURE_BYTES`](super::MAX_PICTURE_BYTES) as 64-bit floats: its extents and elements.
///
/// # Errors
/// If the file cannot be read, is no such tensor or too large.
pub fn read_tensor(path: &Path) -> Result<(Vec<usize>, Vec<f64>), Error> {
    let file = printable::path(path);
    match load(path, MAX_BYTES)? {
        Content::Bytes(bytes) if bytes.starts_with(npy::MAGIC) => npy::tensor(&file, &bytes),
        _ => Err(Error::Tensor {
            file,
            reason: "it is no `.npy` tensor\nhelp: save one with `numpy.save`".into(),
        }),
    }
}

fn look_up(spec: &str, model: Option<[usize; 3]>) -> Result<ImageSet, Error> {
    let (path, selection) = split(spec);
    let path = Path::new(path);
    let mut images = if path.is_dir() {
        let mut found = Found::of_at_most(MAX_FILES);
        found.collect(path, 0)?;
        if found.files.is_empty() {
            return Err(Error::Empty {
                folder: printable::path(path),
            });
        }
        let run = |(index, file)| Run {
            end: index + 1,
            origin: Origin::File(file),
        };
        ImageSet {
            runs: found.files.into_iter().enumerate().map(run).collect(),
        }
    } else {
        open(path, model)?
    };
    if let Some(selection) = selection {
        let count = images.len();
        let range = parse(selection).filter(|range| !range.is_empty() && range.end <= count);
        let Some(range) = range else {
            let file = printable::path(path);
            let selection = selection.into();
            return Err(Error::Selection {
                file,
                selection,
                count,
            });
        };
        images.truncate(range.end);
        images.skip(range.start);
    }
    Ok(images)
}

impl ImageSet {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.runs.last().map_or(0, |run| run.end)
    }

    /// Whether there are no images.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps the first `limit` images.
    pub fn truncate(&mut self, limit: usize) {
        if limit == 0 {
            self.runs.clear();
        }
        let kept = self.runs.partition_point(|run| run.end < limit) + 1;
        self.runs.truncate(kept);
        if let Some(last) = self.runs.last_mut() {
            last.end = last.end.min(limit);
        }
    }

    /// Drops the first `count` images, which are not all.
    fn skip(&mut self, count: usize) {
        let (run, inner) = self.position(count);
        self.runs.drain(..run);
        if let Some(Run {
            origin: Origin::Batch(_, first),
            ..
        }) = self.runs.first_mut()
        {
            *first += inner;
        }
        for run in &mut self.runs {
            run.end -= count;
        }
    }

    /// The run that holds an image, and which of the run's images it is.
    fn position(&self, index: usize) -> (usize, usize) {
        let run = self.runs.partition_point(|run| run.end <= index);
        let start = run.checked_sub(1).map_or(0, |last| self.runs[last].end);
        (run, index - start)
    }

    /// Appends the images of `other`.
    pub fn extend(&mut self, other: Self) {
        let count = self.len();
        self.runs.extend(other.runs.into_iter().map(|run| Run {
            end: count + run.end,
            ..run
        }));
    }

    /// Reads the image `index`; `None` when there are not as many. Its pixels take at most
    /// [`MAX_PICTURE_BYTES`](super::MAX_PICTURE_BYTES).
    ///
    /// # Errors
    /// If its file cannot be read, is damaged or too large.
    pub fn get(&self, index: usize) -> Option<Result<Picture, Error>> {
        let (run, inner) = self.position(index);
        self.runs.get(run).map(|run| run.origin.read(inner))
    }

    /// Reads one image after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Result<Picture, Error>> + '_ {
        (0..self.len()).map(|index| {
            let (run, inner) = self.position(index);
            self.runs[run].origin.read(inner)
        })
    }
}

impl Origin {
    fn read(&self, index: usize) -> Result<Picture, Error> {
        match self {
            Self::File(path) => photo_or_first(path),
            Self::Batch(container, first) => Ok(container.image(first + index)),
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

/// What a file holds.
enum Content {
    Photo(File, ::image::ImageFormat),
    /// Its bytes, unpacked if it was gzipped.
    Bytes(Vec<u8>),
}

/// Opens a file of at most `limit` bytes, unpacked; a photo stays where it is.
fn load(path: &Path, limit: u64) -> Result<Content, Error> {
    let io = io_error(path);
    let mut file = open_regular(path).map_err(&io)?;
    let name = printable::path(path);
    let length = file.metadata().map_err(&io)?.len();
    let mut magic = Vec::new();
    (&file).take(8).read_to_end(&mut magic).map_err(&io)?;
    file.rewind().map_err(&io)?;
    if let Some(format) = photo::format(&magic) {
        return Ok(Content::Photo(file, format));
    }
    let help = "give a batch in several files";
    let packed = magic.starts_with(&[0x1f, 0x8b]);
    let most = if packed { MAX_BYTES } else { limit };
    if length > most {
        return Err(too_large(&name, length, most, "bytes", help));
    }
    let mut bytes = Vec::new();
    if packed {
        let limit = limit.min(MAX_SMALL.max(length.saturating_mul(10)));
        flate2::read::MultiGzDecoder::new(BufReader::new(file))
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::Damaged {
                file: name.clone(),
                reason: format!("it does not unpack ({error})"),
            })?;
        if bytes.len() as u64 > limit {
            return Err(Error::TooLarge {
                file: name,
                found: format!("more than {limit} bytes, unpacked from {length}"),
                limit: format!("{limit}, the larger of 64 MiB and ten times its length,"),
                help: "unpack it with `gunzip`; a file holds at most 512 MB",
            });
        }
    } else {
        bytes.reserve_exact(length as usize + 1);
        file.take(limit + 1).read_to_end(&mut bytes).map_err(&io)?;
        if bytes.len() as u64 > limit {
            return Err(too_large(&name, bytes.len() as u64, limit, "bytes", help));
        }
    }
    Ok(Content::Bytes(bytes))
}

fn container(path: &Path, bytes: Vec<u8>, model: Option<[usize; 3]>) -> Result<Container, Error> {
    let file = printable::path(path);
    let layout = if bytes.starts_with(npy::MAGIC) {
        Layout::Npy(Npy::parse(&file, &bytes, model)?)
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
    if labels == name {
        return None;
    }
    let limit = count as u64 + records::LABELS_HEADER;
    match load(&path.with_file_name(labels), limit).ok()? {
        Content::Bytes(bytes) => records::idx_labels(&bytes, count),
        Content::Photo(..) => None,
    }
}

fn open(path: &Path, model: Option<[usize; 3]>) -> Result<ImageSet, Error> {
    let one = |origin| ImageSet {
        runs: vec![Run { end: 1, origin }],
    };
    match load(path, MAX_BYTES)? {
        Content::Photo(..) => Ok(one(Origin::File(path.to_path_buf()))),
        Content::Bytes(bytes) if photo::format(&bytes).is_some() => {
            Ok(one(Origin::File(path.to_path_buf())))
        }
        Content::Bytes(bytes) => {
            let container = Arc::new(container(path, bytes, model)?);
            let end = container.count();
            let origin = Origin::Batch(container, 0);
            Ok(ImageSet {
                runs: vec![Run { end, origin }],
            })
        }
    }
}

fn photo_or_first(path: &Path) -> Result<Picture, Error> {
    let name = printable::path(path);
    let raster = match load(path, MAX_BYTES)? {
        Content::Photo(file, format) => {
            let length = file.metadata().map_err(io_error(path))?.len();
            photo::decode(&name, BufReader::new(file), format, (Place::Disk, length))?
        }
        Content::Bytes(bytes) => match photo::format(&bytes) {
            Some(format) => {
                let length = bytes.len() as u64;
                photo::decode(&name, Cursor::new(bytes), format, (Place::Memory, length))?
            }
            None => return only_image(path, bytes),
        },
    };
    Ok(Picture {
        name,
        pixels: Pixels::Photo(raster),
        label: None,
    })
}

/// The image of a file that holds one.
fn only_image(path: &Path, bytes: Vec<u8>) -> Result<Picture, Error> {
    let container = container(path, bytes, None)?;
    if container.count() != 1 {
        return Err(Error::Tensor {
            file: container.file,
            reason: "a tensor in a folder must hold one image\nhelp: give a batch by its own name"
                .into(),
        });
    }
    Ok(container.image(0))
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
    fn image_sets_are_cut_and_joined_across_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = batch(folder.path());
        let labels = |images: &ImageSet| -> Vec<u8> {
            let all = images.iter().map(|picture| picture.unwrap().label.unwrap());
            let all: Vec<u8> = all.collect();
            assert_eq!(all.len(), images.len());
            let at = |index| images.get(index).unwrap().unwrap().label.unwrap();
            assert!((0..all.len()).all(|index| at(index) == all[index]));
            assert!(images.get(all.len()).is_none());
            all
        };
        let of = |selection: &str| image_set(&format!("{path}{selection}")).unwrap();
        let mut joined = of("#1..4");
        joined.extend(of("#0"));
        joined.extend(of(""));
        assert_eq!(labels(&joined), [1, 2, 3, 0, 0, 1, 2, 3]);
        for limit in (0..=9).rev() {
            let mut cut = joined.clone();
            cut.truncate(limit);
            assert_eq!(labels(&cut), [1, 2, 3, 0, 0, 1, 2, 3][..limit.min(8)]);
            assert_eq!(cut.is_empty(), limit == 0);
        }
        for first in 0..8 {
            let mut rest = joined.clone();
            rest.skip(first);
            assert_eq!(labels(&rest), [1, 2, 3, 0, 0, 1, 2, 3][first..]);
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
}
