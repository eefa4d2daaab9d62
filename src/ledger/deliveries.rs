//! `stripe_deliveries`: the audit trail.

use std::{fmt, future::Future, time::Duration};

use super::{LedgerError, On, inbox::InboxBackend};

/// What a backend does with the audit trail.
pub trait DeliveriesBackend: InboxBackend {
    /// Writes rows.
    fn insert_deliveries(
        on: On<'_, Self>,
        rows: &[DeliveryRow],
    ) -> impl Future<Output = Result<(), LedgerError>> + Send;

    /// Deletes rows that are older, of the first so many; gives how many. Rows are written in the order of
    /// time, but for those that a process has kept back while it could not write.
    fn sweep_deliveries(
        on: On<'_, Self>,
        age: Duration,
        limit: i64,
    ) -> impl Future<Output = Result<u64, LedgerError>> + Send;
}

/// A row of `stripe_deliveries`.
pub struct DeliveryRow {
    pub(crate) received_at_ms: i64,
    pub(crate) duration_us: i64,
    pub(crate) endpoint: Option<String>,
    pub(crate) outcome: &'static str,
    pub(crate) status: Option<i16>,
    pub(crate) event_id: Option<String>,
    pub(crate) event_type: Option<String>,
    pub(crate) secret_name: Option<String>,
    pub(crate) peer: Option<String>,
    pub(crate) header_age_seconds: Option<i64>,
    pub(crate) body_bytes: Option<i64>,
    pub(crate) body_sha256: Option<[u8; 32]>,
}

impl fmt::Debug for DeliveryRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryRow")
            .field("outcome", &self.outcome)
            .field("event_id", &self.event_id)
            .finish_non_exhaustive()
    }
}

macro_rules! sweep_statement {
    ($before:literal) => {
        async fn sweep_deliveries(
            on: On<'_, Self>,
            age: Duration,
            limit: i64,
        ) -> Result<u64, LedgerError> {
            let swept = query(concat!(
                "delete from stripe_deliveries where delivery_id in (
                    select delivery_id from (
                        select delivery_id, received_at from stripe_deliveries
                        order by delivery_id limit $2) as first
                    where received_at < ",
                $before,
                ")",
            ));
            let swept = swept.bind(statement_ms(age)).bind(limit);
            let swept = swept.persistent(on.persistent).execute(on.connection);
            Ok(swept.await.map_err(of_statement)?.rows_affected())
        }
    };
}

#[cfg(feature = "postgres")]
mod postgres {
    use sqlx::query;

    use super::{DeliveriesBackend, DeliveryRow, Duration, LedgerError, On};
    use crate::ledger::{inbox::statement_ms, postgres::of_statement};

    impl DeliveriesBackend for sqlx::Postgres {
        async fn insert_deliveries(
            on: On<'_, Self>,
            rows: &[DeliveryRow],
        ) -> Result<(), LedgerError> {
            let insert = query(
                "insert into stripe_deliveries
                    (received_at, duration_us, endpoint, outcome, status, event_id, event_type,
                     secret_name, peer, header_age_seconds, body_bytes, body_sha256)
                 select to_timestamp(received_at_ms / 1000.0), duration_us, endpoint, outcome, status,
                    event_id, event_type, secret_name, peer::inet, header_age_seconds, body_bytes,
                    body_sha256
                 from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::smallint[],
                    $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[],
                    $12::bytea[])
                    as delivery (received_at_ms, duration_us, endpoint, outcome, status, event_id,
                        event_type, secret_name, peer, header_age_seconds, body_bytes, body_sha256)",
            );
            let hashes = column(rows, |row| {
                row.body_sha256.as_ref().map(<[u8; 32]>::as_slice)
            });
            insert
                .bind(column(rows, |row| row.received_at_ms))
                .bind(column(rows, |row| row.duration_us))
                .bind(column(rows, |row| row.endpoint.as_deref()))
                .bind(column(rows, |row| row.outcome))
                .bind(column(rows, |row| row.status))
                .bind(column(rows, |row| row.event_id.as_deref()))
                .bind(column(rows, |row| row.event_type.as_deref()))
                .bind(column(rows, |row| row.secret_name.as_deref()))
                .bind(column(rows, |row| row.peer.as_deref()))
                .bind(column(rows, |row| row.header_age_seconds))
                .bind(column(rows, |row| row.body_bytes))
                .bind(hashes)
                .persistent(on.persistent)
                .execute(on.connection)
                .await
                .map_err(of_statement)?;
            Ok(())
        }

        sweep_statement!("now() - $1 * interval '1 ms'");
    }

    fn column<'a, T>(rows: &'a [DeliveryRow], of: impl Fn(&'a DeliveryRow) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use sqlx::{Connection, query};

    use super::{DeliveriesBackend, DeliveryRow, Duration, LedgerError, On};
    use crate::ledger::{
        inbox::statement_ms,
        sqlite::{BEGIN, of_statement},
    };

    impl DeliveriesBackend for sqlx::Sqlite {
        async fn insert_deliveries(
            on: On<'_, Self>,
            rows: &[DeliveryRow],
        ) -> Result<(), LedgerError> {
            let mut transaction = on.connection.begin_with(BEGIN).await?;
            for row in rows {
                let insert = query(
                    "insert into stripe_deliveries
                        (received_at, duration_us, endpoint, outcome, status, event_id, event_type,
                         secret_name, peer, header_age_seconds, body_bytes, body_sha256)
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                );
                insert
                    .bind(row.received_at_ms)
                    .bind(row.duration_us)
                    .bind(row.endpoint.as_deref())
                    .bind(row.outcome)
                    .bind(row.status)
                    .bind(row.event_id.as_deref())
                    .bind(row.event_type.as_deref())
                    .bind(row.secret_name.as_deref())
                    .bind(row.peer.as_deref())
                    .bind(row.header_age_seconds)
                    .bind(row.body_bytes)
                    .bind(row.body_sha256.as_ref().map(<[u8; 32]>::as_slice))
                    .execute(&mut *transaction)
                    .await
                    .map_err(of_statement)?;
            }
            transaction.commit().await.map_err(LedgerError::of_commit)
        }

        sweep_statement!("cast(1000 * unixepoch('subsec') as integer) - $1");
    }
}
