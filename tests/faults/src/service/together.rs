//! Handlers that wait for each other, to show how many can be in their transactions at once.

use tokio::sync::watch;

/// A barrier that forgets a waiter who is dropped: one who has run out of time is not there.
pub(super) struct Together {
    wanted: usize,
    meeting: watch::Sender<Meeting>,
}

#[derive(Default)]
struct Meeting {
    name: String,
    inside: usize,
    /// That many were inside. A copy that comes later need not wait.
    has_been: bool,
}

/// Leaves the meeting when it is dropped.
struct Seat<'a> {
    together: &'a Together,
    name: &'a str,
}

impl Together {
    pub(super) fn of(wanted: usize) -> Self {
        Self {
            wanted,
            meeting: watch::Sender::default(),
        }
    }

    /// Waits until as many as are wanted are inside. A meeting of another name ends the last one.
    pub(super) async fn meet(&self, name: &str) {
        let mut meeting = self.meeting.subscribe();
        let _seat = self.enter(name);
        let over = |meeting: &Meeting| meeting.has_been || meeting.name != name;
        let _the_sender_is_our_own = meeting.wait_for(over).await;
    }

    fn enter<'a>(&'a self, name: &'a str) -> Seat<'a> {
        self.meeting.send_modify(|meeting| {
            if meeting.name != name {
                *meeting = Meeting {
                    name: name.to_owned(),
                    ..Meeting::default()
                };
            }
            meeting.inside += 1;
            meeting.has_been |= meeting.inside >= self.wanted;
        });
        Seat {
            together: self,
            name,
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.together.meeting.send_modify(|meeting| {
            if meeting.name == self.name {
                meeting.inside -= 1;
            }
        });
    }
}
