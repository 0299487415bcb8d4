//! What the compiler and its libraries must not know.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The workspace's crates that a manifest depends on, without those for its tests alone.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]")
            && !section.contains("dev-dependencies")
            && let Some(name) = line.split(['.', ' ', '=']).next()
            && name.starts_with("heddle-")
        {
            found.push(name.to_owned());
        }
    }
    found
}

fn folder_of(name: &str) -> &str {
    match name {
        "heddle-params" => "ir/params",
        "heddle-ir" => "ir",
        "heddle-compiler" => "compiler",
        other => panic!("the compiler depends on {other}"),
    }
}

/// A plan is data: compiling one takes no engine, no runtime and no key.
#[test]
fn the_compiler_never_links_the_engine() {
    let mut left = vec!["heddle-compiler".to_owned()];
    let mut seen = BTreeSet::new();
    while let Some(name) = left.pop() {
        let manifest = root().join(folder_of(&name)).join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        if seen.insert(name) {
            left.extend(dependencies(&manifest));
        }
    }
    let expected = ["compiler", "ir", "params"].map(|name| format!("heddle-{name}"));
    assert_eq!(seen, BTreeSet::from(expected));
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// After import there are tensors and operations of our own.
#[test]
fn only_the_onnx_importer_knows_onnx() {
    let mut files = Vec::new();
    for folder in ["ir/src", "ir/params/src", "compiler/src", "frontends/src"] {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 100, "{}", files.len());
    for file in files {
        let knows = fs::read_to_string(&file).unwrap().contains("onnx_protobuf");
        let may =
            file.components().any(|part| part.as_os_str() == "onnx") || file.ends_with("onnx.rs");
        assert!(may || !knows, "{}", file.display());
    }
}

/// Progress is for whoever asks for it: libraries write neither to standard output nor to standard
/// error.
#[test]
fn the_libraries_print_nothing() {
    let mut files = Vec::new();
    for folder in ["ir/src", "ir/params/src", "compiler/src", "frontends/src"] {
        sources(&root().join(folder), &mut files);
    }
    let is_program = |file: &PathBuf| file.components().any(|part| part.as_os_str() == "bin");
    for file in files.iter().filter(|file| !is_program(file)) {
        if file.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(file).unwrap();
        let code = text
            .split("#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        for line in code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for macro_name in ["print!(", "println!(", "dbg!("] {
                assert!(!line.contains(macro_name), "{}: {line}", file.display());
            }
        }
    }
}
