//! The rows of the shop, and what has changed between two looks at them.

use std::future::Future;

use sqlx::{PgConnection, Pool, SqliteConnection, raw_sql};

use crate::{
    orders::{Order, OrderBook, Payment, Shop},
    states::{IntentStatus, Outcome},
};

/// The rows at one moment.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) orders: Vec<Order>,
    pub(super) payments: Vec<(Payment, Outcome)>,
    pub(super) early_notes: Vec<(String, IntentStatus)>,
}

/// What the demo breaks on purpose.
pub(super) trait Breakable {
    /// Takes the table of the shipments away, as a mistake in a migration might.
    fn lose_shipments(&mut self) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Puts it back.
    fn find_shipments(&mut self) -> impl Future<Output = sqlx::Result<()>> + Send;
}

macro_rules! breakable {
    ($connection:ty) => {
        impl Breakable for $connection {
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

breakable!(PgConnection);
breakable!(SqliteConnection);

impl Books {
    pub(super) async fn read<DB: Shop>(pool: &Pool<DB>) -> sqlx::Result<Self> {
        let mut connection = pool.acquire().await?;
        Ok(Self {
            orders: connection.orders().await?,
            payments: connection.payments().await?,
            early_notes: connection.early_notes().await?,
        })
    }

    /// In words, what is different from before.
    pub(super) fn changes_since(&self, before: &Self, names: &Names) -> Vec<String> {
        let orders = self.orders.iter().filter_map(|order| {
            let earlier = before.orders.iter().find(|earlier| earlier.id == order.id);
            order_change(earlier, order, names.of(&order.id))
        });
        let payments = self
            .payments
            .iter()
            .filter(|payment| !before.payments.contains(payment));
        let notes = self
            .early_notes
            .iter()
            .filter(|note| !before.early_notes.contains(note));
        orders
            .chain(payments.map(|(_, outcome)| format!("payment {}", outcome.as_str())))
            .chain(notes.map(|(id, status)| format!("{id} noted as {}", status.as_str())))
            .collect()
    }
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
