//! What befalls a process in the handlers of some events, when they have written.

use std::{
    future::pending,
    process,
    sync::{Condvar, Mutex, PoisonError},
};

use tokio::task::block_in_place;

use super::Settings;
use crate::events::{HANGS, POISON, STAYS};

/// The word before the event's id, when its handler stays, and when it goes on.
pub(super) const INSIDE: &str = "inside";
pub(super) const LEFT: &str = "left";

/// Closed until it is opened, once for all.
pub(super) struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

pub(super) static GATE: Gate = Gate {
    is_open: Mutex::new(false),
    opened: Condvar::new(),
};

impl Gate {
    pub(super) fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = self.opened.wait_while(is_open, |is_open| !*is_open);
        drop(opened.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Of the two that stay, one keeps its thread: no time-out can end it, so it answers, however late.
pub(super) async fn befall(event: &str, settings: &Settings) {
    if event.starts_with(POISON) {
        process::exit(1);
    }
    if !settings.stays {
        return;
    }
    if event.starts_with(STAYS) {
        println!("{INSIDE} {event}");
        block_in_place(|| GATE.pass());
        println!("{LEFT} {event}");
    }
    if event.starts_with(HANGS) {
        println!("{INSIDE} {event}");
        pending::<()>().await;
    }
}
