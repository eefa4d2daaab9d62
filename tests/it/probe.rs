//! Endpoints with one thing wrong each, and exactly that is found.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Router,
    body::Bytes,
    http::StatusCode,
    response::Redirect,
    routing::{get, post},
};
use axum_stripe_webhook::{
    SecretError,
    probe::{
        CHECKS, CountError, Ownership, Probe, ProbeError, Report, Severity, Target, TargetError,
    },
    testing::SampleEvent,
};
use futures_util::{FutureExt, future::join_all};
use http_body_util::Full;
use sqlx::Sqlite;
use tower::ServiceExt;

use crate::{
    broken::{Broken, Flaw, serve},
    database::TestBackend,
    endpoint::{Endpoint, work},
    stripe::SECRET,
};

/// So that the whole takes seconds. A sound endpoint of the tests waits 400 ms for a body.
fn quick(probe: Probe) -> Probe {
    probe
        .settle_time(Duration::from_millis(100))
        .slow_time(Duration::from_secs(2))
        .oversized_bytes(4 * 1024 * 1024)
}

fn with_secret(target: Target) -> Probe {
    quick(Probe::new(target)).secret(SECRET).unwrap()
}

async fn run(probe: Probe) -> Report {
    // In a task, as a service would that offers it.
    let running = tokio::spawn(async move { probe.run(|_, _, _| {}).await });
    let report = running.await.unwrap().unwrap();
    every_code_stands_once(&report);
    report
}

/// What is known of each check, once.
fn every_code_stands_once(report: &Report) {
    let found = report.findings().iter().map(|finding| finding.code);
    let passed = report.passed().iter().copied();
    let not_checked = report.not_checked().iter().map(|entry| entry.code);
    let mut codes: Vec<_> = found.chain(passed).chain(not_checked).collect();
    let mut all: Vec<_> = CHECKS.iter().map(|check| check.code).collect();
    codes.sort_unstable();
    all.sort_unstable();
    assert_eq!(codes, all);
}

fn codes(report: &Report) -> BTreeSet<&'static str> {
    report
        .findings()
        .iter()
        .map(|finding| finding.code)
        .collect()
}

/// A run with everything it can have, over an endpoint with one flaw.
async fn probed(flaw: Flaw) -> Report {
    let server = Broken::with(flaw);
    let target = server.serve().await;
    let count = move || {
        let effects = server.effects();
        async move { Ok(effects) }.boxed()
    };
    run(with_secret(target).count(count)).await
}

