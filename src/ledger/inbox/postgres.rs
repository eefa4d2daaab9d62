use std::{collections::HashMap, time::Duration};

use sqlx::{Postgres, query, query_as, query_scalar};

use super::{
    Accepted, Arrival, AttemptEnd, CountsRow, Due, EntryRow, InboxBackend, Lease, Selection,
    Wanted, inbox_statements, leased, small, statement_ms, store,
};
use crate::ledger::{
    Entry, LedgerError, Limits, On, bind_entry,
    postgres::{armed, durable, milliseconds, of_statement, server_ms, settled},
};

impl InboxBackend for Postgres {
    /// One statement for the whole group, so that deliveries which arrive together share a COMMIT.
    ///
    /// - What a guard has stopped, or what did not fit, is readmitted: this delivery has passed. A row
    ///   that somebody is releasing is locked, and skipped: an insert would wait for a handler.
    /// - The look into the inbox before the insert is for the same: an entry that a worker has deleted
    ///   and not committed is still seen by it, and waited for by an insert.
    /// - In the order of the keys, so that two groups which share events cannot deadlock.
    async fn accept(
        on: On<'_, Self>,
        arrivals: &[Arrival<'_>],
    ) -> Result<Vec<Accepted>, LedgerError> {
        let mut on = on;
        let outcomes = accept_group(on.again(), arrivals).await?;
        let mut accepted = Vec::with_capacity(arrivals.len());
        for (place, arrival) in (1..).zip(arrivals) {
            accepted.push(match outcomes.get(&place).map(String::as_str) {
                Some("stored") => Accepted::Stored,
                Some("duplicate") => Accepted::Duplicate,
                Some("in_flight") => Accepted::InFlight,
                _ => look(on.again(), &arrival.entry).await?,
            });
        }
        Ok(accepted)
    }

    async fn lease(on: On<'_, Self>, wanted: &Wanted<'_>) -> Result<Due, LedgerError> {
        type Row = (
            bool,
            Option<String>,
            Option<String>,
            Option<i64>,
            Option<bool>,
            Option<Vec<u8>>,
            Option<i32>,
            Option<i32>,
        );
        let rows: Vec<Row> = query_as(
            "with due as (
                select event_id, endpoint from stripe_inbox
                where state = 'pending' and due_at <= now() and in_attempt = $1
                    and ($2 is null or endpoint = $2)
                order by due_at limit $3
                for update skip locked
             ), leased as (
                update stripe_inbox as entry set
                    attempts = entry.attempts + 1, in_attempt = true,
                    fence = greatest(entry.fence,
                        cast(extract(epoch from clock_timestamp()) * 1000000 as bigint))
                        + 1 + cast(floor(random() * 1000) as bigint),
                    due_at = now() + $4 * interval '1 ms'
                from due where entry.event_id = due.event_id and entry.endpoint = due.endpoint
                returning entry.event_id, entry.endpoint, entry.fence, entry.wanted, entry.payload,
                    entry.attempts, entry.not_yets
             ), suspects as (
                select exists (
                    select from stripe_inbox
                    where state = 'pending' and in_attempt and due_at <= now()
                        and ($2 is null or endpoint = $2)) as any
             )
             select suspects.any, leased.* from suspects left join leased on true",
        )
        .bind(wanted.suspects)
        .bind(wanted.endpoint)
        .bind(wanted.limit)
        .bind(statement_ms(wanted.lease_time))
        .persistent(on.persistent)
        .fetch_all(on.connection)
        .await
        .map_err(of_statement)?;
        let mut due = Due::default();
        for row in rows {
            let (has_suspects, event_id, endpoint, fence, wanted, payload, attempts, not_yets) =
                row;
            due.has_suspects = has_suspects;
            let (Some(event_id), Some(endpoint), Some(fence), Some(wanted)) =
                (event_id, endpoint, fence, wanted)
            else {
                continue; // nothing was leased
            };
            let (payload, attempts) = (payload.unwrap_or_default(), attempts.unwrap_or_default());
            let not_yets = not_yets.unwrap_or_default();
            let row = (
                event_id, endpoint, fence, wanted, payload, attempts, not_yets,
            );
            due.leased.push(leased(row));
        }
        Ok(due)
    }

    /// The handler's own statements are planned by the session's defaults: a `set enable_seqscan` of the
    /// service's does not come back.
    async fn dequeue(
        on: On<'_, Self>,
        entry: &Entry<'_>,
        lease: &Lease,
        is_claimed: bool,
        limits: &Limits,
    ) -> Result<Option<(bool, i64)>, LedgerError> {
        let dequeued = query_as(concat!(
            "with taken as (
                delete from stripe_inbox using (select ",
            armed!("$11"),
            ") as armed
                where event_id = $10 and endpoint = $2 and state = 'pending' and fence = $7
                returning event_id
             ), claimed as (
                insert into processed_stripe_events
                    (event_id, endpoint, event_type, account, livemode, created_at)
                select $1, $2, $3, $4, $5, to_timestamp($6) from taken where $9
                on conflict (event_id, endpoint) do nothing
                returning event_id
             )
             select exists (select from taken), exists (select from claimed),
                set_config('enable_seqscan', null, true), ",
            settled!("$8")
        ));
        let row: (bool, bool, String, i64, String, String, String) =
            bind_entry!(dequeued, entry, entry.created_unix)
                .bind(lease.fence)
                .bind(server_ms(limits))
                .bind(is_claimed)
                .bind(&lease.event_id)
                .bind(milliseconds(limits.claim_wait_max))
                .persistent(on.persistent)
                .fetch_one(on.connection)
                .await
                .map_err(of_statement)?;
        let (is_taken, is_claimed, _, transaction_id, ..) = row;
        Ok(is_taken.then_some((is_claimed, transaction_id)))
    }

