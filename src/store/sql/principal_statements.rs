//! The statements about the sessions of a principal.

use super::columns::COLUMNS;
use super::dialect::Dialect;
use super::statement::{Delete, Statement};
use super::table::Table;

/// The statements about the sessions of a principal.
#[derive(Debug)]
pub(crate) struct PrincipalStatements {
    pub(super) list: Statement,
    pub(super) count: Statement,
    pub(super) revoke: Revoke,
}

/// The statements that delete sessions.
#[derive(Debug)]
pub(super) enum Revoke {
    /// One statement, which returns the handles of the deleted sessions.
    AtOnce(Delete),
    /// Three statements, which delete the sessions by their keys.
    ByKey {
        /// Returns the handles and keys of the sessions.
        find: Statement,
        /// Returns those of the sessions that still have these keys, and locks them until the transaction ends.
        lock: Statement,
        delete: Delete,
    },
}

impl PrincipalStatements {
    pub(crate) fn new<D: Dialect>(table: &Table) -> Self {
        let (name, by_principal) = (table.quoted(D::QUOTE), D::by_principal(table));
        // A list has no values.
        let columns = COLUMNS.map(|column| if column == "data" { "'{}'" } else { column }).join(", ");
        // The sign keeps the planner from the index over deadlines, which nearly the whole table matches.
        let (live, theirs, behind, order) = ("+expires_at > :now", D::IS_PRINCIPAL, D::IS_AFTER, D::ORDER_BY);
        let asked = format!("handle IN (:sessions) AND {theirs} AND {live}");
        let statement = |template: String| Statement::new::<D>(&template);
        Self {
            list: statement(format!(
                "SELECT {columns} FROM {by_principal} WHERE {behind} AND {live} ORDER BY {order} LIMIT :limit"
            )),
            count: statement(format!("SELECT COUNT(*) FROM {by_principal} WHERE {theirs} AND {live}")),
            revoke: if D::REVOKES_AT_ONCE {
                Revoke::AtOnce(Delete {
                    alone: statement(format!("DELETE FROM {name} WHERE {asked} RETURNING handle")),
                    with_forward: statement(D::retire_all(table, &asked)),
                })
            } else {
                let by_key = D::by_key(table);
                Revoke::ByKey {
                    find: statement(format!("SELECT handle, id_hash FROM {name} WHERE {asked}")),
                    lock: statement(format!(
                        "SELECT handle, id_hash FROM {by_key} WHERE id_hash IN (:keys) AND {asked}{}",
                        D::FOR_UPDATE
                    )),
                    delete: Delete {
                        alone: statement(format!("DELETE FROM {name} WHERE id_hash IN (:keys)")),
                        with_forward: statement(D::retire_all(table, "id_hash IN (:keys)")),
                    },
                }
            },
        }
    }
}
