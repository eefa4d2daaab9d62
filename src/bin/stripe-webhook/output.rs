use std::{
    env,
    io::{self, IsTerminal, Write},
};

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::{failure::Exit, secret::looks_like_a_secret};

/// What fits a terminal that nobody has made narrow, and a page of a report.
const COLUMNS: u16 = 100;

/// What a command has found or done.
pub(crate) struct Report {
    /// For people. Lines end in a line break, the last one too.
    pub(crate) text: String,
    /// The same for machines.
    pub(crate) json: Value,
    pub(crate) exit: Exit,
}

impl Report {
    /// It is done, or nothing is wrong.
    pub(crate) fn done(text: String, json: Value) -> Self {
        Self::with(Exit::Done, text, json)
    }

    /// The answer is this.
    pub(crate) fn answer(is_yes: bool, text: String, json: Value) -> Self {
        let exit = if is_yes { Exit::Done } else { Exit::No };
        Self::with(exit, text, json)
    }

    pub(crate) fn with(exit: Exit, text: String, json: Value) -> Self {
        Self { text, json, exit }
    }

    pub(crate) fn print(&self, as_json: bool) -> io::Result<()> {
        match as_json {
            true => print(escaped(&format!("{:#}\n", self.json)).as_bytes()),
            false => print(printable(&self.text).as_bytes()),
        }
    }
}

/// Writes to standard output. Whoever has closed it does not want to read more: that is no fault.
pub(crate) fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    })
}

/// Writes a message to standard error, without what looks like a secret on the command line.
pub(crate) fn say(message: &str) {
    let message = printable(&without_secrets(message, env::args_os()));
    let _nobody_has_to_read_it = writeln!(io::stderr().lock(), "{}", message.trim_end());
}

/// clap repeats what it does not understand, and so a secret that was given for something else.
fn without_secrets(
    message: &str,
    arguments: impl Iterator<Item = impl Into<std::ffi::OsString>>,
) -> String {
    let mut message = message.to_owned();
    for argument in arguments.skip(1) {
        let argument = argument.into();
        let argument = argument.to_string_lossy();
        let value = match argument.split_once('=') {
            Some((option, value)) if option.starts_with('-') => value,
            _ => &argument,
        };
        if looks_like_a_secret(value) || holds_a_password(value) {
            message = message.replace(value, "(hidden: it looks like a secret)");
        }
    }
    message
}

/// As the URL of a database does.
fn holds_a_password(text: &str) -> bool {
    let address = text.split_once("://").map(|(_, address)| address);
    address.is_some_and(|address| address.contains('@') || address.contains("password="))
}

/// What comes from an event or a server must not move the cursor, nor look like what it is not.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match misleads(character) && character != '\n' {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
}

/// Likewise in JSON, where such characters stand in strings alone: it escapes but those below a space.
fn escaped(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        match misleads(character) && character != '\n' {
            true => shown.push_str(&format!("\\u{:04x}", u32::from(character))),
            false => shown.push(character),
        }
    }
    shown
}

/// Controls, and what has a terminal write in the other direction.
fn misleads(character: char) -> bool {
    let is_of_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || is_of_direction
}

/// For whoever waits and watches; in a log it would be noise.
pub(crate) fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("{pos}/{len} {wide_bar} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A table without borders.
///
/// The cells of the first `whole` columns are never broken: they are there to be copied, and lines to be
/// searched. What stands in further ones is wrapped to [`COLUMNS`].
pub(crate) fn table(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    whole: usize,
) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS);
    if !header.is_empty() {
        table.set_header(header);
    }
    for row in rows {
        // A line's end would make another row of it.
        let cell = |text: &String| Cell::new(printable(text).replace('\n', "\\n"));
        table.add_row(row.iter().map(cell));
    }
    for (place, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if place < whole {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

/// A table of fields and their values.
pub(crate) fn fields(rows: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let rows = rows.into_iter();
    let rows = rows.map(|(field, value)| vec![field.to_owned(), value]);
    table(&[], rows, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_on_the_command_line_is_not_repeated() {
        for argument in [
            "whsec_marker",
            "--secret=whsec_marker",
            "sk_live_marker",
            "postgres://user:marker@host/shop",
            "--database-url=postgres://host/shop?password=marker",
        ] {
            let message = format!("error: unexpected argument '{argument}' found");
            let shown = without_secrets(&message, ["stripe-webhook", argument].into_iter());
            assert!(!shown.contains("marker"), "{shown}");
        }
    }

    #[test]
    fn what_moves_the_cursor_is_shown_as_what_it_is() {
        assert_eq!(printable("a\u{1b}[2Jb\r\n"), "a\\u{1b}[2Jb\\r\n");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
        let json = serde_json::json!("\u{1b}\u{9b}2J\u{7f}\u{202e}").to_string();
        let shown = escaped(&json);
        assert_eq!(shown, r#""\u001b\u009b2J\u007f\u202e""#);
        let read: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read.to_string(), json);
    }

    #[test]
    fn a_cell_is_one_row() {
        let rows = [vec!["evt_1\nevt_2  200".to_owned()]];
        assert_eq!(table(&[], rows, 1), "evt_1\\nevt_2  200\n");
    }
}
