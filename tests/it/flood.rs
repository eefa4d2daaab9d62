//! A flood of forgeries.

use std::{net::TcpListener, time::Duration};

use axum::{Router, http::StatusCode, routing::post};
use axum_stripe_webhook::ProcessOnceLayer;
use sqlx::{
    Pool, Postgres, Sqlite,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tower::ServiceExt;

use crate::{database::TestBackend, endpoint::work, stripe};

/// Each of so many rounds sends every kind of forgery.
const ROUNDS: usize = 1000;

async fn flood<DB: TestBackend>(pool: &Pool<DB>) {
    let layer = ProcessOnceLayer::new(pool.clone(), stripe::verifier());
    let handler = post(work::<DB>).route_layer(layer);
    let app = Router::new().route("/webhooks/stripe", handler);
    for _ in 0..ROUNDS {
        for (forgery, request) in stripe::forgeries(&stripe::event("evt_1")) {
            let answer = app.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{forgery}");
        }
    }
}

#[tokio::test]
async fn a_forged_flood_never_connects_to_postgres() {
    // A server that would let anybody in, and counts who comes.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let options = PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(server.local_addr().unwrap().port());
    let limit = Duration::from_millis(50);
    let pool: Pool<Postgres> = PgPoolOptions::new()
        .acquire_timeout(limit)
        .connect_lazy_with(options);
    flood(&pool).await;
    assert_eq!(pool.size(), 0);
    assert!(server.accept().is_err(), "somebody came");
    // The server does see who comes for the database.
    assert!(pool.acquire().await.is_err());
    assert!(server.accept().is_ok());
}

#[tokio::test]
async fn a_forged_flood_never_opens_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("test.sqlite");
    let options = SqliteConnectOptions::new()
        .filename(&file)
        .create_if_missing(true);
    let pool: Pool<Sqlite> = SqlitePoolOptions::new().connect_lazy_with(options);
    flood(&pool).await;
    assert_eq!((pool.size(), file.exists()), (0, false));
    pool.acquire().await.unwrap();
    assert!(file.exists());
}
