use axum::http::StatusCode;
use axum_stripe_webhook::{Disposition, EventTx};
use serde_json::Value;

use super::program::{Ran, program};
use crate::{
    conformance::on_both,
    database::{Fresh, TestBackend},
    stored::{Stored, service},
    stripe,
};

on_both!(
    entries_are_counted,
    entries_are_listed_by_whatever_the_filter_says,
    an_entry_is_shown_with_all_its_fields,
    the_payload_comes_byte_for_byte,
    one_is_retried_and_who_and_why_is_recorded,
    a_dry_run_does_nothing,
    all_that_are_dead_are_retried,
    what_is_quarantined_is_released,
    what_is_discarded_is_gone,
    what_is_not_there_is_a_no,
    nobody_acts_without_a_name_and_a_reason,
);

const BY: [&str; 4] = ["--actor", "ada", "--reason", "the table is back"];

pub(super) fn url(fresh: &Fresh) -> String {
    match fresh.url.contains("://") {
        true => fresh.url.clone(),
        false => format!("sqlite://{}", fresh.url),
    }
}

/// Events one and two are dead, three is quarantined, four waits.
async fn all_states<DB: TestBackend>() -> Stored<DB> {
    let stored = Stored::<DB>::new().await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        assert_eq!(stored.deliver(id).await, StatusCode::OK);
    }
    let handler = async |tx: EventTx<DB>| match tx.event().id() {
        "evt_3" => Ok(Disposition::Quarantine { reason: "no_order" }),
        _ => Err(StatusCode::GONE),
    };
    stored.work_off(service(handler)).await;
    assert_eq!(stored.deliver("evt_4").await, StatusCode::OK);
    stored
}

async fn inbox<DB: TestBackend>(stored: &Stored<DB>, words: &[&str]) -> Ran {
    let program = program(&[&["inbox"][..], words].concat());
    let is_elsewhere = words.contains(&"SHOP_DATABASE");
    let (name, other) = match is_elsewhere {
        true => ("SHOP_DATABASE", "DATABASE_URL"),
        false => ("DATABASE_URL", "SHOP_DATABASE"),
    };
    let program = program.env(name, &url(&stored.fresh));
    program.env(other, "not the one that is meant").run().await
}

fn ids(entries: &Value) -> Vec<&str> {
    let entries = entries.as_array().unwrap().iter();
    entries
        .map(|entry| entry["event_id"].as_str().unwrap())
        .collect()
}

async fn entries_are_counted<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let words = ["--database-url-env", "SHOP_DATABASE", "status", "--json"];
    let json = inbox(&stored, &words).await.json(0);
    assert_eq!(json["pending"], 1);
    assert_eq!(json["due"], 1);
    assert_eq!(json["dead"], 2);
    assert_eq!(json["quarantined"], 1);
    assert!(json["oldest_due_seconds"].is_u64());
    let ran = inbox(&stored, &["status"]).await;
    assert!(ran.out.contains("dead         2\n"), "{ran:?}");
}

async fn entries_are_listed_by_whatever_the_filter_says<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let list = async |more: &[&str]| {
        let ran = inbox(&stored, &[&["list", "--json"][..], more].concat()).await;
        ran.json(0)
    };
    let all = list(&[]).await;
    assert_eq!(ids(&all["entries"]), ["evt_1", "evt_2", "evt_3", "evt_4"]);
    assert_eq!(all["is_complete"], true);
    let some = list(&["--limit", "3"]).await;
    assert_eq!(ids(&some["entries"]).len(), 3);
    assert_eq!(some["is_complete"], false);
    for (more, expected) in [
        (&["--state", "dead"][..], 2),
        (&["--state", "dead", "--event-id", "evt_1"], 1),
        (&["--endpoint", "connect"], 0),
        (&["--type", "checkout.session.completed"], 4),
        (&["--error", "handler_failed"], 2),
        (&["--received-from", "2020-01-01T00:00:00Z"], 4),
        (&["--received-before", "1577836800"], 0),
    ] {
        let found = list(more).await;
        assert_eq!(ids(&found["entries"]).len(), expected, "{more:?}");
    }
    let ran = inbox(&stored, &["list", "--state", "dead"]).await;
    assert!(ran.out.starts_with("event_id  endpoint  state"), "{ran:?}");
    assert!(ran.out.contains("\nevt_1     default   dead "), "{ran:?}");
    assert_eq!(ran.out.lines().count(), 3);
    inbox(&stored, &["list", "--state", "lost"])
        .await
        .fails(2, "quarantined");
}

async fn an_entry_is_shown_with_all_its_fields<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let json = inbox(&stored, &["show", "evt_1", "--json"]).await.json(0);
    let fields = json.as_object().unwrap();
    let ran = inbox(&stored, &["show", "evt_1"]).await;
    assert_eq!(ran.out.lines().count(), fields.len());
    for field in fields.keys() {
        assert!(ran.out.contains(&format!("{field} ")), "{field} in {ran:?}");
    }
    assert_eq!(json["state"], "dead");
    assert_eq!(json["last_error"], "handler_failed 410");
    assert_eq!(json["livemode"], false);
    assert_eq!(json["object_id"], "cs_test_1");
    assert!(json["received_at"].as_str().unwrap().ends_with('Z'));
}

