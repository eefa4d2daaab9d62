use std::fmt::{self, Write};

use super::{
    report::{Finding, Report},
    severity::Severity,
};

/// No line is longer, so that it fits in a terminal and in a comment of a review.
const COLUMNS_MAX: usize = 100;

/// Where the texts of a finding begin: after the longest label.
const TEXT_COLUMN: usize = 14;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        paragraph(f, "", "", self.target())?;
        for severity in Severity::ALL {
            let of_it = |finding: &&Finding| finding.severity == severity;
            let mut findings = self.findings().iter().filter(of_it).peekable();
            if findings.peek().is_some() {
                write!(f, "\n{}\n", severity.word().to_uppercase())?;
            }
            findings.try_for_each(|finding| told(f, finding))?;
        }
        if !self.passed().is_empty() {
            f.write_str("\npassed\n")?;
            paragraph(f, "  ", "  ", &self.passed().join(", "))?;
        }
        if !self.not_checked().is_empty() {
            f.write_str("\nnot checked\n")?;
            not_checked(f, self)?;
        }
        f.write_char('\n')?;
        f.write_str(&summary(self))
    }
}

fn told(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    let title = format!("{}: {}", finding.code, finding.title);
    paragraph(f, "  ", "    ", &title)?;
    let lines = [
        ("sent", finding.sent.as_str()),
        ("answered", &finding.answered),
        ("why", finding.why),
        ("remedy", finding.remedy),
    ];
    let details = finding
        .details
        .iter()
        .map(|detail| ("also", detail.as_str()));
    for (label, text) in lines.into_iter().chain(details) {
        let width = TEXT_COLUMN - 4;
        let first = format!("    {label:width$}");
        paragraph(f, &first, &" ".repeat(TEXT_COLUMN), text)?;
    }
    Ok(())
}

/// A line for each reason, which many checks may share.
fn not_checked(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let mut reasons: Vec<&str> = Vec::new();
    for entry in report.not_checked() {
        if !reasons.contains(&entry.reason) {
            reasons.push(entry.reason);
        }
    }
    for reason in reasons {
        let entries = report.not_checked().iter();
        let codes: Vec<_> = entries
            .filter(|entry| entry.reason == reason)
            .map(|entry| entry.code)
            .collect();
        let text = format!("{reason}: {}", codes.join(", "));
        paragraph(f, "  ", "    ", &text)?;
    }
    Ok(())
}

/// As in `2 findings (1 critical, 1 low), 30 passed, 5 not checked`.
fn summary(report: &Report) -> String {
    let number = report.findings().len();
    let by_severity: Vec<_> = Severity::ALL
        .into_iter()
        .map(|severity| {
            let of_it = |finding: &&Finding| finding.severity == severity;
            (report.findings().iter().filter(of_it).count(), severity)
        })
        .filter(|(number, _)| *number > 0)
        .map(|(number, severity)| format!("{number} {severity}"))
        .collect();
    let findings = match number {
        0 => "no finding".to_owned(),
        1 => format!("1 finding ({})", by_severity.join(", ")),
        _ => format!("{number} findings ({})", by_severity.join(", ")),
    };
    let (passed, not_checked) = (report.passed().len(), report.not_checked().len());
    format!("{findings}, {passed} passed, {not_checked} not checked")
}

/// Wraps a text; a word that is too long for a line is cut.
fn paragraph(f: &mut fmt::Formatter<'_>, first: &str, next: &str, text: &str) -> fmt::Result {
    let mut line = first.to_owned();
    let mut is_begun = false;
    for word in text.split_whitespace() {
        if is_begun && line.chars().count() + 1 + word.chars().count() > COLUMNS_MAX {
            writeln!(f, "{line}")?;
            next.clone_into(&mut line);
            is_begun = false;
        }
        if is_begun {
            line.push(' ');
        }
        for character in word.chars() {
            if line.chars().count() >= COLUMNS_MAX {
                writeln!(f, "{line}")?;
                next.clone_into(&mut line);
            }
            line.push(character);
        }
        is_begun = true;
    }
    writeln!(f, "{line}")
}

#[cfg(test)]
mod tests {
    use super::super::{
        check::{DOUBLED, STALE_ACCEPTED},
        report::Book,
    };

    #[test]
    fn a_report_is_grouped_wrapped_and_counted() {
        let mut book = Book::default();
        let long = "word ".repeat(40) + &"x".repeat(300);
        book.found(
            &STALE_ACCEPTED,
            "an old delivery",
            "200 in 1 ms".into(),
            vec![long],
        );
        book.found(
            &DOUBLED,
            "a duplicate",
            "200 in 1 ms".into(),
            vec!["1 more".into()],
        );
        let report = book.close("http://127.0.0.1/".into(), "there was no time");
        let text = report.to_string();
        assert!(
            text.lines().all(|line| line.chars().count() <= 100),
            "{text}"
        );
        let critical = text.find("\nCRITICAL\n  doubled: ").unwrap();
        assert!(critical < text.find("\nHIGH\n  stale_accepted: ").unwrap());
        assert!(text.contains("\n    sent      a duplicate\n    answered  200 in 1 ms\n"));
        assert!(text.contains("\n  there was no time: no_tls, not_verified,"));
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("2 findings (1 critical, 1 high), 0 passed, "));
    }
}
