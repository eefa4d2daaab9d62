//! What changes nothing.

use axum_stripe_webhook::{
    InboxOperations, Ledger,
    inbox::{EntryState, PAGE_MAX, StoredEntry},
    once::ENDPOINT_DEFAULT,
};
use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::{
    entry,
    filter::{FilterArgs, states},
};
use crate::{
    failure::Failure,
    output::{Report, fields},
};

/// More than anybody reads; they are held in memory, a kilobyte or less each.
const LIMIT_MAX: i64 = 100_000;

/// Counts the entries by state
#[derive(Args)]
#[command(after_help = "\
JSON: {\"pending\", \"due\", \"dead\", \"quarantined\", \"oldest_due_seconds\" or null}")]
pub(crate) struct StatusArgs {}

/// Lists entries, oldest first
#[derive(Args)]
#[command(after_help = "\
JSON: {\"entries\": [an entry, as `inbox show` has it], \"is_complete\": bool}")]
pub(crate) struct ListArgs {
    /// Those of this event, at whatever endpoint
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    /// Those in this state
    #[arg(long, value_parser = states())]
    state: Option<EntryState>,
    #[command(flatten)]
    filter: FilterArgs,
    /// How many are listed at most
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
    limit: u32,
}

/// Shows all that is known of one entry
#[derive(Args)]
#[command(after_help = "\
JSON: {\"event_id\", \"endpoint\", \"event_type\", \"account\", \"livemode\", \"created\", \"object_id\", \"state\",
       \"attempts\", \"due_at\", \"last_error\", \"received_at\", \"payload_bytes\"}
Exit 1 if there is no such entry.")]
pub(crate) struct ShowArgs {
    /// The event's id
    event_id: String,
    /// The endpoint's label
    #[arg(long, value_name = "LABEL", default_value = ENDPOINT_DEFAULT)]
    endpoint: String,
    /// Write the event's bytes to standard output instead, as signed: they hold personal data
    #[arg(long, conflicts_with = "json")]
    pub(crate) payload: bool,
}

pub(crate) async fn status<DB: Ledger>(inbox: &InboxOperations<DB>) -> Result<Report, Failure> {
    let counts = inbox.counts().await?;
    let oldest_due = counts.oldest_due.map(|age| age.as_secs());
    let age = oldest_due.map(|seconds| format!("{seconds} s"));
    let text = fields([
        ("pending", counts.pending.to_string()),
        ("due", counts.due.to_string()),
        ("dead", counts.dead.to_string()),
        ("quarantined", counts.quarantined.to_string()),
        ("oldest due", age.unwrap_or_else(|| "-".to_owned())),
    ]);
    let json = json!({
        "pending": counts.pending,
        "due": counts.due,
        "dead": counts.dead,
        "quarantined": counts.quarantined,
        "oldest_due_seconds": oldest_due,
    });
    Ok(Report::done(text, json))
}

pub(crate) async fn list<DB: Ledger>(
    inbox: &InboxOperations<DB>,
    args: &ListArgs,
) -> Result<Report, Failure> {
    let mut filter = args.filter.filter();
    if let Some(event_id) = &args.event_id {
        filter = filter.event_id(event_id);
    }
    if let Some(state) = args.state {
        filter = filter.state(state);
    }
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut entries: Vec<StoredEntry> = Vec::new();
    let mut start = None;
    let is_complete = loop {
        let page = filter.clone().page(args.limit.min(PAGE_MAX));
        let page = inbox.list(&page, start.as_ref()).await;
        let page = page?;
        entries.extend(page.entries);
        start = page.next;
        if start.is_none() || entries.len() >= limit {
            break start.is_none() && entries.len() <= limit;
        }
    };
    entries.truncate(limit);
    let mut text = entry::list(&entries);
    if !is_complete {
        text.push_str("there are more: see --limit\n");
    }
    let entries: Vec<_> = entries.iter().map(entry::json).collect();
    let json = json!({"entries": entries, "is_complete": is_complete});
    Ok(Report::done(text, json))
}

pub(crate) async fn show<DB: Ledger>(
    inbox: &InboxOperations<DB>,
    args: &ShowArgs,
) -> Result<Report, Failure> {
    let entry = one(inbox, args).await?;
    Ok(Report::done(entry::shown(&entry), entry::json(&entry)))
}

pub(crate) async fn payload<DB: Ledger>(
    inbox: &InboxOperations<DB>,
    args: &ShowArgs,
) -> Result<Bytes, Failure> {
    one(inbox, args).await?;
    let payload = inbox.payload(&args.event_id, &args.endpoint).await;
    let payload = payload?;
    payload.ok_or_else(|| Failure::no("the entry's payload was scrubbed"))
}

async fn one<DB: Ledger>(
    inbox: &InboxOperations<DB>,
    args: &ShowArgs,
) -> Result<StoredEntry, Failure> {
    let entry = inbox.show(&args.event_id, &args.endpoint).await;
    let entry = entry?;
    entry.ok_or_else(|| Failure::no("no entry has this id at this endpoint"))
}
