//! What a test logs, with every level on.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::Once,
};

use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

thread_local! {
    /// Each test runs on a thread of its own, with all its tasks.
    static LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Runs a test and gives back what it logged.
pub(crate) async fn of(test: impl Future<Output = ()>) -> String {
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
    LINES.set(Some(Vec::new()));
    test.await;
    String::from_utf8(LINES.take().unwrap_or_default()).unwrap()
}

struct ToThisThread;

impl MakeWriter<'_> for ToThisThread {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}

impl Write for ToThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| match lines {
            Some(lines) => lines.write(bytes),
            None => Ok(bytes.len()),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
