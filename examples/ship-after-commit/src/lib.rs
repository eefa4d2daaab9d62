//! Effects belong after the commit. The handler calls nobody: it writes a job, in the transaction
//! that holds the event's row and the paid order. A worker does the job, and calls the carrier.
//!
//! | if | then |
//! |---|---|
//! | the transaction rolls back | there is no job |
//! | the event is delivered again | it is a duplicate: there is no second job |
//! | the carrier fails, or its answer is lost | it is asked again, with the same key |
//! | the worker dies while it asks | another one asks, with the same key |
//!
//! So the carrier is asked at least once; that it sends one parcel is its own doing, by the key.

use std::{error::Error, time::Duration};

use axum::{BoxError, Router, extract::State, http::StatusCode, response::Result, routing::post};
use axum_stripe_webhook::{EventTx, MigrateError, ProcessOnceLayer, migrate};
use graphile_worker::{
    IntoTaskHandlerResult, JobKeyMode, JobSpec, TaskHandler, Worker, WorkerContext, WorkerOptions,
    WorkerRecoveryConfig, WorkerUtils,
};
use reqwest::{Client, ClientBuilder, redirect::Policy};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, Postgres, query, raw_sql};

/// How long the carrier may take to answer. Less than the 5 s which a worker that is told to end
/// gives its jobs.
const CARRIER_TIME_MAX: Duration = Duration::from_secs(4);

/// How often the carrier is asked for one. The last time is 16 h after the first: carriers forget
/// keys, many after 24 h, and one that had sent the parcel would then send another.
const ATTEMPTS_MAX: i16 = 12;

/// Only what is used here, and optional where Stripe sends null.
#[derive(Deserialize)]
struct CheckoutSession {
    id: String,
    client_reference_id: Option<String>,
    payment_status: String,
}

/// Writes the paid order and the job that ships it. On 2xx both are committed, or neither.
///
/// # Errors
///
/// If the event's object is no checkout session, or the database fails. Stripe delivers again.
pub async fn webhook(State(jobs): State<WorkerUtils>, mut tx: EventTx<Postgres>) -> Result<()> {
    let event = tx.event().clone();
    let session: CheckoutSession = match event.event_type() {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            event.object()?
        }
        // Not a fault: on anything but 2xx Stripe would deliver it for days.
        _ => return Ok(()),
    };
    // A bank transfer is still on its way: the second type tells when it has arrived.
    if session.payment_status != "paid" {
        return Ok(());
    }
    let insert = "insert into paid (session_id, order_id) values ($1, $2) on conflict do nothing";
    let paid = query(insert)
        .bind(&session.id)
        .bind(session.client_reference_id)
        .execute(&mut *tx)
        .await
        .map_err(failed)?;
    // Another event has found this session paid, and its parcel has another key.
    if paid.rows_affected() == 0 {
        return Ok(());
    }
    let parcel = Ship {
        session_id: session.id,
        // The same whenever, and by whomever, the event is processed.
        idempotency_key: event.effect_key("ship").map_err(failed)?,
    };
    let job = parcel.as_job();
    // On the connection of the transaction, not on one of the pool that `jobs` has.
    let queued = jobs.with_executor(&mut *tx).add_job(parcel, job).await;
    queued.map_err(failed)?;
    Ok(())
}

fn failed(_: impl Error) -> StatusCode {
    StatusCode::INTERNAL_SERVER_ERROR
}

/// The job. Names alone, and no address: the queue logs what is in it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Ship {
    /// What was paid.
    pub session_id: String,
    /// Kept here as well: when the queue replaces or removes a job that runs, it clears its key.
    pub idempotency_key: String,
}

impl Ship {
    /// How it is queued. After the last attempt it stays, with its `last_error`, for somebody to look.
    ///
    /// The queue forgets a key with its job, which is deleted when it is done: after that it is the
    /// layer that adds no second one.
    #[must_use]
    pub fn as_job(&self) -> JobSpec {
        JobSpec::builder()
            .job_key(self.idempotency_key.as_str())
            // A job of this key is left alone. The default, `Replace`, adds a second job beside one
            // that runs, and both would ask the carrier.
            .job_key_mode(JobKeyMode::UnsafeDedupe)
            .max_attempts(ATTEMPTS_MAX)
            .build()
    }
}

impl TaskHandler for Ship {
    const IDENTIFIER: &'static str = "ship";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let carrier = context.get_ext::<Carrier>().ok_or("no carrier")?;
        carrier.ship(self).await
    }
}

/// The carrier's API: the client and its address.
#[derive(Clone, Debug)]
pub struct Carrier(Client, String);

impl Carrier {
    /// The carrier at this address. `https` needs one of reqwest's TLS features, such as `rustls`.
    ///
    /// # Errors
    ///
    /// If the client cannot be built.
    pub fn new(client: ClientBuilder, base: String) -> reqwest::Result<Self> {
        // A redirect could make it a GET, which is answered 200 and sends nothing.
        let client = client.redirect(Policy::none()).timeout(CARRIER_TIME_MAX);
        Ok(Self(client.build()?, base))
    }

    /// An error stands in the job's `last_error`, and has the carrier asked again.
    async fn ship(&self, parcel: Ship) -> Result<(), BoxError> {
        let Self(client, base) = self;
        let request = client
            .post(format!("{base}/parcels"))
            .header("idempotency-key", parcel.idempotency_key)
            .body(parcel.session_id);
        // Without the address, which could hold a token.
        let answer = request.send().await.map_err(reqwest::Error::without_url)?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("the carrier answered {status}").into()),
        }
    }
}

/// The worker's settings; `init` makes its tables, which the handler needs too.
///
/// The pool should be of the handler's role, because those tables are under row-level security,
/// which only their owner is above; and not the layer's own, because the worker keeps a connection.
#[must_use]
pub fn worker(pool: PgPool, carrier: Carrier) -> WorkerOptions {
    Worker::options()
        .pg_pool(pool)
        // Off by default, and then a job of a worker that died is never run again; so, it is after
        // five minutes.
        .worker_recovery(WorkerRecoveryConfig::default().enabled(true))
        .add_extension(carrier)
        .define_job::<Ship>()
}

/// The service, for jobs of a worker that is initialised.
pub fn app(once: ProcessOnceLayer<Postgres>, jobs: WorkerUtils) -> Router {
    Router::new()
        .route("/webhooks/stripe", post(webhook).route_layer(once))
        .with_state(jobs)
}

/// Makes the tables of the layer and of the service.
///
/// # Errors
///
/// If the database fails, or its tables are of a newer version.
pub async fn prepare(pool: &PgPool) -> Result<(), MigrateError> {
    migrate(pool).await?;
    raw_sql("create table if not exists paid (session_id text primary key, order_id text)")
        .execute(pool)
        .await?;
    Ok(())
}
