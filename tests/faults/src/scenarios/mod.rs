//! One file for each way in which things are broken.

mod burst;
mod clients;
mod drain;
mod inbox;
mod kill;
mod server;
mod soak;
mod sqlite;
mod wire;

use crate::{database::Database, report::Run};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) seed: u64,
    pub(crate) form: Form,
    pub(crate) minutes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Short,
    Long,
}

impl Order {
    /// A number for each form.
    pub(crate) fn pick<T>(&self, short: T, long: T) -> T {
        match self.form {
            Form::Short => short,
            Form::Long => long,
        }
    }
}

/// The names by which scenarios are run, in the order of the table.
pub(crate) const NAMES: &[&str] = &[
    "kill-postgres",
    "kill-two-postgres",
    "kill-sqlite",
    "drain",
    "wire",
    "wire-load",
    "terminated",
    "server",
    "sqlite",
    "clients",
    "burst",
    "inbox",
    "inbox-stopped",
    "inbox-poison",
    "soak",
];

/// The runs of a scenario; `None` if there is none of that name.
pub(crate) async fn run(name: &str, order: Order) -> Option<Vec<Run>> {
    Some(match name {
        "kill-postgres" => vec![kill::on_postgres(order).await],
        "kill-two-postgres" => vec![kill::two_on_postgres(order).await],
        "kill-sqlite" => vec![kill::on_sqlite(order).await],
        "drain" => vec![
            drain::drained(Database::postgres().await, order).await,
            drain::drained(Database::sqlite().await, order).await,
        ],
        "wire" => wire::at_every_message(order).await,
        "wire-load" => vec![wire::under_load(order).await],
        "terminated" => vec![server::terminated(order).await],
        "server" => server::of_its_own(order).await,
        "sqlite" => vec![
            sqlite::interrupted(order).await,
            sqlite::full(order).await,
            sqlite::write_fails(order).await,
            sqlite::commit_refused(order).await,
            sqlite::read_only(order).await,
        ],
        "clients" => vec![
            clients::rude(Database::postgres().await, order).await,
            clients::rude(Database::sqlite().await, order).await,
            clients::gone(Database::postgres().await, order).await,
            clients::gone(Database::sqlite().await, order).await,
        ],
        "burst" => vec![burst::burst(1, order).await, burst::burst(3, order).await],
        "inbox" => vec![inbox::killed(order).await],
        "inbox-stopped" => vec![inbox::stopped(order).await],
        "inbox-poison" => vec![inbox::poison(order).await],
        "soak" => vec![soak::soak(order).await],
        _ => return None,
    })
}
