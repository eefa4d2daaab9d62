//! What the tests log, with every level on, and that it holds nothing that is nobody's business.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::Once,
};

use crate::stripe;
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

thread_local! {
    /// Each test runs on a thread of its own, with all its tasks.
    static LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Runs a test and gives back what it logged.
pub(crate) async fn of(test: impl Future<Output = ()>) -> String {
    watch();
    LINES.set(Some(Vec::new()));
    test.await;
    String::from_utf8(LINES.take().unwrap_or_default()).unwrap()
}

/// From now on no line of any test, of whatever library, may hold a marker: the process ends with the first
/// one. Events and databases of the tests call this when they are made.
pub(crate) fn watch() {
    // One subscriber for the process: tracing decides once for all threads who listens at a place.
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(ToThisThread)
            .init();
    });
}

/// A personal datum of every event, the tests' secret, and every signature.
const MARKERS: [&str; 3] = [stripe::PERSONAL, stripe::SECRET, "v1="];

/// A panic could be caught, and would leave the line in the log.
fn end_on_a_marker(line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    if MARKERS.iter().any(|marker| line.contains(marker)) {
        let _nobody_is_left_to_tell = writeln!(io::stderr(), "a log line has a marker: {line}");
        std::process::abort();
    }
}

struct ToThisThread;

impl MakeWriter<'_> for ToThisThread {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for ToThisThread {
    /// A line each time.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        end_on_a_marker(bytes);
        LINES.with_borrow_mut(|lines| match lines {
            Some(lines) => lines.write(bytes),
            None => Ok(bytes.len()),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
