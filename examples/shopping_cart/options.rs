//! The command line: `--port <number>`, or the environment variable `PORT`.

use std::fmt;

const DEFAULT_PORT: u16 = 3000;

/// Reads the port to listen on; 0 lets the system choose a free one.
pub(crate) fn port(
    mut arguments: impl Iterator<Item = String>,
    environment: Option<String>,
) -> Result<u16, OptionError> {
    let Some(argument) = arguments.next() else {
        return environment.map_or(Ok(DEFAULT_PORT), |value| parse("PORT", &value));
    };
    let value = match argument.split_once('=') {
        Some(("--port", value)) => value.to_owned(),
        None if argument == "--port" => arguments.next().unwrap_or_default(),
        _ => return Err(OptionError::Unknown(argument)),
    };
    match arguments.next() {
        Some(extra) => Err(OptionError::Unknown(extra)),
        None => parse("--port", &value),
    }
}

fn parse(name: &'static str, value: &str) -> Result<u16, OptionError> {
    value.parse().map_err(|_| OptionError::NotAPort { name, value: value.to_owned() })
}

/// Why the command line was not understood.
#[derive(Debug, PartialEq)]
pub(crate) enum OptionError {
    Unknown(String),
    NotAPort { name: &'static str, value: String },
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(argument) => write!(f, "unknown argument {argument:?}: the only option is --port <number>"),
            Self::NotAPort { name, value } => write!(f, "{name} is {value:?}: a port is a number from 0 to 65535"),
        }
    }
}

impl std::error::Error for OptionError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], environment: Option<&str>) -> Result<u16, OptionError> {
        port(arguments.iter().map(|&argument| argument.to_owned()), environment.map(str::to_owned))
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_the_environment_over_the_default() {
        assert_eq!(read(&[], None), Ok(3000));
        assert_eq!(read(&[], Some("4000")), Ok(4000));
        assert_eq!(read(&["--port", "5000"], Some("4000")), Ok(5000));
        assert_eq!(read(&["--port=0"], None), Ok(0));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for arguments in [&["--port"][..], &["--port", "x"], &["--port=70000"], &["--prot=1"], &["--port=1", "2"]] {
            assert!(read(arguments, None).is_err(), "{arguments:?}");
        }
    }
}
