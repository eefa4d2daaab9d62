use std::{cell::RefCell, collections::BTreeMap};

use crate::clock;

/// Most log lines of one outcome that a sender can cause in a second, for each thread of the runtime.
pub const LINES_PER_SECOND_MAX: u32 = 10;

thread_local! {
    // A thread's own, since a lock would be one more thing that a flood is slowed down by.
    static WINDOWS: RefCell<BTreeMap<Key, Window>> = const { RefCell::new(BTreeMap::new()) };
}

/// Which lines, and of which outcome.
type Key = (&'static str, &'static str);

/// One second of one outcome.
#[derive(Default)]
struct Window {
    second: u64,
    lines: u32,
    left_out: u64,
}

/// How many lines of this outcome were left out before this one; `None`: leave it out.
pub(super) fn admit(key: Key) -> Option<u64> {
    let second = clock::unix_seconds();
    WINDOWS.with_borrow_mut(|windows| windows.entry(key).or_default().admit(second))
}

impl Window {
    fn admit(&mut self, second: u64) -> Option<u64> {
        if self.second != second {
            self.second = second;
            self.lines = 0;
        }
        if self.lines >= LINES_PER_SECOND_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_each_second_the_first_lines_are_written_and_the_next_counts_the_others() {
        let mut window = Window::default();
        let of_second = |window: &mut Window, second| {
            let lines = (0..100_000).filter_map(|_| window.admit(second));
            lines.collect::<Vec<_>>()
        };
        assert_eq!(
            of_second(&mut window, 7),
            [0; LINES_PER_SECOND_MAX as usize]
        );
        let lines = of_second(&mut window, 8);
        assert_eq!(lines.len(), LINES_PER_SECOND_MAX as usize);
        assert_eq!(lines.iter().sum::<u64>(), 99_990);
        // A clock that is set back is another second like any.
        assert!(window.admit(7).is_some());
    }
}
