//! From pixels to the numbers that a model takes.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::file::read_text;
use crate::printable;

/// Most bytes of a file that holds a set.
const MAX_FILE: u64 = 64 << 10;

/// The classes of CIFAR-10, in the order of its labels.
pub const CIFAR10_CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// `(scale·pixel − mean[c]) / std[c]` for every channel `c`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Multiplies a pixel of 0…255.
    pub scale: f64,
    /// Subtracted, per channel; one entry serves every channel.
    pub mean: Vec<f64>,
    /// Divided by, per channel; one entry serves every channel.
    pub std: Vec<f64>,
    /// Number and order of the channels.
    #[serde(default)]
    pub channels: Channels,
}

/// Number and order of an image's channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel of brightness.
    Grey,
}

impl Channels {
    /// How many there are.
    pub fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Grey => 1,
        }
    }
}

impl Preprocess {
    /// A built-in set: `cifar10`, `cifar100`, `imagenet`, `mnist`, `unit` (x/255) or `none`
    /// (0…255).
    pub fn named(name: &str) -> Option<Self> {
        let rgb = |mean: [f64; 3], std: [f64; 3]| Self {
            scale: 1.0 / 255.0,
            mean: mean.to_vec(),
            std: std.to_vec(),
            channels: Channels::Rgb,
        };
        let plain = |scale: f64| Self {
            scale,
            mean: vec![0.0],
            std: vec![1.0],
            channels: Channels::Rgb,
        };
        Some(match name {
            "cifar10" => rgb([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
            "cifar100" => rgb([0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761]),
            "imagenet" => rgb([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            "mnist" => Self {
                scale: 1.0 / 255.0,
                mean: vec![0.1307],
                std: vec![0.3081],
                channels: Channels::Grey,
            },
            "unit" => plain(1.0 / 255.0),
            "none" => plain(1.0),
            _ => return None,
        })
    }

    /// A built-in set, or a JSON file `{scale, mean, std, channels}`.
    ///
    /// # Errors
    /// If `name` is neither, the file is no regular one or longer than 64 KiB, or it does not hold
    /// finite numbers with a positive spread.
    pub fn named_or_file(name: &str) -> Result<Self, Error> {
        if let Some(known) = Self::named(name) {
            return Ok(known);
        }
        if !Path::new(name).exists() {
            return Err(Error::Preprocess {
                name: printable::line(name).into_owned(),
                reason: "is neither a known set nor a file".into(),
            });
        }
        let text = read_text(Path::new(name), MAX_FILE).map_err(|source| Error::Io {
            file: printable::line(name).into_owned(),
            source,
        })?;
        Self::parse(name, &text)
    }

    /// The set that a JSON text `{scale, mean, std, channels}` holds; `name` stands for it in
    /// errors.
    ///
    /// # Errors
    /// If it does not hold finite numbers with a positive spread.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let fail = |reason: String| Error::Preprocess {
            name: printable::line(name).into_owned(),
            reason,
        };
        let parsed: Self = serde_json::from_str(text).map_err(|error| {
            fail(format!(
                "does not parse: {}",
                printable::line(&error.to_string())
            ))
        })?;
        parsed.check().map_err(|reason| fail(reason.to_owned()))?;
        Ok(parsed)
    }

    /// Whether the numbers make sense.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(&self) -> Result<(), &'static str> {
        let counts = [1, self.channels.count()];
        if !self.scale.is_finite() || self.scale == 0.0 {
            return Err("`scale` must be a finite number other than 0");
        }
        if !counts.contains(&self.mean.len()) || !counts.contains(&self.std.len()) {
            return Err("`mean` and `std` need one entry, or one for every channel");
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return Err("`mean` must be finite");
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return Err("`std` must be finite and positive");
        }
        Ok(())
    }

    fn of_channel(values: &[f64], channel: usize) -> f64 {
        if values.len() == 1 {
            values[0]
        } else {
            values[channel % values.len()]
        }
    }

    fn apply_to(&self, channel: usize, pixel: f64) -> f64 {
        let mean = Self::of_channel(&self.mean, channel);
        let std = Self::of_channel(&self.std, channel);
        (self.scale * pixel - mean) / std
    }

    /// Converts the bytes of an image, row-major `C, H, W` in red, green, blue order, to the
    /// model's input in the set's channel order.
    pub fn apply(&self, pixels: &[u8]) -> Vec<f32> {
        // Where one entry serves all channels and none changes its place, the image is one plane.
        let planes = match self.channels {
            Channels::Bgr => self.channels.count(),
            Channels::Rgb | Channels::Grey => self.mean.len().max(self.std.len()),
        };
        let plane = (pixels.len() / planes).max(1);
        let mut result = Vec::with_capacity(pixels.len());
        for channel in 0..planes {
            let source = match self.channels {
                Channels::Bgr => planes - 1 - channel,
                Channels::Rgb | Channels::Grey => channel,
            };
            let convert = |pixel: &u8| self.apply_to(channel, f64::from(*pixel)) as f32;
            result.extend(pixels.iter().skip(source * plane).take(plane).map(convert));
        }
        result
    }

    /// The largest |value| that a pixel of 0…255 becomes, over all channels.
    pub fn bound(&self) -> f64 {
        (0..self.mean.len().max(self.std.len()))
            .flat_map(|channel| [0.0, 255.0].map(|pixel| self.apply_to(channel, pixel).abs()))
            .fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cifar10_normalises_each_channel() {
        let set = Preprocess::named("cifar10").unwrap();
        let tensor = set.apply(&[255, 0, 128]);
        let expected = [
            (1.0 - 0.4914) / 0.2023,
            -0.4822 / 0.1994,
            (128.0 / 255.0 - 0.4465) / 0.2010,
        ];
        for (value, expected) in tensor.iter().zip(expected) {
            assert!((f64::from(*value) - expected).abs() < 1e-6);
        }
        assert!((set.bound() - (1.0 - 0.4465) / 0.2010).abs() < 1e-12);
    }

    #[test]
    fn blue_first_swaps_the_planes() {
        let set = Preprocess {
            channels: Channels::Bgr,
            ..Preprocess::named("none").unwrap()
        };
        assert_eq!(set.apply(&[1, 2, 3]), [3.0, 2.0, 1.0]);
    }

    #[test]
    fn one_entry_serves_grey_images_of_any_size() {
        let set = Preprocess::named("unit").unwrap();
        assert_eq!(set.apply(&[0, 255, 0, 255]), [0.0, 1.0, 0.0, 1.0]);
        let mnist = Preprocess::named("mnist").unwrap();
        assert_eq!(mnist.apply(&[0; 9]), [(-0.1307 / 0.3081) as f32; 9]);
    }

    #[test]
    fn files_are_checked() {
        let folder = std::env::temp_dir().join(format!("heddle-preprocess-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("set.json");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Preprocess::named_or_file(file.to_str().unwrap())
        };
        assert!(read(r#"{"scale": 1, "mean": [0.5], "std": [2], "channels": "grey"}"#).is_ok());
        assert!(read(r#"{"scale": 1, "mean": [0.5], "std": [0]}"#).is_err());
        assert!(read(r#"{"scale": 1, "mean": [0.5, 1], "std": [1]}"#).is_err());
        assert!(read("not json").is_err());
        assert!(Preprocess::named_or_file("no-such-set").is_err());
        assert!(read(&" ".repeat(MAX_FILE as usize + 1)).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_set_from_a_device_is_refused() {
        let error = Preprocess::named_or_file("/dev/zero").unwrap_err();
        let expected = "`/dev/zero`: is not a regular file";
        assert_eq!(error.to_string(), expected);
    }
}
