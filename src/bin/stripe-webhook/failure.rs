use std::fmt;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It is done, and nothing is wrong.
    Done = 0,
    /// The answer is no.
    No = 1,
    /// The command line is not understood. clap's own number.
    Usage = 2,
    /// It could not be done.
    Impossible = 3,
}

/// Why there is no answer. The text goes to standard error, and shows neither a secret nor anything of
/// the database's.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

impl Failure {
    /// What was asked for is not there, or cannot be done with it.
    pub(crate) fn no(message: impl Into<String>) -> Self {
        Self::new(Exit::No, message)
    }

    /// The arguments contradict each other, or one of them means nothing.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something outside of the command line is in the way: a variable, a file, the network, a database.
    pub(crate) fn impossible(message: impl Into<String>) -> Self {
        Self::new(Exit::Impossible, message)
    }

    fn new(exit: Exit, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { exit, message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
