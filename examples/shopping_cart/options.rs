//! The command line, and the environment variables that say the same.

use std::fmt;

const DEFAULT_PORT: u16 = 3000;
const DEFAULT_DATABASE: &str = "sqlite:shopping-cart.db";

/// The options of the command line. No `Debug`, since a URL may contain a password.
pub(crate) struct Options {
    /// `--port <number>` or `PORT`: where to listen; 0 lets the system choose a free port.
    pub(crate) port: u16,
    /// `--database <url>` or `DATABASE_URL`: where the carts, the orders and the sessions are kept.
    pub(crate) database: String,
}

impl Options {
    /// Reads what was chosen. The command line wins over the environment.
    pub(crate) fn read(
        mut arguments: impl Iterator<Item = String>,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, OptionError> {
        let (mut port, mut database) = (environment("PORT"), environment("DATABASE_URL"));
        while let Some(argument) = arguments.next() {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (&*argument, None),
            };
            let option = match name {
                "--port" => &mut port,
                "--database" => &mut database,
                _ if name.starts_with('-') => return Err(OptionError::Unknown(name.to_owned())),
                // It is not repeated, for the same reason.
                _ => return Err(OptionError::Stray),
            };
            *option = Some(value.or_else(|| arguments.next()).unwrap_or_default());
        }
        Ok(Self {
            port: port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| OptionError::NotAPort(port)))?,
            database: database.unwrap_or_else(|| DEFAULT_DATABASE.to_owned()),
        })
    }
}

/// Why the command line was not understood.
#[derive(Debug, PartialEq)]
pub(crate) enum OptionError {
    Unknown(String),
    Stray,
    NotAPort(String),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "unknown argument {name:?}: the options are --port <number> and --database <url>")
            }
            Self::Stray => {
                f.write_str("an argument stands alone: the options are --port <number> and --database <url>")
            }
            Self::NotAPort(value) => {
                write!(f, "the port (--port or PORT) is {value:?}, and a port is a number from 0 to 65535")
            }
        }
    }
}

impl std::error::Error for OptionError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<(u16, String), OptionError> {
        let variable =
            |wanted: &str| environment.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
        let options = Options::read(arguments.iter().map(|&argument| argument.to_owned()), variable)?;
        Ok((options.port, options.database))
    }

    #[test]
    fn the_flags_win_over_the_environment_and_the_environment_over_the_defaults() {
        let environment = [("PORT", "4000"), ("DATABASE_URL", "mysql://shop@localhost/tins")];
        let file = || "sqlite:shopping-cart.db".to_owned();
        assert_eq!(read(&[], &[]), Ok((3000, file())));
        assert_eq!(read(&[], &environment), Ok((4000, "mysql://shop@localhost/tins".to_owned())));
        assert_eq!(
            read(&["--port", "5000", "--database=sqlite:tins.db"], &environment),
            Ok((5000, "sqlite:tins.db".into()))
        );
        assert_eq!(read(&["--port=0"], &[]), Ok((0, file())));
        let with_question = "postgres://localhost/tins?sslmode=disable";
        assert_eq!(read(&["--database", with_question], &[]), Ok((3000, with_question.to_owned())));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for arguments in [&["--port"][..], &["--port", "x"], &["--port=70000"], &["--prot=1"], &["--port=1", "2"]] {
            assert!(read(arguments, &[]).is_err(), "{arguments:?}");
        }
        let error = read(&["mysql://shop:secret@localhost/tins"], &[]).expect_err("it says not what it is");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
