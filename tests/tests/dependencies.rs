//! Dependencies point one way: between our crates there are the edges of this list and no others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Every crate with what its library or program depends on.
const NORMAL: &[(&str, &[&str])] = &[
    ("heddle-params", &[]),
    ("heddle-ir", &["heddle-params"]),
    ("heddle-frontends", &["heddle-ir"]),
    ("heddle-compiler", &["heddle-ir", "heddle-params"]),
    ("heddle-ckks", &["heddle-params"]),
    (
        "heddle-runtime",
        &["heddle-ckks", "heddle-ir", "heddle-params"],
    ),
    (
        "heddle",
        &[
            "heddle-compiler",
            "heddle-frontends",
            "heddle-ir",
            "heddle-params",
            "heddle-runtime",
        ],
    ),
    ("heddle-terminal", &["heddle-ir"]),
    (
        "heddlec",
        &[
            "heddle-compiler",
            "heddle-frontends",
            "heddle-ir",
            "heddle-params",
            "heddle-terminal",
        ],
    ),
    (
        "heddle-cli",
        &[
            "heddle-ckks",
            "heddle-frontends",
            "heddle-ir",
            "heddle-params",
            "heddle-runtime",
            "heddle-terminal",
        ],
    ),
    ("heddle-examples", &["heddle"]),
    ("heddle-tests", &["heddle-ir", "heddle-params"]),
];

/// Every crate with what its tests, benches and examples depend on besides.
const DEV: &[(&str, &[&str])] = &[
    ("heddle-frontends", &["heddle-tests"]),
    ("heddle-compiler", &["heddle-frontends", "heddle-tests"]),
    ("heddle-runtime", &["heddle-compiler", "heddle-tests"]),
    ("heddle", &["heddle-tests"]),
    ("heddlec", &["heddle-tests"]),
    ("heddle-cli", &["heddle-tests"]),
    (
        "heddle-tests",
        &[
            "heddle-ckks",
            "heddle-compiler",
            "heddle-frontends",
            "heddle-runtime",
        ],
    ),
];

/// What no library depends on: programs' libraries. Their own crates may.
const PROGRAMS_ALONE: [&str; 3] = ["anyhow", "clap", "indicatif"];

/// The programs, and what only they depend on.
const PROGRAMS: [&str; 4] = [
    "heddle-terminal",
    "heddlec",
    "heddle-cli",
    "heddle-examples",
];

/// The optional dependencies and features that a server's build leaves out.
const CLIENT_ALONE: &[(&str, &[&str])] = &[
    ("heddle-cli", &["heddle-ckks", "heddle-frontends"]),
    ("heddle", &["heddle-compiler", "heddle-frontends"]),
];

/// Runs cargo at the root of the workspace, without the network.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo runs the tests");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The workspace's packages, as cargo describes them.
fn packages() -> Vec<Value> {
    let text = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo writes JSON");
    metadata["packages"].as_array().expect("a list").clone()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn dependencies(package: &Value) -> &[Value] {
    package["dependencies"].as_array().expect("a list")
}

/// Dependencies between our crates, of one kind: `""`, `dev` or `build`.
fn edges(packages: &[Value], kind: &str) -> BTreeSet<(String, String)> {
    let ours: BTreeSet<&str> = packages.iter().map(|one| text(&one["name"])).collect();
    let of = |package| {
        let edges = dependencies(package).iter();
        let edges = edges.filter(|one| text(&one["kind"]) == kind);
        edges.map(|one| (text(&package["name"]), text(&one["name"])))
    };
    let edges = packages.iter().flat_map(of);
    edges
        .filter(|(_, to)| ours.contains(to))
        .map(|(from, to)| (from.to_owned(), to.to_owned()))
        .collect()
}

fn listed(list: &[(&str, &[&str])]) -> BTreeSet<(String, String)> {
    let edges = list
        .iter()
        .flat_map(|(from, tos)| tos.iter().map(|to| (from.to_string(), to.to_string())));
    edges.collect()
}

fn assert_same(kind: &str, found: &BTreeSet<(String, String)>, list: &[(&str, &[&str])]) {
    let listed = listed(list);
    let extra: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(found).collect();
    assert!(
        extra.is_empty() && gone.is_empty(),
        "{kind} dependencies that the list does not have: {extra:?}; that no crate has: {gone:?}"
    );
}

#[test]
fn crates_depend_on_each_other_as_listed() {
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|one| text(&one["name"])).collect();
    let known: BTreeSet<&str> = NORMAL.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known);
    let normal = edges(&packages, "");
    assert_same("normal", &normal, NORMAL);
    assert_same("dev", &edges(&packages, "dev"), DEV);
    assert_same("build", &edges(&packages, "build"), &[]);
}

#[test]
fn no_crate_depends_on_itself_through_others() {
    let below: BTreeMap<&str, BTreeSet<&str>> = NORMAL
        .iter()
        .map(|(name, below)| (*name, below.iter().copied().collect()))
        .collect();
    for (name, direct) in &below {
        let mut reached = direct.clone();
        loop {
            let more: BTreeSet<&str> = reached.iter().flat_map(|one| below[one].clone()).collect();
            let before = reached.len();
            reached.extend(more);
            if reached.len() == before {
                break;
            }
        }
        assert!(!reached.contains(name), "{name} depends on itself");
        // A plan is data: the compiler never links the engine.
        if ["heddle-compiler", "heddlec", "heddle-frontends"].contains(name) {
            assert!(!reached.contains("heddle-ckks"), "{name} links the engine");
        }
    }
}

#[test]
fn libraries_depend_on_no_command_line() {
    for package in packages() {
        let name = text(&package["name"]);
        for dependency in dependencies(&package) {
            let on = text(&dependency["name"]);
            let normal = text(&dependency["kind"]).is_empty();
            assert!(
                !normal || !PROGRAMS_ALONE.contains(&on) || PROGRAMS.contains(&name),
                "the library {name} depends on {on}"
            );
        }
    }
}

/// The features with which a build has our crates: `cargo tree` resolves them for one package.
fn features_of_build(package: &str) -> BTreeMap<String, String> {
    let tree = cargo(&[
        "tree",
        "--package",
        package,
        "--no-default-features",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p} [{f}]",
    ]);
    let ours = tree.lines().filter(|line| line.starts_with("heddle"));
    ours.map(|line| {
        let name = line.split_whitespace().next().unwrap_or_default();
        let features = line.split('[').nth(1).unwrap_or_default();
        let features = features.split(']').next().unwrap_or_default();
        (name.to_owned(), features.to_owned())
    })
    .collect()
}

#[test]
fn a_servers_build_has_no_feature_of_a_client() {
    for package in ["heddle-runtime", "heddle-cli", "heddle"] {
        let features = features_of_build(package);
        assert!(features.contains_key("heddle-ckks"), "{features:?}");
        for (name, features) in &features {
            for feature in ["client", "secret", "compiler"] {
                let on = features.split(',').any(|on| on == feature);
                assert!(!on, "{package}: {name} is built with `{feature}`");
            }
        }
        for absent in ["heddle-frontends", "heddle-compiler", "heddle-tests"] {
            assert!(!features.contains_key(absent), "{package} links {absent}");
        }
    }
}

#[test]
fn what_clients_alone_need_is_optional() {
    let packages = packages();
    for (name, optional) in CLIENT_ALONE {
        let package = packages.iter().find(|one| text(&one["name"]) == *name);
        let package = package.expect("the crate exists");
        for dependency in dependencies(package) {
            if optional.contains(&text(&dependency["name"])) {
                assert_eq!(dependency["optional"], true, "{name}: {dependency}");
            }
        }
    }
}
