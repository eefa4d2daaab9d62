//! The short form of the programme. `cargo run --release -p faults -- long` is the long one.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests show what they have found"
)]

use std::process::Command;

/// Runs scenarios; their table says what was found.
fn unharmed(scenarios: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_faults"))
        .args(scenarios)
        // One server for all of them, which goes with this process.
        .env("TEST_DATABASE_URL", test_postgres::server_url())
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    let panicked = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}{panicked}");
    println!("{table}");
    table
}

#[test]
fn a_killed_service_loses_nothing_and_doubles_nothing_on_postgres() {
    unharmed(&["kill-postgres", "kill-two-postgres"]);
}

#[test]
fn a_killed_service_loses_nothing_and_doubles_nothing_on_sqlite() {
    unharmed(&["kill-sqlite"]);
}

#[test]
fn a_service_that_is_told_to_end_finishes_what_it_has_begun() {
    unharmed(&["drain"]);
}

#[test]
fn a_connection_that_fails_at_any_message_loses_nothing_and_doubles_nothing() {
    unharmed(&["wire", "wire-load"]);
}

#[test]
fn sessions_that_are_terminated_lose_nothing_and_double_nothing() {
    unharmed(&["terminated"]);
}

/// Only a server of the programme's own can be had to crash, and only the machine's binaries make one.
#[test]
fn a_postgres_that_crashes_or_refuses_loses_nothing_and_doubles_nothing_where_it_has_binaries() {
    let table = unharmed(&["server"]);
    let not_run = table.contains("NOT RUN");
    assert_eq!(
        not_run,
        test_postgres::OwnServer::start().is_err(),
        "{table}"
    );
}

#[test]
fn a_failing_sqlite_loses_nothing_and_doubles_nothing() {
    unharmed(&["sqlite"]);
}

#[test]
fn clients_that_leave_or_dawdle_lose_nothing_and_double_nothing() {
    unharmed(&["clients"]);
}

#[test]
fn killed_services_and_workers_of_an_inbox_lose_nothing_and_double_nothing() {
    unharmed(&["inbox"]);
}

#[test]
fn a_worker_stopped_past_its_lease_loses_its_event_to_another_and_doubles_nothing() {
    unharmed(&["inbox-stopped"]);
}

#[test]
fn an_event_that_kills_its_process_ends_dead_and_takes_no_other_along() {
    unharmed(&["inbox-poison"]);
}
