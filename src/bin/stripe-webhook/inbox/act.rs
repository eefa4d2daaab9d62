//! What an operator does, recorded with who and why.

use axum_stripe_webhook::{
    InboxOperations, Ledger, Operator,
    inbox::{EntryState, OperationError, PAGE_MAX, StoredEntry},
    once::ENDPOINT_DEFAULT,
};
use clap::Args;
use serde_json::json;

use super::{entry, filter::FilterArgs};
use crate::{failure::Failure, output::Report};

/// Makes entries due at once: one that is dead or waits for its next attempt, or all that are dead
#[derive(Args)]
#[command(after_help = "\
JSON: {\"retried\": [an entry as it was, as `inbox show` has it], \"is_dry_run\": bool, \"is_partial\": bool};
partial: call it again for the rest.
Exit 1 if there is no such entry, or a worker has it.")]
pub(crate) struct RetryArgs {
    /// The event's id
    #[arg(required_unless_present = "all_dead", conflicts_with = "all_dead")]
    event_id: Option<String>,
    /// All dead entries to which the filter applies, at most 1000 at once
    #[arg(long)]
    all_dead: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// Say what would be retried, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    by: ByArgs,
}

/// Releases an event that is quarantined: a worker runs it
#[derive(Args)]
#[command(after_help = "\
A service without a worker releases it itself, with ProcessOnceLayer::release.
JSON: {\"event_id\", \"endpoint\"}
Exit 1 if there is no such entry.")]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    one: OneArgs,
}

/// Gives an event up: it is never run, and its payload goes
#[derive(Args)]
#[command(after_help = "\
JSON: {\"event_id\", \"endpoint\"}
Exit 1 if there is no such entry, or a worker has it.")]
pub(crate) struct DiscardArgs {
    #[command(flatten)]
    one: OneArgs,
}

#[derive(Args)]
struct OneArgs {
    /// The event's id
    event_id: String,
    /// The endpoint's label
    #[arg(long, value_name = "LABEL", default_value = ENDPOINT_DEFAULT)]
    endpoint: String,
    #[command(flatten)]
    by: ByArgs,
}

#[derive(Args)]
struct ByArgs {
    /// Who does this; recorded
    #[arg(long, value_name = "NAME")]
    actor: String,
    /// Why; recorded
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl ByArgs {
    fn operator(&self) -> Result<Operator, Failure> {
        let operator = Operator::new(self.actor.as_str(), self.reason.as_str());
        operator.map_err(|error| Failure::usage(error.to_string()))
    }
}

pub(crate) async fn retry<DB: Ledger>(
    inbox: &InboxOperations<DB>,
    args: &RetryArgs,
) -> Result<Report, Failure> {
    let by = args.by.operator()?;
    let retried = match &args.event_id {
        Some(_) if args.filter.narrows() => {
            return Err(Failure::usage("a filter is for --all-dead"));
        }
        Some(event_id) => vec![retry_one(inbox, event_id, args, &by).await?],
        None => {
            let filter = args.filter.filter();
            let retried = match args.dry_run {
                true => inbox.retry_many_dry_run(&filter).await,
                false => inbox.retry_many(&filter, &by).await,
            };
            retried?
        }
    };
    let is_partial = retried.len() >= usize::try_from(PAGE_MAX).unwrap_or(usize::MAX);
    Ok(retried_report(&retried, args.dry_run, is_partial))
}

/// The entry as it was before.
async fn retry_one<DB: Ledger>(
    inbox: &InboxOperations<DB>,
    event_id: &str,
    args: &RetryArgs,
    by: &Operator,
) -> Result<StoredEntry, Failure> {
    let endpoint = args.filter.endpoint.as_deref().unwrap_or(ENDPOINT_DEFAULT);
    let entry = inbox.show(event_id, endpoint).await;
    let entry = entry?;
    let can_be = [EntryState::Dead, EntryState::Pending];
    let entry = entry.filter(|entry| can_be.contains(&entry.state));
    let entry = entry.ok_or(OperationError::NotFound)?;
    if !args.dry_run {
        let retried = inbox.retry(event_id, endpoint, by).await;
        retried?;
    } else if entry.payload_bytes.is_none() {
        return Err(OperationError::PayloadGone.into());
    }
    Ok(entry)
}

fn retried_report(retried: &[StoredEntry], is_dry_run: bool, is_partial: bool) -> Report {
    let mut text = match retried {
        [] => String::new(),
        retried => entry::list(retried),
    };
    let done = if is_dry_run {
        "would be retried"
    } else {
        "retried"
    };
    text.push_str(&format!("{} {done}\n", retried.len()));
    if is_partial {
        text.push_str(match is_dry_run {
            true => "there may be more: narrow the filter to see them\n",
            false => "there may be more: call it again\n",
        });
    }
    let retried: Vec<_> = retried.iter().map(entry::json).collect();
    let json = json!({"retried": retried, "is_dry_run": is_dry_run, "is_partial": is_partial});
    Report::done(text, json)
}

pub(crate) async fn release<DB: Ledger>(
    inbox: &InboxOperations<DB>,
    args: &ReleaseArgs,
) -> Result<Report, Failure> {
    let one = &args.one;
    let operator = one.by.operator()?;
    inbox
        .release(&one.event_id, &one.endpoint, &operator)
        .await?;
    Ok(one.report("released"))
}

pub(crate) async fn discard<DB: Ledger>(
    inbox: &InboxOperations<DB>,
    args: &DiscardArgs,
) -> Result<Report, Failure> {
    let one = &args.one;
    let operator = one.by.operator()?;
    inbox
        .discard(&one.event_id, &one.endpoint, &operator)
        .await?;
    Ok(one.report("discarded"))
}

impl OneArgs {
    fn report(&self, done: &str) -> Report {
        let (event_id, endpoint) = (&self.event_id, &self.endpoint);
        let text = format!("{event_id} at {endpoint}: {done}\n");
        Report::done(text, json!({"event_id": event_id, "endpoint": endpoint}))
    }
}