async fn assert_found<const N: usize>(flaw: Flaw, expected: [&'static str; N]) -> Report {
    let report = probed(flaw).await;
    assert_eq!(
        codes(&report),
        BTreeSet::from(expected),
        "{flaw:?}: {report}"
    );
    report
}

#[tokio::test]
async fn nothing_is_found_where_nothing_is_wrong() {
    let report = assert_found(Flaw::Nothing, []).await;
    assert_eq!(report.worst(), None);
    assert_eq!(report.not_checked(), [], "{report}");
    let last = report.to_string();
    let expected = format!("no finding, {} passed, 0 not checked", CHECKS.len());
    assert_eq!(last.lines().last(), Some(expected.as_str()));
}

#[tokio::test]
async fn nothing_is_found_under_the_layer() {
    let endpoint = Endpoint::<Sqlite>::with(work::<Sqlite>, |layer| {
        layer.body_time_max(Duration::from_millis(400))
    })
    .await;
    let (target, _listening) = serve(endpoint.app.clone(), "/webhooks/stripe").await;
    let pool = endpoint.pool.clone();
    let count = move || {
        let pool = pool.clone();
        async move {
            let rows = Sqlite::count(&pool, "work").await;
            u64::try_from(rows).map_err(CountError::new)
        }
        .boxed()
    };
    let report = run(with_secret(target).count(count)).await;
    assert_eq!(report.findings(), [], "{report}");
    assert_eq!(report.not_checked(), [], "{report}");
}

#[tokio::test]
async fn no_verification_is_one_finding() {
    let report = assert_found(Flaw::VerifiesNothing, ["not_verified"]).await;
    let [finding] = report.findings() else {
        panic!("one finding")
    };
    assert_eq!(report.worst(), Some(Severity::Critical));
    assert_eq!(finding.sent, "a delivery without a signature");
    assert!(finding.answered.starts_with("200 in "));
    for detail in [
        "a wrong secret: 200",
        "the empty key: 200",
        "1970: 200",
        "effects moved by",
    ] {
        let is_told = finding.details.iter().any(|line| line.contains(detail));
        assert!(is_told, "{detail}: {finding:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_written_again_is_found_and_what_hides_behind_it_looked_at() {
    let expected = ["body_reserialised", "parsed_before_verified"];
    for flaw in [Flaw::ParsesFirst, Flaw::WritesSpaces] {
        let report = assert_found(flaw, expected).await;
        for passed in ["duplicate_refused", "doubled_in_parallel", "stale_accepted"] {
            assert!(report.passed().contains(&passed), "{passed}: {report}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_written_again_as_stripe_does_is_found_by_its_white_space() {
    let expected = ["changed_body_accepted", "parsed_before_verified"];
    let report = assert_found(Flaw::WritesIndented, expected).await;
    let finding = report.findings().iter();
    let mut finding = finding.filter(|finding| finding.code == "changed_body_accepted");
    let finding = finding.next().unwrap();
    assert_eq!(finding.sent, "a delivery with an empty line after its body");
}

#[tokio::test]
async fn a_missing_age_check_is_found() {
    assert_found(Flaw::HasNoAgeCheck, ["future_accepted", "stale_accepted"]).await;
}

#[tokio::test]
async fn missing_deduplication_is_found() {
    assert_found(Flaw::HasNoDeduplication, ["doubled", "doubled_in_parallel"]).await;
    assert_found(Flaw::RemembersBodies, ["doubled"]).await;
}

#[tokio::test]
async fn a_look_before_the_mark_is_found_by_copies_alone() {
    assert_found(Flaw::LooksBeforeItMarks, ["doubled_in_parallel"]).await;
}

/// Whoever needs no v1 takes what has a v0 alone.
const OPEN_TO_V0: [&str; 2] = ["unsigned_accepted", "v0_accepted"];

#[tokio::test]
async fn an_endpoint_that_is_open_without_a_header_or_a_signature_is_found() {
    assert_found(Flaw::IsOpenWithoutHeader, ["unsigned_accepted"]).await;
    assert_found(Flaw::IsOpenWithoutSignature, OPEN_TO_V0).await;
    let target = Broken::with(Flaw::IsOpenWithoutSignature).serve().await;
    let report = run(quick(Probe::new(target))).await;
    assert_eq!(
        codes(&report),
        BTreeSet::from(["unsigned_accepted"]),
        "{report}"
    );
}

#[tokio::test]
async fn an_endpoint_that_reads_one_signature_is_found() {
    let report = assert_found(Flaw::ReadsTheLastSignatureAlone, ["rolled_secret_refused"]).await;
    assert!(report.findings()[0].sent.contains("the first is right"));
}

#[tokio::test]
async fn an_empty_key_is_found() {
    assert_found(Flaw::KnowsTheEmptyKey, ["guessable_secret"]).await;
}

#[tokio::test]
async fn work_before_the_check_is_found() {
    assert_found(Flaw::WorksBeforeItVerifies, ["forgery_had_effect"]).await;
}

#[tokio::test]
async fn a_redirect_is_a_refusal_and_not_followed() {
    let report = assert_found(Flaw::Redirects, ["genuine_refused"]).await;
    assert!(
        report.findings()[0].answered.starts_with("307 in "),
        "{report}"
    );
}

#[tokio::test]
async fn a_server_error_for_garbage_is_found() {
    let expected = ["forgery_breaks_server", "parsed_before_verified"];
    assert_found(Flaw::FailsOnGarbage, expected).await;
}

#[tokio::test]
async fn garbage_that_is_acknowledged_is_found() {
    let expected = ["garbage_accepted", "parsed_before_verified"];
    assert_found(Flaw::AcknowledgesGarbage, expected).await;
}

#[tokio::test]
async fn a_connection_that_is_dropped_is_found() {
    assert_found(Flaw::DropsTheConnection, ["forgery_breaks_server"]).await;
}

#[tokio::test]
async fn an_answer_that_repeats_what_was_sent_is_found() {
    // What is sent differs, so what comes back shows nothing of a parser.
    assert_found(Flaw::RepeatsWhatItRefuses, ["echoes_input"]).await;
}

/// At the same time, since a run mostly waits.
async fn assert_each_found<const N: usize>(expected: [(Flaw, &'static str); N]) {
    let each = expected.map(|(flaw, code)| assert_found(flaw, [code]));
    join_all(each).await;
}

#[tokio::test]
async fn every_way_around_a_signature_is_found() {
    assert_each_found([
        (Flaw::TakesAnySignature, "wrong_secret_accepted"),
        (Flaw::TakesV0, "v0_accepted"),
        (Flaw::ComparesWhatIsThere, "changed_signature_accepted"),
        (Flaw::GuessesTheTimestamp, "changed_timestamp_accepted"),
        (Flaw::TrimsTheBody, "changed_body_accepted"),
        (Flaw::ReadsTheFirstTimestampForTheAge, "stale_accepted"),
        (Flaw::ReadsTheFirstHeaderAlone, "two_headers_accepted"),
        (Flaw::ReadsTheQuery, "query_signature_accepted"),
        (Flaw::ReadsUnderscores, "underscore_header_accepted"),
    ])
    .await;
}

#[tokio::test]
async fn every_genuine_delivery_that_is_refused_is_found() {
    assert_each_found([
        (Flaw::RefusesDuplicates, "duplicate_refused"),
        (Flaw::RefusesUnknownTypes, "unknown_type_refused"),
        (Flaw::RefusesNewVersions, "new_version_refused"),
        (Flaw::RefusesThinEvents, "thin_refused"),
        (Flaw::RefusesTestEvents, "test_event_refused"),
        (Flaw::TakesSmallBodiesAlone, "large_refused"),
        (Flaw::ToleratesAMinute, "clock_too_strict"),
        (Flaw::FailsOnCopies, "copies_fail"),
    ])
    .await;
}

#[tokio::test]
async fn a_body_that_is_waited_for_is_found() {
    assert_found(Flaw::WaitsForTheBody, ["slow_body_held"]).await;
}

#[tokio::test]
async fn a_body_of_any_size_is_found() {
    let expected = ["oversized_taken", "slow_body_held"];
    assert_found(Flaw::TakesAnySize, expected).await;
}

#[tokio::test]
async fn a_server_that_dies_is_a_finding_and_ends_the_run() {
    let report = assert_found(Flaw::DiesOfNesting, ["server_died"]).await;
    let copies = report.not_checked().iter();
    let copies = copies.filter(|entry| entry.code == "copies_fail");
    let reasons: Vec<_> = copies.map(|entry| entry.reason).collect();
    assert_eq!(reasons, ["the server died before"]);
}

#[tokio::test]
async fn without_a_secret_only_forgeries_are_sent_and_the_report_says_so() {
    let server = Broken::with(Flaw::Nothing);
    let report = run(quick(Probe::new(server.serve().await))).await;
    assert_eq!(report.findings(), [], "{report}");
    assert_eq!(server.effects(), 0);
    let without_secret = report.not_checked().iter();
    let without_secret = without_secret.filter(|entry| entry.reason.contains("secret"));
    assert!(without_secret.count() > 20, "{report}");
    assert!(report.passed().contains(&"guessable_secret"));
}

#[tokio::test]
async fn what_is_skipped_is_neither_sent_nor_found() {
    let target = Broken::with(Flaw::IsOpenWithoutHeader).serve().await;
    let probe = quick(Probe::new(target)).skip("unsigned_accepted").unwrap();
    assert!(probe.clone().skip("no_such_check").is_err());
    let mut steps = Vec::new();
    let report = probe
        .run(|title, done, total| steps.push((title.to_owned(), done, total)))
        .await
        .unwrap();
    assert_eq!(report.findings(), [], "{report}");
    let skipped = report.not_checked().iter();
    let mut skipped = skipped.filter(|entry| entry.code == "unsigned_accepted");
    assert_eq!(skipped.next().unwrap().reason, "it was to be skipped");
    assert!(
        !steps
            .iter()
            .any(|(title, ..)| title.contains("no signature"))
    );
    let done: Vec<_> = steps.iter().map(|(_, done, _)| *done).collect();
    assert_eq!(done, (0..steps.len()).collect::<Vec<_>>());
    assert!(steps.iter().all(|(_, _, total)| *total == steps.len() - 1));
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_refused_unless_it_is_declared() {
    let url = "http://192.0.2.1/hook";
    let refused = Target::resolve(url, Ownership::LoopbackOnly).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, TargetError::NotLoopback));
    assert!(error.to_string().contains("declare"), "{error}");
    assert!(Target::resolve(url, Ownership::Declared).await.is_ok());
}

#[tokio::test]
async fn a_dead_target_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let target = Target::resolve(&url, Ownership::LoopbackOnly)
        .await
        .unwrap();
    let error = Probe::new(target).run(|_, _, _| {}).await.unwrap_err();
    assert!(matches!(error, ProbeError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_path_where_nothing_is_is_not_taken_for_a_safe_endpoint() {
    let elsewhere = || async { Redirect::permanent("https://192.0.2.1/") };
    let app = Router::new()
        .route("/get", get(|| async {}))
        .route("/moved", post(elsewhere));
    for (path, status) in [("/nothing", 404), ("/get", 405), ("/moved", 308)] {
        let (target, _listening) = serve(app.clone(), path).await;
        let error = quick(Probe::new(target.clone())).run(|_, _, _| {}).await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(&format!("answered with {status}")),
            "{error}"
        );
        let report = run(with_secret(target)).await;
        assert_eq!(codes(&report), BTreeSet::from(["genuine_refused"]));
    }
}

#[tokio::test]
async fn silence_to_forgeries_is_found_and_not_taken_for_death() {
    let target = Broken::with(Flaw::NeverAnswers).serve().await;
    let target = target.answer_time_max(Duration::from_millis(100));
    let report = run(with_secret(target)).await;
    let found = codes(&report);
    assert!(found.contains("forgery_breaks_server"), "{report}");
    assert!(!found.contains("server_died"), "{report}");
    assert!(
        report.passed().contains(&"rolled_secret_refused"),
        "{report}"
    );
}

#[tokio::test]
async fn an_answer_that_never_ends_counts_by_its_status() {
    let target = Broken::with(Flaw::NeverEnds).serve().await;
    let report = run(with_secret(target)).await;
    assert_eq!(codes(&report), BTreeSet::from(["not_verified"]), "{report}");
}

#[tokio::test]
async fn a_slow_queue_is_not_taken_for_forgeries_with_effects() {
    let report = assert_found(Flaw::WorksLater, []).await;
    let not_checked = report.not_checked().iter().map(|entry| entry.code);
    let expected = ["forgery_had_effect", "doubled", "doubled_in_parallel"];
    assert_eq!(not_checked.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn effects_of_a_delivery_that_was_refused_are_not_those_of_a_forgery() {
    assert_found(Flaw::WorksAndFails, ["genuine_refused"]).await;
}

#[tokio::test]
async fn a_count_that_fails_at_the_start_is_an_error() {
    let target = Broken::with(Flaw::Nothing).serve().await;
    let fails = || async { Err(CountError::new("no such table")) }.boxed();
    let probe = with_secret(target).count(fails);
    let error = probe.run(|_, _, _| {}).await.unwrap_err();
    assert!(matches!(error, ProbeError::Count(_)), "{error:?}");
}

#[tokio::test]
async fn a_target_is_a_service_that_deliveries_are_sent_to_wherever_they_say() {
    let server = Broken::with(Flaw::Nothing);
    let target = server.serve().await;
    let event = SampleEvent::of("invoice.paid").signed(SECRET);
    for expected in [1, 1] {
        let request = event.request::<Full<Bytes>>("http://192.0.2.1/elsewhere");
        let response = target.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(server.effects(), expected);
    }
}

#[tokio::test]
async fn no_secret_reaches_a_report_or_debug() {
    let target = Broken::with(Flaw::TellsItsSettings).serve().await;
    let probe = with_secret(target).event(SampleEvent::of("invoice.paid"));
    assert!(!format!("{probe:?}").contains(SECRET));
    let report = run(probe).await;
    let json = serde_json::to_string(&report).unwrap();
    let shown = format!("{report} {report:?} {json}");
    assert!(!shown.contains(SECRET) && !shown.contains("v1="), "{shown}");
    let refused: SecretError = quick(Probe::new(Broken::with(Flaw::Nothing).serve().await))
        .secret("whsec_marker\n")
        .unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("marker"));
}
