//! The columns of the table, and what each holds of a record and of a forward.

/// The columns in the order in which rows are read, without the key.
pub(crate) const COLUMNS: [&str; 15] = [
    "handle",
    "version",
    "generation",
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

/// How many of the columns belong to a record. The others belong to a forward.
pub(crate) const RECORD_COLUMNS: usize = 13;

/// The first column that a renewal writes. The handle before it stays: rows of other tables may refer to it.
const FIRST_RENEWED_COLUMN: usize = 1;

/// The condition for a live record of the expected version. A forward has no version.
pub(crate) const IS_EXPECTED: &str = "id_hash = :key AND version = :expected AND expires_at > :now";

/// The condition for a live record of any version.
pub(crate) const IS_LIVE: &str = "id_hash = :key AND version IS NOT NULL AND expires_at > :now";

/// Returns an `INSERT` of a record under the parameter `key`, without the clause for a conflict.
pub(crate) fn insert_record(name: &str, key: &str) -> String {
    format!("INSERT INTO {name} (id_hash, {}) VALUES ({})", COLUMNS.join(", "), record_values(key))
}

/// Returns the values of a record's row, with the key first.
pub(crate) fn record_values(key: &str) -> String {
    let values: Vec<_> = COLUMNS.iter().map(|column| record_value(column)).collect();
    format!("{key}, {}", values.join(", "))
}

/// Returns the value of a column in the row of a record.
pub(crate) fn record_value(column: &str) -> String {
    match column {
        "successor" | "grace_until" => "NULL".to_owned(),
        _ => format!(":{column}"),
    }
}

/// Returns the value of a column in the row of a forward.
pub(crate) fn forward_value(column: &str) -> String {
    match column {
        "expires_at" => ":forward_expires_at".to_owned(),
        "successor" | "grace_until" => format!(":{column}"),
        "generation" => "0".to_owned(),
        _ => "NULL".to_owned(),
    }
}

/// Returns assignments to columns; `value` returns the value of each.
pub(crate) fn assignments(columns: &[&str], value: impl Fn(&str) -> String) -> String {
    let assignments: Vec<_> = columns.iter().map(|column| format!("{column} = {}", value(column))).collect();
    assignments.join(", ")
}

/// Returns the assignments by which a renewal moves the row of a session.
pub(crate) fn renewal_assignments() -> String {
    format!("id_hash = :new_key, {}", assignments(&COLUMNS[FIRST_RENEWED_COLUMN..], record_value))
}

/// Moves a record that keeps its handle by one `INSERT` of two identical forward rows.
///
/// The first row conflicts with the session's row under the old key, which moves to the new key and takes the new
/// record instead. The second row then finds the old key free. The `SELECT` gives no row to insert unless the record
/// under the old key is the expected one.
///
/// `typed` casts a value to the type of its column, and `on_conflict` is the clause before the assignments.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub(crate) fn renew_by_upsert(name: &str, typed: impl Fn(&str, String) -> String, on_conflict: &str) -> String {
    let forward = COLUMNS.map(|column| typed(column, forward_value(column))).join(", ");
    format!(
        "INSERT INTO {name} (id_hash, {}) SELECT {}, {forward} FROM {name} AS live \
         JOIN (SELECT 1 AS n UNION ALL SELECT 2) AS twice WHERE live.id_hash = :key AND live.version = :expected \
         AND live.expires_at > :now AND live.handle = :handle {on_conflict} {}",
        COLUMNS.join(", "),
        typed("id_hash", ":key".to_owned()),
        renewal_assignments()
    )
}

/// Replaces the rows that `from` selects by forwards.
///
/// A `REPLACE` deletes a row and inserts another, as far as the foreign keys of other tables are concerned.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
pub(crate) fn retire_by_replace(name: &str, typed: impl Fn(&str, String) -> String, from: &str) -> String {
    let forward = COLUMNS.map(|column| typed(column, forward_value(column))).join(", ");
    format!("REPLACE INTO {name} (id_hash, {}) SELECT id_hash, {forward} {from}", COLUMNS.join(", "))
}