async fn the_payload_comes_byte_for_byte<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let ran = inbox(&stored, &["show", "evt_1", "--payload"]).await;
    assert_eq!((ran.exit, ran.out), (0, stripe::event("evt_1")));
    let ran = inbox(&stored, &["show", "evt_1", "--payload", "--json"]).await;
    ran.fails(2, "--payload");
    let scrub = "update stripe_inbox set payload = null where state = 'dead'";
    stored.run(scrub).await;
    let ran = inbox(&stored, &["show", "evt_1", "--payload"]).await;
    ran.fails(1, "scrubbed");
    let ran = inbox(&stored, &[&["retry", "evt_1"][..], &BY].concat()).await;
    ran.fails(1, "have Stripe send the event again");
}

async fn one_is_retried_and_who_and_why_is_recorded<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let retry = [&["retry", "evt_1", "--json"][..], &BY].concat();
    let json = inbox(&stored, &retry).await.json(0);
    assert_eq!(ids(&json["retried"]), ["evt_1"]);
    assert_eq!(json["is_dry_run"], false);
    assert!(stored.states().await.contains(&"evt_1 pending".to_owned()));
    let recorded = "select event_id || ' ' || action || ' ' || actor || ' ' || reason
        from stripe_actions";
    let recorded = DB::texts(&stored.pool, recorded).await;
    assert_eq!(recorded, ["evt_1 retry ada the table is back"]);
}

async fn a_dry_run_does_nothing<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let before = stored.entries().await;
    for (which, expected) in [("evt_1", 1), ("--all-dead", 2)] {
        let retry = [&["retry", which, "--dry-run", "--json"][..], &BY].concat();
        let json = inbox(&stored, &retry).await.json(0);
        assert_eq!(ids(&json["retried"]).len(), expected);
        assert_eq!(json["is_dry_run"], true);
    }
    assert_eq!(stored.entries().await, before);
    assert_eq!(stored.count("stripe_actions").await, 0);
}

async fn all_that_are_dead_are_retried<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let retry = async |more: &[&str]| {
        let ran = inbox(&stored, &[&["retry", "--all-dead"][..], more, &BY].concat()).await;
        assert_eq!(ran.exit, 0, "{ran:?}");
        ran.out
    };
    assert_eq!(retry(&["--type", "invoice.paid"]).await, "0 retried\n");
    let retried = retry(&["--endpoint", "default"]).await;
    assert!(retried.ends_with("\n2 retried\n"), "{retried}");
    assert_eq!(stored.operations.counts().await.unwrap().dead, 0);
    let ran = inbox(
        &stored,
        &[&["retry", "evt_1", "--all-dead"][..], &BY].concat(),
    )
    .await;
    ran.fails(2, "--all-dead");
    let ran = inbox(
        &stored,
        &[&["retry", "evt_1", "--type", "a"][..], &BY].concat(),
    )
    .await;
    ran.fails(2, "a filter is for --all-dead");
}

async fn what_is_quarantined_is_released<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let ran = inbox(&stored, &[&["release", "evt_3"][..], &BY].concat()).await;
    assert_eq!((ran.exit, &*ran.out), (0, "evt_3 at default: released\n"));
    assert!(stored.states().await.contains(&"evt_3 pending".to_owned()));
    let again = inbox(&stored, &[&["release", "evt_3"][..], &BY].concat()).await;
    again.fails(1, "no entry for which this can be done");
}

async fn what_is_discarded_is_gone<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    let discard = [&["discard", "evt_2", "--json"][..], &BY].concat();
    let json = inbox(&stored, &discard).await.json(0);
    assert_eq!(json["event_id"], "evt_2");
    assert_eq!(json["endpoint"], "default");
    assert_eq!(stored.count("stripe_inbox").await, 3);
}

async fn what_is_not_there_is_a_no<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    inbox(&stored, &["show", "evt_9"])
        .await
        .fails(1, "no entry");
    let elsewhere = ["show", "evt_1", "--endpoint", "connect"];
    inbox(&stored, &elsewhere).await.fails(1, "no entry");
    for action in ["retry", "release", "discard"] {
        let ran = inbox(&stored, &[&[action, "evt_9"][..], &BY].concat()).await;
        ran.fails(1, "no entry");
    }
}

async fn nobody_acts_without_a_name_and_a_reason<DB: TestBackend>() {
    let stored = all_states::<DB>().await;
    for action in ["retry", "release", "discard"] {
        let ran = inbox(&stored, &[action, "evt_1", "--actor", "ada"]).await;
        ran.fails(2, "--reason");
        let blank = [action, "evt_1", "--actor", " ", "--reason", "why"];
        inbox(&stored, &blank).await.fails(2, "say who acts");
    }
    assert_eq!(stored.count("stripe_actions").await, 0);
}
