//! Commands in the documentation: what they run and name is there.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use session_state::Key;

use crate::manifests::has_feature;
use crate::sources::File;

/// Programs that may be run to see whether a command works, since they change nothing.
const HARMLESS: [&str; 4] = ["base64", "head", "openssl", "python3"];

/// Returns what is wrong with the lines of a block, each of which is a command, and where.
pub(crate) fn faults(lines: &[&str], sources: &[File]) -> Vec<(usize, String)> {
    let fault = |line: &str| match line.strip_prefix("$ ") {
        Some(command) => fault(command, sources),
        None => Some("a line is a command behind `$ `; output is a block of `text`".to_owned()),
    };
    lines.iter().enumerate().filter_map(|(at, line)| Some((at + 1, fault(line)?))).collect()
}

fn fault(command: &str, sources: &[File]) -> Option<String> {
    let words: Vec<&str> = command.split(' ').collect();
    match words.as_slice() {
        ["cargo", arguments @ ..] => fault_of_cargo(arguments, sources),
        [script] if script.starts_with("./") => (!is_executable(script)).then(|| format!("{script} is no executable")),
        [program, ..] if HARMLESS.contains(program) => fault_when_run(command),
        _ => Some(format!("no rule says how `{command}` is checked")),
    }
}

fn fault_of_cargo(arguments: &[&str], sources: &[File]) -> Option<String> {
    let (command, mut arguments) = (arguments.first()?, arguments.iter().skip(1));
    if !["build", "doc", "run", "test"].contains(command) {
        return Some(format!("no rule says how `cargo {command}` is checked"));
    }
    let exists = |path: String| sources.iter().any(|file| file.path == path);
    while let Some(argument) = arguments.next() {
        let is_right = match *argument {
            "--release" | "--all-features" | "--open" => true,
            "--features" => arguments.next().is_some_and(|features| features.split(',').all(has_feature)),
            "--example" => arguments.next().is_some_and(|name| {
                exists(format!("examples/{name}.rs")) || exists(format!("examples/{name}/main.rs"))
            }),
            _ => false,
        };
        if !is_right {
            return Some(format!("cargo does not find what `{argument}` is for"));
        }
    }
    None
}

fn is_executable(script: &str) -> bool {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    #[cfg(unix)]
    let may_run =
        |metadata: fs::Metadata| std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0;
    #[cfg(not(unix))]
    let may_run = |_: fs::Metadata| true;
    fs::metadata(path).is_ok_and(may_run)
}

/// Runs a command, which has to make a key.
fn fault_when_run(command: &str) -> Option<String> {
    let output = Command::new("bash").args(["-o", "pipefail", "-c", command]).output().ok()?;
    match output.status.code() {
        Some(0) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Key::from_base64(text.trim_end()).err().map(|error| format!("`{command}` makes no key: {error}"))
        }
        // A program that is not installed here says nothing about the command.
        Some(127) => {
            assert!(std::env::var_os("SESSION_STATE_NO_SKIP").is_none(), "`{command}` may not be skipped");
            let _ = writeln!(io::stderr(), "\nSKIPPED: there is no program here for `{command}`");
            None
        }
        _ => Some(format!("`{command}` fails: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

#[test]
fn a_command_names_what_is_there() {
    let sources = crate::sources::files();
    let check = |line: &str| faults(&[line], &sources);
    for line in [
        "$ cargo run --release --features sqlite,postgres,mysql --example shopping_cart",
        "$ cargo test --all-features",
        "$ ./tests/run",
        "$ head -c 32 /dev/urandom | base64",
    ] {
        assert_eq!(check(line), [], "{line}");
    }
    for line in [
        "cargo test",
        "ok",
        "$ cargo run --features oracle",
        "$ cargo run --features",
        "$ cargo run --example supermarket",
        "$ cargo run --releese",
        "$ cargo destroy",
        "$ ./tests/walk",
        "$ ./README.md",
        "$ ./tests/run $ cargo test",
        "$ rm -rf target",
        "$ head -c 16 /dev/urandom | base64",
        "$ openssl rand -base64 32 $ head -c 32 /dev/urandom | base64",
    ] {
        assert_ne!(check(line), [], "{line}");
    }
}
