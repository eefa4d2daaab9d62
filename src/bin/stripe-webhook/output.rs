use std::{
    env,
    io::{self, Write},
};

use comfy_table::{Cell, ColumnConstraint, ContentArrangement, Table, presets};
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
            true => print(format!("{:#}\n", self.json).as_bytes()),
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
        match character.is_control() && character != '\n' {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    shown
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
        table.add_row(row.iter().map(|text| Cell::new(printable(text))));
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
    }
}
