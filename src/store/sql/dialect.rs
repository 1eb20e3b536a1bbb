//! The statements of a store, and in what the engines differ.

use std::borrow::Cow;

use super::engine::Engine;
use super::principals::OfPrincipal;
use super::statement::Statement;
use super::table::Table;

/// The columns in the order in which rows are read; the key is not among them.
pub(crate) const COLUMNS: [&str; 14] = [
    "handle",
    "version",
    "created_at",
    "renewed_at",
    "last_seen_at",
    "expires_at",
    "idle_timeout",
    "absolute_timeout",
    "principal",
    "authenticated_at",
    "label",
    "data",
    "successor",
    "grace_until",
];

/// How many columns a record has; those behind them are of a forward.
const RECORD_COLUMNS: usize = 12;

/// Where the columns begin that a renewal changes. The handle stays: rows of other tables may refer to it.
const MOVED_COLUMNS: usize = 1;

/// In what one engine differs from the others.
pub(crate) trait Dialect: Engine {
    const STORE: &'static str;
    const QUOTE: char;
    /// The greater of two numbers.
    const GREATEST: &'static str;
    /// How a transaction begins that changes the schema.
    const BEGIN: &'static str;
    /// How a transaction begins that changes sessions.
    const BEGIN_CALL: &'static str = Self::BEGIN;
    /// What makes a `SELECT` lock its rows.
    const FOR_UPDATE: &'static str = " FOR UPDATE";
    /// Whether a placeholder says by its number what it stands for, so that one can stand in several places.
    const NUMBERED: bool = false;
    /// The end of an `INSERT` that then does nothing where its key is taken. Without it, the `INSERT` fails.
    const IF_FREE: &'static str = "";
    /// How many rows a sweep removes at once: few enough that it locks nothing for long.
    const SWEEP_BATCH: usize;
    /// Whether a sweep needs a transaction around it, for what it says at its beginning.
    const SWEEP_IN_TRANSACTION: bool = false;
    /// The SQLSTATEs that say that a statement was undone because others were in its way, and may be run again.
    const UNDONE: &'static [&'static str] = &[];
    /// Whether a statement that changes one row answers with one row: 1 if it was changed, behind the columns of what is
    /// there if it was not. Otherwise a second statement has to find out.
    const ANSWERS_WITH_ROW: bool = false;
    /// Which rows are of a principal: those in which each byte is the same, in words by which the index finds them.
    const IS_PRINCIPAL: &'static str = "principal = :principal";
    /// Which rows are of a principal and behind the handle `:after`. The index has them in the order of
    /// [`IN_ORDER`](Self::IN_ORDER).
    const IS_BEHIND: &'static str = "principal = :principal AND handle > :after";
    const IN_ORDER: &'static str = "handle";
    /// Whether a `DELETE` can return what it removes.
    const DELETE_RETURNS_ROWS: bool = true;

    fn placeholder(number: usize) -> Cow<'static, str>;

    /// Whether this code of an error says that a value or a row is against the rules of its table. By default it is a
    /// SQLSTATE.
    fn is_refusal(code: &str) -> bool {
        code.starts_with("22") || code.starts_with("23")
    }

    /// Makes a statement that changes one row answer as [`ANSWERS_WITH_ROW`](Self::ANSWERS_WITH_ROW) says.
    fn changing(_table: &Table, change: &str) -> String {
        change.to_owned()
    }

    /// Returns the table, of which rows are found by their principal.
    fn by_principal(table: &Table) -> String {
        table.quoted(Self::QUOTE)
    }

    /// Returns the table, of which rows are found by their keys.
    fn by_key(table: &Table) -> String {
        table.quoted(Self::QUOTE)
    }

    /// Moves a live record of the expected version to the new key, and leaves a forward. The row of the session stays and
    /// changes its key, and the forward is a row of its own. It answers as `changing` does.
    ///
    /// A row with another handle is of another session: it is removed, and the record becomes a new row. A statement that
    /// cannot do this too does nothing, which [`leave`](Statements::leave) and [`arrive`](Statements::arrive) then do.
    fn renew(table: &Table) -> String;

    /// Removes up to `:limit` rows that have expired.
    fn sweep(table: &Table) -> String;

    /// Locks the schema against other nodes, where the transaction does not.
    fn lock_schema() -> &'static str {
        ""
    }

    /// Makes the table that holds the version of the schema, if it is not there.
    fn schema_versions(table: &Table) -> String;

    /// Each leads from the version of its index to the next.
    fn schema_steps(table: &Table) -> Vec<String>;

    /// Returns a principal or a label as it is stored.
    fn name_to_sql(name: &str) -> Cow<'_, str> {
        name.into()
    }

    fn name_from_sql(name: &str) -> Cow<'_, str> {
        name.into()
    }
}

