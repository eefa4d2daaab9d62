//! Medians, ranges, and the table.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// What one measurement of many deliveries has given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) per_second: f64,
    /// Of an answer; none of what nobody answers.
    times: Option<(Duration, Duration)>,
}

/// What was measured, and with how many clients or how much concurrency.
pub(crate) type Name = (&'static str, usize);

/// All measurements of a run, in the order in which they are printed.
#[derive(Default)]
pub(crate) struct Table(BTreeMap<Name, Row>, Vec<Name>);

#[derive(Default)]
struct Row {
    per_second: Vec<f64>,
    /// To the yardstick of the same round with as many clients.
    ratios: Vec<f64>,
    medians: Vec<f64>,
    tails: Vec<f64>,
}

/// The median of several, and the range that they are in.
struct Spread {
    sorted: Vec<f64>,
    digits: usize,
}

impl Load {
    pub(crate) fn new(took: Duration, times: &[Duration]) -> Self {
        let mut histogram = Histogram::<u64>::new(3).expect("three digits");
        for time in times {
            let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            histogram.record(microseconds).expect("it grows");
        }
        let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
        Self {
            times: Some((at(0.5), at(0.99))),
            ..Self::of(times.len(), took)
        }
    }

    pub(crate) fn of_rate(per_second: f64) -> Self {
        Self {
            per_second,
            times: None,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "there are not that many events")]
    pub(crate) fn of(events: usize, took: Duration) -> Self {
        Self {
            per_second: events as f64 / took.as_secs_f64(),
            times: None,
        }
    }
}

impl Table {
    pub(crate) fn add(&mut self, name: Name, load: Load, yardstick: Option<Load>) {
        if !self.1.contains(&name) {
            self.1.push(name);
        }
        let row = self.0.entry(name).or_default();
        row.per_second.push(load.per_second);
        row.ratios
            .extend(yardstick.map(|yardstick| load.per_second / yardstick.per_second));
        if let Some((median, tail)) = load.times {
            row.medians.push(milliseconds(median));
            row.tails.push(milliseconds(tail));
        }
    }
}

impl Table {
    pub(crate) fn json(&self) -> Value {
        let rows = self.1.iter().filter_map(|name| {
            let (row, (what, at_once)) = (self.0.get(name)?, name);
            Some(json!({
                "what": what, "at_once": at_once, "per_second": row.per_second,
                "p50_ms": row.medians, "p99_ms": row.tails,
            }))
        });
        rows.collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| | at once | per second | to the yardstick | p50, ms | p99, ms |"
        )?;
        writeln!(f, "| --- | --- | --- | --- | --- | --- |")?;
        for name in &self.1 {
            let Some(row) = self.0.get(name) else {
                continue;
            };
            let (what, clients) = name;
            let (rate, ratio) = (spread(&row.per_second, 0), spread(&row.ratios, 2));
            let (median, tail) = (spread(&row.medians, 1), spread(&row.tails, 1));
            writeln!(
                f,
                "| {what} | {clients} | {rate} | {ratio} | {median} | {tail} |"
            )?;
        }
        Ok(())
    }
}

pub(crate) fn milliseconds(time: Duration) -> f64 {
    1000.0 * time.as_secs_f64()
}

/// How several values are printed: `median (lowest–highest)`.
pub(crate) fn spread(values: &[f64], digits: usize) -> impl fmt::Display {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Spread { sorted, digits }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sorted, digits } = self;
        let median = sorted.get(sorted.len() / 2);
        let (Some(median), Some(low), Some(high)) = (median, sorted.first(), sorted.last()) else {
            return Ok(());
        };
        write!(f, "{median:.digits$} ({low:.digits$}–{high:.digits$})")
    }
}
