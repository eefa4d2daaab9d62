use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};

use super::LedgerSnapshot;
use crate::{MigrateError, inbox::OperationError, migrate};

/// Connections of its pool.
const CONNECTIONS: u32 = 5;

/// A database in memory with the crate's tables, of a test's own: SQLite, so nothing has to be installed.
///
/// It is gone with the last of its clones. What the service runs on in production is a different
/// database if that is Postgres; statements of its own that SQLite does not understand need a Postgres.
///
/// ```
/// use axum::{Router, http::StatusCode, routing::post};
/// use axum_stripe_webhook::{
///     EventTx, ProcessOnceLayer, SigningSecret, Verifier, testing::{SampleEvent, TestLedger},
/// };
/// use sqlx::{Sqlite, SqlitePool};
/// use tower::ServiceExt;
///
/// const SECRET: &str = "whsec_test";
///
/// fn app(pool: SqlitePool) -> Router {
///     let verifier = Verifier::new(SigningSecret::new(SECRET).expect("a secret"));
///     let layer = ProcessOnceLayer::new(pool, verifier);
///     Router::new().route("/webhooks/stripe", post(ship).route_layer(layer))
/// }
///
/// async fn ship(_tx: EventTx<Sqlite>) {}
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let ledger = TestLedger::in_memory().await?;
/// let event = SampleEvent::of("checkout.session.completed").id("evt_1");
///
/// let delivery = event.delivery("/webhooks/stripe", SECRET);
/// let response = app(ledger.pool()).oneshot(delivery).await?;
/// assert_eq!(response.status(), StatusCode::OK);
/// ledger.snapshot().await?.assert_processed("evt_1");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TestLedger {
    pool: SqlitePool,
    /// Never used: the database would be gone while the pool has no connection, as after a fault.
    _keeper: Arc<Mutex<SqliteConnection>>,
}

impl TestLedger {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// When SQLite cannot have the memory.
    pub async fn in_memory() -> Result<Self, MigrateError> {
        // A plain `:memory:` is another database for each connection, and one with a shared cache has
        // locks that nobody waits for. This one is shared, and locked as a file is.
        static LEDGERS: AtomicU64 = AtomicU64::new(1);
        let number = LEDGERS.fetch_add(1, Ordering::Relaxed);
        let options = SqliteConnectOptions::new()
            .filename(format!("/stripe-webhook-{number}"))
            .vfs("memdb")
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(5));
        let _keeper = Arc::new(Mutex::new(options.connect().await?));
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await?;
        migrate(&pool).await?;
        Ok(Self { pool, _keeper })
    }

    /// Its pool. The test makes the service's own tables with it.
    #[must_use]
    pub fn pool(&self) -> SqlitePool {
        self.pool.clone()
    }

    /// What is in it now.
    ///
    /// # Errors
    ///
    /// As [`LedgerSnapshot::of`].
    pub async fn snapshot(&self) -> Result<LedgerSnapshot, OperationError> {
        LedgerSnapshot::of(&self.pool).await
    }
}
