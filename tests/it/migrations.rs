//! The crate's tables and how they get there.

use axum_stripe_webhook::migrate;
use sqlx::{Postgres, Sqlite};

use crate::database::TestBackend;

async fn several_starts_at_once_migrate_once<DB: TestBackend>() {
    let fresh = DB::fresh().await;
    let pools = [
        DB::connect(&fresh.url, 2).await,
        DB::connect(&fresh.url, 2).await,
    ];
    let [first, second] = &pools;
    let (first, second) = tokio::join!(migrate(first), migrate(second));
    first.unwrap();
    second.unwrap();
    let versions = DB::count(&pools[0], "_stripe_webhook_migrations").await;
    assert_eq!(versions, 5);
    migrate(&pools[0]).await.expect("at every start");
}

/// As the first version of the crate has left it, with an event that a guard has stopped.
async fn a_database_of_the_first_version_is_brought_up_to_date<DB: TestBackend>() {
    let fresh = DB::fresh().await;
    let pool = DB::connect(&fresh.url, 2).await;
    migrate(&pool).await.unwrap();
    let mut connection = pool.acquire().await.unwrap();
    for back in [
        "insert into processed_stripe_events (event_id, endpoint, event_type)
            values ('evt_1', 'default', 'a'), ('evt_2', 'default', 'a')",
        "insert into stripe_inbox (event_id, endpoint, event_type, state, due_at, last_error)
            values ('evt_1', 'default', 'a', 'quarantined', null, 'guard_mode')",
        "alter table processed_stripe_events drop column held_by",
        "drop table stripe_objects",
        "drop table stripe_actions",
        "delete from _stripe_webhook_migrations where version = 2",
    ] {
        DB::run(&mut connection, back).await.unwrap();
    }
    drop(connection);
    migrate(&pool).await.unwrap();
    let held = "select event_id || ' ' || coalesce(held_by, '') from processed_stripe_events
        order by event_id";
    assert_eq!(DB::texts(&pool, held).await, ["evt_1 guard", "evt_2 "]);
    assert_eq!(DB::count(&pool, "stripe_objects").await, 0);
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date_on_postgres() {
    a_database_of_the_first_version_is_brought_up_to_date::<Postgres>().await;
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date_on_sqlite() {
    a_database_of_the_first_version_is_brought_up_to_date::<Sqlite>().await;
}

#[tokio::test]
async fn several_starts_at_once_migrate_once_on_postgres() {
    several_starts_at_once_migrate_once::<Postgres>().await;
}

#[tokio::test]
async fn several_starts_at_once_migrate_once_on_sqlite() {
    several_starts_at_once_migrate_once::<Sqlite>().await;
}

/// sqlx's migrator keeps its advisory lock when it fails; the next one would wait for ever.
#[tokio::test]
async fn a_failed_migration_does_not_block_the_next_one() {
    let fresh = Postgres::fresh().await;
    let failing = Postgres::connect(&fresh.url, 1).await;
    let mut connection = failing.acquire().await.unwrap();
    let in_the_way = "create table stripe_effects (in_the_way text)";
    Postgres::run(&mut connection, in_the_way).await.unwrap();
    drop(connection);
    migrate(&failing).await.expect_err("a table is in the way");

    let mut connection = failing.acquire().await.unwrap();
    Postgres::run(&mut connection, "drop table stripe_effects")
        .await
        .unwrap();
    // Of another process, while the one that failed lives on: a session never waits for itself.
    let pool = Postgres::connect(&fresh.url, 1).await;
    migrate(&pool)
        .await
        .expect("nothing is in the way any more");
}

#[tokio::test]
async fn the_services_own_migrations_are_left_alone() {
    let fresh = Postgres::fresh().await;
    let pool = Postgres::connect(&fresh.url, 2).await;
    let mut connection = pool.acquire().await.unwrap();
    let theirs = "create table _sqlx_migrations (version bigint primary key, success boolean)";
    Postgres::run(&mut connection, theirs).await.unwrap();
    Postgres::run(
        &mut connection,
        "insert into _sqlx_migrations values (7, false)",
    )
    .await
    .unwrap();
    migrate(&pool).await.unwrap();
    assert_eq!(Postgres::count(&pool, "_sqlx_migrations").await, 1);
}
