//! What the tests of the workspace rely on, shown on whichever server is found here.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may fail like this"
)]

use std::collections::HashSet;
use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection};
use test_postgres::TestDatabase;
use tokio::time;

#[tokio::test]
async fn two_databases_are_separate() {
    let (one, other) = (TestDatabase::create().await, TestDatabase::create().await);
    let mut in_one = PgConnection::connect(one.url()).await.unwrap();
    let mut in_other = PgConnection::connect(other.url()).await.unwrap();

    sqlx::raw_sql("create table note (text text)")
        .execute(&mut in_one)
        .await
        .unwrap();

    let in_other: Option<String> = sqlx::query_scalar("select to_regclass('note')::text")
        .fetch_one(&mut in_other)
        .await
        .unwrap();
    assert_eq!(in_other, None);
}

#[test]
fn databases_created_at_once_by_many_runtimes_all_have_their_own_name() {
    let create = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let database = TestDatabase::create().await;
            let mut connection = PgConnection::connect(database.url()).await.unwrap();
            let name: String = sqlx::query_scalar("select current_database()::text")
                .fetch_one(&mut connection)
                .await
                .unwrap();
            assert_eq!(name, database.name());
            name
        })
    };
    let threads: Vec<_> = (0..16).map(|_| thread::spawn(create)).collect();
    let names: HashSet<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(names.len(), 16);
}

const KILLED_RUN: &str = "TEST_POSTGRES_KILLED_RUN";

#[tokio::test]
async fn a_killed_run_leaves_no_server_behind() {
    if env::var_os(KILLED_RUN).is_some() {
        return be_the_run_that_is_killed();
    }
    let mut run = run_of_this_test_alone();
    let url = url_printed_by(&mut run);
    PgConnection::connect(&url)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();

    run.kill().unwrap();
    run.wait().unwrap();

    if env::var("TEST_DATABASE_URL").is_ok_and(|given| given == url) {
        // That run started no server, and must not have stopped somebody else's.
        PgConnection::connect(&url)
            .await
            .unwrap()
            .close()
            .await
            .unwrap();
    } else {
        time::timeout(Duration::from_secs(60), refuses_connections(&url))
            .await
            .unwrap();
    }
}

fn be_the_run_that_is_killed() {
    let line = format!("\n{}\n", test_postgres::server_url());
    io::stdout().write_all(line.as_bytes()).unwrap();
    // Ends with the test that started it, should that one be killed itself.
    io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

fn run_of_this_test_alone() -> Child {
    Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "a_killed_run_leaves_no_server_behind",
            "--nocapture",
        ])
        .env(KILLED_RUN, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn url_printed_by(run: &mut Child) -> String {
    let output = BufReader::new(run.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    lines
        .find(|line| line.starts_with("postgres"))
        .expect("the run found no server")
}

async fn refuses_connections(url: &str) {
    loop {
        match PgConnection::connect(url).await {
            // A session tells of the end of its server. One that never logs in would delay it.
            Ok(mut session) => {
                let _ended = session.execute("select pg_sleep(60)").await;
            }
            Err(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return;
            }
            Err(_shutting_down) => {}
        }
    }
}
