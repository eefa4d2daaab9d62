//! The table of runs, and what was found.

use std::fmt;

use tokio::time::Instant;

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
}

/// One row of the table.
pub(crate) struct Run {
    pub(crate) scenario: &'static str,
    pub(crate) database: &'static str,
    pub(crate) faults: u64,
    pub(crate) deliveries: u64,
    pub(crate) events: usize,
    pub(crate) damage: Damage,
    pub(crate) seconds: f64,
    /// Figures that the table has no column for.
    pub(crate) notes: Vec<String>,
    begun_at: Instant,
}

impl Damage {
    fn kinds(&self) -> [(&'static str, &[String]); 5] {
        [
            ("lost", &self.lost),
            ("doubled", &self.doubled),
            ("torn", &self.torn),
            ("leaked", &self.leaked),
            ("unanswered", &self.unanswered),
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
    }
}

impl Run {
    pub(crate) fn begin(scenario: &'static str, database: &'static str) -> Self {
        Self {
            scenario,
            database,
            faults: 0,
            deliveries: 0,
            events: 0,
            damage: Damage::default(),
            seconds: 0.0,
            notes: Vec::new(),
            begun_at: Instant::now(),
        }
    }

    pub(crate) fn not_run(mut self, why: &str) -> Self {
        let why = why.trim().lines().next().unwrap_or_default();
        self.notes.push(format!("NOT RUN: {why}"));
        self
    }

    pub(crate) fn end(mut self) -> Self {
        // Missed when it was acknowledged, and missed at the end.
        self.damage.lost.sort();
        self.damage.lost.dedup();
        self.seconds = self.begun_at.elapsed().as_secs_f64();
        self
    }
}

pub(crate) const HEAD: &str = "\
| scenario | database | faults | deliveries | events | lost | doubled | torn | leaked | seconds |
|---|---|--:|--:|--:|--:|--:|--:|--:|--:|";

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scenario,
            database,
            faults,
            deliveries,
            events,
            damage,
            seconds,
            ..
        } = self;
        let lost = damage.lost.len() + damage.unanswered.len();
        let (doubled, torn) = (damage.doubled.len(), damage.torn.len());
        let leaked = damage.leaked.len();
        write!(
            f,
            "| {scenario} | {database} | {faults} | {deliveries} | {events} | {lost} | {doubled} \
             | {torn} | {leaked} | {seconds:.1} |"
        )?;
        for note in &self.notes {
            write!(f, "\n  {note}")?;
        }
        for (kind, found) in damage.kinds() {
            if !found.is_empty() {
                let shown = found.iter().take(SHOWN_MAX).cloned().collect::<Vec<_>>();
                write!(f, "\n  {kind} {}: {}", found.len(), shown.join("; "))?;
            }
        }
        Ok(())
    }
}
