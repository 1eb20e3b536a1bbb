//! The statements of a store.

use super::columns::{COLUMNS, IS_EXPECTED, IS_LIVE, RECORD_COLUMNS, assignments, forward_value, insert_record};
use super::dialect::Dialect;
use super::principal_statements::PrincipalStatements;
use super::statement::{Delete, Statement};
use super::table::Table;

/// The statements of one store.
#[derive(Debug)]
pub(crate) struct Statements {
    pub(crate) load: Statement,
    /// Loads the row and locks it until the transaction ends.
    pub(crate) lock: Statement,
    pub(crate) create: Statement,
    /// Inserts a forward.
    pub(crate) create_forward: Statement,
    /// Deletes an expired row that blocks a `create`.
    pub(crate) delete_expired: Statement,
    pub(crate) update: Statement,
    pub(crate) touch: Statement,
    pub(crate) renew: Statement,
    /// Deletes the session under the old key, in a renewal that changes the handle.
    pub(crate) delete_old: Statement,
    /// Inserts the session under the new key, and the forward.
    pub(crate) insert_new: Statement,
    pub(crate) delete: Delete,
    /// Replaces the session of the expected version by a forward.
    pub(crate) retire: Statement,
    pub(crate) sweep: Statement,
    pub(crate) principals: PrincipalStatements,
}

impl Statements {
    pub(crate) fn new<D: Dialect>(table: &Table) -> Self {
        let name = table.quoted(D::QUOTE);
        let (columns, greatest) = (COLUMNS.join(", "), D::GREATEST);
        let forward = COLUMNS.map(forward_value).join(", ");
        let set = assignments(&COLUMNS[..RECORD_COLUMNS], |column| format!(":{column}"));
        let returning = |change: String| Statement::new::<D>(&D::returning(table, &change));
        let load = format!("SELECT {columns} FROM {name} WHERE id_hash = :key AND expires_at > :now");
        Self {
            load: Statement::new::<D>(&load),
            lock: Statement::new::<D>(&format!("{load}{}", D::FOR_UPDATE)),
            create: Statement::new::<D>(&format!("{} {}", insert_record(&name, ":key"), D::OR_IGNORE)),
            create_forward: Statement::new::<D>(&format!(
                "INSERT INTO {name} (id_hash, {columns}) VALUES (:key, {forward}) {}",
                D::OR_IGNORE
            )),
            delete_expired: Statement::new::<D>(&format!(
                "DELETE FROM {name} WHERE id_hash = :key AND expires_at <= :now"
            )),
            update: returning(format!("UPDATE {name} SET {set} WHERE {IS_EXPECTED}")),
            touch: returning(format!(
                "UPDATE {name} SET last_seen_at = {greatest}(last_seen_at, :last_seen_now), \
                 expires_at = {greatest}(expires_at, :expires_now) WHERE {IS_EXPECTED}"
            )),
            renew: Statement::new::<D>(&D::renew(table)),
            delete_old: Statement::new::<D>(&format!("DELETE FROM {name} WHERE {IS_EXPECTED} AND handle <> :handle")),
            insert_new: Statement::new::<D>(&format!("{}, (:key, {forward})", insert_record(&name, ":new_key"))),
            delete: Delete {
                alone: returning(format!("DELETE FROM {name} WHERE {IS_LIVE}")),
                with_forward: Statement::new::<D>(&D::retire(table, IS_LIVE)),
            },
            retire: Statement::new::<D>(&D::retire(table, IS_EXPECTED)),
            sweep: Statement::new::<D>(&D::sweep(table)),
            principals: PrincipalStatements::new::<D>(table),
        }
    }
}
