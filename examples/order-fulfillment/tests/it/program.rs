//! The program as its user runs it.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStderr, Command, Output, Stdio},
    sync::{
        Mutex,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use order_fulfillment::{
    demo::events::Session,
    webhook::{FLOWS, events},
};
use sqlx::{Connection, PgConnection, Sqlite};
use test_postgres::TestDatabase;

use crate::bench::{SECRET, id_of, now, sign};

/// Four times what the program itself waits for its database.
const START_TIME_MAX: Duration = Duration::from_secs(20);

/// The program while it serves, on a free port, or works; killed with the value.
pub(crate) struct Serving {
    pub(crate) address: String,
    log: Mutex<Receiver<String>>,
    process: Child,
}

impl Serving {
    /// Returns once it listens and its tables are there.
    pub(crate) fn start(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        let mut command = program(folder, variables);
        let mut serving = Self::spawn(command.env("BIND_ADDRESS", "127.0.0.1:0"));
        let line = serving.logged("address=");
        let (_, address) = line.split_once("address=").unwrap();
        serving.address = address.to_owned();
        serving
    }

    /// A worker without a server. Returns once its tables are there.
    pub(crate) fn start_worker(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> Self {
        let working = Self::spawn(program(folder, variables).arg("worker"));
        working.logged(" working ");
        working
    }

    fn spawn(command: &mut Command) -> Self {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = process.stderr.take().unwrap();
        // Made before anything can fail, so that the process is killed then too.
        Self {
            address: String::new(),
            log: Mutex::new(lines_of(log)),
            process,
        }
    }

    /// The next line of the log with these words. Those before it are gone.
    pub(crate) fn logged(&self, words: &str) -> String {
        let log = self.log.lock().unwrap();
        let mut others = Vec::new();
        loop {
            let line = log.recv_timeout(START_TIME_MAX);
            let line = line.map_err(|error| (error, others.join("\n"))).unwrap();
            if line.contains(words) {
                return line;
            }
            others.push(line);
        }
    }

    /// Memory that the process has, in KiB.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_kib(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let resident = status.unwrap();
        let resident = resident
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"));
        let (kib, unit) = resident.unwrap().trim().split_once(' ').unwrap();
        assert_eq!(unit, "kB");
        kib.parse().unwrap()
    }

    /// SIGKILL. Returns when the process is no more.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[cfg(unix)]
impl Serving {
    /// What was logged until its end and was not looked at.
    pub(crate) fn rest_of_the_log(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().collect()
    }

    /// The exit code, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone_already_if_it_fails = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// Reads the log to its end, in a thread: a full pipe would stop the program.
fn lines_of(log: ChildStderr) -> Receiver<String> {
    let (lines, read) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let _nobody_waits_any_more = lines.send(line);
        }
    });
    read
}

/// The program, in a folder and an environment of its own.
pub(crate) fn program(folder: &tempfile::TempDir, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_order-fulfillment"));
    command
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(folder);
    command
}

/// It ended with this exit code and one line, which is returned.
fn refusal(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let lines = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(lines.lines().count(), 1, "{lines}");
    lines.trim_end().to_owned()
}

#[test]
fn a_missing_or_blank_secret_is_named_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let (secret, old) = ("STRIPE_WEBHOOK_SECRET", "STRIPE_WEBHOOK_SECRET_OLD");
    for (variables, named, complaint) in [
        (vec![], secret, "not set"),
        (vec![(secret, "")], secret, "blank"),
        (vec![(secret, "  ")], secret, "blank"),
        (vec![(secret, "sk_test_1")], secret, "API key"),
        (vec![(secret, "whsec_a"), (old, " ")], old, "blank"),
    ] {
        let output = program(&folder, &variables).output().unwrap();
        let line = refusal(&output, 1);
        assert!(line.starts_with(&format!("error: {named}: ")), "{line}");
        assert!(line.contains(complaint), "{line}");
    }
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_setting_that_is_not_understood_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (variable, value) in [
        ("DATABASE_URL", "mysql://user:marker@localhost/shop"),
        ("DATABASE_URL", "postgres://marker:x:y/shop"),
        ("DATABASE_URL", "sqlite::memory:"),
        ("DATABASE_URL", "sqlite://marker?mode=memory"),
        ("BIND_ADDRESS", "everywhere-marker"),
        ("STRIPE_MODE", "marker"),
        ("MODE", "marker"),
        ("WORKER_CONCURRENCY", "marker"),
        ("WORKER_CONCURRENCY", "-1"),
        ("RUST_LOG", "a=b=marker"),
    ] {
        let variables = [("STRIPE_WEBHOOK_SECRET", "whsec_a"), (variable, value)];
        let line = refusal(&program(&folder, &variables).output().unwrap(), 1);
        assert!(line.contains(variable), "{line}");
        assert!(!line.contains("marker"), "{line}");
    }
}

