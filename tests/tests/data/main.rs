//! Tests on models and images of other people. They lie in the folder that the variable
//! `HEDDLE_DATA` names when the tests are built; without one the tests are reported as ignored.

mod convolutions;
mod images;
mod import;
mod networks;
mod ranges;

use std::path::PathBuf;

/// The folder of models and images.
fn data() -> PathBuf {
    let folder = std::env::var_os("HEDDLE_DATA");
    PathBuf::from(folder.expect("HEDDLE_DATA is set where these tests are built and run"))
}
