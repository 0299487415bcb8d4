//! Each layer of the engine uses only those below it, and so does each module of a layer.

use std::path::{Path, PathBuf};

/// The layers from the bottom, each with its modules from the bottom. Those without a list are free
/// inside.
const LAYERS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("buffer", &[]),
    ("tables", &["modulus", "ntt", "conversion", "automorphism"]),
    ("kernel", &[]),
    (
        "ring",
        &["context", "poly", "rns", "packed", "seed", "sample"],
    ),
    (
        "scheme",
        &[
            "encode",
            "precision",
            "ciphertext",
            "keys",
            "encrypt",
            "keyswitch",
            "eval",
            "wire",
        ],
    ),
    ("circuits", &["linear", "polynomial", "bootstrap", "noise"]),
    (
        "secret",
        &["process", "key", "generate", "encrypt", "decrypt", "rig"],
    ),
];

/// The rank of a module by its path below the crate: that of its layer, and within it. A layer's
/// own items rank above its modules.
fn rank(path: &[&str]) -> Option<(usize, usize)> {
    let layer = LAYERS
        .iter()
        .position(|(name, _)| path.first() == Some(name))?;
    let modules = LAYERS[layer].1;
    let module = path
        .get(1)
        .and_then(|module| modules.iter().position(|name| name == module));
    Some((layer, module.unwrap_or(modules.len())))
}

/// Source without comments and test modules.
fn code(source: &str) -> String {
    let end = ["#[cfg(test)]\nmod tests", "#[cfg(all(test"]
        .iter()
        .filter_map(|mark| source.find(mark))
        .min();
    let lines = source[..end.unwrap_or(source.len())].lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// What a module uses that it must not, by its path below the crate.
fn violations(module: &[&str], source: &str) -> Vec<String> {
    let code = code(source);
    let own = rank(module).unwrap_or_else(|| panic!("{module:?} belongs to no layer"));
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(rest.len());
        let path: Vec<&str> = rest[..end].split("::").collect();
        // The error type is named by the crate.
        let used = match path[0] {
            "Error" => rank(&["error"]),
            _ => rank(&path),
        };
        let same_module = own.1 < LAYERS[own.0].1.len() && used == Some(own);
        let free = LAYERS[own.0].1.is_empty() && used.is_some_and(|used| used.0 == own.0);
        if !(same_module || free || used.is_some_and(|used| used < own)) {
            found.push(format!(
                "{} uses crate::{}",
                module.join("::"),
                path.join("::")
            ));
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_layer_uses_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    files.sort();
    let mut found = Vec::new();
    let mut read = 0;
    for file in files {
        let relative = file
            .strip_prefix(&root)
            .expect("below the root")
            .with_extension("");
        let module: Vec<&str> = relative.iter().filter_map(|part| part.to_str()).collect();
        // Tests use what they like, and the crate's root names all layers.
        if matches!(
            module[..],
            ["lib" | "known_answers" | "test_kit"] | [.., "tests"]
        ) {
            continue;
        }
        let source = std::fs::read_to_string(&file).expect("a source");
        found.extend(violations(&module, &source));
        read += 1;
    }
    assert!(read > 40, "{read} sources");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn uses_of_higher_layers_are_found() {
    let cases: [(&[&str], &str, bool); 12] = [
        (&["kernel"], "use crate::ring::rns::ConversionTable;", true),
        (&["kernel"], "use crate::tables::NttTable;", false),
        (&["kernel", "avx2"], "use crate::kernel::scalar;", false),
        (
            &["ring", "context"],
            "use crate::ring::poly::RnsPoly;",
            true,
        ),
        (&["ring", "poly"], "use crate::ring::context::Basis;", false),
        (
            &["ring", "poly", "compact"],
            "use crate::ring::poly::gap;",
            false,
        ),
        (&["ring", "poly"], "use crate::ring::{Basis, SIGMA};", true),
        (
            &["scheme", "keyswitch"],
            "use crate::scheme::eval::Evaluator;",
            true,
        ),
        (
            &["scheme", "eval", "mul"],
            "fn f() { crate::circuits::linear::g() }",
            true,
        ),
        (
            &["scheme"],
            "pub use crate::scheme::keys::PublicKey;",
            false,
        ),
        (&["circuits", "noise"], "// crate::secret is above", false),
        (&["tables"], "use crate::{Context, Error};", true),
    ];
    for (module, source, wrong) in cases {
        assert_eq!(
            !violations(module, source).is_empty(),
            wrong,
            "{module:?}: {source}"
        );
    }
    let tested = "use crate::Error;\n#[cfg(test)]\nmod tests { use crate::secret::SecretKey; }";
    assert!(violations(&["ring", "poly"], tested).is_empty());
}
