//! Where signing secrets come from. No argument takes one: what stands on a command line can be read by
//! every user of the machine, and stays in the shell's history.

use std::{
    env,
    io::Read,
    path::{Path, PathBuf},
};

use axum_stripe_webhook::{SigningSecret, signature::SECRET_FILE_BYTES_MAX};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use zeroize::Zeroizing;

use crate::{failure::Failure, input};

/// A signing secret, exactly as it is configured, and what it may be called.
pub(crate) struct Secret {
    pub(crate) name: String,
    pub(crate) value: Zeroizing<String>,
}

/// Where one signing secret comes from.
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct OneSecret {
    /// The environment variable that holds the endpoint's signing secret
    #[arg(long, value_name = "NAME")]
    secret_env: Option<String>,
    /// The file that holds the endpoint's signing secret; one line end at its end does not count
    #[arg(long, value_name = "PATH")]
    secret_file: Option<PathBuf>,
    /// Read the endpoint's signing secret from standard input
    #[arg(long)]
    secret_stdin: bool,
}

/// Where the secret comes from that is being rolled.
#[derive(Args)]
#[group(required = false, multiple = false)]
pub(crate) struct OldSecret {
    /// Sign with the secret in this environment variable too, as while one is being rolled
    #[arg(long, value_name = "NAME")]
    old_secret_env: Option<String>,
    /// Sign with the secret in this file too, as while one is being rolled
    #[arg(long, value_name = "PATH")]
    old_secret_file: Option<PathBuf>,
}

/// Where several secrets come from, in the order of the command line.
pub(crate) struct Secrets(Vec<Source>);

#[derive(Args)]
#[group(id = "secrets", required = true, multiple = true)]
struct SecretsArgs {
    /// An environment variable that holds a signing secret; the first secret is the expected one
    #[arg(long, value_name = "NAME")]
    secret_env: Vec<String>,
    /// A file that holds a signing secret; one line end at its end does not count
    #[arg(long, value_name = "PATH")]
    secret_file: Vec<PathBuf>,
    /// Read a signing secret from standard input
    #[arg(long)]
    secret_stdin: bool,
}

#[derive(Clone)]
enum Source {
    Env(String),
    File(PathBuf),
    Stdin,
}

impl OneSecret {
    /// The secret, if there is one, and if an endpoint could be set up with it.
    pub(crate) fn read(&self) -> Result<Option<Secret>, Failure> {
        let source = match (&self.secret_env, &self.secret_file) {
            (Some(name), _) => Source::Env(name.clone()),
            (None, Some(path)) => Source::File(path.clone()),
            (None, None) if self.secret_stdin => Source::Stdin,
            (None, None) => return Ok(None),
        };
        source.read()?.usable().map(Some)
    }

    /// The secret, which has to be there.
    pub(crate) fn required(&self) -> Result<Secret, Failure> {
        self.read()?.ok_or_else(|| {
            Failure::usage("say where the secret is: --secret-env, --secret-file or --secret-stdin")
        })
    }

    pub(crate) fn is_stdin(&self) -> bool {
        self.secret_stdin
    }
}

impl OldSecret {
    pub(crate) fn read(&self) -> Result<Option<Secret>, Failure> {
        let name = self.old_secret_env.clone().map(Source::Env);
        let source = name.or_else(|| self.old_secret_file.clone().map(Source::File));
        source
            .map(|source| source.read().and_then(Secret::usable))
            .transpose()
    }
}

impl Secrets {
    /// The secrets as they are, also such as no endpoint could be set up with.
    pub(crate) fn read(&self) -> Result<Vec<Secret>, Failure> {
        self.0.iter().map(Source::read).collect()
    }

    pub(crate) fn has_stdin(&self) -> bool {
        self.0.iter().any(|source| matches!(source, Source::Stdin))
    }
}

impl Secret {
    fn usable(self) -> Result<Self, Failure> {
        let refused = |error| Failure::impossible(format!("{}: {error}", self.name));
        SigningSecret::new(self.value.as_str()).map_err(refused)?;
        Ok(self)
    }
}

impl Source {
    fn read(&self) -> Result<Secret, Failure> {
        match self {
            Self::Env(name) => from_env(name),
            Self::File(path) => from_file(path),
            Self::Stdin => from(input::stdin(), "standard input".to_owned()),
        }
    }
}

fn from_env(name: &str) -> Result<Secret, Failure> {
    let value = env::var(name).map(Zeroizing::new).map_err(|error| {
        let is_value = looks_like_a_secret(name) && error == env::VarError::NotPresent;
        match SigningSecret::from_env(name) {
            // It names the variable and says what to do.
            Err(error) if !is_value => Failure::impossible(error.to_string()),
            _ => Failure::usage(
                "--secret-env takes the name of an environment variable, and this looks like the secret \
                 itself: other users of this machine may have seen it",
            ),
        }
    })?;
    let name = name.to_owned();
    Ok(Secret { name, value })
}

fn from_file(path: &Path) -> Result<Secret, Failure> {
    let name = path.to_string_lossy();
    if looks_like_a_secret(&name) && !path.exists() {
        return Err(Failure::usage(
            "--secret-file takes the path of a file, and this looks like the secret itself: other users \
             of this machine may have seen it",
        ));
    }
    let name = input::shown(path);
    let file = input::open(path)?;
    from(file, name)
}

fn from(reader: impl Read, name: String) -> Result<Secret, Failure> {
    let value = input::read_secret(reader, &name, SECRET_FILE_BYTES_MAX)?;
    Ok(Secret { name, value })
}

/// As the library's own test of a name: it begins like a secret, and is not the path of a file.
pub(crate) fn looks_like_a_secret(text: &str) -> bool {
    let prefixes = ["whsec_", "sk_", "rk_", "pk_"];
    let is_path = text.contains('/');
    // A path may hold one of them, and a secret a slash.
    prefixes
        .iter()
        .any(|prefix| text.starts_with(prefix) || (!is_path && text.contains(prefix)))
}

impl FromArgMatches for Secrets {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut sources: Vec<(usize, Source)> = Vec::new();
        for (place, name) in placed::<String>(matches, "secret_env") {
            sources.push((place, Source::Env(name.clone())));
        }
        for (place, path) in placed::<PathBuf>(matches, "secret_file") {
            sources.push((place, Source::File(path.clone())));
        }
        if matches.get_flag("secret_stdin") {
            let place = matches.index_of("secret_stdin");
            sources.push((place.unwrap_or(usize::MAX), Source::Stdin));
        }
        sources.sort_by_key(|(place, _)| *place);
        let sources = sources.into_iter().map(|(_, source)| source);
        Ok(Self(sources.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Secrets {
    fn augment_args(command: Command) -> Command {
        SecretsArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        SecretsArgs::augment_args_for_update(command)
    }
}

/// The values of an option, each with its place on the command line.
pub(crate) fn placed<'a, T: Clone + Send + Sync + 'static>(
    matches: &'a ArgMatches,
    option: &str,
) -> impl Iterator<Item = (usize, &'a T)> {
    let places = matches.indices_of(option).into_iter().flatten();
    let values = matches.get_many::<T>(option).into_iter().flatten();
    places.zip(values)
}
