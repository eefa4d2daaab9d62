//! Prose that the code can contradict.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use axum_stripe_webhook::{
    BODY_BYTES_MAX, audit,
    event::{EFFECT_KEY_BYTES_MAX, ID_BYTES_MAX},
    guard, inbox, once, signature,
};

const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");
const README: &str = include_str!("../../README.md");
const MANIFEST: &str = include_str!("../../Cargo.toml");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn sources(folder: &Path, into: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
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

#[test]
fn the_bounds_are_those_of_the_code() {
    let rows = section(ARCHITECTURE, "## Bounds");
    let seconds = |limit: std::time::Duration| format!("{} s", limit.as_secs());
    let body = format!("axum's `DefaultBodyLimit`, at most {BODY_BYTES_MAX} bytes");
    for (constant, value) in [
        (
            "HEADER_BYTES_MAX",
            format!("{} bytes", signature::HEADER_BYTES_MAX),
        ),
        ("SIGNATURES_MAX", signature::SIGNATURES_MAX.to_string()),
        ("TOLERANCE_DEFAULT", seconds(signature::TOLERANCE_DEFAULT)),
        (
            "SECRET_FILE_BYTES_MAX",
            format!("{} bytes", signature::SECRET_FILE_BYTES_MAX),
        ),
        (
            "EVENT_AGE_MAX_DEFAULT",
            seconds(guard::EVENT_AGE_MAX_DEFAULT),
        ),
        (
            "PREPARE_TIME_MAX_DEFAULT",
            seconds(once::PREPARE_TIME_MAX_DEFAULT),
        ),
        ("BODY_BYTES_MAX", body),
        ("ID_BYTES_MAX", format!("{ID_BYTES_MAX} bytes")),
        (
            "EFFECT_KEY_BYTES_MAX",
            format!("{EFFECT_KEY_BYTES_MAX} bytes"),
        ),
        (
            "PATH_BYTES_MAX",
            private("event/error.rs", "PATH_BYTES_MAX") + " bytes",
        ),
        (
            "REASON_BYTES_MAX",
            private("disposition.rs", "REASON_BYTES_MAX") + " bytes",
        ),
        (
            "ACTOR_CHARS_MAX",
            format!("{} characters", once::ACTOR_CHARS_MAX),
        ),
        (
            "REASON_CHARS_MAX",
            format!("{} characters", once::REASON_CHARS_MAX),
        ),
        (
            "BODY_TIME_MAX_DEFAULT",
            seconds(once::BODY_TIME_MAX_DEFAULT),
        ),
        (
            "DELIVERIES_MAX_DEFAULT",
            once::DELIVERIES_MAX_DEFAULT.to_string(),
        ),
        (
            "ACQUIRE_TIME_MAX_DEFAULT",
            seconds(once::ACQUIRE_TIME_MAX_DEFAULT),
        ),
        (
            "CLAIM_WAIT_MAX_DEFAULT",
            seconds(once::CLAIM_WAIT_MAX_DEFAULT),
        ),
        (
            "HANDLER_TIME_MAX_DEFAULT",
            seconds(once::HANDLER_TIME_MAX_DEFAULT),
        ),
        (
            "CONCURRENCY_DEFAULT",
            inbox::CONCURRENCY_DEFAULT.to_string(),
        ),
        ("LEASE_TIME_DEFAULT", seconds(inbox::LEASE_TIME_DEFAULT)),
        (
            "POLL_INTERVAL_DEFAULT",
            seconds(inbox::POLL_INTERVAL_DEFAULT),
        ),
        (
            "ATTEMPTS_MAX_DEFAULT",
            inbox::ATTEMPTS_MAX_DEFAULT.to_string(),
        ),
        (
            "RETRY_TIME_FIRST_DEFAULT",
            seconds(inbox::RETRY_TIME_FIRST_DEFAULT),
        ),
        (
            "RETRY_TIME_MAX_DEFAULT",
            seconds(inbox::RETRY_TIME_MAX_DEFAULT),
        ),
        (
            "NOT_YETS_MAX_DEFAULT",
            inbox::NOT_YETS_MAX_DEFAULT.to_string(),
        ),
        ("PAGE_MAX", inbox::PAGE_MAX.to_string()),
        (
            "LEDGER_AGE_MAX_DEFAULT",
            seconds(inbox::LEDGER_AGE_MAX_DEFAULT),
        ),
        ("LEDGER_AGE_MAX_MIN", seconds(inbox::LEDGER_AGE_MAX_MIN)),
        (
            "PAYLOAD_AGE_MAX_DEFAULT",
            seconds(inbox::PAYLOAD_AGE_MAX_DEFAULT),
        ),
        (
            "DELIVERY_AGE_MAX_DEFAULT",
            seconds(inbox::DELIVERY_AGE_MAX_DEFAULT),
        ),
        ("QUEUE_MAX", audit::QUEUE_MAX.to_string()),
        (
            "REFUSED_PER_SECOND_MAX",
            audit::REFUSED_PER_SECOND_MAX.to_string(),
        ),
        (
            "STATEMENT_TIME_MAX",
            private_seconds("transaction.rs", "STATEMENT_TIME_MAX"),
        ),
        (
            "SERVER_TIME_MARGIN",
            private_seconds("postgres.rs", "SERVER_TIME_MARGIN"),
        ),
    ] {
        let cells = format!("| {value} | `{constant}` |");
        assert!(rows.contains(&cells), "no row ends in: {cells}");
    }
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
