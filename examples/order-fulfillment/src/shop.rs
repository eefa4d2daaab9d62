//! The shop's own routes. They carry no authentication: see the [crate's docs](crate).

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use sqlx::Pool;
use tokio::time::timeout;

use crate::{
    error::AppError,
    orders::{Order, OrderBook, Shop},
};

/// Shorter than the patience of the usual prober.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
pub(crate) struct NewOrder {
    amount: i64,
    currency: String,
}

#[derive(Serialize)]
pub(crate) struct Placed {
    id: String,
}

#[derive(Serialize)]
pub(crate) struct OrderView {
    id: String,
    amount: i64,
    currency: String,
    status: &'static str,
    amount_refunded: i64,
    shipment: Option<&'static str>,
}

/// Adds an order: before its Checkout Session is made, which carries the order's id.
pub(crate) async fn place<DB: Shop>(
    State(pool): State<Pool<DB>>,
    Json(order): Json<NewOrder>,
) -> Result<(StatusCode, Json<Placed>), AppError> {
    let currency = order.currency.to_ascii_lowercase();
    let is_code = currency.len() == 3 && currency.bytes().all(|byte| byte.is_ascii_lowercase());
    if !is_code || order.amount < 0 {
        return Err(AppError::Order);
    }
    let id = format!("ord_{:016x}", rand::random::<u64>());
    let mut connection = pool.acquire().await?;
    connection.place(&id, order.amount, &currency).await?;
    Ok((StatusCode::CREATED, Json(Placed { id })))
}

pub(crate) async fn show<DB: Shop>(
    State(pool): State<Pool<DB>>,
    Path(id): Path<String>,
) -> Result<Json<OrderView>, AppError> {
    // Postgres' `text` cannot hold it, and would fail instead of finding nothing.
    if id.contains('\0') {
        return Err(AppError::NoSuchOrder);
    }
    let order = pool.acquire().await?.order(&id).await?;
    order
        .map(|order| Json(order.into()))
        .ok_or(AppError::NoSuchOrder)
}

/// 200 if the database answers in time.
pub(crate) async fn health<DB: Shop>(
    State(pool): State<Pool<DB>>,
) -> Result<&'static str, (StatusCode, &'static str)> {
    let check = async { pool.acquire().await?.check().await };
    match timeout(HEALTH_TIME_MAX, check).await {
        Ok(Ok(())) => Ok("ok\n"),
        _ => Err((StatusCode::SERVICE_UNAVAILABLE, "database not available\n")),
    }
}

impl From<Order> for OrderView {
    fn from(order: Order) -> Self {
        Self {
            id: order.id,
            amount: order.amount,
            currency: order.currency,
            status: order.status.as_str(),
            amount_refunded: order.amount_refunded,
            shipment: order.shipment.map(|state| state.as_str()),
        }
    }
}
