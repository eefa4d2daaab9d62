//! Opening a database, its tables, and what is swept.

use axum::http::StatusCode;

use super::{
    inbox::url,
    program::{Files, MARKER, nobody, program},
};
use crate::{
    conformance::on_both,
    database::{CONNECTIONS, TestBackend},
    endpoint::{Endpoint, work},
};

on_both!(
    the_tables_are_made_and_may_be_made_again,
    without_the_tables_nothing_is_done_and_the_remedy_is_named,
    what_is_old_is_swept,
);

async fn the_tables_are_made_and_may_be_made_again<DB: TestBackend>() {
    let fresh = DB::fresh().await;
    for _ in 0..2 {
        let ran = program(&["migrate", "--json"]).env("DATABASE_URL", &url(&fresh));
        assert_eq!(ran.run().await.json(0)["is_migrated"], true);
    }
    let pool = DB::connect(&fresh.url, CONNECTIONS).await;
    assert_eq!(DB::count(&pool, "stripe_inbox").await, 0);
}

async fn without_the_tables_nothing_is_done_and_the_remedy_is_named<DB: TestBackend>() {
    let fresh = DB::fresh().await;
    // SQLite has no database until somebody opens it.
    drop(DB::connect(&fresh.url, 1).await);
    for words in [&["inbox", "status"][..], &["inbox", "list"], &["sweep"]] {
        let ran = program(words).env("DATABASE_URL", &url(&fresh));
        let message = "tables: `stripe-webhook migrate` makes them";
        ran.run().await.fails(3, message);
    }
}

async fn what_is_old_is_swept<DB: TestBackend>() {
    let endpoint = Endpoint::<DB>::new(work::<DB>).await;
    for id in ["evt_1", "evt_2"] {
        assert_eq!(endpoint.deliver(id).await, StatusCode::OK);
    }
    let table = "processed_stripe_events";
    DB::age(&endpoint.pool, table, "processed_at", 60).await;
    let sweep = |more: &[&str]| {
        let words = [&["sweep", "--json"][..], more].concat();
        program(&words)
            .env("DATABASE_URL", &url(&endpoint.fresh))
            .run()
    };
    assert_eq!(sweep(&[]).await.json(0)["events"], 0);
    let json = sweep(&["--ledger-age", "50d", "--payload-age", "1week"])
        .await
        .json(0);
    assert_eq!(json["events"], 2);
    assert_eq!(json["is_partial"], false);
    assert_eq!(DB::count(&endpoint.pool, table).await, 0);
    sweep(&["--ledger-age", "7d"])
        .await
        .fails(2, "35d at least");
}

#[tokio::test]
async fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    let address = nobody().await;
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let files = Files::new();
    let in_memory = format!("sqlite::memory:?{MARKER}");
    for (url, message) in [
        (
            format!("postgres://shop:{MARKER}@{address}/shop"),
            "cannot be reached: connection refused",
        ),
        (
            format!("postgres://shop:{MARKER}@[/shop"),
            "URL is not understood",
        ),
        (
            format!("mysql://shop:{MARKER}@{address}/shop"),
            "of neither database",
        ),
        (MARKER.to_owned(), "of neither database"),
        (
            "sqlite:///nowhere/shop.sqlite".to_owned(),
            "the file is not there",
        ),
        ("sqlite::memory:".to_owned(), "in memory"),
        (in_memory, "the database's URL"),
    ] {
        let ran = program(&["inbox", "status"]).env("DATABASE_URL", &url);
        ran.run().await.fails(3, message);
        let file = files.write("url", format!("{url}\n"));
        let ran = program(&["inbox", "status", "--database-url-file", &file]);
        ran.run().await.fails(3, message);
    }
}

#[tokio::test]
async fn without_a_url_nothing_is_opened() {
    let ran = program(&["inbox", "status"]).run().await;
    ran.fails(3, "DATABASE_URL: not set");
    let ran = program(&["inbox", "status", "--database-url-env", "SHOP"])
        .run()
        .await;
    ran.fails(3, "SHOP: not set");
    let ran = program(&["migrate", "--database-url-file", "/nowhere/url"])
        .run()
        .await;
    ran.fails(3, "/nowhere/url: cannot be read");
}
