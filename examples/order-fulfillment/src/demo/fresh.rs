use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions, raw_sql};

/// A Postgres database for one demo.
pub(super) struct FreshDatabase {
    server: PgConnection,
    name: String,
    options: PgConnectOptions,
}

impl FreshDatabase {
    pub(super) async fn create(options: &PgConnectOptions) -> sqlx::Result<Self> {
        let mut server = PgConnection::connect_with(options).await?;
        let name = format!("order_fulfillment_demo_{:016x}", rand::random::<u64>());
        raw_sql(AssertSqlSafe(format!("create database {name}")))
            .execute(&mut server)
            .await?;
        Ok(Self {
            server,
            options: options.clone().database(&name),
            name,
        })
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// `force`, because an interrupted demo leaves connections behind.
    pub(super) async fn drop(mut self) -> sqlx::Result<()> {
        let drop = format!("drop database {} with (force)", self.name);
        raw_sql(AssertSqlSafe(drop))
            .execute(&mut self.server)
            .await?;
        self.server.close().await
    }
}
