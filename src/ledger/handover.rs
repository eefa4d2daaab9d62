use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Ledger, LedgerTransaction};

/// What a worker's events hand to those that come next: connections inside transactions that nobody has
/// used, each with its place. It takes them while it is open; what it gives up goes back to the pool.
/// Clones are the same.
pub(crate) struct Handover<DB: Ledger>(Arc<Mutex<Begun<DB>>>);

struct Begun<DB: Ledger> {
    is_open: bool,
    transactions: Vec<LedgerTransaction<DB>>,
}

impl<DB: Ledger> Handover<DB> {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Begun {
            is_open: false,
            transactions: Vec::new(),
        })))
    }

    /// Open as long as more events are expected. Closed, it gives up what it has.
    pub(crate) fn set_open(&self, is_open: bool) {
        let mut begun = self.lock();
        begun.is_open = is_open;
        let given_up = match is_open {
            true => Vec::new(),
            false => mem::take(&mut begun.transactions),
        };
        drop(begun);
        drop(given_up);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_open
    }

    pub(crate) fn take(&self) -> Option<LedgerTransaction<DB>> {
        self.lock()
            .transactions
            .pop()
            .map(LedgerTransaction::entered)
    }

    /// A connection in which no transaction was begun goes back to the pool.
    pub(crate) fn put(&self, transaction: LedgerTransaction<DB>) {
        let mut begun = self.lock();
        if begun.is_open && transaction.is_begun_again() {
            begun.transactions.push(transaction);
            return;
        }
        drop(begun);
        drop(transaction);
    }

    /// It is whole between any two of its operations, so a poisoned lock means nothing.
    fn lock(&self) -> MutexGuard<'_, Begun<DB>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<DB: Ledger> Clone for Handover<DB> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
