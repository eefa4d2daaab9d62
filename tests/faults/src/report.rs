//! The table of runs, and what was found.

use std::{collections::BTreeMap, fmt, ops::AddAssign};

use tokio::time::Instant;

use crate::{client::Heard, proxy::Hits};

/// Ids that are printed of each kind.
const SHOWN_MAX: usize = 5;

/// What a run has found, each by the ids or by the words that show it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage {
    /// Sent, and not in the database; or acknowledged before it was.
    pub(crate) lost: Vec<String>,
    pub(crate) doubled: Vec<String>,
    /// Where ledger, effects and counters do not agree.
    pub(crate) torn: Vec<String>,
    /// Connections, places or transactions that are not given back.
    pub(crate) leaked: Vec<String>,
    /// Answered by no 2xx in time.
    pub(crate) unanswered: Vec<String>,
    /// In the inbox at the end, or not as they should be: dead, quarantined, or pending still.
    pub(crate) left: Vec<String>,
    /// Faults that were to happen and did not: what such a run has not found shows nothing.
    pub(crate) untried: Vec<String>,
}

/// What was heard of deliveries: how often which status, or nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(BTreeMap<Option<u16>, u64>);

/// One row of the table.
pub(crate) struct Run {
    pub(crate) scenario: &'static str,
    pub(crate) database: &'static str,
    /// `kill -9`, immediate shutdowns and terminated sessions; connections that were cut or stalled,
    /// and errors that were injected.
    pub(crate) kills: u64,
    /// Delays, clients that leave or dawdle, and times during which a database refused.
    pub(crate) others: u64,
    pub(crate) answers: Answers,
    pub(crate) events: usize,
    pub(crate) damage: Damage,
    /// Figures that the table has no column for.
    pub(crate) notes: Vec<String>,
    pub(crate) is_run: bool,
    seconds: f64,
    begun_at: Instant,
}

/// The numbers of a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) kills: u64,
    others: u64,
    pub(crate) deliveries: u64,
    events: usize,
    lost: usize,
    doubled: usize,
    torn: usize,
    leaked: usize,
    unanswered: usize,
    seconds: f64,
}

impl Damage {
    fn kinds(&self) -> [(&'static str, &[String]); 7] {
        [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("torn", &self.torn),
            ("leaked", &self.leaked),
            ("unanswered", &self.unanswered),
            ("left", &self.left),
            ("untried", &self.untried),
        ]
    }

    pub(crate) fn is_none(&self) -> bool {
        self.kinds().iter().all(|(_, found)| found.is_empty())
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.lost.extend(other.lost);
        self.doubled.extend(other.doubled);
        self.torn.extend(other.torn);
        self.leaked.extend(other.leaked);
        self.unanswered.extend(other.unanswered);
        self.left.extend(other.left);
        self.untried.extend(other.untried);
    }
}

impl Answers {
    /// What has found no server listening was no delivery.
    pub(crate) fn note(&mut self, heard: Heard) {
        let status = match heard {
            Heard::NoServer => return,
            Heard::Nothing => None,
            Heard::Status(status) => Some(status),
        };
        *self.0.entry(status).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (status, times) in &other.0 {
            *self.0.entry(*status).or_default() += times;
        }
    }

    pub(crate) fn of(&self, status: u16) -> u64 {
        self.0.get(&Some(status)).copied().unwrap_or(0)
    }

    pub(crate) fn deliveries(&self) -> u64 {
        self.0.values().sum()
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = self.0.iter().map(|(status, times)| match status {
            Some(status) => format!("{status} {times}"),
            None => format!("none {times}"),
        });
        write!(f, "answers: {}", each.collect::<Vec<_>>().join(", "))
    }
}

impl Run {
    pub(crate) fn begin(scenario: &'static str, database: &'static str) -> Self {
        Self {
            scenario,
            database,
            kills: 0,
            others: 0,
            answers: Answers::default(),
            events: 0,
            damage: Damage::default(),
            notes: Vec::new(),
            is_run: true,
            seconds: 0.0,
            begun_at: Instant::now(),
        }
    }

    pub(crate) fn not_run(mut self, why: &str) -> Self {
        let why = why.trim().lines().next().unwrap_or_default();
        self.notes.push(format!("NOT RUN: {why}"));
        self.is_run = false;
        self
    }

    pub(crate) fn note_hits(&mut self, hits: Hits) {
        self.kills += hits.cuts;
        self.others += hits.delays;
    }

    /// Damage if more than one in ten of the faults that were planned have not happened.
    pub(crate) fn note_missed(&mut self, missed: &[String], planned: usize) {
        let count = missed.len();
        self.notes
            .push(format!("{planned} cases, of which {count} came to nothing"));
        if planned == 0 || count * 10 > planned {
            self.damage.untried.extend(missed.iter().cloned());
        }
    }

    pub(crate) fn end(mut self) -> Self {
        // Missed when it was acknowledged, and missed at the end.
        self.damage.lost.sort();
        self.damage.lost.dedup();
        if self.kills + self.others == 0 {
            self.damage.untried.push("no fault at all".to_owned());
        }
        self.notes.push(self.answers.to_string());
        self.seconds = self.begun_at.elapsed().as_secs_f64();
        self
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            kills: self.kills,
            others: self.others,
            deliveries: self.answers.deliveries(),
            events: self.events,
            lost: self.damage.lost.len(),
            doubled: self.damage.doubled.len(),
            torn: self.damage.torn.len(),
            leaked: self.damage.leaked.len(),
            unanswered: self.damage.unanswered.len(),
            seconds: self.seconds,
        }
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.kills += other.kills;
        self.others += other.others;
        self.deliveries += other.deliveries;
        self.events += other.events;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.torn += other.torn;
        self.leaked += other.leaked;
        self.unanswered += other.unanswered;
        self.seconds += other.seconds;
    }
}

pub(crate) const HEAD: &str = "\
| scenario | database | kills and cuts | other faults | deliveries | events \
| lost | doubled | torn | leaked | unanswered | seconds |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|";

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kills,
            others,
            deliveries,
            events,
            lost,
            doubled,
            torn,
            leaked,
            unanswered,
            seconds,
        } = self;
        write!(
            f,
            "{kills} | {others} | {deliveries} | {events} | {lost} | {doubled} | {torn} | {leaked} \
             | {unanswered} | {seconds:.1} |"
        )
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scenario, database) = (self.scenario, self.database);
        write!(f, "| {scenario} | {database} | {}", self.figures())?;
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        for (kind, found) in self.damage.kinds() {
            if !found.is_empty() {
                let shown = found.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>();
                write!(f, "\n  {kind} {}: {}", found.len(), shown.join("; "))?;
            }
        }
        Ok(())
    }
}
