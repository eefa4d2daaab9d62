use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{
    AssertSqlSafe, Connection, Pool, SqlSafeStr, SqlStr, Sqlite, migrate::MigrateError, query,
    query_as, query_scalar, raw_sql,
};

use super::{
    Action, Arrival, Backend, End, Entry, HeldBy, LedgerError, Limits, ObjectRow, On, Purpose,
    Readmission, bind_entry, keep, run, shared_statements,
};

const MIGRATIONS: &[(&str, &str)] = &[
    (
        "ledger inbox effects",
        include_str!("../../migrations/sqlite/0001_ledger_inbox_effects.sql"),
    ),
    (
        "held objects actions",
        include_str!("../../migrations/sqlite/0002_held_objects_actions.sql"),
    ),
    (
        "inbox attempts",
        include_str!("../../migrations/sqlite/0003_inbox_attempts.sql"),
    ),
    (
        "deliveries",
        include_str!("../../migrations/sqlite/0004_deliveries.sql"),
    ),
    (
        "inbox payload inline",
        include_str!("../../migrations/sqlite/0005_inbox_payload_inline.sql"),
    ),
];

/// Instructions of SQLite's virtual machine between two looks at whether a statement was abandoned:
/// about a tenth of a millisecond.
const INSTRUCTIONS_BETWEEN_LOOKS: i32 = 10_000;

pub(super) const BEGIN: &str = "begin immediate";

/// Watches a transaction through SQLite's hooks.
///
/// SQLite has no transaction id to compare. It does tell when a transaction ends, whether by a
/// statement of the handler's or by itself, as after a full disk; and it lets a COMMIT be refused.
#[derive(Debug, Default)]
pub struct Watch {
    commit_allowed: AtomicBool,
    rolled_back: AtomicBool,
    abandoned: AtomicBool,
}

impl Backend for Sqlite {
    type Seal = Arc<Watch>;

    const HAS_ONE_WRITER: bool = true;

    /// SQLite has one writer. Waiting here is fair and costs nothing; in SQLite it is polling.
    fn transactions_max(_: &Pool<Self>) -> usize {
        1
    }

    /// `immediate` takes the write lock at once: a transaction that reads first and writes later
    /// can find its snapshot outdated and fail.
    fn begin_statement(_: &Limits, _: Purpose) -> SqlStr {
        BEGIN.into_sql_str()
    }

    async fn claim(
        on: On<'_, Self>,
        entry: &Entry<'_>,
        limits: &Limits,
    ) -> Result<Option<Arc<Watch>>, LedgerError> {
        let insert = query(
            "insert into processed_stripe_events
                (event_id, endpoint, event_type, account, livemode, created_at, held_by)
             values ($1, $2, $3, $4, $5, $6, $7)
             on conflict (event_id, endpoint) do nothing",
        );
        let inserted = bind_entry!(insert, entry, entry.created_unix_ms())
            .bind(entry.held_by_code())
            .persistent(on.persistent)
            .execute(&mut *on.connection)
            .await
            .map_err(of_statement)?;
        match inserted.rows_affected() {
            0 => Ok(None),
            _ => Self::seal(on, limits).await.map(Some),
        }
    }

    async fn seal(on: On<'_, Self>, _: &Limits) -> Result<Arc<Watch>, LedgerError> {
        let watch = Arc::new(Watch::default());
        let mut handle = on.connection.lock_handle().await?;
        handle.set_commit_hook({
            let watch = Arc::clone(&watch);
            move || watch.commit_allowed.load(Ordering::Acquire)
        });
        handle.set_rollback_hook({
            let watch = Arc::clone(&watch);
            move || watch.rolled_back.store(true, Ordering::Release)
        });
        handle.set_progress_handler(INSTRUCTIONS_BETWEEN_LOOKS, {
            let watch = Arc::clone(&watch);
            move || !watch.abandoned.load(Ordering::Acquire)
        });
        Ok(watch)
    }

    async fn close(on: On<'_, Self>, watch: &Arc<Watch>) -> Result<(), LedgerError> {
        Self::disarm(on, watch).await
    }

    shared_statements!();

    async fn readmit(mut on: On<'_, Self>, entry: &Entry<'_>) -> Result<Readmission, LedgerError> {
        let (event_id, endpoint) = (entry.event_id, entry.endpoint);
        let held_by: Option<Option<String>> = query_scalar(
            "select held_by from processed_stripe_events where event_id = $1 and endpoint = $2",
        )
        .bind(event_id)
        .bind(endpoint)
        .persistent(on.persistent)
        .fetch_optional(&mut *on.connection)
        .await
        .map_err(of_statement)?;
        match held_by {
            None => Ok(Readmission::Missing),
            Some(None) => Ok(Readmission::Duplicate),
            Some(Some(by)) if by == HeldBy::Handler.code() => Ok(Readmission::Duplicate),
            Some(Some(_)) => {
                Self::forget(on.again(), event_id, endpoint).await?;
                Self::remove_quarantined(on, event_id, endpoint, None).await?;
                Ok(Readmission::Readmitted)
            }
        }
    }

    async fn quarantine(
        on: On<'_, Self>,
        arrival: &Arrival<'_>,
        is_claimed: bool,
        reason: &str,
    ) -> Result<bool, LedgerError> {
        let (insert, entry) = (
            query(keep!(
                "$6",
                "cast(1000000 * unixepoch('subsec') as integer)"
            )),
            &arrival.entry,
        );
        let kept = bind_entry!(insert, entry, entry.created_unix_ms())
            .bind(arrival.object_id.as_deref())
            .bind(arrival.payload)
            .bind(reason)
            .bind(is_claimed)
            .persistent(on.persistent)
            .execute(on.connection)
            .await
            .map_err(of_statement)?;
        Ok(kept.rows_affected() > 0)
    }

    async fn disarm(on: On<'_, Self>, watch: &Arc<Watch>) -> Result<(), LedgerError> {
        let mut handle = on.connection.lock_handle().await?;
        // Read while the handle is held: nothing can end the transaction any more.
        if watch.rolled_back.load(Ordering::Acquire) {
            return Err(LedgerError::Ended);
        }
        watch.commit_allowed.store(true, Ordering::Release);
        handle.remove_commit_hook();
        handle.remove_rollback_hook();
        handle.remove_progress_handler();
        Ok(())
    }

    /// The connection cannot be closed before its statement has ended.
    fn abandon(watch: &Arc<Watch>) {
        watch.abandoned.store(true, Ordering::Release);
    }

    /// In one transaction that takes the write lock first, so that processes which start together
    /// do not create the same table.
    async fn migrate(pool: &Pool<Self>) -> Result<(), MigrateError> {
        let mut connection = pool.acquire().await?;
        let mut transaction = connection.begin_with(BEGIN).await?;
        run(MIGRATIONS, &mut *transaction).await?;
        Ok(transaction.commit().await?)
    }
}

impl Entry<'_> {
    pub(super) fn created_unix_ms(&self) -> Option<i64> {
        self.created_unix
            .map(|seconds| seconds.saturating_mul(1000))
    }
}

/// SQLite has no code of its own for a missing table or column; our statements name ours alone.
pub(super) fn of_statement(error: sqlx::Error) -> LedgerError {
    let is_missing = |text: &str| text.starts_with("no such ") || text.contains("has no column");
    match error.as_database_error() {
        Some(fault) if is_missing(fault.message()) => LedgerError::NotMigrated,
        _ => LedgerError::Unavailable(error),
    }
}
