//! The shop's statements, one function each, written once for both databases.

use std::future::Future;

use axum_stripe_webhook::Ledger;
use sqlx::{PgConnection, SqliteConnection, query, query_as, query_scalar};

use crate::{
    rows::{OrderRow, PaymentRow},
    states::{IntentStatus, OrderStatus, Outcome, ShipmentState},
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

    /// Takes a session down, to be looked at until it is known what it was good for; one that was
    /// taken down before stays as it is. Gives back what is known of it.
    ///
    /// It locks the session's row until the transaction ends: no other event of the same session can
    /// have it pay an order meanwhile.
    fn take_down(
        &mut self,
        payment: &Payment,
    ) -> impl Future<Output = sqlx::Result<Outcome>> + Send;

    /// Has a payment pay its order, if the order is still to be paid, amount and currency are the
    /// order's, and the payment intent has paid no order yet. False: nothing was changed.
    ///
    /// One statement, so that of two sessions which pay at the same moment one gets the order. Of
    /// two orders that one payment intent would pay one gets it, because [`note`](Self::note) has
    /// locked the intent. The currency does not matter to an order over nothing.
    fn settle(
        &mut self,
        payment: &Payment,
        status: OrderStatus,
    ) -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// Writes down what a session was good for that [`take_down`](Self::take_down) has locked. What
    /// is to be refunded stays so, unless it is accepted.
    fn conclude(
        &mut self,
        payment: &Payment,
        outcome: Outcome,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Forgets a session that took no money and paid no order.
    fn forget(&mut self, session_id: &str) -> impl Future<Output = sqlx::Result<()>> + Send;

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

    /// Whether a payment intent has paid an order.
    fn has_paid(&mut self, payment_intent: &str)
    -> impl Future<Output = sqlx::Result<bool>> + Send;

    /// The status of an order.
    fn status(
        &mut self,
        order_id: &str,
    ) -> impl Future<Output = sqlx::Result<Option<OrderStatus>>> + Send;

    /// An order as it stands.
    fn order(&mut self, id: &str) -> impl Future<Output = sqlx::Result<Option<Order>>> + Send;

    /// Orders by their id, at most [`PAGE`] of them.
    fn orders(&mut self) -> impl Future<Output = sqlx::Result<Vec<Order>>> + Send;

    /// Payments by their session, at most [`PAGE`] of them, and what each was good for.
    fn payments(&mut self) -> impl Future<Output = sqlx::Result<Vec<(Payment, Outcome)>>> + Send;

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

            async fn settle(
                &mut self,
                payment: &Payment,
                status: OrderStatus,
            ) -> sqlx::Result<bool> {
                let settled = query(
                    "update orders set status = $1, payment_intent = $2
                     where id = $3 and amount = $4 and (currency = $5 or amount = 0)
                        and status in ('pending', 'expired')
                        and not exists (select 1 from orders where payment_intent = $2)",
                )
                .bind(status.as_str())
                .bind(&payment.payment_intent)
                .bind(&payment.order_id)
                .bind(payment.amount)
                .bind(&payment.currency)
                .execute(self)
                .await?;
                Ok(settled.rows_affected() == 1)
            }

            async fn take_down(&mut self, payment: &Payment) -> sqlx::Result<Outcome> {
                let outcome: String = query_scalar(
                    "insert into payments
                        (session_id, order_id, payment_intent, amount, currency, outcome)
                     values ($1, $2, $3, $4, $5, 'to_review')
                     on conflict (session_id) do update set outcome = payments.outcome
                     returning outcome",
                )
                .bind(&payment.session_id)
                .bind(&payment.order_id)
                .bind(&payment.payment_intent)
                .bind(payment.amount)
                .bind(&payment.currency)
                .fetch_one(self)
                .await?;
                Outcome::read(&outcome)
            }

            async fn conclude(&mut self, payment: &Payment, outcome: Outcome) -> sqlx::Result<()> {
                query(
                    "update payments set order_id = $2, payment_intent = $3, amount = $4,
                        currency = $5, outcome = $6
                     where session_id = $1 and (outcome = 'to_review' or $6 = 'accepted')",
                )
                .bind(&payment.session_id)
                .bind(&payment.order_id)
                .bind(&payment.payment_intent)
                .bind(payment.amount)
                .bind(&payment.currency)
                .bind(outcome.as_str())
                .execute(self)
                .await?;
                Ok(())
            }

            async fn forget(&mut self, session_id: &str) -> sqlx::Result<()> {
                query(
                    "delete from payments
                     where session_id = $1 and outcome = 'to_review' and amount = 0",
                )
                .bind(session_id)
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

            async fn has_paid(&mut self, payment_intent: &str) -> sqlx::Result<bool> {
                let order: Option<String> =
                    query_scalar("select id from orders where payment_intent = $1")
                        .bind(payment_intent)
                        .fetch_optional(self)
                        .await?;
                Ok(order.is_some())
            }

            async fn status(&mut self, order_id: &str) -> sqlx::Result<Option<OrderStatus>> {
                let status: Option<String> =
                    query_scalar("select status from orders where id = $1")
                        .bind(order_id)
                        .fetch_optional(self)
                        .await?;
                status.as_deref().map(OrderStatus::read).transpose()
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

            async fn payments(&mut self) -> sqlx::Result<Vec<(Payment, Outcome)>> {
                let rows: Vec<PaymentRow> = query_as(
                    "select session_id, order_id, payment_intent, amount, currency, outcome
                     from payments
                     order by session_id
                     limit $1",
                )
                .bind(PAGE)
                .fetch_all(self)
                .await?;
                rows.into_iter().map(Payment::read).collect()
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
