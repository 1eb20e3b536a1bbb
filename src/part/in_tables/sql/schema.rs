//! Prints a plan as SQL.

use super::dialect::{RowDialect, quoted};
use super::plan::{Plan, PlannedColumn, PlannedTable};
use crate::store::sql::Table;

/// Returns the statements that create the tables of a plan.
pub(crate) fn schema<D: RowDialect>(plan: &Plan, sessions: &Table) -> String {
    plan.tables.iter().map(|table| create::<D>(table, &plan.session_column, sessions)).collect()
}

fn create<D: RowDialect>(table: &PlannedTable, session: &str, sessions: &Table) -> String {
    let session = quoted::<D>(session);
    let mut lines = vec![format!("{session} {} NOT NULL", D::SESSION_TYPE)];
    lines.extend(table.columns.iter().map(column::<D>));
    let mut key = vec![session.clone()];
    key.extend(table.key().into_iter().map(quoted::<D>));
    lines.push(format!("PRIMARY KEY ({})", key.join(", ")));
    // An SQLite foreign key stays within its database, and cannot name another one.
    let parent = if D::REFERS_TO_SCHEMAS { sessions.quoted(D::QUOTE) } else { sessions.bare(D::QUOTE, "") };
    lines.push(format!("FOREIGN KEY ({session}) REFERENCES {parent} (handle) ON DELETE CASCADE"));
    let (name, end) = (table.table.quoted(D::QUOTE), D::TABLE_END);
    format!("CREATE TABLE IF NOT EXISTS {name} (\n    {}\n){end};\n", lines.join(",\n    "))
}

fn column<D: RowDialect>(column: &PlannedColumn) -> String {
    let type_name = D::type_of(column.kind, column.key.is_some());
    let null = if column.is_nullable { "" } else { " NOT NULL" };
    format!("{} {type_name}{null}", quoted::<D>(&column.name))
}
