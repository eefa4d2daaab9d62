use std::{mem, time::Duration};

use super::{
    DemoError,
    books::{Backstage, Books, Names},
    client::{Answer, Sender},
    events::Session,
    report::{Line, Report},
    running::Running,
};
use crate::orders::{OrderBook, Shop};

/// The shop's server, its database, and everybody who sends it something.
pub(super) struct Stage<DB: Shop> {
    part: &'static str,
    running: Running<DB>,
    books: Books,
    names: Names,
    lines: Vec<Line>,
    deliveries: usize,
}

/// How a body is sent.
pub(super) enum Delivery {
    /// Signed by Stripe, now.
    Genuine(String),
    /// All of them at once.
    AtOnce(Vec<String>),
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
    /// So many are stored, each of the others is told that it is a copy.
    Store(usize),
    /// Nobody has asked.
    NoAnswer,
}

impl<DB: Shop<Connection: Backstage>> Stage<DB> {
    pub(super) fn new(part: &'static str, running: Running<DB>) -> Self {
        Self {
            part,
            running,
            books: Books::default(),
            names: Names::default(),
            lines: Vec::new(),
            deliveries: 0,
        }
    }

    /// Begins another part, with another server on the same database.
    pub(super) async fn move_to(
        &mut self,
        part: &'static str,
        running: Running<DB>,
    ) -> Result<(), DemoError> {
        self.part = part;
        mem::replace(&mut self.running, running).stop().await
    }

    /// Places an order, and has its customer go to Stripe's checkout page.
    pub(super) async fn order(
        &mut self,
        name: &'static str,
        amount: i64,
        currency: &'static str,
    ) -> Result<Session, DemoError> {
        let order = self.running.sender.place(amount, currency).await?;
        self.names.give(order.clone(), name);
        self.books = Books::read(&self.running.pool).await?;
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
        let mut connection = self.running.pool.acquire().await?;
        let placed = connection.place(&session.order, session.amount, session.currency);
        placed.await?;
        drop(connection);
        self.names.give(session.order.clone(), name);
        self.books = Books::read(&self.running.pool).await?;
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
        let answers = vec![self.running.sender.act(event_id, action).await?];
        self.note_down(what, answers, must, changes).await
    }

    /// Has so many workers work off what is stored, and notes down what came of it.
    pub(super) async fn work(
        &mut self,
        what: &str,
        workers: usize,
        changes: &[&str],
    ) -> Result<(), DemoError> {
        self.running.work(workers).await?;
        self.note_down(what, vec![], Must::NoAnswer, changes).await
    }

    /// The same, while the shop's database is broken.
    pub(super) async fn work_while_broken(
        &mut self,
        what: &str,
        changes: &[&str],
    ) -> Result<(), DemoError> {
        let pool = &self.running.pool;
        pool.acquire().await?.lose_shipments().await?;
        let worked = self.running.work(1).await;
        pool.acquire().await?.find_shipments().await?;
        worked?;
        self.note_down(what, vec![], Must::NoAnswer, changes).await
    }

    async fn note_down(
        &mut self,
        what: &str,
        mut answers: Vec<Answer>,
        must: Must,
        changes: &[&str],
    ) -> Result<(), DemoError> {
        answers.sort();
        let books = Books::read(&self.running.pool).await?;
        let changed = books.changes_since(&self.books, &self.names);
        self.books = books;
        self.lines.push(Line {
            part: self.part,
            delivery: what.to_owned(),
            as_it_must_be: must.is_met_by(&answers) && changed == changes,
            answer: in_words(&answers),
            expected: format!("{}\n{}", must.in_words(), or_nothing(changes)),
            changes: or_nothing(&changed),
        });
        Ok(())
    }

    pub(super) async fn end(self) -> Result<Report, DemoError> {
        self.running.stop().await?;
        Ok(Report {
            lines: self.lines,
            deliveries: self.deliveries,
            books: self.books,
            names: self.names,
        })
    }

    async fn send(&self, delivery: Delivery) -> Result<Vec<Answer>, DemoError> {
        let sender = &self.running.sender;
        let (body, signature) = match delivery {
            Delivery::AtOnce(bodies) => return sender.deliver_at_once(&bodies).await,
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
        let (pool, sender) = (&self.running.pool, &self.running.sender);
        pool.acquire().await?.lose_shipments().await?;
        let answer = sender.deliver(body, Some(sender.sign(body))).await;
        pool.acquire().await?.find_shipments().await?;
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
            Self::ProcessOne => once_each(1, answers, Answer::is_processed),
            Self::Store(events) => once_each(*events, answers, Answer::is_stored),
            Self::NoAnswer => answers.is_empty(),
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Answer(status, text) => format!("{status} {text}").trim_end().to_owned(),
            Self::ProcessOne => "1 x 200, others 200 already processed or 409".to_owned(),
            Self::Store(1) => "200 stored".to_owned(),
            Self::Store(events) => {
                format!("{events} x 200 stored, others 200 already processed or 409")
            }
            Self::NoAnswer => "-".to_owned(),
        }
    }
}

/// So many are of the first kind, all others are of copies.
fn once_each(events: usize, answers: &[Answer], is_of_first: impl Fn(&Answer) -> bool) -> bool {
    let (first, others): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| is_of_first(answer));
    first.len() == events && others.iter().all(|answer| answer.is_of_a_copy())
}

impl Answer {
    fn is_stored(&self) -> bool {
        self.status == 200 && self.text == "stored"
    }

    fn is_processed(&self) -> bool {
        self.status == 200 && self.text.is_empty()
    }

    fn is_of_a_copy(&self) -> bool {
        self.status == 409 || (self.status == 200 && self.text == "already processed")
    }
}

/// Equal answers, which stand beside each other, are counted.
fn in_words(answers: &[Answer]) -> String {
    if answers.is_empty() {
        return "-".to_owned();
    }
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
