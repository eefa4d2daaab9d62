//! The deliveries of the first part, and what must come of each.

use std::time::Duration;

use super::{
    DemoError,
    books::Backstage,
    events::{Session, customer_created},
    stage::{
        Delivery::{AtOnce, Changed, Forged, Genuine, Stale, TooLarge, Unsigned, WhileBroken},
        Must::{self, ProcessOne},
        Stage,
    },
};
use crate::{orders::Shop, server::BODY_BYTES_MAX};

pub(super) const PART: &str = "Processed while Stripe waits (MODE=inline)";

const DONE: Must = Must::Answer(200, "");
const UNHANDLED: Must = Must::Answer(200, "unhandled");
const KEPT: Must = Must::Answer(200, "kept");
pub(super) const DUPLICATE: Must = Must::Answer(200, "already processed");
pub(super) const NOT_VERIFIED: Must = Must::Answer(400, "not verified");
pub(super) const NOTHING: &[&str] = &[];

/// Stripe's signatures hold for five minutes.
const TOO_OLD: Duration = Duration::from_secs(600);

pub(super) async fn play<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let first = stage.order("A", 4200, "eur").await?;
    paid_once(stage, &first).await?;
    let open = stage.order("C", 2500, "eur").await?;
    forgeries(stage, &open).await?;
    misfits(stage, &open).await?;
    unhandled(stage).await?;
    placed_late(stage).await?;
    second_payment(stage, &first).await?;
    late_money(stage).await?;
    money_back(stage, &first).await?;
    dispute_first(stage).await?;
    broken_database(stage, &open).await
}

async fn paid_once<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
    first: &Session,
) -> Result<(), DemoError> {
    let paid = ["A: pending -> paid, parcel pending"];
    let event = Genuine(first.completed());
    stage
        .deliver("order A paid, 42.00 EUR", event, DONE, &paid)
        .await?;

    let again = Genuine(first.completed());
    stage
        .deliver("the same event again", again, DUPLICATE, NOTHING)
        .await?;

    let other = stage.order("B", 1999, "usd").await?;
    let thin = Genuine(other.completed_thin());
    stage
        .deliver("order B paid, a thin event", thin, UNHANDLED, NOTHING)
        .await?;

    let paid = ["B: pending -> paid, parcel pending"];
    let copies = AtOnce(vec![other.completed(); 20]);
    stage
        .deliver("order B paid, 20 copies at once", copies, ProcessOne, &paid)
        .await
}

async fn forgeries<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
    open: &Session,
) -> Result<(), DemoError> {
    let event = || open.completed();
    let less = Session {
        amount: 1,
        ..open.clone()
    };
    let changed = Changed {
        signed: less.completed(),
        sent: event(),
    };
    for (what, delivery) in [
        ("order C paid, without a signature", Unsigned(event())),
        ("the same, with a guessed secret", Forged(event())),
        ("the same, signed 10 minutes ago", Stale(event(), TOO_OLD)),
        ("1 cent paid, changed to 25.00 EUR", changed),
    ] {
        stage.deliver(what, delivery, NOT_VERIFIED, NOTHING).await?;
    }
    let padding = " ".repeat(BODY_BYTES_MAX + 1 - event().len());
    let large = TooLarge(event() + &padding);
    let too_large = Must::Answer(413, "length limit exceeded");
    stage
        .deliver("a body larger than 1 MiB", large, too_large, NOTHING)
        .await
}

async fn misfits<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
    open: &Session,
) -> Result<(), DemoError> {
    let session = |name: &str| Session {
        name: name.to_owned(),
        ..open.clone()
    };
    let less = Session {
        amount: 100,
        ..session("C2")
    };
    let dollars = Session {
        currency: "usd",
        ..session("C3")
    };
    let unknown = Session {
        order: "ord_unknown".to_owned(),
        ..session("X1")
    };
    let mismatch = "event kept: amount_mismatch";
    for (what, misfit, change) in [
        ("order C paid, but only 1.00 EUR", less, mismatch),
        ("order C paid, but 25.00 USD", dollars, mismatch),
        (
            "an order paid that is not ours",
            unknown,
            "event kept: unknown_order",
        ),
    ] {
        let event = Genuine(misfit.completed());
        stage.deliver(what, event, KEPT, &[change]).await?;
    }
    let discard = ("discard", "evt_X1_completed_paid");
    let discarded = Must::Answer(200, "discarded");
    stage
        .act(
            "that one is discarded",
            discard,
            discarded,
            &["event no longer kept"],
        )
        .await
}

