//! The server that `TEST_DATABASE_URL` names. It is somebody else's: it stays, and what killed runs
//! left on it is removed.

use sqlx::{Connection, PgConnection};

use crate::database::{PREFIX, drop_database};
use crate::server::{self, Server};

/// Checks that the server answers and removes what killed runs left there.
pub(crate) fn server(url: String) -> Result<Server, String> {
    match server::block_on(remove_leftovers(&url)) {
        Ok(()) => Ok(Server {
            url,
            watchdog: None,
        }),
        Err(error) => Err(format!(
            "the server of TEST_DATABASE_URL cannot be used: {error}\n\
             correct the variable, or unset it to use Docker or the Postgres binaries"
        )),
    }
}

async fn remove_leftovers(url: &str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    // One hour: longer than any run, so that the databases of a run beside this one stay.
    let names: Vec<String> = sqlx::query_scalar(
        "select datname::text from pg_database \
         where substring(datname from '^' || $1 || '([0-9]{1,12})_[0-9]+_[0-9]+$')::bigint \
             < extract(epoch from now() - interval '1 hour')",
    )
    .bind(PREFIX)
    .fetch_all(&mut connection)
    .await?;
    for name in names {
        let _may_be_another_users = drop_database(url, &name).await;
    }
    connection.close().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TestDatabase;
    use sqlx::AssertSqlSafe;

    async fn exists(name: &str) -> bool {
        let mut connection = PgConnection::connect(crate::server_url()).await.unwrap();
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn only_databases_older_than_an_hour_are_left_over() {
        let url = crate::server_url();
        let mut connection = PgConnection::connect(url).await.unwrap();
        let old = format!("{PREFIX}1000000000_{}_0", std::process::id());
        let sql = AssertSqlSafe(format!("create database {old} template template0"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        let fresh = TestDatabase::create().await;

        remove_leftovers(url).await.unwrap();

        assert!(!exists(&old).await);
        assert!(exists(fresh.name()).await);
    }

    #[test]
    fn a_given_server_that_does_not_answer_is_named() {
        let message = server("postgres://127.0.0.1:1/x".into()).unwrap_err();
        assert!(
            message.starts_with("the server of TEST_DATABASE_URL cannot be used"),
            "{message}"
        );
    }
}
