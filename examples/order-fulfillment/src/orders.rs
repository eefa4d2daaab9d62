//! The shop's statements, one function each, written once for both databases.

use std::future::Future;

use axum_stripe_webhook::Ledger;
use sqlx::{PgConnection, SqliteConnection, query, query_as, query_scalar};

use crate::{
    rows::{OrderRow, PaymentRow},
    states::{IntentStatus, OrderStatus, ShipmentState},
};

pub use crate::rows::{Order, Payment};

/// A database that the shop runs on: Postgres or SQLite.
pub trait Shop: Ledger<Connection: OrderBook> {}

impl<DB: Ledger<Connection: OrderBook>> Shop for DB {}

/// How many rows a listing has at most.
pub const PAGE: i64 = 100;

/// The statements. Each runs on a connection: alone, or in the transaction of an event.
///
/// sqlx has no readable bound for "a connection of either database", so the bodies are written in a
/// macro that is expanded for each; callers see a plain trait. `$1` is understood by both.
pub trait OrderBook: Send {
    /// Adds an order, which nobody has paid yet.
    fn place(
        &mut self,
        id: &str,
        amount: i64,
        currency: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Adds to what is known of a payment, and gives back the sum of it: of two statuses the later
    /// one of [`IntentStatus`], of two amounts the larger. So the order of events does not matter.
    ///
    /// It locks the payment's row until the transaction ends, which makes two events about the
    /// same payment wait for each other: neither can miss what the other one writes.
    fn note(
        &mut self,
        payment_intent: &str,
        status: IntentStatus,
        amount_refunded: i64,
    ) -> impl Future<Output = sqlx::Result<IntentStatus>> + Send;

    /// Whether a payment intent has paid an order, or is to go back. The answer stands until the
    /// transaction ends if [`note`](Self::note) has locked the intent.
    fn is_spent(&mut self, payment_intent: &str)
    -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// Locks the order of a payment until the transaction ends: of two sessions that pay it at the
    /// same moment, the second one finds what the first one has made of it.
    ///
    /// Gives back its status, and whether amount and currency of the payment are the order's. The
    /// currency does not matter to an order over nothing.
    fn lock(
        &mut self,
        payment: &Payment,
    ) -> impl Future<Output = sqlx::Result<Option<(OrderStatus, bool)>>> + Send;

    /// Has a payment pay its order, which [`lock`](Self::lock) has found open.
    fn settle(
        &mut self,
        payment: &Payment,
        status: OrderStatus,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Writes down that a payment has to go back, because its order was paid by another one.
    fn owe(&mut self, payment: &Payment) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Hands an order to the warehouse.
    fn ship(
        &mut self,
        order_id: &str,
        state: ShipmentState,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Marks an order that nobody has paid yet as expired.
    fn expire(&mut self, order_id: &str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Gives the order of a payment, if there is one, the status that the payment now has.
    fn restate(
        &mut self,
        payment_intent: &str,
        status: OrderStatus,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Holds the parcel of a payment's order back, if there is one and it has not left.
    fn hold(&mut self, payment_intent: &str) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// An order as it stands.
    fn order(&mut self, id: &str) -> impl Future<Output = sqlx::Result<Option<Order>>> + Send;

    /// Orders by their id, at most [`PAGE`] of them.
    fn orders(&mut self) -> impl Future<Output = sqlx::Result<Vec<Order>>> + Send;

    /// Payments that have to go back, by their session, at most [`PAGE`] of them. One that was
    /// refunded is not there any more, nor one that was disputed: the bank takes that back.
    fn refunds_due(&mut self) -> impl Future<Output = sqlx::Result<Vec<Payment>>> + Send;

    /// What was said of payments before they came, by their id, at most [`PAGE`] of them.
    fn early_notes(
        &mut self,
    ) -> impl Future<Output = sqlx::Result<Vec<(String, IntentStatus)>>> + Send;

    /// Fails unless the shop's tables can be read.
    fn check(&mut self) -> impl Future<Output = sqlx::Result<()>> + Send;
}

macro_rules! order_book_of {
    ($connection:ty) => {
        impl OrderBook for $connection {
            async fn place(&mut self, id: &str, amount: i64, currency: &str) -> sqlx::Result<()> {
                query(
                    "insert into orders (id, amount, currency, status)
                     values ($1, $2, $3, 'pending')",
                )
                .bind(id)
                .bind(amount)
                .bind(currency)
                .execute(self)
                .await?;
                Ok(())
            }

            async fn note(
                &mut self,
                payment_intent: &str,
                status: IntentStatus,
                amount_refunded: i64,
            ) -> sqlx::Result<IntentStatus> {
                let status: String = query_scalar(
                    "insert into payment_intents (id, status, amount_refunded)
                     values ($1, $2, $3)
                     on conflict (id) do update set
                        status = case
                            when 'disputed' in (payment_intents.status, excluded.status)
                                then 'disputed'
                            when 'refunded' in (payment_intents.status, excluded.status)
                                then 'refunded'
                            else 'clear'
                        end,
                        amount_refunded = case
                            when payment_intents.amount_refunded > excluded.amount_refunded
                                then payment_intents.amount_refunded
                            else excluded.amount_refunded
                        end
                     returning status",
                )
                .bind(payment_intent)
                .bind(status.as_str())
                .bind(amount_refunded)
                .fetch_one(self)
                .await?;
                IntentStatus::read(&status)
            }

            async fn is_spent(&mut self, payment_intent: &str) -> sqlx::Result<bool> {
                query_scalar(
                    "select exists (select 1 from orders where payment_intent = $1)
                        or exists (select 1 from refunds_due where payment_intent = $1)",
                )
                .bind(payment_intent)
                .fetch_one(self)
                .await
            }

            async fn lock(
                &mut self,
                payment: &Payment,
            ) -> sqlx::Result<Option<(OrderStatus, bool)>> {
                // SQLite has no `select … for update`.
                let row: Option<(String, bool)> = query_as(
                    "update orders set status = status where id = $1
                     returning status,
                        amount = $2 and (amount = 0 or currency = coalesce($3, ''))",
                )
                .bind(&payment.order_id)
                .bind(payment.amount)
                .bind(&payment.currency)
                .fetch_optional(self)
                .await?;
                row.map(|(status, fits)| Ok((OrderStatus::read(&status)?, fits)))
                    .transpose()
            }

            async fn settle(&mut self, payment: &Payment, status: OrderStatus) -> sqlx::Result<()> {
                query("update orders set status = $1, payment_intent = $2 where id = $3")
                    .bind(status.as_str())
                    .bind(&payment.payment_intent)
                    .bind(&payment.order_id)
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn owe(&mut self, payment: &Payment) -> sqlx::Result<()> {
                query(
                    "insert into refunds_due
                        (session_id, order_id, payment_intent, amount, currency)
                     values ($1, $2, $3, $4, $5)",
                )
                .bind(&payment.session_id)
                .bind(&payment.order_id)
                .bind(&payment.payment_intent)
                .bind(payment.amount)
                .bind(&payment.currency)
                .execute(self)
                .await?;
                Ok(())
            }

            async fn ship(&mut self, order_id: &str, state: ShipmentState) -> sqlx::Result<()> {
                query("insert into shipments (order_id, state) values ($1, $2)")
                    .bind(order_id)
                    .bind(state.as_str())
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn expire(&mut self, order_id: &str) -> sqlx::Result<()> {
                query("update orders set status = 'expired' where id = $1 and status = 'pending'")
                    .bind(order_id)
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn restate(
                &mut self,
                payment_intent: &str,
                status: OrderStatus,
            ) -> sqlx::Result<()> {
                query("update orders set status = $1 where payment_intent = $2")
                    .bind(status.as_str())
                    .bind(payment_intent)
                    .execute(self)
                    .await?;
                Ok(())
            }

            async fn hold(&mut self, payment_intent: &str) -> sqlx::Result<()> {
                query(
                    "update shipments set state = 'held'
                     where state = 'pending'
                        and order_id in (select id from orders where payment_intent = $1)",
                )
                .bind(payment_intent)
                .execute(self)
                .await?;
                Ok(())
            }

            async fn order(&mut self, id: &str) -> sqlx::Result<Option<Order>> {
                let row: Option<OrderRow> = query_as(
                    "select o.id, o.amount, o.currency, o.status,
                        coalesce(p.amount_refunded, 0), s.state
                     from orders o
                        left join payment_intents p on p.id = o.payment_intent
                        left join shipments s on s.order_id = o.id
                     where o.id = $1",
                )
                .bind(id)
                .fetch_optional(self)
                .await?;
                row.map(Order::read).transpose()
            }

            async fn orders(&mut self) -> sqlx::Result<Vec<Order>> {
                let rows: Vec<OrderRow> = query_as(
                    "select o.id, o.amount, o.currency, o.status,
                        coalesce(p.amount_refunded, 0), s.state
                     from orders o
                        left join payment_intents p on p.id = o.payment_intent
                        left join shipments s on s.order_id = o.id
                     order by o.id
                     limit $1",
                )
                .bind(PAGE)
                .fetch_all(self)
                .await?;
                rows.into_iter().map(Order::read).collect()
            }

            async fn refunds_due(&mut self) -> sqlx::Result<Vec<Payment>> {
                let rows: Vec<PaymentRow> = query_as(
                    "select session_id, order_id, payment_intent, r.amount, currency
                     from refunds_due r left join payment_intents p on p.id = payment_intent
                     where coalesce(p.status, 'clear') = 'clear'
                     order by session_id
                     limit $1",
                )
                .bind(PAGE)
                .fetch_all(self)
                .await?;
                Ok(rows.into_iter().map(Payment::from).collect())
            }

            async fn early_notes(&mut self) -> sqlx::Result<Vec<(String, IntentStatus)>> {
                let rows: Vec<(String, String)> = query_as(
                    "select id, status from payment_intents
                     where status <> 'clear'
                        and not exists (select 1 from orders
                            where payment_intent = payment_intents.id)
                     order by id
                     limit $1",
                )
                .bind(PAGE)
                .fetch_all(self)
                .await?;
                let notes = rows.into_iter();
                notes
                    .map(|(id, status)| Ok((id, IntentStatus::read(&status)?)))
                    .collect()
            }

            async fn check(&mut self) -> sqlx::Result<()> {
                query("select id from orders limit 1").execute(self).await?;
                Ok(())
            }
        }
    };
}

order_book_of!(PgConnection);
order_book_of!(SqliteConnection);
