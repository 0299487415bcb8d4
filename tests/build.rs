//! Sets `heddle_data` where `HEDDLE_DATA` names a folder. Tests that need it are ignored elsewhere.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(heddle_data)");
    println!("cargo::rerun-if-env-changed=HEDDLE_DATA");
    println!("cargo::rerun-if-changed=build.rs");
    let folder = std::env::var_os("HEDDLE_DATA");
    if folder.is_some_and(|folder| Path::new(&folder).is_dir()) {
        println!("cargo::rustc-cfg=heddle_data");
    }
}
