//! ```sh
//! DATABASE_URL=postgres://… STRIPE_WEBHOOK_SECRET=whsec_… CARRIER_URL=http://127.0.0.1:4000 \
//!     cargo run -p ship-after-commit
//! ```

use std::{env, error::Error, future::IntoFuture};

use axum_stripe_webhook::{ProcessOnceLayer, SigningSecret, Verifier};
use ship_after_commit::{Carrier, app, prepare, worker};
use sqlx::PgPool;
use tokio::{net::TcpListener, sync::oneshot};

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let verifier = Verifier::new(SigningSecret::from_env("STRIPE_WEBHOOK_SECRET")?);
    let carrier = Carrier::new(reqwest::Client::builder(), variable("CARRIER_URL")?)?;
    let url = variable("DATABASE_URL")?;
    let pool = PgPool::connect(&url).await?;
    prepare(&pool).await?;
    let worker = worker(PgPool::connect(&url).await?, carrier).init().await?;
    let once = ProcessOnceLayer::new(pool, verifier);
    let app = app(once.clone(), worker.create_utils());
    let address = variable("BIND_ADDRESS").unwrap_or("127.0.0.1:3000".into());
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving");

    // The worker ends when the process is told to, by SIGINT or SIGTERM, and when its database
    // fails. Then the server ends too: whoever starts the process again starts both.
    let (ending, ended) = oneshot::channel::<()>();
    let work = async {
        let worked = worker.run().await;
        drop(ending);
        worked
    };
    let serve = axum::serve(listener, app)
        .with_graceful_shutdown(async { ended.await.unwrap_or_default() })
        .into_future();
    let (worked, served) = tokio::join!(work, serve);
    // Deliveries whose client has gone are still running.
    once.drain().await;
    worked?;
    Ok(served?)
}
