//! Prose that the code can contradict.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use axum_stripe_webhook::{
    BODY_BYTES_MAX, audit,
    event::{EFFECT_KEY_BYTES_MAX, ID_BYTES_MAX},
    guard, inbox, once, signature,
};
use sha2::{Digest, Sha256};

const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");
const README: &str = include_str!("../../README.md");
const MANIFEST: &str = include_str!("../../Cargo.toml");

/// Each with its SHA-256.
const RELEASED: [(&str, &str); 10] = [
    (
        "postgres/0001_ledger_inbox_effects.sql",
        "d9cbfb6d8a2daff403f72e045fc1f66648981e70bbc6f738fd7ceece8c98d190",
    ),
    (
        "postgres/0002_held_objects_actions.sql",
        "e2a5130588e74cc812b7e7bcf6092044c2417935e225a22e770440afda251cc0",
    ),
    (
        "postgres/0003_inbox_attempts.sql",
        "9d68c3c9cf3b09d15b9005920e52f0770f62e4b0d32042a25a6260708436c929",
    ),
    (
        "postgres/0004_deliveries.sql",
        "056e5572e0343b257779942a2963d12133d1cd2ce3c295193de8b81e8b3f481f",
    ),
    (
        "postgres/0005_inbox_payload_inline.sql",
        "d528c5ae9471dde08e56f7149e2366d7a650d4c02068c2db5462a7a94f415c6a",
    ),
    (
        "sqlite/0001_ledger_inbox_effects.sql",
        "c0af2b0479b7663176318d5b115f304f1675fb5b3b3ce9f23f0aa06e611c8428",
    ),
    (
        "sqlite/0002_held_objects_actions.sql",
        "94797bc95d9609c9d30d82d9f8851dc25403a81060f9be18b73c705a9cdcf752",
    ),
    (
        "sqlite/0003_inbox_attempts.sql",
        "acd3988390fa58cfaa159ea6d28cec47ba5e2e4c39c63c48c8cf810368a96363",
    ),
    (
        "sqlite/0004_deliveries.sql",
        "e852a3f3d5402e5885dd9391823067e7875716a385254d85d7d0fd5c3559dfb5",
    ),
    (
        "sqlite/0005_inbox_payload_inline.sql",
        "bd6b3955efde83b0960d4b87351eabe174f056f2fc9635598cc2502f3d123efc",
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn sources(folder: &Path, into: &mut String) {
    let mut files = Vec::new();
    rust_files(folder, &mut files);
    for file in files {
        into.push_str(&fs::read_to_string(file).unwrap());
    }
}

#[test]
fn the_code_map_names_what_exists_and_all_of_it() {
    let map = section(ARCHITECTURE, "## Code map");
    let named: BTreeSet<_> = quoted(map)
        .filter_map(|name| name.strip_prefix("src/"))
        .map(|name| {
            name.trim_end_matches('/')
                .trim_end_matches(".rs")
                .to_owned()
        })
        .collect();
    let existing: BTreeSet<_> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .filter(|name| name != "lib")
        .collect();
    assert_eq!(named, existing);
}

#[test]
fn every_guarantee_names_tests_that_exist() {
    let mut tests = String::new();
    sources(&root().join("tests"), &mut tests);
    sources(&root().join("src"), &mut tests);
    sources(&root().join("examples"), &mut tests);
    let rows = section(ARCHITECTURE, "## Guarantees");
    let named: Vec<_> = quoted(rows).collect();
    assert!(named.len() > 20);
    for name in named {
        assert!(
            tests.contains(&format!("fn {name}(")) || tests.contains(&format!("fn {name}<")),
            "there is no test {name}"
        );
    }
}

/// sqlx would check it against the database of whoever builds the crate, or refuse to build.
#[test]
fn no_statement_is_checked_against_a_database_when_it_is_built() {
    let mut crate_ = String::new();
    sources(&root().join("src"), &mut crate_);
    for checked in [
        "query!",
        "query_as!",
        "query_scalar!",
        "query_file",
        "_unchecked!",
        "migrate!",
    ] {
        assert!(!crate_.contains(checked), "{checked}");
    }
}

/// The row of a constant ends in its value and its name.
#[track_caller]
fn bound(constant: &str, value: String) {
    let rows = section(ARCHITECTURE, "## Bounds");
    let cells = format!("| {value} | `{constant}` |");
    assert!(rows.contains(&cells), "no row ends in: {cells}");
}

fn seconds(limit: Duration) -> String {
    format!("{} s", limit.as_secs())
}

fn bytes(limit: usize) -> String {
    format!("{limit} bytes")
}

#[test]
fn the_bounds_of_a_delivery_are_those_of_the_code() {
    let body = format!("axum's `DefaultBodyLimit`, at most {BODY_BYTES_MAX} bytes");
    bound("HEADER_BYTES_MAX", bytes(signature::HEADER_BYTES_MAX));
    bound("SIGNATURES_MAX", signature::SIGNATURES_MAX.to_string());
    bound("TOLERANCE_DEFAULT", seconds(signature::TOLERANCE_DEFAULT));
    bound(
        "SECRET_FILE_BYTES_MAX",
        bytes(signature::SECRET_FILE_BYTES_MAX),
    );
    bound(
        "EVENT_AGE_MAX_DEFAULT",
        seconds(guard::EVENT_AGE_MAX_DEFAULT),
    );
    bound(
        "PREPARE_TIME_MAX_DEFAULT",
        seconds(once::PREPARE_TIME_MAX_DEFAULT),
    );
    bound("BODY_BYTES_MAX", body);
    bound("ID_BYTES_MAX", bytes(ID_BYTES_MAX));
    bound("EFFECT_KEY_BYTES_MAX", bytes(EFFECT_KEY_BYTES_MAX));
    bound(
        "PATH_BYTES_MAX",
        private("event/error.rs", "PATH_BYTES_MAX") + " bytes",
    );
    bound(
        "REASON_BYTES_MAX",
        private("disposition.rs", "REASON_BYTES_MAX") + " bytes",
    );
    bound(
        "ACTOR_CHARS_MAX",
        format!("{} characters", once::ACTOR_CHARS_MAX),
    );
    bound(
        "REASON_CHARS_MAX",
        format!("{} characters", once::REASON_CHARS_MAX),
    );
    bound(
        "BODY_TIME_MAX_DEFAULT",
        seconds(once::BODY_TIME_MAX_DEFAULT),
    );
    bound(
        "DELIVERIES_MAX_DEFAULT",
        once::DELIVERIES_MAX_DEFAULT.to_string(),
    );
    bound(
        "ACQUIRE_TIME_MAX_DEFAULT",
        seconds(once::ACQUIRE_TIME_MAX_DEFAULT),
    );
    bound(
        "CLAIM_WAIT_MAX_DEFAULT",
        seconds(once::CLAIM_WAIT_MAX_DEFAULT),
    );
    bound(
        "HANDLER_TIME_MAX_DEFAULT",
        seconds(once::HANDLER_TIME_MAX_DEFAULT),
    );
    bound(
        "STATEMENT_TIME_MAX",
        private_seconds("transaction.rs", "STATEMENT_TIME_MAX"),
    );
    bound("HANDED_ON_MAX", private("ledger/taken.rs", "HANDED_ON_MAX"));
    bound(
        "SERVER_TIME_MARGIN",
        private_seconds("postgres.rs", "SERVER_TIME_MARGIN"),
    );
}

#[test]
fn the_bounds_of_inbox_and_audit_trail_are_those_of_the_code() {
    bound(
        "CONCURRENCY_DEFAULT",
        inbox::CONCURRENCY_DEFAULT.to_string(),
    );
    bound(
        "POLL_INTERVAL_DEFAULT",
        seconds(inbox::POLL_INTERVAL_DEFAULT),
    );
    bound(
        "ATTEMPTS_MAX_DEFAULT",
        inbox::ATTEMPTS_MAX_DEFAULT.to_string(),
    );
    bound(
        "RETRY_TIME_FIRST_DEFAULT",
        seconds(inbox::RETRY_TIME_FIRST_DEFAULT),
    );
    bound(
        "RETRY_TIME_MAX_DEFAULT",
        seconds(inbox::RETRY_TIME_MAX_DEFAULT),
    );
    bound(
        "NOT_YETS_MAX_DEFAULT",
        inbox::NOT_YETS_MAX_DEFAULT.to_string(),
    );
    bound("PAGE_MAX", inbox::PAGE_MAX.to_string());
    bound(
        "LEDGER_AGE_MAX_DEFAULT",
        seconds(inbox::LEDGER_AGE_MAX_DEFAULT),
    );
    bound("LEDGER_AGE_MAX_MIN", seconds(inbox::LEDGER_AGE_MAX_MIN));
    bound(
        "PAYLOAD_AGE_MAX_DEFAULT",
        seconds(inbox::PAYLOAD_AGE_MAX_DEFAULT),
    );
    bound(
        "DELIVERY_AGE_MAX_DEFAULT",
        seconds(inbox::DELIVERY_AGE_MAX_DEFAULT),
    );
    bound("QUEUE_MAX", audit::QUEUE_MAX.to_string());
    bound(
        "REFUSED_PER_SECOND_MAX",
        audit::REFUSED_PER_SECOND_MAX.to_string(),
    );
}

/// A constant that is nobody else's business, read from its file.
fn private_seconds(file: &str, constant: &str) -> String {
    let source = fs::read_to_string(root().join("src/ledger").join(file)).unwrap();
    let value = source
        .split(&format!(
            "const {constant}: Duration = Duration::from_secs("
        ))
        .nth(1);
    format!("{} s", value.expect(constant).split(')').next().unwrap())
}

/// A number that is not public.
fn private(file: &str, constant: &str) -> String {
    let source = fs::read_to_string(root().join("src").join(file)).unwrap();
    let value = source.split(&format!("const {constant}: usize = ")).nth(1);
    value.expect(constant).split(';').next().unwrap().to_owned()
}

/// The verifier alone is for services that have neither.
#[test]
fn the_base_has_no_routing_no_runtime_and_no_database() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges=normal"])
        .args(["--no-default-features", "--prefix=none", "--format={p}"])
        .args(["--package", env!("CARGO_PKG_NAME")])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(crates.contains("hmac") && crates.contains("axum-core"));
    for heavy in [
        "axum",
        "tokio",
        "hyper",
        "tower",
        "sqlx",
        "sqlx-core",
        "base64",
    ] {
        assert!(!crates.contains(heavy), "{heavy} in {crates:?}");
    }
}

#[test]
fn readmes_feature_table_is_the_manifests() {
    let table: BTreeSet<_> = section(README, "## Features")
        .lines()
        .filter_map(|line| quoted(line.strip_prefix("| `").map(|_| line)?).next())
        .collect();
    let features = section(MANIFEST, "[features]");
    let features: BTreeSet<_> = features
        .lines()
        .filter_map(|line| line.split_once(" = ").map(|(name, _)| name))
        .filter(|name| *name != "default" && !name.starts_with('_'))
        .collect();
    assert_eq!(table, features);
}

#[test]
fn readmes_example_is_short_enough_to_read() {
    let example = README
        .split("```rust,no_run\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let lines = example.lines().count();
    assert!((15..=25).contains(&lines), "{lines} lines");
    assert!(README.lines().count() <= 200);
}

#[test]
fn every_example_that_is_named_exists() {
    let mut prose = README.to_owned();
    sources(&root().join("src"), &mut prose);
    let in_name = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    let named = prose.split("examples/").skip(1).map(|rest| {
        let name = rest.split(|character| !in_name(character)).next();
        name.unwrap().trim_end_matches('.')
    });
    for name in named {
        let example = root().join("examples").join(name);
        assert!(example.exists(), "there is no {}", example.display());
    }
}

/// What a service copies to follow its secret: as short as it is said to be.
#[test]
fn the_heart_of_the_rotate_example_is_at_most_twenty_lines() {
    let example = fs::read_to_string(root().join("examples/rotate.rs")).unwrap();
    let heart = example.split("async fn follow(").nth(1).unwrap();
    let lines = 1 + heart.split("\n}\n").next().unwrap().lines().count();
    assert!((5..=20).contains(&lines), "{lines} lines");
}

#[test]
fn migrations_of_both_backends_are_the_same_files() {
    let names = |backend: &str| -> BTreeSet<_> {
        fs::read_dir(root().join("migrations").join(backend))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect()
    };
    assert_eq!(names("postgres"), names("sqlite"));
}

/// Whoever has run one never gets another under its number.
#[test]
fn released_migrations_are_as_they_were_released() {
    for (file, sha256) in RELEASED {
        let migration = fs::read(root().join("migrations").join(file)).unwrap();
        assert_eq!(hex(&Sha256::digest(migration)), sha256, "{file}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn files_and_functions_are_short_enough_to_read() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "examples", "benches", "fuzz"] {
        rust_files(&root().join(folder), &mut files);
    }
    assert!(files.len() > 300, "{} files", files.len());
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = source.lines().collect();
        assert!(
            lines.len() <= 800,
            "{}: {} lines",
            file.display(),
            lines.len()
        );
        for (begin, line) in lines.iter().enumerate() {
            let name = line.trim_start();
            let words: Vec<_> = name.split(' ').take(4).collect();
            if !words.contains(&"fn") || name.starts_with('/') || name.ends_with([';', '}']) {
                continue;
            }
            // As rustfmt has it: one with a body ends in a brace below its first letter, one without in a
            // semicolon on a line that begins there.
            let indent = &line[..line.len() - name.len()];
            let is_end = |line: &&str| {
                let rest = line.strip_prefix(indent);
                rest.is_some_and(|rest| {
                    rest == "}" || (!rest.starts_with(' ') && rest.ends_with(';'))
                })
            };
            let length = lines[begin..].iter().position(is_end);
            let length = length.map_or(1, |last| last + 1);
            assert!(length <= 70, "{}: {length} lines: {name}", file.display());
        }
    }
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn the_oldest_rust_is_the_same_everywhere() {
    let version = MANIFEST.split("rust-version = \"").nth(1).unwrap();
    let version = version.split('"').next().unwrap();
    assert!(README.contains(&format!("Rust {version} or later")));
    let workflow = include_str!("../../.github/workflows/ci.yml");
    assert!(workflow.contains(&format!("rust-toolchain@{version}\n")));
    assert!(workflow.contains("run: .ci/run\n"));
}

fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let body = text.split(&format!("\n{heading}\n")).nth(1).expect(heading);
    let level = heading.split_whitespace().next().unwrap();
    let next = if level.starts_with('#') {
        format!("\n{level} ")
    } else {
        "\n[".to_owned()
    };
    body.split(&next).next().unwrap()
}
