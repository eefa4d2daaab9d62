use std::{sync::Arc, time::Duration};

use sqlx::{Connection, Sqlite, query, query_as, query_scalar};

use super::{
    Accepted, Arrival, AttemptEnd, CountsRow, Due, EntryRow, InboxBackend, Lease, LeasedRow,
    Selection, Wanted, inbox_statements, leased, small, statement_ms, store,
};
use crate::ledger::{
    Backend, Entry, LedgerError, Limits, On, bind_entry,
    sqlite::{BEGIN, Watch, of_statement},
};

impl InboxBackend for Sqlite {
    async fn accept(
        on: On<'_, Self>,
        arrivals: &[Arrival<'_>],
    ) -> Result<Vec<Accepted>, LedgerError> {
        let persistent = on.persistent;
        let mut transaction = on.connection.begin_with(BEGIN).await?;
        let mut accepted = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let on = On {
                connection: &mut *transaction,
                persistent,
            };
            accepted.push(accept_one(on, arrival).await?);
        }
        transaction.commit().await.map_err(LedgerError::of_commit)?;
        Ok(accepted)
    }

    /// Looks first: to lease takes the write lock, and most looks find nothing.
    async fn lease(on: On<'_, Self>, wanted: &Wanted<'_>) -> Result<Due, LedgerError> {
        let mut on = on;
        let (wanted_due, suspects_due) = count_due(on.again(), wanted).await?;
        if wanted_due == 0 {
            return Ok(Due {
                leased: Vec::new(),
                has_suspects: suspects_due > 0,
            });
        }
        let rows: Vec<LeasedRow> = query_as(
            "update stripe_inbox set
                attempts = attempts + 1, fence = fence + 1, in_attempt = true,
                due_at = cast(1000 * unixepoch('subsec') as integer) + $4
             where rowid in (
                select rowid from stripe_inbox
                where state = 'pending' and due_at <= cast(1000 * unixepoch('subsec') as integer)
                    and in_attempt = $1 and ($2 is null or endpoint = $2)
                order by due_at limit $3)
             returning event_id, endpoint, fence, wanted, payload, attempts, not_yets",
        )
        .bind(wanted.suspects)
        .bind(wanted.endpoint)
        .bind(wanted.limit)
        .bind(statement_ms(wanted.lease_time))
        .persistent(on.persistent)
        .fetch_all(on.connection)
        .await
        .map_err(of_statement)?;
        Ok(Due {
            leased: rows.into_iter().map(leased).collect(),
            has_suspects: suspects_due > 0,
        })
    }

    async fn dequeue(
        on: On<'_, Self>,
        entry: &Entry<'_>,
        lease: &Lease,
        is_claimed: bool,
        limits: &Limits,
    ) -> Result<Option<(bool, Arc<Watch>)>, LedgerError> {
        let mut on = on;
        let taken = query(
            "delete from stripe_inbox
             where event_id = $1 and endpoint = $2 and state = 'pending' and fence = $3",
        );
        let taken = taken
            .bind(&lease.event_id)
            .bind(&lease.endpoint)
            .bind(lease.fence);
        let taken = taken.persistent(on.persistent).execute(&mut *on.connection);
        if taken.await.map_err(of_statement)?.rows_affected() == 0 {
            return Ok(None);
        }
        let claimed = match is_claimed {
            true => Self::claim(on.again(), entry, limits).await?,
            false => None,
        };
        Ok(Some(match claimed {
            Some(watch) => (true, watch),
            None => (false, Self::seal(on, limits).await?),
        }))
    }

    inbox_statements! {
        now: "cast(1000 * unixepoch('subsec') as integer)",
        in_ms: "cast(1000 * unixepoch('subsec') as integer) + (" ")",
        unix_ms: "(" ")",
        of_unix_ms: "(" ")"
    }
}

async fn accept_one(on: On<'_, Sqlite>, arrival: &Arrival<'_>) -> Result<Accepted, LedgerError> {
    let (mut on, entry) = (on, &arrival.entry);
    let known: Option<(bool, bool)> = query_as(
        "select held_by is null or (held_by = 'handler' and not exists (
                select 1 from stripe_inbox as scrubbed
                where scrubbed.event_id = $1 and scrubbed.endpoint = $2
                    and scrubbed.payload is null)),
            exists (select 1 from stripe_inbox as twin
                where twin.event_id = $1 and twin.endpoint = $2 and twin.state = 'quarantined'
                    and twin.payload is not null and twin.event_type <> $3)
         from processed_stripe_events where event_id = $1 and endpoint = $2",
    )
    .bind(entry.event_id)
    .bind(entry.endpoint)
    .bind(entry.event_type)
    .persistent(on.persistent)
    .fetch_optional(&mut *on.connection)
    .await
    .map_err(of_statement)?;
    match known {
        Some((true, _)) => return Ok(Accepted::Duplicate),
        Some((false, true)) => return Ok(Accepted::InFlight),
        // A guard had stopped it, or it did not fit: this delivery has passed.
        Some((false, false)) => {
            Sqlite::forget(on.again(), entry.event_id, entry.endpoint).await?;
        }
        None => {}
    }
    let stored = query(store!(
        "values ($1, $2, $3, $4, $5, $6, $7, $8, cast(1000000 * unixepoch('subsec') as integer))",
        "cast(1000 * unixepoch('subsec') as integer)"
    ));
    let stored = bind_entry!(stored, entry, entry.created_unix_ms())
        .bind(arrival.object_id.as_deref())
        .bind(arrival.payload)
        .persistent(on.persistent)
        .execute(&mut *on.connection)
        .await
        .map_err(of_statement)?;
    if stored.rows_affected() > 0 {
        return Ok(Accepted::Stored);
    }
    let stored_type: Option<String> = query_scalar(
        "select event_type from stripe_inbox
         where event_id = $1 and endpoint = $2 and state <> 'quarantined'",
    )
    .bind(entry.event_id)
    .bind(entry.endpoint)
    .persistent(on.persistent)
    .fetch_optional(on.connection)
    .await
    .map_err(of_statement)?;
    match stored_type {
        Some(stored_type) if stored_type == entry.event_type => Ok(Accepted::Duplicate),
        Some(_twin) => Ok(Accepted::InFlight),
        None => Err(LedgerError::NotWritten),
    }
}

/// How many of those that are wanted are due, and how many whose last attempt left no outcome; none or
/// one.
async fn count_due(on: On<'_, Sqlite>, wanted: &Wanted<'_>) -> Result<(i64, i64), LedgerError> {
    macro_rules! due {
        ($which:literal) => {
            concat!(
                "exists (select 1 from stripe_inbox
                    where state = 'pending' and in_attempt = ",
                $which,
                "
                        and due_at <= cast(1000 * unixepoch('subsec') as integer)
                        and ($2 is null or endpoint = $2))"
            )
        };
    }
    query_as(concat!("select ", due!("$1"), ", ", due!("1")))
        .bind(wanted.suspects)
        .bind(wanted.endpoint)
        .persistent(on.persistent)
        .fetch_one(on.connection)
        .await
        .map_err(of_statement)
}
