//! The command line, run as its users run it.

mod coverage;
mod help;
mod inbox;
mod probe;
mod program;
mod send;
mod tables;
mod verify;