/// What is answered with "unhandled" again is not remembered.
async fn unhandled<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    for what in [
        "an event type nobody handles",
        "the same again: no row was left",
    ] {
        let unhandled = Genuine(customer_created());
        stage.deliver(what, unhandled, UNHANDLED, NOTHING).await?;
    }
    Ok(())
}

async fn placed_late<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let late = Session {
        name: "H1".to_owned(),
        order: "ord_late".to_owned(),
        amount: 2900,
        currency: "eur",
    };
    let event = Genuine(late.completed());
    let kept = ["event kept: unknown_order"];
    stage
        .deliver("order H paid, but not there yet", event, KEPT, &kept)
        .await?;

    let again = Genuine(late.completed());
    stage
        .deliver("the same event again", again, DUPLICATE, NOTHING)
        .await?;

    stage.place_late("H", &late).await?;
    let release = ("release", "evt_H1_completed_paid");
    let paid = ["H: pending -> paid, parcel pending", "event no longer kept"];
    stage
        .act("order H placed, event released", release, DONE, &paid)
        .await?;

    let again = Genuine(late.completed());
    stage
        .deliver("the same event again", again, DUPLICATE, NOTHING)
        .await?;

    let twin = Genuine(late.paid_later());
    stage
        .deliver("another event says H is paid", twin, DONE, NOTHING)
        .await
}

async fn second_payment<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
    first: &Session,
) -> Result<(), DemoError> {
    let second = Session {
        name: "A2".to_owned(),
        ..first.clone()
    };
    let event = Genuine(second.completed());
    stage
        .deliver(
            "order A paid a second time",
            event,
            DONE,
            &["refund due of cs_test_A2"],
        )
        .await
}

async fn late_money<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let transfer = stage.order("D", 9900, "eur").await?;
    let event = Genuine(transfer.completed_unpaid());
    stage
        .deliver("order D: bank transfer begun", event, DONE, NOTHING)
        .await?;

    let paid = ["D: pending -> paid, parcel pending"];
    let event = Genuine(transfer.paid_later());
    stage
        .deliver("order D: bank transfer arrived", event, DONE, &paid)
        .await?;

    let late = Genuine(transfer.expired());
    stage
        .deliver("order D expired, but too late", late, DONE, NOTHING)
        .await?;

    let left = stage.order("E", 1500, "eur").await?;
    let event = Genuine(left.expired());
    stage
        .deliver(
            "order E expired, nobody paid",
            event,
            DONE,
            &["E: pending -> expired"],
        )
        .await?;

    let retried = Session {
        name: "E2".to_owned(),
        ..left
    };
    let paid = ["E: expired -> paid, parcel pending"];
    let event = Genuine(retried.completed());
    stage
        .deliver("order E paid at a second try", event, DONE, &paid)
        .await
}

async fn money_back<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
    first: &Session,
) -> Result<(), DemoError> {
    let event = Genuine(first.refunded(1000));
    let changes = ["A: 10.00 EUR back"];
    stage
        .deliver("order A: 10.00 EUR refunded", event, DONE, &changes)
        .await?;

    let event = Genuine(first.refunded(first.amount));
    let changes = ["A: paid -> refunded, 42.00 EUR back, parcel held"];
    stage
        .deliver("order A: all of it refunded", event, DONE, &changes)
        .await
}

async fn dispute_first<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let order = stage.order("F", 3000, "eur").await?;
    let event = Genuine(order.disputed());
    let noted = ["pi_F1 noted as disputed"];
    stage
        .deliver("order F disputed (comes too soon)", event, DONE, &noted)
        .await?;

    let changes = ["F: pending -> disputed, parcel held"];
    let event = Genuine(order.completed());
    stage
        .deliver("order F paid (comes too late)", event, DONE, &changes)
        .await?;

    let order = stage.order("G", 5000, "eur").await?;
    let paid = ["G: pending -> paid, parcel pending"];
    let event = Genuine(order.completed());
    stage.deliver("order G paid", event, DONE, &paid).await?;

    let changes = ["G: paid -> disputed, parcel held"];
    let event = Genuine(order.disputed());
    stage
        .deliver("order G disputed", event, DONE, &changes)
        .await
}

async fn broken_database<DB: Shop<Connection: Backstage>>(
    stage: &mut Stage<DB>,
    open: &Session,
) -> Result<(), DemoError> {
    let failed = Must::Answer(503, "try again");
    let event = WhileBroken(open.completed());
    stage
        .deliver("order C paid, the database breaks", event, failed, NOTHING)
        .await?;

    let paid = ["C: pending -> paid, parcel pending"];
    let event = Genuine(open.completed());
    stage
        .deliver("repaired, the event comes again", event, DONE, &paid)
        .await
}
