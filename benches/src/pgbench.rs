//! What Postgres' own load generator reaches with the statements that the crate sends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sqlx::{PgPool, query_scalar};

use crate::figures::Load;

/// Where distributions put the binaries of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Each statement by how it begins, and what stands for `$1` and so on.
pub(crate) type Statements<'a> = &'a [(&'a str, &'a [&'a str])];

/// A transaction for pgbench: the crate's statements, as the server has them prepared.
pub(crate) struct Script(String);

/// The `pgbench` of this machine.
pub(crate) struct Pgbench(PathBuf);

impl Script {
    /// Of what was prepared on the connections of the pool so far, so that it is what is sent, and not what
    /// somebody has written down once.
    pub(crate) async fn of(pool: &PgPool, statements: Statements<'_>) -> Self {
        let prepared = prepared(pool).await;
        let mut script = "\\set n :n + 1\nbegin isolation level read committed;\n".to_owned();
        for (start, values) in statements {
            let mut found = prepared
                .iter()
                .filter(|statement| statement.starts_with(start));
            let statement = found.next().expect(start);
            script.push_str(&filled(statement, values));
            script.push_str(";\n");
        }
        script.push_str("commit;\n");
        Self(script)
    }
}

/// In one line each. Every connection is asked, because each has prepared what it was given.
async fn prepared(pool: &PgPool) -> Vec<String> {
    let mut connections = Vec::new();
    while let Some(connection) = pool.try_acquire() {
        connections.push(connection);
    }
    let mut prepared = Vec::new();
    for connection in &mut connections {
        let statements = query_scalar("select statement from pg_prepared_statements")
            .persistent(false)
            .fetch_all(&mut **connection);
        let statements: Vec<String> = statements.await.expect("the prepared statements");
        prepared.extend(statements);
    }
    let in_one_line =
        |statement: String| statement.split_whitespace().collect::<Vec<_>>().join(" ");
    prepared.into_iter().map(in_one_line).collect()
}

/// From the last parameter on, because `$1` is also the begin of `$10`.
fn filled(statement: &str, values: &[&str]) -> String {
    let numbered = values.iter().enumerate().rev();
    numbered.fold(statement.to_owned(), |filled, (place, value)| {
        filled.replace(&format!("${}", place + 1), value)
    })
}

impl Pgbench {
    /// `None`: it is in no folder of `PATH` and not among the installed versions of Postgres.
    pub(crate) fn find() -> Option<Self> {
        let versions = fs::read_dir(VERSIONS).into_iter().flatten().flatten();
        let installed = versions.map(|version| version.path().join("bin/pgbench"));
        let mut all = installed.chain([PathBuf::from("pgbench")]);
        let runs = |path: &PathBuf| Command::new(path).arg("--version").output().is_ok();
        all.find(runs).map(Self)
    }

    /// With so many clients, each its share of the transactions. `round` makes the names of their events
    /// theirs.
    pub(crate) fn run(
        &self,
        url: &str,
        script: &Script,
        (clients, transactions): (usize, usize),
        round: usize,
        folder: &Path,
    ) -> Load {
        let file = folder.join("transaction.sql");
        fs::write(&file, &script.0).expect("the script is written");
        let each = transactions.div_ceil(clients);
        let output = Command::new(&self.0)
            .args([
                "--no-vacuum",
                "--protocol=prepared",
                "--jobs=2",
                "--define=n=-1",
            ])
            .arg(format!("--define=round={round}"))
            .arg(format!("--define=clients={clients}"))
            .arg(format!("--client={clients}"))
            .arg(format!("--transactions={each}"))
            .arg(format!("--file={}", file.display()))
            .arg(url)
            .output()
            .expect("pgbench runs");
        let (told, errors) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{told}{errors}");
        let all = format!("{}/{}", each * clients, each * clients);
        assert!(told.contains(&all), "{told}{errors}");
        let mut lines = told.lines();
        let rate =
            lines.find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        Load::of_rate(rate.expect("a rate"))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
