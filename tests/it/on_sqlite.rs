//! What only SQLite can show.

use axum::http::StatusCode;
use axum_stripe_webhook::EventTx;
use futures_util::future::join_all;
use sqlx::Sqlite;

use crate::{
    database::TestBackend,
    endpoint::{Endpoint, work},
};

type Tx = EventTx<Sqlite>;

/// A full disk ends the transaction by itself, unless the statement has a journal of its own: what
/// follows would be committed statement by statement.
#[tokio::test]
async fn a_swallowed_full_disk_is_not_answered_with_200() {
    let endpoint = Endpoint::<Sqlite>::new(|mut tx: Tx| async move {
        Sqlite::work(&mut tx, "evt_1").await.unwrap();
        Sqlite::run(&mut tx, "pragma max_page_count = 1")
            .await
            .unwrap();
        let too_much = "insert into work values (hex(zeroblob(10000000)))";
        Sqlite::run(&mut tx, too_much)
            .await
            .expect_err("the disk is full");
        let _swallowed = Sqlite::work(&mut tx, "after the end").await;
    })
    .await;
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(endpoint.rows().await, 0);
    let mended = endpoint.other_process(work::<Sqlite>, |layer| layer).await;
    assert_eq!(mended.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(mended.processed().await, (1, 1));
}

#[tokio::test]
async fn writes_after_a_rollback_of_the_handlers_own_are_refused() {
    let endpoint = Endpoint::<Sqlite>::new(|mut tx: Tx| async move {
        Sqlite::run(&mut tx, "rollback").await.unwrap();
        Sqlite::work(&mut tx, "alone")
            .await
            .expect_err("it would commit by itself");
    })
    .await;
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(endpoint.rows().await, 0);
}

/// Unlike on Postgres, where it aborts the transaction. Row and writes still commit together.
#[tokio::test]
async fn a_swallowed_constraint_error_commits_what_else_was_written() {
    let endpoint = Endpoint::<Sqlite>::new(|mut tx: Tx| async move {
        Sqlite::work(&mut tx, "evt_1").await.unwrap();
        Sqlite::run(&mut tx, "insert into work values (null)")
            .await
            .expect_err("not null");
    })
    .await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

#[tokio::test]
async fn a_write_lock_held_by_somebody_else_is_503() {
    let endpoint = Endpoint::<Sqlite>::new(work::<Sqlite>).await;
    let mut somebody = endpoint.pool.acquire().await.unwrap();
    Sqlite::run(&mut somebody, "begin immediate").await.unwrap();
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    Sqlite::run(&mut somebody, "rollback").await.unwrap();
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
}

#[tokio::test]
async fn deliveries_take_turns_at_the_only_writer() {
    let endpoint = Endpoint::<Sqlite>::new(work::<Sqlite>).await;
    let ids: Vec<_> = (0..40).map(|n| format!("evt_{n}")).collect();
    let answers = join_all(ids.iter().map(|id| endpoint.deliver(id))).await;
    assert_eq!(answers, vec![StatusCode::OK; 40]);
    assert_eq!(endpoint.processed().await, (40, 40));
}

#[tokio::test]
async fn a_connection_goes_back_to_the_pool_without_the_hooks() {
    let endpoint = Endpoint::<Sqlite>::new(work::<Sqlite>).await;
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    let mut all = Vec::new();
    for _ in 0..crate::database::CONNECTIONS {
        let mut connection = endpoint.pool.acquire().await.unwrap();
        Sqlite::work(&mut connection, "outside")
            .await
            .expect("an ordinary write commits");
        all.push(connection);
    }
}

#[tokio::test]
async fn a_statement_that_is_not_waited_for_is_interrupted() {
    let handler = |mut tx: Tx| async move {
        if tx.event().id() == "evt_endless" {
            let endless = "with recursive n (i) as (select 1 union all select i + 1 from n)
                insert into work select i from n where i < 0";
            Sqlite::run(&mut tx, endless).await.unwrap();
        }
        work(tx).await
    };
    let limit = std::time::Duration::from_millis(100);
    let endpoint = Endpoint::<Sqlite>::with(handler, |layer| layer.handler_time_max(limit)).await;
    assert_eq!(
        endpoint.deliver("evt_endless").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

/// sqlx cannot use a connection again on which a COMMIT has failed.
#[tokio::test]
async fn a_connection_whose_commit_failed_does_not_go_back_to_the_pool() {
    let (fresh, _) = crate::database::open::<Sqlite>().await;
    let pool = Sqlite::connect(&fresh.url, 1).await;
    let mut connection = pool.acquire().await.unwrap();
    let tables = "create table parent (id int primary key);
        create table child (id int references parent deferrable initially deferred)";
    Sqlite::run(&mut connection, tables).await.unwrap();
    drop(connection);
    let handler = |mut tx: Tx| async move {
        if tx.event().id() == "evt_orphan" {
            Sqlite::run(&mut tx, "insert into child values (7)")
                .await
                .unwrap();
        }
        work(tx).await
    };
    let endpoint = Endpoint::on(std::sync::Arc::new(fresh), pool, handler, |layer| layer);
    assert_eq!(
        endpoint.deliver("evt_orphan").await,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(endpoint.deliver("evt_1").await, StatusCode::OK);
    assert_eq!(endpoint.processed().await, (1, 1));
}

#[tokio::test]
async fn a_row_that_a_trigger_keeps_from_being_written_is_not_taken_for_a_duplicate() {
    let endpoint = Endpoint::<Sqlite>::new(work::<Sqlite>).await;
    let mut connection = endpoint.pool.acquire().await.unwrap();
    let trigger = "create trigger elsewhere before insert on processed_stripe_events
        begin select raise(ignore); end";
    Sqlite::run(&mut connection, trigger).await.unwrap();
    drop(connection);
    assert_eq!(
        endpoint.deliver("evt_1").await,
        StatusCode::SERVICE_UNAVAILABLE
    );
}
