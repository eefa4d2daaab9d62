//! The rows of the shop, and what has changed between two looks at them.

use std::future::Future;

use sqlx::{PgConnection, Pool, SqliteConnection, query_as, raw_sql};

use crate::{
    orders::{Order, OrderBook, PAGE, Payment, Shop},
    states::IntentStatus,
};

/// The rows at one moment.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) orders: Vec<Order>,
    pub(super) refunds_due: Vec<Payment>,
    pub(super) early_notes: Vec<(String, IntentStatus)>,
    /// Ids of events, and why each was kept.
    pub(super) kept: Vec<(String, String)>,
    /// Ids of events that a worker is to run.
    pending: Vec<String>,
    /// Ids of events that no worker tries any more, and how often they were tried.
    dead: Vec<(String, String)>,
}

/// What the demo does behind the server's back.
pub(super) trait Backstage {
    /// The events that were kept, by their id.
    fn kept(&mut self) -> impl Future<Output = sqlx::Result<Vec<(String, String)>>> + Send;

    /// The events that are in this state, by their id, and how often they were tried.
    fn stored(
        &mut self,
        state: &'static str,
    ) -> impl Future<Output = sqlx::Result<Vec<(String, String)>>> + Send;

    /// Takes the table of the shipments away, as a mistake in a migration might.
    fn lose_shipments(&mut self) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Puts it back.
    fn find_shipments(&mut self) -> impl Future<Output = sqlx::Result<()>> + Send;
}

macro_rules! backstage {
    ($connection:ty) => {
        impl Backstage for $connection {
            async fn kept(&mut self) -> sqlx::Result<Vec<(String, String)>> {
                let rows = query_as(
                    "select event_id, replace(last_error, 'handler_', '') from stripe_inbox
                     where state = 'quarantined'
                     order by event_id
                     limit $1",
                );
                rows.bind(PAGE).fetch_all(self).await
            }

            async fn stored(&mut self, state: &'static str) -> sqlx::Result<Vec<(String, String)>> {
                let rows = query_as(
                    "select event_id, cast(attempts as text) from stripe_inbox
                     where state = $1
                     order by event_id
                     limit $2",
                );
                rows.bind(state).bind(PAGE).fetch_all(self).await
            }

            async fn lose_shipments(&mut self) -> sqlx::Result<()> {
                let statement = raw_sql("alter table shipments rename to shipments_lost");
                statement.execute(self).await.map(drop)
            }

            async fn find_shipments(&mut self) -> sqlx::Result<()> {
                let statement = raw_sql("alter table shipments_lost rename to shipments");
                statement.execute(self).await.map(drop)
            }
        }
    };
}

backstage!(PgConnection);
backstage!(SqliteConnection);

impl Books {
    pub(super) async fn read<DB>(pool: &Pool<DB>) -> sqlx::Result<Self>
    where
        DB: Shop<Connection: Backstage>,
    {
        let mut connection = pool.acquire().await?;
        Ok(Self {
            orders: connection.orders().await?,
            refunds_due: connection.refunds_due().await?,
            early_notes: connection.early_notes().await?,
            kept: connection.kept().await?,
            pending: ids(connection.stored("pending").await?),
            dead: connection.stored("dead").await?,
        })
    }

    /// In words, what is different from before.
    pub(super) fn changes_since(&self, before: &Self, names: &Names) -> Vec<String> {
        let orders = self.orders.iter().filter_map(|order| {
            let earlier = before.orders.iter().find(|earlier| earlier.id == order.id);
            order_change(earlier, order, names.of(&order.id))
        });
        let mut orders: Vec<_> = orders.collect();
        // By the name that each begins with: the ids are random.
        orders.sort();
        let due = added(&before.refunds_due, &self.refunds_due);
        let notes = added(&before.early_notes, &self.early_notes);
        let kept = added(&before.kept, &self.kept);
        let kept_no_longer = added(&self.kept, &before.kept);
        let dead = added(&before.dead, &self.dead);
        let dead_no_longer = added(&self.dead, &before.dead);
        orders
            .into_iter()
            .chain(due.map(|payment| format!("refund due of {}", payment.session_id)))
            .chain(notes.map(|(id, status)| format!("{id} noted as {}", status.as_str())))
            .chain(kept.map(|(_, reason)| format!("event kept: {reason}")))
            .chain(kept_no_longer.map(|_| "event no longer kept".to_owned()))
            .chain(dead.map(|(_, attempts)| format!("event dead after {attempts} attempts")))
            .chain(dead_no_longer.map(|_| "event no longer dead".to_owned()))
            .chain(counted(&before.pending, &self.pending, "pending"))
            .chain(counted(&self.pending, &before.pending, "no longer pending"))
            .collect()
    }
}

fn ids(events: Vec<(String, String)>) -> Vec<String> {
    events.into_iter().map(|(id, _)| id).collect()
}

/// A burst is told in one line.
fn counted(before: &[String], after: &[String], what: &str) -> Option<String> {
    match added(before, after).count() {
        0 => None,
        1 => Some(format!("event {what}")),
        several => Some(format!("{several} events {what}")),
    }
}

fn added<'a, T: PartialEq>(before: &'a [T], after: &'a [T]) -> impl Iterator<Item = &'a T> {
    after.iter().filter(|row| !before.contains(row))
}

/// Short names for the orders' ids.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(String, &'static str)>);

impl Names {
    pub(super) fn give(&mut self, id: String, name: &'static str) {
        self.0.push((id, name));
    }

    pub(super) fn of(&self, id: &str) -> &'static str {
        let named = self.0.iter().find(|(named, _)| named == id);
        named.map_or("-", |(_, name)| name)
    }
}

/// One line for each order that has changed.
fn order_change(before: Option<&Order>, after: &Order, name: &str) -> Option<String> {
    let Some(before) = before else {
        return Some(format!("{name}: placed"));
    };
    let status = (before.status != after.status)
        .then(|| format!("{} -> {}", before.status.as_str(), after.status.as_str()));
    let refund = (before.amount_refunded != after.amount_refunded)
        .then(|| format!("{} back", money(after.amount_refunded, &after.currency)));
    let shipment = after
        .shipment
        .filter(|_| before.shipment != after.shipment)
        .map(|state| format!("parcel {}", state.as_str()));
    let changes: Vec<_> = [status, refund, shipment].into_iter().flatten().collect();
    (!changes.is_empty()).then(|| format!("{name}: {}", changes.join(", ")))
}

/// The demo's currencies all have cents.
pub(super) fn money(cents: i64, currency: &str) -> String {
    let (whole, rest) = (cents / 100, cents % 100);
    format!("{whole}.{rest:02} {}", currency.to_uppercase())
}
