//! What outputs may and may not replace.

use std::io::Write;

use super::super::{Access, Staged};
use super::*;

const EVALUATION: Content = Content::Heddle(Kind::EvaluationKeys);
const SECRET: Content = Content::Heddle(Kind::SecretKey);
const RECORD: Content = Content::Json { first_key: "run" };

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn heddle(&self, name: &str, version: u16, kind: Kind) -> PathBuf {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&(kind as u16).to_le_bytes());
        bytes.extend_from_slice(&[0; 100]);
        self.write(name, &bytes)
    }
}

/// Checks an output beside no others.
fn check(path: &Path, content: Content, overwrite: Overwrite) -> Result<Existing, Error> {
    Outputs::new::<&Path>([]).check(path, content, overwrite)
}

/// The refusal of what must be refused whether overwriting is allowed or not.
#[track_caller]
fn always_refused(path: &Path, content: Content) -> String {
    let refusal = |overwrite| match check(path, content, overwrite) {
        Err(error @ Error::Output { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let text = refusal(Overwrite::Allow);
    assert_eq!(text, refusal(Overwrite::Refuse));
    assert!(text.contains(path.to_str().unwrap()), "{text}");
    assert!(text.contains("\nhelp: "), "{text}");
    text
}

#[test]
fn a_new_name_is_free_and_stays_so_unless_overwriting_is_allowed() {
    let folder = Folder::new();
    let path = folder.path("new");
    for content in [EVALUATION, RECORD] {
        let existing = |overwrite| check(&path, content, overwrite).unwrap();
        assert_eq!(existing(Overwrite::Refuse), Existing::Refuse);
        assert_eq!(existing(Overwrite::Allow), Existing::Replace);
    }
    let secret = check(&path, SECRET, Overwrite::Allow).unwrap();
    assert_eq!(secret, Existing::Refuse);
}

#[test]
fn what_dead_writers_left_is_removed_even_if_nothing_may_be_written() {
    let folder = Folder::new();
    let old = folder.heddle("x", super::super::VERSION, Kind::SecretKey);
    let stale = folder.write(".x.0123456789abcdef.heddle-part", b"dead");
    let other = folder.write(".y.0123456789abcdef.heddle-part", b"dead");
    let mut living = Staged::create(&folder.path("y"), Access::Default, Existing::Refuse).unwrap();
    living.write_all(b"alive").unwrap();
    assert!(!other.exists());
    assert!(check(&old, SECRET, Overwrite::Refuse).is_err());
    assert!(old.exists() && !stale.exists());
    check(&folder.path("y"), SECRET, Overwrite::Refuse).unwrap();
    living.commit().unwrap();
    assert_eq!(fs::read(folder.path("y")).unwrap(), b"alive");
}

#[test]
fn an_output_that_is_an_input_is_refused_under_every_name() {
    let folder = Folder::new();
    let plan = folder.heddle("model.plan", super::super::VERSION, Kind::Plan);
    fs::create_dir(folder.path("sub")).unwrap();
    let mut names = vec![
        plan.clone(),
        folder.path("sub/../model.plan"),
        folder.path("./model.plan"),
    ];
    fs::hard_link(&plan, folder.path("hard")).unwrap();
    names.push(folder.path("hard"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&plan, folder.path("soft")).unwrap();
        std::os::unix::fs::symlink(".", folder.path("here")).unwrap();
        names.push(folder.path("soft"));
        names.push(folder.path("here/model.plan"));
    }
    for input in &names {
        for output in &names {
            let mut outputs = Outputs::new([folder.path("other").as_path(), input]);
            let content = Content::Heddle(Kind::Plan);
            let refused = outputs.check(output, content, Overwrite::Allow);
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("input"), "{text}");
        }
    }
    // A name that does not exist yet counts as well.
    let mut outputs = Outputs::new([folder.path("later")]);
    let later = folder.path("sub/../later");
    assert!(outputs.check(&later, EVALUATION, Overwrite::Allow).is_err());
}

#[test]
fn two_outputs_of_one_name_are_refused() {
    let folder = Folder::new();
    fs::create_dir(folder.path("sub")).unwrap();
    let mut outputs = Outputs::new::<&Path>([]);
    let mut check =
        |name: &str, content| outputs.check(&folder.path(name), content, Overwrite::Allow);
    check("a.key", SECRET).unwrap();
    check("sub/a.key", EVALUATION).unwrap();
    for name in ["a.key", "sub/../a.key"] {
        let text = check(name, EVALUATION).unwrap_err().to_string();
        assert!(text.contains("same file as the output"), "{text}");
    }
}

#[test]
fn a_secret_key_is_never_replaced_whatever_its_version() {
    let folder = Folder::new();
    for version in [1, super::super::VERSION, 900] {
        let key = folder.heddle("secret.key", version, Kind::SecretKey);
        for content in [SECRET, EVALUATION, RECORD] {
            let text = always_refused(&key, content);
            assert!(
                text.contains("is a secret key, which is never replaced"),
                "{text}"
            );
        }
    }
}

#[test]
fn a_secret_key_takes_the_place_of_nothing() {
    let folder = Folder::new();
    let empty = folder.write("empty", b"");
    let text = check(&empty, SECRET, Overwrite::Allow)
        .unwrap_err()
        .to_string();
    assert!(text.contains("exists already"), "{text}");
    assert!(!text.contains("--force"), "{text}");
}

#[test]
fn files_of_another_kind_are_never_replaced() {
    let folder = Folder::new();
    let plan = folder.heddle("model.plan", super::super::VERSION, Kind::Plan);
    let text = always_refused(&plan, EVALUATION);
    let message = "another kind: expected set of evaluation keys, found plan\nhelp: ";
    assert!(text.contains(message), "{text}");
    always_refused(&plan, RECORD);
    let unknown = folder.write("unknown", b"\x8aHeddle\n\x02\0\x63\0\0\0\0\0");
    let cut = folder.write("cut", b"\x8aHeddle\n");
    let onnx = folder.write("model.onnx", b"\x08\x07\x12\x07pytorch");
    let text = folder.write("notes.txt", b"{ not json");
    let other = folder.write("package.json", b"{\"name\": \"run\"}");
    let longer = folder.write("longer.json", b"{\"runs\": 1}");
    for path in [&unknown, &cut, &onnx, &text, &other, &longer] {
        always_refused(path, EVALUATION);
        always_refused(path, RECORD);
    }
}

#[test]
fn files_of_the_same_kind_are_replaced_only_when_that_is_allowed() {
    let folder = Folder::new();
    let keys = folder.heddle("eval.keys", 1, Kind::EvaluationKeys);
    let record = folder.write("record.json", b" {\n  \"run\" : {}}");
    let empty = folder.write("empty", b"");
    for (path, content) in [(keys, EVALUATION), (record, RECORD), (empty, EVALUATION)] {
        assert_eq!(
            check(&path, content, Overwrite::Allow).unwrap(),
            Existing::Replace
        );
        let text = check(&path, content, Overwrite::Refuse)
            .unwrap_err()
            .to_string();
        assert!(text.contains("exists already\nhelp: "), "{text}");
        assert!(text.contains("`--force`"), "{text}");
    }
}

#[test]
fn what_is_no_regular_file_is_never_replaced() {
    let folder = Folder::new();
    always_refused(folder.0.path(), EVALUATION);
    always_refused(Path::new("/"), EVALUATION);
    always_refused(&folder.path("new/"), EVALUATION);
    let text = always_refused(&folder.path("missing/new"), EVALUATION);
    assert!(text.contains("there is no folder"), "{text}");
    #[cfg(unix)]
    {
        always_refused(Path::new("/dev/null"), RECORD);
        let pipe = folder.path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        always_refused(&pipe, RECORD);
        for target in ["/dev/null", "nowhere", "pipe"] {
            let link = folder.path("link");
            std::os::unix::fs::symlink(target, &link).unwrap();
            let text = always_refused(&link, RECORD);
            assert!(
                text.contains(&format!("symbolic link to `{target}`")),
                "{text}"
            );
            fs::remove_file(&link).unwrap();
        }
    }
}
