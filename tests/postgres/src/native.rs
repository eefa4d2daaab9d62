//! A server of the machine's own Postgres binaries.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::server::Server;
use crate::watchdog::{self, Watchdog};

/// It takes two seconds; more on a machine under load.
const STARTS_WITHIN: Duration = Duration::from_mins(2);

/// Somebody may take a port between the choice and the start; five times in a row nobody does.
const PORTS: usize = 5;

/// Starts a server from the binaries in `path`, or else in `versions`, which has a folder for each.
pub(crate) fn start(path: &OsStr, versions: &Path) -> Result<Server, String> {
    let folder = in_path(path).or_else(|| newest(versions)).ok_or_else(|| {
        let versions = versions.display();
        format!("initdb, postgres and pg_ctl are in no folder of PATH and in no {versions}/*/bin")
    })?;
    let ports = free_ports().map_err(|error| format!("no free port: {error}"))?;
    let mut script = watchdog::script(include_str!("native.sh"));
    script.arg(folder).args(ports.iter().map(u16::to_string));
    if id(&["-u"])? == 0 {
        // Postgres refuses to run as root.
        script
            .uid(id(&["-u", "postgres"])?)
            .gid(id(&["-g", "postgres"])?);
    }
    Ok(Watchdog::start(script, STARTS_WITHIN)?.into())
}

fn in_path(path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).find(|folder| has_binaries(folder))
}

fn newest(versions: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(versions).ok()?.flatten();
    entries
        .filter_map(|entry| {
            Some((
                version(entry.file_name().to_str()?)?,
                entry.path().join("bin"),
            ))
        })
        .filter(|(_, folder)| has_binaries(folder))
        .max()
        .map(|(_, folder)| folder)
}

fn has_binaries(folder: &Path) -> bool {
    // A relative folder would be another one for the script, which runs in `/`.
    folder.is_absolute()
        && ["initdb", "postgres", "pg_ctl"]
            .iter()
            .all(|name| folder.join(name).is_file())
}

/// `9.6` is lower than `15`, unlike in the order of text.
fn version(name: &str) -> Option<Vec<u32>> {
    name.split('.').map(|part| part.parse().ok()).collect()
}

fn free_ports() -> io::Result<Vec<u16>> {
    // All are held until all are chosen, so that they differ.
    let listeners: Vec<_> = (0..PORTS)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<io::Result<_>>()?;
    listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}

fn id(arguments: &[&str]) -> Result<u32, String> {
    let failed = |why: &str| format!("`id {}`: {}", arguments.join(" "), why.trim());
    let output = Command::new("id")
        .args(arguments)
        .output()
        .map_err(|error| failed(&error.to_string()))?;
    String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .map_err(|_| failed(&String::from_utf8_lossy(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_is_a_number_not_a_text() {
        let mut names = ["9.6", "15", "10", "9.10", "common"];
        names.sort_by_key(|name| version(name));
        assert_eq!(names, ["common", "9.6", "9.10", "10", "15"]);
    }

    #[test]
    fn a_version_without_its_binaries_is_passed_over() {
        let versions =
            env::temp_dir().join(format!("test-postgres-versions-{}", std::process::id()));
        for (folder, names) in [
            ("9.6/bin", "initdb postgres pg_ctl"),
            ("14/bin", "initdb postgres pg_ctl"),
            ("16/bin", "initdb"),
        ] {
            fs::create_dir_all(versions.join(folder)).unwrap();
            for name in names.split(' ') {
                fs::write(versions.join(folder).join(name), "").unwrap();
            }
        }
        let found = newest(&versions);
        fs::remove_dir_all(&versions).unwrap();
        assert_eq!(found, Some(versions.join("14/bin")));
    }

    #[test]
    fn free_ports_differ() {
        let mut ports = free_ports().unwrap();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), PORTS);
    }
}
