//! Data sets of images of one size: CIFAR's binary batches and the idx format.

use super::{Error, Pixels, Raster, check_picture};

const CIFAR_PIXELS: usize = 3 * 32 * 32;

/// A file of equally large records.
#[derive(Debug)]
pub(super) struct Records {
    channels: usize,
    height: usize,
    width: usize,
    /// Bytes before the first record.
    start: usize,
    /// Label bytes before each record's pixels; the last one is the class.
    label_bytes: usize,
    /// Labels from a file of their own.
    pub(super) labels: Option<Vec<u8>>,
    /// Number of images.
    pub(super) count: usize,
}

/// Whether every label of a batch with `label_bytes` labels a record is below its number of
/// classes.
fn labels_fit(bytes: &[u8], classes: &[u8]) -> bool {
    let record = classes.len() + CIFAR_PIXELS;
    bytes.len().is_multiple_of(record)
        && bytes.chunks_exact(record).all(|record| {
            record
                .iter()
                .zip(classes)
                .all(|(label, classes)| label < classes)
        })
}

impl Records {
    /// A CIFAR batch, if the file's length and labels are those of one: CIFAR-10 has one label a
    /// record (10 classes), CIFAR-100 two (20 coarse, 100 fine).
    pub(super) fn cifar(bytes: &[u8]) -> Option<Self> {
        let label_bytes = [&[10][..], &[20, 100]]
            .into_iter()
            .find(|classes| !bytes.is_empty() && labels_fit(bytes, classes))?
            .len();
        Some(Self {
            channels: 3,
            height: 32,
            width: 32,
            start: 0,
            label_bytes,
            labels: None,
            count: bytes.len() / (label_bytes + CIFAR_PIXELS),
        })
    }

    /// An idx file of bytes: `N×H×W`, or `N×C×H×W`.
    pub(super) fn idx(file: &str, bytes: &[u8]) -> Result<Self, Error> {
        let damaged = |reason: String| Error::Damaged {
            file: file.into(),
            reason,
        };
        let (extents, start) =
            extents(bytes).ok_or_else(|| damaged("the header is cut off".into()))?;
        let (channels, height, width) = match extents[..] {
            [_, height, width] => (1, height, width),
            [_, channels, height, width] => (channels, height, width),
            _ => {
                let reason = match extents.len() {
                    1 => "it holds labels, not images".into(),
                    axes => format!("images have three or four axes, this has {axes}"),
                };
                return Err(Error::Kind {
                    file: file.into(),
                    reason,
                });
            }
        };
        let expected = extents
            .iter()
            .try_fold(1usize, |product, extent| product.checked_mul(*extent));
        let found = bytes.len() - start;
        if expected != Some(found) || found == 0 {
            let expected = expected.map_or_else(|| "too many".into(), |bytes| bytes.to_string());
            return Err(damaged(format!(
                "{expected} bytes of pixels expected, {found} found"
            )));
        }
        check_picture(file, Some(found / extents[0]))?;
        Ok(Self {
            channels,
            height,
            width,
            start,
            label_bytes: 0,
            labels: None,
            count: extents[0],
        })
    }

    /// The image `index`, below `count`, with its label.
    pub(super) fn image(&self, bytes: &[u8], index: usize) -> (Pixels, Option<u8>) {
        let &Self {
            channels,
            height,
            width,
            start,
            label_bytes,
            ..
        } = self;
        let size = channels * height * width;
        let record = &bytes[start + index * (label_bytes + size)..][..label_bytes + size];
        let (labels, data) = record.split_at(label_bytes);
        let outer = self.labels.as_ref().and_then(|labels| labels.get(index));
        let raster = Raster {
            channels,
            height,
            width,
            data: data.to_vec(),
        };
        (Pixels::Record(raster), labels.last().or(outer).copied())
    }
}

/// Whether a file begins as an idx file of bytes does.
pub(super) fn is_idx(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 0, 8, 1..=4, ..])
}

fn extents(bytes: &[u8]) -> Option<(Vec<usize>, usize)> {
    let axes = usize::from(bytes[3]);
    let words = bytes.get(4..4 + 4 * axes)?;
    let words = words.as_chunks::<4>().0;
    Some((
        words
            .iter()
            .map(|word| u32::from_be_bytes(*word) as usize)
            .collect(),
        4 + 4 * axes,
    ))
}

/// Bytes before the labels of an idx file.
pub(super) const LABELS_HEADER: u64 = 8;

/// The labels of an idx file of one axis, if it is one and they are `count`.
pub(super) fn idx_labels(bytes: &[u8], count: usize) -> Option<Vec<u8>> {
    let (extents, start) = is_idx(bytes).then(|| extents(bytes))??;
    (extents == [count] && bytes.len() - start == count).then(|| bytes[start..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cifar_batches_are_told_apart_by_their_labels() {
        // A length that both kinds of record divide.
        let mut bytes = vec![50; 3073 * 3074];
        assert!(Records::cifar(&bytes).is_none());
        for record in bytes.chunks_exact_mut(3074) {
            record[..2].copy_from_slice(&[3, 97]);
        }
        let batch = Records::cifar(&bytes).unwrap();
        assert_eq!((batch.count, batch.image(&bytes, 5).1), (3073, Some(97)));
        for record in bytes.chunks_exact_mut(3073) {
            record[0] = 7;
        }
        let batch = Records::cifar(&bytes).unwrap();
        assert_eq!((batch.count, batch.image(&bytes, 5).1), (3074, Some(7)));
    }

    #[test]
    fn idx_images_and_labels_are_read() {
        let mut images = vec![0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        images.extend([1, 2, 3, 4]);
        let mut records = Records::idx("x", &images).unwrap();
        let labels = [0, 0, 8, 1, 0, 0, 0, 2, 9, 8];
        records.labels = idx_labels(&labels, 2);
        let (pixels, label) = records.image(&images, 1);
        let Pixels::Record(raster) = pixels else {
            panic!("a record")
        };
        assert_eq!((raster.data, label), (vec![3, 4], Some(8)));
        assert!(Records::idx("x", &labels).is_err());
        assert!(idx_labels(&labels, 3).is_none());
        for length in 4..images.len() {
            assert!(Records::idx("x", &images[..length]).is_err());
        }
    }
}
