use std::time::Duration;

use sqlx::{
    AssertSqlSafe, Pool, Postgres, SqlSafeStr, SqlStr, migrate::MigrateError, query, query_as,
    query_scalar, raw_sql,
};

use super::{
    Action, Arrival, Backend, End, Entry, LedgerError, Limits, ObjectRow, On, Purpose, Readmission,
    bind_entry, keep, run, shared_statements, transaction::STATEMENT_TIME_MAX,
};

const MIGRATIONS: &[(&str, &str)] = &[
    (
        "ledger inbox effects",
        include_str!("../../migrations/postgres/0001_ledger_inbox_effects.sql"),
    ),
    (
        "held objects actions",
        include_str!("../../migrations/postgres/0002_held_objects_actions.sql"),
    ),
    (
        "inbox attempts",
        include_str!("../../migrations/postgres/0003_inbox_attempts.sql"),
    ),
    (
        "deliveries",
        include_str!("../../migrations/postgres/0004_deliveries.sql"),
    ),
    (
        "inbox payload inline",
        include_str!("../../migrations/postgres/0005_inbox_payload_inline.sql"),
    ),
];

/// How much longer than the handler's own limit the server waits at most before it ends a
/// transaction, so that the limit of this process, whose answer is known, comes first. Never longer
/// than the limit itself: meanwhile the server executes an abandoned statement, and the pool has
/// room for another connection.
const SERVER_TIME_MARGIN: Duration = Duration::from_secs(5);

/// `lock_not_available`: the claim waited for its limit.
const LOCK_NOT_AVAILABLE: &str = "55P03";
/// `deadlock_detected`: whoever stores, quarantines or works takes the rows of an event in the order that
/// suits it, and the server ends one of those that meet.
const DEADLOCK_DETECTED: &str = "40P01";
/// `undefined_table` and `undefined_column`: our statements name our tables alone.
const UNDEFINED_TABLE: &str = "42P01";
const UNDEFINED_COLUMN: &str = "42703";
/// `in_failed_sql_transaction`: an earlier statement of the transaction failed.
const IN_FAILED_SQL_TRANSACTION: &str = "25P02";

