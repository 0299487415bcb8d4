//! Fuzz targets for every reader of Heddle.
//!
//! The bodies of the targets are plain functions ([`targets`]), which two programs call: libFuzzer,
//! through the files of `fuzz_targets/`, and the test `replay`, which needs neither libFuzzer nor
//! its coverage and runs the committed corpora with a fixed number of mutations of each.
//!
//! Both mutate by structure ([`mutate`]): files of blocks get their checksums and lengths made
//! right after each mutation, so that what is behind the framing is reached.
#![forbid(unsafe_code)]

pub mod files;
pub mod frame;
pub mod mutate;
pub mod oracle;
pub mod plain;
pub mod proto;
pub mod rng;
pub mod seeds;
pub mod targets;

#[cfg(feature = "libfuzzer")]
#[doc(hidden)]
pub use libfuzzer_sys;

/// The `main` of a fuzz target: its body, with mutation by structure.
#[cfg(feature = "libfuzzer")]
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::targets::$name(data);
        });
        $crate::libfuzzer_sys::fuzz_mutator!(|data: &mut [u8],
                                              size: usize,
                                              max_size: usize,
                                              seed: u32| {
            let format = $crate::targets::named(stringify!($name)).format;
            // What libFuzzer knows of comparisons serves the parts that have no structure.
            let mut plain = |bytes: &mut Vec<u8>| {
                let size = bytes.len();
                bytes.resize(size + 32, 0);
                let most = bytes.len();
                let kept = $crate::libfuzzer_sys::fuzzer_mutate(bytes, size, most);
                bytes.truncate(kept);
            };
            let mut bytes = data[..size].to_vec();
            $crate::mutate::mutate(format, &mut bytes, seed.into(), &mut plain);
            if bytes.len() > max_size {
                return $crate::libfuzzer_sys::fuzzer_mutate(data, size, max_size);
            }
            data[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        });
    };
}
