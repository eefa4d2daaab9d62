use std::time::Duration;

use sqlx::Pool;

use super::{
    DemoError,
    books::{Backstage, Books, Names},
    client::{Answer, Sender},
    events::Session,
    report::{Line, Report},
};
use crate::orders::{OrderBook, Shop};

/// The shop's server, its database, and everybody who sends it something.
pub(super) struct Stage<DB: Shop> {
    pool: Pool<DB>,
    sender: Sender,
    books: Books,
    names: Names,
    lines: Vec<Line>,
    deliveries: usize,
}

/// How a body is sent.
pub(super) enum Delivery {
    /// Signed by Stripe, now.
    Genuine(String),
    /// The same so many times at once.
    Copies(String, usize),
    Unsigned(String),
    Forged(String),
    Stale(String, Duration),
    /// The signature is Stripe's, but of another body.
    Changed {
        signed: String,
        sent: String,
    },
    /// Genuine, but longer than the server reads.
    TooLarge(String),
    /// Genuine, while the shop's database is broken.
    WhileBroken(String),
}

/// What the server must answer.
pub(super) enum Must {
    Answer(u16, &'static str),
    /// One of the copies is processed, each of the others is told so.
    ProcessOne,
}

impl<DB: Shop<Connection: Backstage>> Stage<DB> {
    pub(super) fn new(pool: Pool<DB>, sender: Sender) -> Self {
        Self {
            pool,
            sender,
            books: Books::default(),
            names: Names::default(),
            lines: Vec::new(),
            deliveries: 0,
        }
    }

    /// Places an order, and has its customer go to Stripe's checkout page.
    pub(super) async fn order(
        &mut self,
        name: &'static str,
        amount: i64,
        currency: &'static str,
    ) -> Result<Session, DemoError> {
        let order = self.sender.place(amount, currency).await?;
        self.names.give(order.clone(), name);
        self.books = Books::read(&self.pool).await?;
        Ok(Session {
            name: format!("{name}1"),
            order,
            amount,
            currency,
        })
    }

    /// Places the order of a customer who has been to Stripe's checkout page already.
    pub(super) async fn place_late(
        &mut self,
        name: &'static str,
        session: &Session,
    ) -> Result<(), DemoError> {
        let mut connection = self.pool.acquire().await?;
        let placed = connection.place(&session.order, session.amount, session.currency);
        placed.await?;
        drop(connection);
        self.names.give(session.order.clone(), name);
        self.books = Books::read(&self.pool).await?;
        Ok(())
    }

    /// Sends a delivery and notes down what came of it.
    pub(super) async fn deliver(
        &mut self,
        what: &str,
        delivery: Delivery,
        must: Must,
        changes: &[&str],
    ) -> Result<(), DemoError> {
        let answers = self.send(delivery).await?;
        self.deliveries += answers.len();
        self.note_down(what, answers, must, changes).await
    }

    /// Releases or discards an event that was kept, and notes down what came of it.
    pub(super) async fn act(
        &mut self,
        what: &str,
        (action, event_id): (&str, &str),
        must: Must,
        changes: &[&str],
    ) -> Result<(), DemoError> {
        let answers = vec![self.sender.act(event_id, action).await?];
        self.note_down(what, answers, must, changes).await
    }

    async fn note_down(
        &mut self,
        what: &str,
        mut answers: Vec<Answer>,
        must: Must,
        changes: &[&str],
    ) -> Result<(), DemoError> {
        answers.sort();
        let books = Books::read(&self.pool).await?;
        let changed = books.changes_since(&self.books, &self.names);
        self.books = books;
        self.lines.push(Line {
            delivery: what.to_owned(),
            as_it_must_be: must.is_met_by(&answers) && changed == changes,
            answer: in_words(&answers),
            expected: format!("{}\n{}", must.in_words(), or_nothing(changes)),
            changes: or_nothing(&changed),
        });
        Ok(())
    }

    pub(super) fn end(self) -> Report {
        Report {
            lines: self.lines,
            deliveries: self.deliveries,
            books: self.books,
            names: self.names,
        }
    }

    async fn send(&self, delivery: Delivery) -> Result<Vec<Answer>, DemoError> {
        let sender = &self.sender;
        let (body, signature) = match delivery {
            Delivery::Copies(body, copies) => return sender.deliver_copies(&body, copies).await,
            Delivery::TooLarge(body) => return Ok(vec![sender.announce(&body).await?]),
            Delivery::WhileBroken(body) => return self.send_while_broken(&body).await,
            Delivery::Unsigned(body) => (body, None),
            Delivery::Genuine(body) => with(body, |body| sender.sign(body)),
            Delivery::Forged(body) => with(body, Sender::forge),
            Delivery::Stale(body, age) => with(body, |body| sender.sign_before(body, age)),
            Delivery::Changed { signed, sent } => (sent, Some(sender.sign(&signed))),
        };
        Ok(vec![sender.deliver(&body, signature).await?])
    }

    async fn send_while_broken(&self, body: &str) -> Result<Vec<Answer>, DemoError> {
        self.pool.acquire().await?.lose_shipments().await?;
        let answer = self
            .sender
            .deliver(body, Some(self.sender.sign(body)))
            .await;
        self.pool.acquire().await?.find_shipments().await?;
        Ok(vec![answer?])
    }
}

fn with(body: String, sign: impl FnOnce(&str) -> String) -> (String, Option<String>) {
    let signature = sign(&body);
    (body, Some(signature))
}

impl Must {
    fn is_met_by(&self, answers: &[Answer]) -> bool {
        match self {
            Self::Answer(status, text) => answers
                .iter()
                .all(|answer| answer.status == *status && answer.text == *text),
            Self::ProcessOne => {
                let (processed, others): (Vec<_>, Vec<_>) =
                    answers.iter().partition(|answer| answer.is_processed());
                processed.len() == 1 && others.iter().all(|answer| answer.is_of_a_copy())
            }
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Answer(status, text) => format!("{status} {text}").trim_end().to_owned(),
            Self::ProcessOne => "1 x 200, others 200 already processed or 409".to_owned(),
        }
    }
}

impl Answer {
    fn is_processed(&self) -> bool {
        self.status == 200 && self.text.is_empty()
    }

    fn is_of_a_copy(&self) -> bool {
        self.status == 409 || (self.status == 200 && self.text == "already processed")
    }
}

/// Equal answers, which stand beside each other, are counted.
fn in_words(answers: &[Answer]) -> String {
    let several = answers.len() > 1;
    let groups = answers
        .chunk_by(|one, other| one == other)
        .filter_map(|group| {
            let Answer { status, text } = group.first()?;
            let answer = format!("{status} {text}").trim_end().to_owned();
            Some(match several {
                true => format!("{} x {answer}", group.len()),
                false => answer,
            })
        });
    groups.collect::<Vec<_>>().join("\n")
}

fn or_nothing(changes: &[impl AsRef<str>]) -> String {
    match changes {
        [] => "nothing".to_owned(),
        changes => changes
            .iter()
            .map(AsRef::as_ref)
            .collect::<Vec<_>>()
            .join("\n"),
    }
}
