//! A service that is told to end: it finishes what it has begun, and nothing else is begun.

use std::time::Duration;

use super::{Order, kill::traffic};
use crate::{database::Database, report::Run, sender::Traffic, service::Settings, stage::Stage};

/// Under load, again and again. No handler fails, so that each one that has begun must be committed
/// when the service has ended, although many a client has left.
pub(crate) async fn drained(database: Database, order: Order) -> Run {
    let settings = Settings {
        pause_percent: 50,
        pause_ms_max: 80,
        remembers_begun: true,
        // Or one could run out of time behind the others on a slow machine.
        handler_time_max: Duration::from_secs(10),
        ..Settings::new(&database.address, order.seed).calm()
    };
    let traffic = Traffic {
        rude_per_mille: 600,
        // Or everything else would have ended long before them.
        stops_per_mille: 0,
        ..traffic(order)
    };
    let mut stage = Stage::open("ends when told", database, traffic, vec![settings]).await;
    for _ in 0..order.pick(5, 60) {
        stage.run_for(1..order.pick(250, 400)).await;
        stage.end_service().await;
    }
    stage.close().await
}
