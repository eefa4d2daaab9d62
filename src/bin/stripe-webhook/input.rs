//! Files and standard input, never more of them than there is room for.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use zeroize::Zeroizing;

use crate::{failure::Failure, secret::looks_like_a_secret};

/// A path as it may be printed: whoever gives a secret for the name of its file does not want to read it.
pub(crate) fn shown(path: &Path) -> String {
    let path = path.to_string_lossy();
    match looks_like_a_secret(&path) {
        true => "the file, whose name looks like a secret".to_owned(),
        false => path.into_owned(),
    }
}

pub(crate) fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| unreadable(&shown(path), &error))
}

pub(crate) fn stdin() -> impl Read {
    io::stdin().lock()
}

/// What a file holds, or standard input for `-`.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    match is_stdin(path) {
        true => fill(&mut bytes, stdin(), "standard input", bytes_max)?,
        false => fill(&mut bytes, open(path)?, &shown(path), bytes_max)?,
    }
    Ok(bytes)
}

pub(crate) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// One line that nobody else is to read.
pub(crate) fn read_secret(
    reader: impl Read,
    name: &str,
    bytes_max: usize,
) -> Result<Zeroizing<String>, Failure> {
    // As large as it may become: a buffer that grows leaves copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    fill(&mut bytes, reader, name, bytes_max)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::impossible(format!("{name}: not UTF-8")))?;
    Ok(Zeroizing::new(without_line_end(text).to_owned()))
}

fn fill(
    bytes: &mut Vec<u8>,
    reader: impl Read,
    name: &str,
    bytes_max: usize,
) -> Result<(), Failure> {
    let read = reader.take(bytes_max as u64 + 1).read_to_end(bytes);
    read.map_err(|error| unreadable(name, &error))?;
    match bytes.len() > bytes_max {
        true => Err(Failure::impossible(format!(
            "{name}: longer than {bytes_max} bytes: is this the right file?"
        ))),
        false => Ok(()),
    }
}

fn without_line_end(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap_or(text);
    line.strip_suffix('\r').unwrap_or(line)
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::impossible(format!("{name}: cannot be read: {}", error.kind()))
}
