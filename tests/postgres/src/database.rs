//! One database for one test.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::server::{self, Server};

/// What the name of every [`TestDatabase`] starts with.
pub(crate) const PREFIX: &str = "asw_test_";

/// A database of its own for one test; dropped with the value.
///
/// On a server that the run started itself the database stays until the server goes.
#[derive(Debug)]
#[must_use = "the database is dropped with the value"]
pub struct TestDatabase {
    server: &'static Server,
    name: String,
    url: String,
}

impl TestDatabase {
    /// Creates an empty database, encoded in UTF-8 and sorted by bytes, on the shared server.
    ///
    /// # Panics
    ///
    /// If there is no server, see [`server_url`](crate::server_url), or it refuses the database.
    pub async fn create() -> Self {
        let server = server::shared();
        match create(&server.url).await {
            Ok(name) => Self {
                server,
                url: with_database(&server.url, &name),
                name,
            },
            Err(error) => server::unusable(&format!("a test's database was refused: {error}")),
        }
    }

    /// The URL of the database, `postgres://…/name`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The name, `asw_test_<seconds since 1970>_<process id>_<counter>`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.server.is_given() {
            let _swept_by_a_later_run_if_it_fails =
                server::block_on(drop_database(&self.server.url, &self.name));
        }
    }
}

/// Drops a database, however many connections there are to it.
pub(crate) async fn drop_database(server_url: &str, name: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(server_url).await?;
    let sql = format!(r#"drop database if exists "{name}" with (force)"#);
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await?;
    connection.close().await
}

async fn create(server_url: &str) -> sqlx::Result<String> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);

    let mut connection = PgConnection::connect(server_url).await?;
    // The server's clock, because the age of leftovers is measured by it too.
    let seconds: i64 = sqlx::query_scalar("select extract(epoch from now())::bigint")
        .fetch_one(&mut connection)
        .await?;
    let counter = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{PREFIX}{seconds}_{}_{counter}", process::id());
    // template0, because others may be connected to template1, which refuses the copy (55006);
    // encoding and order are given, because every server has its own defaults.
    let sql = format!(
        r#"create database "{name}" template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C'"#
    );
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(name)
}

/// The URL with another database; everything else stays, such as the query `sslmode=require`.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = base.split_once("://").unwrap_or(("postgres", base));
    let authority = rest.split('/').next().unwrap_or_default();
    let mut url = format!("{scheme}://{authority}/{name}");
    let mut separator = '?';
    for pair in query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("dbname="))
    {
        url.push(separator);
        url.push_str(pair);
        separator = '&';
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_is_replaced() {
        let cases = [
            ("postgres://a:b@h:1/old", "postgres://a:b@h:1/new"),
            ("postgresql://h", "postgresql://h/new"),
            (
                "postgres://h/?sslmode=require&user=a",
                "postgres://h/new?sslmode=require&user=a",
            ),
            (
                "postgres:///old?dbname=x&host=/run/pg",
                "postgres:///new?host=/run/pg",
            ),
        ];
        for (url, expected) in cases {
            assert_eq!(with_database(url, "new"), expected);
        }
    }

    #[tokio::test]
    async fn a_dropped_database_is_gone_although_somebody_is_connected() {
        let database = TestDatabase::create().await;
        let _connected = PgConnection::connect(database.url()).await.unwrap();
        drop_database(crate::server_url(), database.name())
            .await
            .unwrap();
        let error = PgConnection::connect(database.url()).await.unwrap_err();
        let code = error.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("3D000"), "{error}");
    }
}
