//! The differences between the engines.

use sqlx::Pool;

use super::engine::Engine;
use super::statement::Syntax;
use super::table::Table;

/// The SQL of one engine, where it differs from that of the others.
pub(crate) trait Dialect: Engine + Syntax {
    const STORE: &'static str;
    const QUOTE: char;
    /// The function that returns the greater of two numbers.
    const GREATEST: &'static str;
    /// The statement that begins a transaction on the schema.
    const BEGIN: &'static str;
    /// The statement that begins a transaction on sessions.
    const BEGIN_CALL: &'static str = Self::BEGIN;
    /// The clause by which a `SELECT` locks its rows.
    const FOR_UPDATE: &'static str = " FOR UPDATE";
    /// The clause by which an `INSERT` does nothing if its key is taken. Without it, the `INSERT` fails.
    const OR_IGNORE: &'static str = "";
    /// How many rows one statement of a sweep deletes: few enough that it holds no locks for long.
    const SWEEP_BATCH: usize;
    /// Whether a sweep runs in a transaction, because [`BEGIN_CALL`](Self::BEGIN_CALL) sets its isolation.
    const SWEEP_IN_TRANSACTION: bool = false;
    /// The SQLSTATEs of a deadlock and of a serialization failure, after which a statement is run again.
    const RETRYABLE: &'static [&'static str] = &[];
    /// Whether a statement that changes one row returns one row. Its last column is 1 if the row was changed; if not,
    /// the columns before it are those of the present row. Otherwise a second statement loads the present row.
    const RETURNS_ROW: bool = false;
    /// The condition for the rows of a principal: equal byte by byte, in a form that uses the index.
    const IS_PRINCIPAL: &'static str = "principal = :principal";
    /// The condition for the rows of a principal after the handle `:after`, in a form that uses the index. The index is
    /// ordered by [`ORDER_BY`](Self::ORDER_BY).
    const IS_AFTER: &'static str = "principal = :principal AND handle > :after";
    const ORDER_BY: &'static str = "handle";
    /// Whether one statement can delete sessions, insert forwards and return the handles.
    const REVOKES_AT_ONCE: bool = false;

    /// Returns whether an error code means that a value or a row violates a constraint. By default the code is an
    /// SQLSTATE.
    fn is_constraint_violation(code: &str) -> bool {
        code.starts_with("22") || code.starts_with("23")
    }

    /// Whether statements are named on the connections of a pool.
    fn names_statements(_pool: &Pool<Self>) -> bool {
        true
    }

    /// Makes a statement that changes one row return a row as [`RETURNS_ROW`](Self::RETURNS_ROW) says.
    fn returning(_table: &Table, change: &str) -> String {
        change.to_owned()
    }

    /// Returns the table, with a hint to use the index over principals if the engine needs one.
    fn by_principal(table: &Table) -> String {
        table.quoted(Self::QUOTE)
    }

    /// Returns the table, with a hint to use the primary key if the engine needs one.
    fn by_key(table: &Table) -> String {
        table.quoted(Self::QUOTE)
    }

    /// Returns the statement that moves a live record of the expected version to the new key and leaves a forward. The
    /// row of the session stays and changes its key; the forward is a new row. It returns a row as `returning` does.
    ///
    /// A renewal with another handle replaces the session: its row is deleted, and the record is a new row. If the
    /// statement cannot do that, it changes nothing, and `Statements::delete_old` and `Statements::insert_new` do it.
    fn renew(table: &Table) -> String;

    /// Returns the statement that deletes the session under `:key`, if it fulfils the condition, and inserts a forward
    /// in its place. It returns a row as `returning` does.
    fn retire(table: &Table, condition: &str) -> String {
        Self::retire_all(table, condition)
    }

    /// Returns the statement that deletes the sessions that fulfil a condition, and inserts a forward in place of each.
    /// It returns their handles if [`REVOKES_AT_ONCE`](Self::REVOKES_AT_ONCE) is set.
    ///
    /// A forward is a new row, since rows of other tables may refer to that of the session.
    fn retire_all(table: &Table, condition: &str) -> String;

    /// Returns the statement that deletes up to `:limit` expired rows.
    fn sweep(table: &Table) -> String;

    /// Returns the statement that locks the schema against other nodes, where the transaction does not.
    fn lock_schema() -> &'static str {
        ""
    }

    /// Returns the statement that creates the table of schema versions if it does not exist.
    fn schema_versions(table: &Table) -> String;

    /// Returns the schema migrations. Each leads from the version of its index to the next.
    fn schema_steps(table: &Table) -> Vec<String>;
}
