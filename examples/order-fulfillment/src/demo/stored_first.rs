//! What is sent to an inbox in the second part, and what must come of it there and in the workers.

use super::{
    DemoError,
    books::Backstage,
    events::Session,
    script::{DUPLICATE, NOT_VERIFIED, NOTHING},
    stage::{
        Delivery::{AtOnce, Forged, Genuine},
        Must, Stage,
    },
};
use crate::orders::Shop;

pub(super) const PART: &str =
    "Stored and answered at once, worked off by other processes (MODE=inbox)";

const STORED: Must = Must::Store(1);
const PENDING: Must = Must::Answer(202, "pending");

pub(super) async fn play<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let first = stage.order("I", 4200, "eur").await?;
    stored_once(stage, &first).await?;
    burst(stage).await?;
    let event = Genuine(first.completed());
    stage
        .deliver("the event of order I again", event, DUPLICATE, NOTHING)
        .await?;
    dead_and_retried(stage).await?;
    kept_and_released(stage).await
}

async fn stored_once<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
    first: &Session,
) -> Result<(), DemoError> {
    let forged = Forged(first.completed());
    stage
        .deliver(
            "order I paid, a guessed secret",
            forged,
            NOT_VERIFIED,
            NOTHING,
        )
        .await?;

    let event = Genuine(first.completed());
    let pending = ["event pending"];
    stage
        .deliver("order I paid, 42.00 EUR", event, STORED, &pending)
        .await?;

    let again = Genuine(first.completed());
    stage
        .deliver("the same event again", again, DUPLICATE, NOTHING)
        .await
}

async fn burst<DB: Shop<Connection: Backstage>>(stage: &mut Stage<DB>) -> Result<(), DemoError> {
    let mut events = Vec::new();
    for name in ["J", "K", "L", "M"] {
        let session = stage.order(name, 1500, "eur").await?;
        events.extend(vec![session.completed(); 20]);
    }
    let burst = AtOnce(events);
    let pending = ["4 events pending"];
    stage
        .deliver("4 orders paid, 80 at once", burst, Must::Store(4), &pending)
        .await?;

    let paid = [
        "I: pending -> paid, parcel pending",
        "J: pending -> paid, parcel pending",
        "K: pending -> paid, parcel pending",
        "L: pending -> paid, parcel pending",
        "M: pending -> paid, parcel pending",
        "5 events no longer pending",
    ];
    stage.work("two workers at once", 2, &paid).await
}

async fn dead_and_retried<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let order = stage.order("N", 3300, "eur").await?;
    let event = Genuine(order.completed());
    let pending = ["event pending"];
    stage
        .deliver("order N paid, 33.00 EUR", event, STORED, &pending)
        .await?;

    let dead = ["event dead after 3 attempts", "event no longer pending"];
    stage
        .work_while_broken("a worker, but the database breaks", &dead)
        .await?;

    let event_id = "evt_N1_completed_paid";
    let retried = ["event no longer dead", "event pending"];
    stage
        .act("repaired, retried", ("retry", event_id), PENDING, &retried)
        .await?;

    let paid = [
        "N: pending -> paid, parcel pending",
        "event no longer pending",
    ];
    stage.work("a worker", 1, &paid).await
}

async fn kept_and_released<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let late = Session {
        name: "O1".to_owned(),
        order: "ord_late_too".to_owned(),
        amount: 2900,
        currency: "eur",
    };
    let event = Genuine(late.completed());
    let pending = ["event pending"];
    stage
        .deliver("order O paid, but not there yet", event, STORED, &pending)
        .await?;

    let kept = ["event kept: unknown_order", "event no longer pending"];
    stage.work("a worker", 1, &kept).await?;

    stage.place_late("O", &late).await?;
    let release = ("release", "evt_O1_completed_paid");
    let released = ["event no longer kept", "event pending"];
    stage
        .act(
            "order O placed, event released",
            release,
            PENDING,
            &released,
        )
        .await?;

    let paid = [
        "O: pending -> paid, parcel pending",
        "event no longer pending",
    ];
    stage.work("a worker", 1, &paid).await?;

    let again = Genuine(late.completed());
    stage
        .deliver("the same event again", again, DUPLICATE, NOTHING)
        .await
}
