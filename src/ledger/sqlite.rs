use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sqlx::{
    Connection, Pool, SqlSafeStr, SqlStr, Sqlite, SqliteConnection, migrate::MigrateError, query,
    query_scalar,
};

use super::{
    Backend, Entry, IS_PROCESSED, InboxEntry, LedgerError, Limits, bind_entry, run, stopped_row,
};

const MIGRATIONS: &[(&str, &str)] = &[(
    "ledger inbox effects",
    include_str!("../../migrations/sqlite/0001_ledger_inbox_effects.sql"),
)];

/// Instructions of SQLite's virtual machine between two looks at whether a statement was abandoned:
/// about a tenth of a millisecond.
const INSTRUCTIONS_BETWEEN_LOOKS: i32 = 10_000;

const BEGIN: &str = "begin immediate";

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

    /// SQLite has one writer. Waiting here is fair and costs nothing; in SQLite it is polling.
    fn transactions_max(_: &Pool<Self>) -> usize {
        1
    }

    /// `immediate` takes the write lock at once: a transaction that reads first and writes later
    /// can find its snapshot outdated and fail.
    fn begin_statement(_: &Limits) -> SqlStr {
        BEGIN.into_sql_str()
    }

    async fn claim(
        connection: &mut SqliteConnection,
        entry: &Entry<'_>,
        limits: &Limits,
    ) -> Result<Option<Arc<Watch>>, LedgerError> {
        let insert = query(
            "insert into processed_stripe_events
                (event_id, endpoint, event_type, account, livemode, created_at)
             values ($1, $2, $3, $4, $5, $6)
             on conflict (event_id, endpoint) do nothing",
        );
        let inserted = bind_entry!(insert, entry, entry.created_unix_ms())
            .execute(&mut *connection)
            .await
            .map_err(of_statement)?;
        match inserted.rows_affected() {
            0 => Ok(None),
            _ => Self::seal(connection, limits).await.map(Some),
        }
    }

    async fn seal(
        connection: &mut SqliteConnection,
        _: &Limits,
    ) -> Result<Arc<Watch>, LedgerError> {
        let watch = Arc::new(Watch::default());
        let mut handle = connection.lock_handle().await?;
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

    async fn close(
        connection: &mut SqliteConnection,
        watch: &Arc<Watch>,
    ) -> Result<(), LedgerError> {
        Self::release(connection, watch).await
    }

    async fn is_processed(
        connection: &mut SqliteConnection,
        entry: &Entry<'_>,
    ) -> Result<bool, LedgerError> {
        query_scalar(IS_PROCESSED)
            .bind(entry.event_id)
            .bind(entry.endpoint)
            .fetch_one(connection)
            .await
            .map_err(of_statement)
    }

    async fn readmit(
        connection: &mut SqliteConnection,
        entry: &Entry<'_>,
    ) -> Result<bool, LedgerError> {
        let stopped = query(concat!("delete from stripe_inbox where ", stopped_row!()));
        let stopped = stopped.bind(entry.event_id).bind(entry.endpoint);
        let stopped = stopped.execute(&mut *connection).await;
        if stopped.map_err(of_statement)?.rows_affected() == 0 {
            return Ok(false);
        }
        query("delete from processed_stripe_events where event_id = $1 and endpoint = $2")
            .bind(entry.event_id)
            .bind(entry.endpoint)
            .execute(connection)
            .await
            .map_err(of_statement)?;
        Ok(true)
    }

    async fn quarantine(
        connection: &mut SqliteConnection,
        inbox: &InboxEntry<'_>,
    ) -> Result<(), LedgerError> {
        let insert = query(
            "insert into stripe_inbox
                (event_id, endpoint, event_type, account, livemode, created_at,
                 object_id, payload, state, due_at, last_error)
             values ($1, $2, $3, $4, $5, $6, $7, $8, 'quarantined', null, $9)
             on conflict (event_id, endpoint) do update set payload = excluded.payload
                where stripe_inbox.payload is null",
        );
        let entry = &inbox.entry;
        bind_entry!(insert, entry, entry.created_unix_ms())
            .bind(inbox.object_id.as_deref())
            .bind(inbox.payload)
            .bind(inbox.reason)
            .execute(connection)
            .await
            .map_err(of_statement)?;
        Ok(())
    }

    async fn release(
        connection: &mut SqliteConnection,
        watch: &Arc<Watch>,
    ) -> Result<(), LedgerError> {
        let mut handle = connection.lock_handle().await?;
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
    fn created_unix_ms(&self) -> Option<i64> {
        self.created_unix
            .map(|seconds| seconds.saturating_mul(1000))
    }
}

/// SQLite has no code of its own for a missing table; our statements name ours alone.
fn of_statement(error: sqlx::Error) -> LedgerError {
    match error.as_database_error() {
        Some(fault) if fault.message().starts_with("no such table") => LedgerError::NotMigrated,
        _ => LedgerError::Unavailable(error),
    }
}