/// What a claim needs before it writes, as columns:
///
/// - `axum_stripe_webhook.transaction` arms the trigger that refuses a COMMIT of the handler's.
/// - `lock_timeout` limits the claim's wait to `$wait` milliseconds; the service's own value is kept
///   meanwhile, unless an earlier claim of the transaction has kept it already.
macro_rules! armed {
    ($wait:literal) => {
        concat!(
            "set_config('axum_stripe_webhook.transaction', 'open', true),
             set_config('axum_stripe_webhook.lock_timeout', coalesce(
                nullif(current_setting('axum_stripe_webhook.lock_timeout', true), ''),
                current_setting('lock_timeout')), true),
             set_config('lock_timeout', ",
            $wait,
            "::text, true)"
        )
    };
}

/// Has the planner read the inbox by its indices. A plan that is cached while the inbox is nearly empty would
/// read all of it for each event (17.7 ms instead of 0.2 ms with 100,000 entries), until the next `analyze`.
macro_rules! by_index {
    () => {
        "set local enable_seqscan = off"
    };
}
pub(super) use armed;

/// What a claim settles beside its row, as columns: the transaction's id, the service's own
/// `lock_timeout` for the handler's statements, and the time-outs by which the server frees the
/// claim of a process that has stalled or of a statement that was abandoned. A shorter one of the
/// service's stays; zero is "none". `$limit` is the parameter with their milliseconds.
macro_rules! settled {
    ($limit:literal) => {
        concat!(
            "pg_current_xact_id()::text::bigint,
             set_config('lock_timeout', coalesce(
                nullif(current_setting('axum_stripe_webhook.lock_timeout', true), ''),
                current_setting('lock_timeout')), true),
             ",
            settled!($limit, "idle_in_transaction_session_timeout"),
            ",
             ",
            settled!($limit, "statement_timeout"),
        )
    };
    ($limit:literal, $setting:literal) => {
        concat!(
            "set_config('",
            $setting,
            "', case
                when current_setting('",
            $setting,
            "')::interval
                    between interval '1 ms' and ",
            $limit,
            " * interval '1 ms'
                then current_setting('",
            $setting,
            "') else ",
            $limit,
            "::text end, true)",
        )
    };
}

/// Has the COMMIT wait for this server's own disk at least, as a column: with `synchronous_commit` off it
/// is answered before it is durable. Every value but `off` waits for that or more.
macro_rules! durable {
    () => {
        "set_config('synchronous_commit', case current_setting('synchronous_commit')
            when 'off' then 'local' else current_setting('synchronous_commit') end, true)"
    };
}
pub(super) use durable;

type Settled = (i64, String, String, String);
pub(super) use settled;

impl Backend for Postgres {
    /// The id of the transaction. A savepoint has the same; a later transaction never has.
    type Seal = i64;

    const HAS_ONE_WRITER: bool = false;

    /// One connection stays free, so that handlers which take a second one from the pool cannot
    /// all wait for each other.
    fn transactions_max(pool: &Pool<Self>) -> usize {
        let connections = pool.options().get_max_connections();
        usize::try_from(connections.saturating_sub(1).max(1)).unwrap_or(1)
    }

    /// One round trip: what comes before the first statement stands in the same simple query. sqlx forgets
    /// the transaction if a part of it fails, so only what cannot fail stands here, never the claim. It is
    /// parsed anew each time, so what arms a claim stands in the claim.
    fn begin_statement(limits: &Limits, purpose: Purpose) -> SqlStr {
        match purpose {
            Purpose::Claim => "begin isolation level read committed".into_sql_str(),
            Purpose::Release => {
                let wait = milliseconds(limits.claim_wait_max);
                AssertSqlSafe(format!(
                    concat!(
                        "begin isolation level read committed; select ",
                        armed!("'{wait}'")
                    ),
                    wait = wait
                ))
                .into_sql_str()
            }
            Purpose::Dequeue => {
                concat!("begin isolation level read committed; ", by_index!()).into_sql_str()
            }
            // A lease that a crash of the server takes back harms nobody: its worker's connection is gone, and
            // the next one has another fence. It is not counted as an attempt.
            Purpose::Lease => begin_besides("; set local synchronous_commit = off"),
            Purpose::Besides => begin_besides(""),
        }
    }

    async fn claim(
        on: On<'_, Self>,
        entry: &Entry<'_>,
        limits: &Limits,
    ) -> Result<Option<i64>, LedgerError> {
        let insert = query_as(concat!(
            "insert into processed_stripe_events
                (event_id, endpoint, event_type, account, livemode, created_at, held_by)
             select $1, $2, $3, $4, $5, to_timestamp($6), $7 from (select ",
            armed!("$9"),
            ") as armed
             on conflict (event_id, endpoint) do nothing
             returning ",
            settled!("$8")
        ));
        let claimed: Option<Settled> = bind_entry!(insert, entry, entry.created_unix)
            .bind(entry.held_by_code())
            .bind(server_ms(limits))
            .bind(milliseconds(limits.claim_wait_max))
            .persistent(on.persistent)
            .fetch_optional(on.connection)
            .await
            .map_err(of_statement)?;
        Ok(claimed.map(|(transaction_id, ..)| transaction_id))
    }

    async fn seal(on: On<'_, Self>, limits: &Limits) -> Result<i64, LedgerError> {
        let (transaction_id, ..): Settled = query_as(concat!("select ", settled!("$1")))
            .bind(server_ms(limits))
            .persistent(on.persistent)
            .fetch_one(on.connection)
            .await?;
        Ok(transaction_id)
    }

    async fn close(on: On<'_, Self>, seal: &i64) -> Result<(), LedgerError> {
        let (transaction_id, ..): (Option<i64>, String, String) = query_as(concat!(
            "select
                pg_current_xact_id_if_assigned()::text::bigint,
                set_config('axum_stripe_webhook.transaction', 'closed', true),
                ",
            durable!()
        ))
        .persistent(on.persistent)
        .fetch_one(on.connection)
        .await
        .map_err(of_close)?;
        match transaction_id == Some(*seal) {
            true => Ok(()),
            false => Err(LedgerError::Ended),
        }
    }

    shared_statements!();

    async fn readmit(on: On<'_, Self>, entry: &Entry<'_>) -> Result<Readmission, LedgerError> {
        let readmitted: (bool, bool) = query_as(
            "with forgotten as (
                delete from processed_stripe_events
                where event_id = $1 and endpoint = $2 and held_by in ('guard', 'misfit')
                returning event_id
             ), released as (
                delete from stripe_inbox
                where event_id = $1 and endpoint = $2 and state = 'quarantined'
                    and exists (select from forgotten)
             )
             select exists (select from forgotten), exists (
                select from processed_stripe_events where event_id = $1 and endpoint = $2)",
        )
        .bind(entry.event_id)
        .bind(entry.endpoint)
        .persistent(on.persistent)
        .fetch_one(on.connection)
        .await
        .map_err(of_statement)?;
        Ok(match readmitted {
            (true, _) => Readmission::Readmitted,
            (false, true) => Readmission::Duplicate,
            (false, false) => Readmission::Missing,
        })
    }

    async fn quarantine(
        on: On<'_, Self>,
        arrival: &Arrival<'_>,
        is_claimed: bool,
        reason: &str,
    ) -> Result<bool, LedgerError> {
        let (insert, entry) = (
            query(keep!(
                "to_timestamp($6)",
                "cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)"
            )),
            &arrival.entry,
        );
        let kept = bind_entry!(insert, entry, entry.created_unix)
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

    /// One round trip for an answer that is not 2xx: what a handler writes after a ROLLBACK of its own
    /// is committed, and nobody must take it for rolled back. An aborted transaction tells nothing, and
    /// has written nothing.
    async fn disarm(on: On<'_, Self>, seal: &i64) -> Result<(), LedgerError> {
        let assigned = "select pg_current_xact_id_if_assigned()::text::bigint";
        let transaction_id: Result<Option<i64>, _> = query_scalar(assigned)
            .persistent(on.persistent)
            .fetch_one(on.connection)
            .await;
        match transaction_id.map_err(of_close) {
            Ok(id) if id == Some(*seal) => Ok(()),
            Ok(_) => Err(LedgerError::Ended),
            Err(LedgerError::Aborted) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `statement_timeout` does.
    fn abandon(_: &i64) {}

    async fn migrate(pool: &Pool<Self>) -> Result<(), MigrateError> {
        let mut connection = pool.acquire().await?;
        // sqlx keeps its advisory lock when a migration fails, and every later migration would wait
        // for it: the lock ends with the session.
        connection.close_on_drop();
        run(MIGRATIONS, &mut *connection).await
    }
}

/// The server gives our own statements up, too, and frees what a stalled process holds between two. Without
/// bitmaps: lacking statistics, the planner would collect and sort the whole backlog for each lease (1.9 ms
/// instead of 0.2 ms with 8,000 entries).
fn begin_besides(more: &str) -> SqlStr {
    let limit = milliseconds(STATEMENT_TIME_MAX);
    AssertSqlSafe(format!(
        concat!(
            "begin isolation level read committed; set local statement_timeout = {limit};
             set local idle_in_transaction_session_timeout = {limit};
             set local enable_bitmapscan = off; ",
            by_index!(),
            "{more}"
        ),
        limit = limit,
        more = more
    ))
    .into_sql_str()
}

pub(super) fn server_ms(limits: &Limits) -> i32 {
    let margin = SERVER_TIME_MARGIN.min(limits.handler_time_max);
    milliseconds(limits.handler_time_max.saturating_add(margin))
}

/// Postgres' time-outs are 32-bit milliseconds, and zero would switch them off.
pub(super) fn milliseconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis())
        .unwrap_or(i32::MAX)
        .max(1)
}

pub(super) fn of_statement(error: sqlx::Error) -> LedgerError {
    match sqlstate(&error).as_deref() {
        Some(LOCK_NOT_AVAILABLE | DEADLOCK_DETECTED) => LedgerError::InFlight,
        Some(UNDEFINED_TABLE | UNDEFINED_COLUMN) => LedgerError::NotMigrated,
        _ => LedgerError::Unavailable(error),
    }
}

fn of_close(error: sqlx::Error) -> LedgerError {
    match sqlstate(&error).as_deref() {
        Some(IN_FAILED_SQL_TRANSACTION) => LedgerError::Aborted,
        _ => LedgerError::Unavailable(error),
    }
}

fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()?
        .code()
        .map(|code| code.into_owned())
}
