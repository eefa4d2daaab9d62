//! What both databases must do alike. Every claim is run on each.

/// Makes a test of each claim for each database.
macro_rules! on_both {
    ($($claim:ident),* $(,)?) => {
        mod on_postgres {
            $(#[tokio::test] async fn $claim() { super::$claim::<sqlx::Postgres>().await; })*
        }
        mod on_sqlite {
            $(#[tokio::test] async fn $claim() { super::$claim::<sqlx::Sqlite>().await; })*
        }
    };
}
pub(crate) use on_both;

mod audited;
mod bounds;
mod dispositions;
mod effects;
mod endpoints;
mod guards;
mod handlers;
mod inbox;
mod late;
mod measured;
mod once;
mod operations;
mod order;
mod prepare;
mod privacy;
mod quarantine;
mod simulated;
mod worker;
