use std::path::Path;

use axum_stripe_webhook::{probe::ANSWER_BYTES_MAX, router::Flow};
use clap::{Args, builder::PossibleValuesParser};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    exchange,
    failure::Failure,
    input,
    output::{Report, table},
};

/// All flows together have some ten kilobytes.
const REPORT_BYTES_MAX: usize = ANSWER_BYTES_MAX;

/// Reads a service's coverage report, and says which critical types of event it handles
#[derive(Args)]
#[command(after_help = "\
A service serves its report as `serde_json::to_string(&events.coverage(&[Flow::Checkout, …]))`.
JSON: {\"event_types\": [{\"flow\", \"event_type\", \"handling\": \"handled|fallback|ignored|missing\", \
\"why\"}], \"missing\": 0}
Exit 0 if none is missing, 1 if some are.")]
pub(crate) struct CoverageArgs {
    /// Where the report is: a URL of the service, a file, or - for standard input
    #[arg(value_name = "URL|FILE|-")]
    report: String,
    /// A flow to look at; all of the report's, unless given
    #[arg(long, value_name = "NAME", value_parser = flows(), hide_possible_values = true)]
    flow: Vec<String>,
}

#[derive(Deserialize)]
struct Coverage {
    event_types: Vec<Row>,
}

#[derive(Deserialize, Serialize)]
struct Row {
    flow: String,
    event_type: String,
    handling: Handling,
    why: String,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Handling {
    Handled,
    Fallback,
    Ignored,
    Missing,
}

fn flows() -> PossibleValuesParser {
    Flow::ALL.iter().map(|flow| flow.name()).into()
}

pub(crate) async fn run(args: &CoverageArgs) -> Result<Report, Failure> {
    let report = match args.report.contains("://") {
        true => exchange::get(&exchange::page(&args.report).await?)
            .await?
            .to_vec(),
        false => input::read(Path::new(&args.report), REPORT_BYTES_MAX)?,
    };
    let coverage: Coverage = serde_json::from_slice(&report)
        .map_err(|_| Failure::impossible("what was read is not a coverage report"))?;
    if coverage.event_types.is_empty() {
        return Err(Failure::impossible(
            "the report is of no event types at all",
        ));
    }
    let rows = of_flows(coverage.event_types, &args.flow)?;
    let missing = rows.iter().filter(|row| row.handling == Handling::Missing);
    let missing = missing.count();
    let text = shown(&rows, missing);
    let json = json!({"event_types": rows, "missing": missing});
    Ok(Report::answer(missing == 0, text, json))
}

fn of_flows(rows: Vec<Row>, flows: &[String]) -> Result<Vec<Row>, Failure> {
    for flow in flows {
        if rows.iter().all(|row| row.flow != *flow) {
            let message = format!("the report says nothing of the flow {flow}");
            return Err(Failure::impossible(message));
        }
    }
    let is_meant = |row: &Row| flows.is_empty() || flows.contains(&row.flow);
    Ok(rows.into_iter().filter(is_meant).collect())
}

fn shown(rows: &[Row], missing: usize) -> String {
    let cells = rows.iter().map(|row| {
        let why = match row.handling {
            Handling::Missing => row.why.clone(),
            _ => String::new(),
        };
        let (flow, event_type) = (row.flow.clone(), row.event_type.clone());
        vec![flow, event_type, row.handling.word().to_owned(), why]
    });
    let table = table(&[], cells, 3);
    format!("{table}{} event types, {missing} missing\n", rows.len())
}

impl Handling {
    /// What is missing is to strike the eye.
    fn word(self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Fallback => "fallback",
            Self::Ignored => "ignored",
            Self::Missing => "MISSING",
        }
    }
}
