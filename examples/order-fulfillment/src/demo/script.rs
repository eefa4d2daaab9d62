//! The deliveries of the demo, and what must come of each.

use std::time::Duration;

use super::{
    DemoError,
    books::Breakable,
    events::{Session, customer_created},
    stage::{
        Delivery::{Changed, Copies, Forged, Genuine, Stale, TooLarge, Unsigned, WhileBroken},
        Must::{self, ProcessOne},
        Stage,
    },
};
use crate::{orders::Shop, server::BODY_BYTES_MAX};

const DONE: Must = Must::Answer(200, "");
const DUPLICATE: Must = Must::Answer(200, "already processed");
const NOT_VERIFIED: Must = Must::Answer(400, "not verified");
const NOTHING: &[&str] = &[];

/// Stripe's signatures hold for five minutes.
const TOO_OLD: Duration = Duration::from_secs(600);

pub(super) async fn play<DB: Shop<Connection: Breakable>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let first = stage.order("A", 4200, "eur").await?;
    paid_once(stage, &first).await?;
    let open = stage.order("C", 2500, "eur").await?;
    forgeries(stage, &open).await?;
    misfits(stage, &open).await?;
    second_payment(stage, &first).await?;
    late_money(stage).await?;
    money_back(stage, &first).await?;
    dispute_first(stage).await?;
    broken_database(stage, &open).await
}

async fn paid_once<DB: Shop<Connection: Breakable>>(
    stage: &mut Stage<DB>,
    first: &Session,
) -> Result<(), DemoError> {
    let paid = ["A: pending -> paid, parcel pending", "payment accepted"];
    let event = Genuine(first.completed());
    stage
        .deliver("order A paid, 42.00 EUR", event, DONE, &paid)
        .await?;

    let again = Genuine(first.completed());
    stage
        .deliver("the same event again", again, DUPLICATE, NOTHING)
        .await?;

    let other = stage.order("B", 1999, "usd").await?;
    let paid = ["B: pending -> paid, parcel pending", "payment accepted"];
    let copies = Copies(other.completed(), 20);
    stage
        .deliver("order B paid, 20 copies at once", copies, ProcessOne, &paid)
        .await
}

async fn forgeries<DB: Shop<Connection: Breakable>>(
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

async fn misfits<DB: Shop<Connection: Breakable>>(
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
    for (what, misfit) in [
        ("order C paid, but only 1.00 EUR", less),
        ("order C paid, but 25.00 USD", dollars),
        ("an order paid that is not ours", unknown),
    ] {
        let event = Genuine(misfit.completed());
        stage
            .deliver(what, event, DONE, &["payment to_review"])
            .await?;
    }
    let unhandled = Genuine(customer_created());
    stage
        .deliver("an event type nobody handles", unhandled, DONE, NOTHING)
        .await
}

async fn second_payment<DB: Shop<Connection: Breakable>>(
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
            &["payment to_refund"],
        )
        .await
}

async fn late_money<DB: Shop<Connection: Breakable>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let transfer = stage.order("D", 9900, "eur").await?;
    let event = Genuine(transfer.completed_unpaid());
    stage
        .deliver("order D: bank transfer begun", event, DONE, NOTHING)
        .await?;

    let paid = ["D: pending -> paid, parcel pending", "payment accepted"];
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
    let paid = ["E: expired -> paid, parcel pending", "payment accepted"];
    let event = Genuine(retried.completed());
    stage
        .deliver("order E paid at a second try", event, DONE, &paid)
        .await
}

async fn money_back<DB: Shop<Connection: Breakable>>(
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

async fn dispute_first<DB: Shop<Connection: Breakable>>(
    stage: &mut Stage<DB>,
) -> Result<(), DemoError> {
    let order = stage.order("F", 3000, "eur").await?;
    let event = Genuine(order.disputed());
    let noted = ["pi_F1 noted as disputed"];
    stage
        .deliver("order F disputed (comes too soon)", event, DONE, &noted)
        .await?;

    let changes = ["F: pending -> disputed, parcel held", "payment accepted"];
    let event = Genuine(order.completed());
    stage
        .deliver("order F paid (comes too late)", event, DONE, &changes)
        .await?;

    let order = stage.order("G", 5000, "eur").await?;
    let paid = ["G: pending -> paid, parcel pending", "payment accepted"];
    let event = Genuine(order.completed());
    stage.deliver("order G paid", event, DONE, &paid).await?;

    let changes = ["G: paid -> disputed, parcel held"];
    let event = Genuine(order.disputed());
    stage
        .deliver("order G disputed", event, DONE, &changes)
        .await
}

async fn broken_database<DB: Shop<Connection: Breakable>>(
    stage: &mut Stage<DB>,
    open: &Session,
) -> Result<(), DemoError> {
    let failed = Must::Answer(503, "try again");
    let event = WhileBroken(open.completed());
    stage
        .deliver("order C paid, the database breaks", event, failed, NOTHING)
        .await?;

    let paid = ["C: pending -> paid, parcel pending", "payment accepted"];
    let event = Genuine(open.completed());
    stage
        .deliver("repaired, the event comes again", event, DONE, &paid)
        .await
}
