//! `kill -9` of the service at random moments under load.

use super::Order;
use crate::{database::Database, report::Run, sender::Traffic, service::Settings, stage::Stage};

pub(crate) async fn on_postgres(order: Order) -> Run {
    let database = Database::postgres().await;
    let services = vec![Settings::new(&database.address, order.seed)];
    killed("kill -9 of the service", database, services, order).await
}

pub(crate) async fn two_on_postgres(order: Order) -> Run {
    let database = Database::postgres().await;
    let services = vec![Settings::new(&database.address, order.seed); 2];
    killed("kill -9 of one of two services", database, services, order).await
}

pub(crate) async fn on_sqlite(order: Order) -> Run {
    let database = Database::sqlite().await;
    let services = vec![Settings::new(&database.address, order.seed)];
    killed("kill -9 of the service", database, services, order).await
}

async fn killed(
    scenario: &'static str,
    database: Database,
    services: Vec<Settings>,
    order: Order,
) -> Run {
    let mut stage = Stage::open(scenario, database, traffic(order), services).await;
    for _ in 0..order.pick(15, 400) {
        stage.run_for(1..order.pick(250, 400)).await;
        stage.kill().await;
    }
    stage.close().await
}

pub(crate) fn traffic(order: Order) -> Traffic {
    Traffic {
        connections: 24,
        seed: order.seed,
        rude_per_mille: 30,
        stops_per_mille: 1,
    }
}
