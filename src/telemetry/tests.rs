use std::collections::{BTreeMap, BTreeSet};

use super::{field, label, metric, span};

const DOCS: &str = include_str!("mod.rs");
const SOURCE: &str = include_str!("log.rs");

/// The rows of the table under this heading, by their first cell.
fn rows(heading: &str) -> BTreeMap<&'static str, Vec<&'static str>> {
    let section = DOCS.split(&format!("//! # {heading}\n")).nth(1).unwrap();
    let section = section.split("//! # ").next().unwrap();
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"));
    rows.map(|row| {
        let (first, rest) = row.split_once("` | ").unwrap();
        (first, rest.trim_end_matches(" |").split(" | ").collect())
    })
    .collect()
}

fn names(rows: &BTreeMap<&'static str, Vec<&'static str>>) -> BTreeSet<&'static str> {
    rows.keys().copied().collect()
}

/// What stands in the parentheses of every such macro, between the commas.
fn calls(name: &str) -> Vec<Vec<&'static str>> {
    let calls = SOURCE.split(name).skip(1);
    let inside = calls.map(|call| {
        let call = call.split(");").next().unwrap();
        call.split(")\n    }").next().unwrap()
    });
    inside
        .map(|inside| inside.split(',').map(str::trim))
        .map(|parts| parts.filter(|part| !part.is_empty()).collect())
        .collect()
}

#[test]
fn every_span_field_and_metric_has_a_row_and_no_other_does() {
    assert_eq!(names(&rows("Spans")), span::ALL.iter().copied().collect());
    assert_eq!(names(&rows("Fields")), field::ALL.iter().copied().collect());
    let metrics = rows("Metrics");
    assert_eq!(names(&metrics), metric::ALL.iter().copied().collect());
    let labels = metrics.values().flat_map(|cells| cells[1].split(", "));
    let labels = labels
        .map(|name| name.trim_matches('`'))
        .filter(|name| !name.is_empty());
    assert_eq!(
        labels.collect::<BTreeSet<_>>(),
        label::ALL.iter().copied().collect()
    );
}

#[test]
fn every_log_line_has_a_row_with_its_levels_and_no_other_does() {
    let mut levels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for call in calls(" line!(") {
        levels
            .entry(call[1].trim_matches('"'))
            .or_default()
            .insert(call[0]);
    }
    let documented = rows("Log lines");
    let documented = documented
        .iter()
        .map(|(line, cells)| (*line, cells[0].split(", ").collect()));
    assert_eq!(documented.collect::<BTreeMap<_, _>>(), levels);
}

#[test]
fn a_spans_fields_are_those_of_its_row() {
    let documented = rows("Spans");
    let spans = calls(" span!(");
    assert_eq!(spans.len(), documented.len());
    for span in spans {
        let name = format!("stripe_{}", span[0].to_lowercase());
        let fields = span
            .iter()
            .skip(1)
            .map(|field| field.split(' ').next().unwrap());
        let fields = fields.map(|field| format!("`{}`", field.to_lowercase()));
        assert_eq!(
            documented[name.as_str()][2],
            fields.collect::<Vec<_>>().join(", ")
        );
    }
}

#[test]
fn nothing_is_logged_from_anywhere_else() {
    let sources = walk(std::path::Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/src"
    )));
    assert!(sources.len() > 50);
    for (path, source) in sources {
        if path.ends_with("telemetry/log.rs") {
            continue;
        }
        for name in [
            "debug!(",
            "info!(",
            "warn!(",
            "error!(",
            "trace!(",
            "info_span!(",
            "#[instrument",
        ] {
            let logs = source
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let mut logs = logs.filter(|line| line.contains(name) && !line.contains('"'));
            assert_eq!(logs.next(), None, "{path}");
        }
    }
}

fn walk(directory: &std::path::Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(directory).unwrap();
    let entries = entries.map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => walk(&path),
            false if path.extension().is_some_and(|extension| extension == "rs") => {
                let source = std::fs::read_to_string(&path).unwrap();
                vec![(path.to_string_lossy().into_owned(), source)]
            }
            false => Vec::new(),
        })
        .collect()
}
