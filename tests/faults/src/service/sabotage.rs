//! What goes wrong inside SQLite, by its own hooks.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};

use sqlx::{AssertSqlSafe, PgConnection, SqliteConnection, raw_sql};

/// Progress steps are counted, and one is interrupted: of the statements before the handler, which
/// are BEGIN and the claim, or of the handler's own. The crate's hooks are on the connection in
/// between, and from the last statement to COMMIT there are none.
pub(crate) struct Sabotage {
    in_handler: AtomicBool,
    ever: AtomicBool,
    /// Counted since it was armed.
    steps: AtomicI64,
    /// Zero for none.
    interrupted: AtomicI64,
    /// Zero for no limit.
    pages_max: AtomicI64,
}

pub(crate) static SABOTAGE: Sabotage = Sabotage {
    in_handler: AtomicBool::new(false),
    ever: AtomicBool::new(false),
    steps: AtomicI64::new(0),
    interrupted: AtomicI64::new(0),
    pages_max: AtomicI64::new(0),
};

/// SQLite's own default.
const PAGES_MAX: i64 = 0xFFFF_FFFE;

pub(crate) trait Interruptible: Send {
    fn interrupt(&mut self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Interruptible for PgConnection {
    async fn interrupt(&mut self) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

impl Interruptible for SqliteConnection {
    async fn interrupt(&mut self) -> Result<(), sqlx::Error> {
        self.lock_handle()
            .await?
            .set_progress_handler(1, || SABOTAGE.step());
        Ok(())
    }
}

impl Sabotage {
    /// Interrupts that step; zero: none. The steps counted until now.
    pub(crate) fn arm(&self, in_handler: bool, ever: bool, step: i64) -> i64 {
        self.in_handler.store(in_handler, SeqCst);
        self.ever.store(ever, SeqCst);
        self.interrupted.store(step, SeqCst);
        self.steps.swap(0, SeqCst)
    }

    pub(crate) fn limit_pages(&self, max: i64) {
        self.pages_max.store(max, SeqCst);
    }

    pub(crate) async fn before_delivery(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<(), sqlx::Error> {
        // A limit below the file's size is one at its size.
        let pages = match self.pages_max.load(SeqCst) {
            0 => PAGES_MAX,
            max => max,
        };
        let limit = AssertSqlSafe(format!("pragma max_page_count = {pages}"));
        raw_sql(limit).execute(&mut *connection).await?;
        match self.in_handler.load(SeqCst) {
            true => Ok(()),
            false => connection.interrupt().await,
        }
    }

    pub(crate) async fn before_statements_of_the_handler(
        &self,
        connection: &mut impl Interruptible,
    ) -> Result<(), sqlx::Error> {
        match self.in_handler.load(SeqCst) {
            true => connection.interrupt().await,
            false => Ok(()),
        }
    }

    /// Whether to go on.
    fn step(&self) -> bool {
        let step = self.steps.fetch_add(1, SeqCst) + 1;
        let interrupted = self.interrupted.load(SeqCst);
        match self.ever.load(SeqCst) {
            _ if interrupted == 0 => true,
            true => step < interrupted,
            false => step != interrupted,
        }
    }
}