    inbox_statements! {
        now: "now()",
        in_ms: "now() + cast(" " as bigint) * interval '1 ms'",
        unix_ms: "cast(floor(extract(epoch from (" ")) * 1000) as bigint)",
        of_unix_ms: "to_timestamp(cast(" " as double precision) / 1000)"
    }
}

/// The last column has the COMMIT wait for the disk, as the ledger's last statement does: it is what
/// the 200 promises.
const ACCEPT: &str = concat!(
    "with arrived as (
            select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[],
                $6::bigint[], $7::text[], $8::bytea[])
                with ordinality as arrived (event_id, endpoint, event_type, account, livemode,
                    created_at, object_id, payload, place)
         ), there as (
            select arrived.place, (
                select case when held_by in ('guard', 'misfit') or (held_by = 'handler' and exists (
                        select from stripe_inbox as scrubbed
                        where scrubbed.event_id = arrived.event_id
                            and scrubbed.endpoint = arrived.endpoint and scrubbed.payload is null))
                    then 'held' else 'processed' end
                from processed_stripe_events as processed
                where processed.event_id = arrived.event_id
                    and processed.endpoint = arrived.endpoint) as in_ledger, (
                select case when entry.event_type = arrived.event_type then 'waits' else 'twin' end
                from stripe_inbox as entry
                where entry.event_id = arrived.event_id and entry.endpoint = arrived.endpoint
                    and entry.payload is not null and (entry.state <> 'quarantined'
                        or (entry.event_type <> arrived.event_type and exists (
                            select from processed_stripe_events as held
                            where held.event_id = arrived.event_id
                                and held.endpoint = arrived.endpoint)))) as in_inbox
            from arrived
         ), held as (
            select processed.event_id, processed.endpoint
            from processed_stripe_events as processed
            join arrived on arrived.event_id = processed.event_id
                and arrived.endpoint = processed.endpoint
            join there on there.place = arrived.place
            where processed.held_by is not null and there.in_ledger = 'held'
                and there.in_inbox is distinct from 'twin'
            for update of processed skip locked
         ), readmitted as (
            delete from processed_stripe_events as processed using held
            where processed.event_id = held.event_id and processed.endpoint = held.endpoint
            returning processed.event_id, processed.endpoint
         ), stored as (
            ",
    store!(
        "select event_id, endpoint, event_type, account, livemode, to_timestamp(created_at),
                object_id, payload, cast(extract(epoch from clock_timestamp()) * 1000000 as bigint)
             from arrived join there using (place)
             where there.in_inbox is null and (there.in_ledger is null
                or (event_id, endpoint) in (select event_id, endpoint from readmitted))
             order by event_id, endpoint",
        "now()"
    ),
    " returning event_id, endpoint
         )
         select arrived.place, case
                when (event_id, endpoint) in (select event_id, endpoint from stored) then 'stored'
                when there.in_ledger = 'processed' or there.in_inbox = 'waits' then 'duplicate'
                when there.in_ledger = 'held' or there.in_inbox = 'twin' then 'in_flight'
                else '' end,
            ",
    durable!(),
    "
         from arrived join there using (place)"
);

/// What has become of each, by its place in the group from 1.
async fn accept_group(
    on: On<'_, Postgres>,
    arrivals: &[Arrival<'_>],
) -> Result<HashMap<i64, String>, LedgerError> {
    macro_rules! column {
        ($arrival:ident, $value:expr) => {
            arrivals.iter().map(|$arrival| $value).collect::<Vec<_>>()
        };
    }
    let rows: Vec<(i64, String, String)> = query_as(ACCEPT)
        .bind(column!(arrival, arrival.entry.event_id))
        .bind(column!(arrival, arrival.entry.endpoint))
        .bind(column!(arrival, arrival.entry.event_type))
        .bind(column!(arrival, arrival.entry.account))
        .bind(column!(arrival, arrival.entry.livemode))
        .bind(column!(arrival, arrival.entry.created_unix))
        .bind(column!(arrival, arrival.object_id.as_deref()))
        .bind(column!(arrival, arrival.payload))
        .persistent(on.persistent)
        .fetch_all(on.connection)
        .await
        .map_err(of_statement)?;
    Ok(rows
        .into_iter()
        .map(|(place, outcome, _)| (place, outcome))
        .collect())
}

/// What was neither there nor stored has come in between, and the redelivery learns what became of it;
/// or the service keeps it from being written.
async fn look(on: On<'_, Postgres>, entry: &Entry<'_>) -> Result<Accepted, LedgerError> {
    let (is_duplicate, is_there): (bool, bool) = query_as(
        "select exists (select from stripe_inbox
                where event_id = $1 and endpoint = $2 and event_type = $3
                    and state <> 'quarantined')
            or exists (select from processed_stripe_events
                where event_id = $1 and endpoint = $2 and held_by is null),
            exists (select from stripe_inbox where event_id = $1 and endpoint = $2)
            or exists (select from processed_stripe_events where event_id = $1 and endpoint = $2)",
    )
    .bind(entry.event_id)
    .bind(entry.endpoint)
    .bind(entry.event_type)
    .persistent(on.persistent)
    .fetch_one(on.connection)
    .await
    .map_err(of_statement)?;
    match (is_duplicate, is_there) {
        (true, _) => Ok(Accepted::Duplicate),
        (false, true) => Ok(Accepted::InFlight),
        (false, false) => Err(LedgerError::NotWritten),
    }
}