/// The statements of one store.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) load: Statement,
    /// Reads the row and locks it until the transaction ends.
    pub(crate) lock: Statement,
    pub(crate) create: Statement,
    /// Removes what is in the way of a `create` and has expired.
    pub(crate) clear: Statement,
    pub(crate) update: Statement,
    pub(crate) touch: Statement,
    pub(crate) renew: Statement,
    /// Removes a session that another one follows under a new key.
    pub(crate) leave: Statement,
    /// Inserts the one that follows it, and the forward.
    pub(crate) arrive: Statement,
    pub(crate) delete: Statement,
    pub(crate) sweep: Statement,
    pub(crate) of_principal: OfPrincipal,
}

/// A live record of the expected version. A forward has no version.
pub(crate) const IS_EXPECTED: &str = "id_hash = :key AND version = :expected AND expires_at > :now";

impl Statements {
    pub(crate) fn new<D: Dialect>(table: &Table) -> Self {
        let name = table.quoted(D::QUOTE);
        let (columns, greatest) = (COLUMNS.join(", "), D::GREATEST);
        let forward = COLUMNS.map(forward_value).join(", ");
        let set = assignments(&COLUMNS[..RECORD_COLUMNS], |column| format!(":{column}"));
        let changing = |change: String| Statement::new::<D>(&D::changing(table, &change));
        let load = format!("SELECT {columns} FROM {name} WHERE id_hash = :key AND expires_at > :now");
        Self {
            load: Statement::new::<D>(&load),
            lock: Statement::new::<D>(&format!("{load}{}", D::FOR_UPDATE)),
            create: Statement::new::<D>(&format!("{} {}", insert_record(&name, ":key"), D::IF_FREE)),
            clear: Statement::new::<D>(&format!("DELETE FROM {name} WHERE id_hash = :key AND expires_at <= :now")),
            update: changing(format!("UPDATE {name} SET {set} WHERE {IS_EXPECTED}")),
            touch: changing(format!(
                "UPDATE {name} SET last_seen_at = {greatest}(last_seen_at, :last_seen_now), \
                 expires_at = {greatest}(expires_at, :expires_now) WHERE {IS_EXPECTED}"
            )),
            renew: Statement::new::<D>(&D::renew(table)),
            leave: Statement::new::<D>(&format!("DELETE FROM {name} WHERE {IS_EXPECTED} AND handle <> :handle")),
            arrive: Statement::new::<D>(&format!("{}, (:key, {forward})", insert_record(&name, ":new_key"))),
            delete: changing(format!(
                "DELETE FROM {name} WHERE id_hash = :key AND version IS NOT NULL AND expires_at > :now"
            )),
            sweep: Statement::new::<D>(&D::sweep(table)),
            of_principal: OfPrincipal::new::<D>(table),
        }
    }
}

/// Returns an `INSERT` of a record under the key of the parameter `key`, without an end.
pub(crate) fn insert_record(name: &str, key: &str) -> String {
    format!("INSERT INTO {name} (id_hash, {}) VALUES ({})", COLUMNS.join(", "), record_values(key))
}

/// Returns the values of a record's row, the key first.
pub(crate) fn record_values(key: &str) -> String {
    let values: Vec<_> = COLUMNS.iter().map(|column| record_value(column)).collect();
    format!("{key}, {}", values.join(", "))
}

/// Returns what a column holds of a record.
pub(crate) fn record_value(column: &str) -> String {
    match column {
        "successor" | "grace_until" => "NULL".to_owned(),
        _ => format!(":{column}"),
    }
}

/// Returns what a column holds of a forward.
pub(crate) fn forward_value(column: &str) -> String {
    match column {
        "expires_at" => ":forward_expires_at".to_owned(),
        "successor" | "grace_until" => format!(":{column}"),
        _ => "NULL".to_owned(),
    }
}

/// Returns assignments to columns, each of what `value` makes of its name.
pub(crate) fn assignments(columns: &[&str], value: impl Fn(&str) -> String) -> String {
    let assignments: Vec<_> = columns.iter().map(|column| format!("{column} = {}", value(column))).collect();
    assignments.join(", ")
}

/// Returns the assignments that a renewal makes in the row of a session.
pub(crate) fn moved() -> String {
    format!("id_hash = :new_key, {}", assignments(&COLUMNS[MOVED_COLUMNS..], record_value))
}

/// Moves a record that keeps its handle with one `INSERT` of the forward, twice: first the old key is taken, and the row
/// that has it takes the new key and the record instead; then the old key is free. Nothing is inserted unless the old key
/// has what is expected.
///
/// `typed` gives a value the type of its column, and `on_conflict` begins the assignments to the row that is in the way.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub(crate) fn renew_by_upsert(name: &str, typed: impl Fn(&str, String) -> String, on_conflict: &str) -> String {
    let forward = COLUMNS.map(|column| typed(column, forward_value(column))).join(", ");
    format!(
        "INSERT INTO {name} (id_hash, {}) SELECT {}, {forward} FROM {name} AS live \
         JOIN (SELECT 1 AS n UNION ALL SELECT 2) AS twice WHERE live.id_hash = :key AND live.version = :expected \
         AND live.expires_at > :now AND live.handle = :handle {on_conflict} {}",
        COLUMNS.join(", "),
        typed("id_hash", ":key".to_owned()),
        moved()
    )
}