#[test]
fn a_setting_of_the_mode_is_refused_with_what_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], variable, value| {
        let variables = [("STRIPE_WEBHOOK_SECRET", "whsec_a"), (variable, value)];
        let output = program(&folder, &variables).args(arguments).output();
        refusal(&output.unwrap(), 1)
    };
    for wrong in ["INBOX", "inbox,inline", "1"] {
        assert_eq!(
            refused(&[], "MODE", wrong),
            "error: MODE is neither inline nor inbox: leave it out to process events inline, while \
             Stripe waits"
        );
    }
    assert_eq!(
        refused(&["worker"], "WORKER_CONCURRENCY", "some"),
        "error: WORKER_CONCURRENCY is not a number of events at once, such as 8"
    );
    assert_eq!(
        refused(&["worker"], "WORKER_CONCURRENCY", "0"),
        "error: WORKER_CONCURRENCY is 0, which leaves the worker out: give this one at least 1"
    );
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_database_that_cannot_be_reached_is_one_line_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    for url in [
        "postgres://nobody:marker@127.0.0.1:1/x",
        "sqlite://no/such/folder/orders.sqlite",
    ] {
        for arguments in [vec![], vec!["demo"]] {
            if url.starts_with("sqlite") && !arguments.is_empty() {
                continue; // the demo makes a file of its own
            }
            let variables = [("STRIPE_WEBHOOK_SECRET", "whsec_a"), ("DATABASE_URL", url)];
            let mut command = program(&folder, &variables);
            let line = refusal(&command.args(arguments).output().unwrap(), 1);
            assert!(line.contains("DATABASE_URL"), "{line}");
            assert!(!line.contains("marker"), "{line}");
        }
    }
}

#[test]
fn an_unknown_argument_is_exit_code_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        vec!["serve"],
        vec!["demo", "twice"],
        vec!["worker", "demo"],
        vec!["--help"],
    ] {
        let output = program(&folder, &[]).args(arguments).output().unwrap();
        assert_eq!(
            refusal(&output, 2),
            "usage: order-fulfillment [worker | demo]"
        );
    }
}

#[test]
fn the_demo_is_as_it_must_be_on_sqlite_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().to_str().unwrap();
    let output = program(&folder, &[("TMPDIR", temporary)])
        .arg("demo")
        .output()
        .unwrap();
    assert_demo(&output);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn the_demo_is_as_it_must_be_on_postgres_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let database = TestDatabase::create().await;
    let output = program(&folder, &[("DATABASE_URL", database.url())])
        .arg("demo")
        .output()
        .unwrap();
    assert_demo(&output);
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let left: i64 = sqlx::query_scalar(
        "select count(*) from pg_database where datname like 'order_fulfillment_demo%'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(left, 0);
}

fn assert_demo(output: &Output) {
    let report = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(
        report.contains("49 of 49 lines are as they must be"),
        "{report}"
    );
    assert!(!report.contains("WRONG"), "{report}");
    for line in report.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

#[cfg(unix)]
#[test]
fn it_serves_until_it_is_told_to_end_and_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Serving::start(&folder, &[("STRIPE_WEBHOOK_SECRET", "whsec_a")]);

    let mut client = TcpStream::connect(&server.address).unwrap();
    client.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(folder.path().join("orders.sqlite").exists());

    server.terminate();
    assert_eq!(server.ended(), Some(0));
    let mut printed = String::new();
    let mut stdout = server.process.stdout.take().unwrap();
    stdout.read_to_string(&mut printed).unwrap();
    let coverage = events::<Sqlite>().unwrap().coverage(&FLOWS);
    assert_eq!(printed, format!("{coverage}\n"));
}

#[test]
fn an_event_that_names_no_order_is_a_warning_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let server = Serving::start(&folder, &[("STRIPE_WEBHOOK_SECRET", SECRET)]);
    let session = Session {
        name: "early".into(),
        order: "ord_early".into(),
        amount: 4200,
        currency: "eur",
    };
    let body = session.completed();
    let request = format!(
        "POST /webhooks/stripe HTTP/1.0\r\n\
         content-length: {}\r\nstripe-signature: {}\r\n\r\n{body}",
        body.len(),
        sign(&body, SECRET, now()),
    );
    let mut client = TcpStream::connect(&server.address).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");

    let line = server.logged("unknown_order");
    assert!(line.contains(" WARN "), "{line}");
    assert!(line.contains(&id_of(&body)), "{line}");
    assert!(
        !line.contains("ord_early") && !line.contains("example.com"),
        "{line}"
    );
}

#[cfg(unix)]
#[test]
fn told_to_end_a_second_time_it_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Serving::start(&folder, &[("STRIPE_WEBHOOK_SECRET", "whsec_a")]);
    let mut client = TcpStream::connect(&server.address).unwrap();
    let header = b"POST /webhooks/stripe HTTP/1.1\r\nhost: shop\r\ncontent-length: 1\r\n\
        expect: 100-continue\r\n\r\n";
    client.write_all(header).unwrap();
    // The request is in progress: its body is waited for, and never comes.
    let mut waits = [0; 12];
    client.read_exact(&mut waits).unwrap();
    assert_eq!(&waits, b"HTTP/1.1 100");

    server.terminate();
    while TcpStream::connect(&server.address).is_ok() {}
    assert_eq!(server.process.try_wait().unwrap(), None);
    server.terminate();
    assert_eq!(server.ended(), Some(1));
}
