use super::program::{MARKER, nobody, program};

const DOCS: &str = include_str!("../../../src/bin/stripe-webhook/main.rs");

/// The first cells of the table under this heading.
fn named(heading: &str) -> Vec<&'static str> {
    let rows = DOCS.split(heading).nth(1).unwrap().lines();
    let rows = rows.skip_while(|line| !line.starts_with("//! |"));
    rows.take_while(|line| line.starts_with("//! |"))
        .filter_map(|line| line.strip_prefix("//! | ")?.split(" |").next())
        .map(|cell| cell.trim_matches('`'))
        .skip(1)
        .collect()
}

#[tokio::test]
async fn help_names_every_command_of_the_docs_and_no_other() {
    let ran = program(&["--help"]).run().await;
    assert_eq!(ran.exit, 0);
    let listed = ran.out.split("Commands:\n").nth(1).unwrap();
    let listed = listed.split("\n\n").next().unwrap().lines();
    let listed: Vec<_> = listed
        .filter_map(|line| line.split_whitespace().next())
        .filter(|command| *command != "help")
        .collect();
    assert_eq!(listed, named("stripe-webhook send http"));
    for code in named("# Answers") {
        assert!(ran.out.contains(&format!("\n  {code}  ")), "{code}");
    }
}

#[tokio::test]
async fn every_command_says_what_it_does_and_what_its_json_is() {
    for command in [
        "send",
        "verify",
        "coverage",
        "migrate",
        "sweep",
        "inbox status",
        "inbox list",
        "inbox show",
        "inbox retry",
        "inbox release",
        "inbox discard",
        "probe",
    ] {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let ran = program(&words).run().await;
        assert_eq!(ran.exit, 0, "{command}");
        assert!(ran.out.contains("JSON: {"), "{command}");
    }
}

#[tokio::test]
async fn a_secret_in_the_place_of_a_name_is_refused_and_not_repeated() {
    let secret = format!("whsec_{MARKER}");
    let url = nobody().await;
    let send = ["send", &url, "--type", "invoice.paid"];
    let assigned = format!("--secret={secret}");
    let slashed = format!("whsec_ab/{MARKER}");
    for (more, message) in [
        (
            vec!["--secret-env", &secret],
            "looks like the secret itself",
        ),
        (
            vec!["--secret-file", &secret],
            "looks like the secret itself",
        ),
        (
            vec!["--secret-file", &slashed],
            "looks like the secret itself",
        ),
        (vec!["--secret", &secret], "unexpected argument"),
        (vec![&assigned], "unexpected argument"),
        (vec!["--secret-env", "SECRET", &secret], "hidden"),
    ] {
        let ran = program(&[&send[..], &more].concat()).run().await;
        ran.fails(2, message);
    }
    let database = format!("postgres://shop:{MARKER}@127.0.0.1/shop");
    let ran = program(&["inbox", "status", "--database-url-env", &database]);
    ran.run().await.fails(2, "looks like the URL itself");
    let ran = program(&["inbox", "status", &database]);
    ran.run().await.fails(2, "hidden");
}

/// As of `| head`, which has read enough.
#[tokio::test]
async fn a_closed_pipe_is_no_fault() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_stripe-webhook"));
    let output = command.arg("--help").stdout(writer).output().await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
