//! Finding the database that a URL names.

use std::fmt;
use std::str::FromStr as _;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{MySqlPool, PgPool};

use super::Database;

impl Database {
    /// Opens the database at a URL. Creates a missing SQLite file.
    pub(crate) async fn open(url: &str) -> Result<Self, OpenError> {
        let kind = url.split_once(':').map_or("", |(kind, _)| kind);
        let opened = match kind {
            "sqlite" => sqlite(url).await,
            "postgres" | "postgresql" => PgPool::connect(url).await.map(Self::Postgres),
            "mysql" | "mariadb" => MySqlPool::connect(url).await.map(Self::MySql),
            _ => return Err(OpenError::UnknownKind),
        };
        opened.map_err(OpenError::Failed)
    }

    /// The engine, and the name of an SQLite file. Never the URL, which may contain a password.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Sqlite(pool) => format!("the SQLite file {}", pool.connect_options().get_filename().display()),
            Self::Postgres(_) => "PostgreSQL".to_owned(),
            Self::MySql(_) => "MySQL or MariaDB".to_owned(),
        }
    }
}

async fn sqlite(url: &str) -> Result<Database, sqlx::Error> {
    // With a write-ahead log, readers and the one writer do not wait for each other.
    let options = SqliteConnectOptions::from_str(url)?.create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
    SqlitePoolOptions::new().connect_with(options).await.map(Database::Sqlite)
}

/// Why there is no database.
#[derive(Debug)]
pub(crate) enum OpenError {
    UnknownKind,
    Failed(sqlx::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind => f.write_str(
                "the database (--database or DATABASE_URL) is a URL that begins with sqlite:, postgres:// or mysql://",
            ),
            Self::Failed(error) => write!(f, "the database (--database or DATABASE_URL) cannot be opened: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}
