//! Queries the catalog of the database.

use sqlx::Error;

use super::dialect::RowDialect;
use super::facts::{Class, ColumnFacts, KeyFacts, ReferenceFacts, TableFacts};
use crate::store::sql::{SqlStore, Table};

impl ColumnFacts {
    /// Returns the class of values that the column can hold.
    pub(crate) fn class<D: RowDialect>(&self) -> Class {
        match self.element_family() {
            Some(_) => Class::Array,
            None => self.class_of::<D>(&self.family),
        }
    }

    /// Returns the class of the elements of an array.
    pub(crate) fn element_class<D: RowDialect>(&self) -> Option<Class> {
        self.element_family().map(|family| self.class_of::<D>(family))
    }

    pub(crate) fn element_family(&self) -> Option<&str> {
        self.family.strip_prefix("array of ")
    }

    fn class_of<D: RowDialect>(&self, family: &str) -> Class {
        match family {
            "bool" => Class::Bool,
            "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => Class::IntegerOrBool,
            "int2" | "int4" | "int8" => Class::Integer,
            "float" | "float4" => Class::Float32,
            "double" | "float8" => Class::Float64,
            "decimal" | "numeric" => Class::Number,
            "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "bpchar" | "citext" | "name" => {
                Class::Text
            }
            "json" | "jsonb" => Class::Json,
            "any" => Class::Any,
            "bytea" | "varbinary" => Class::Bytes,
            "binary" if self.type_name.eq_ignore_ascii_case("binary(16)") => Class::Bytes,
            family if D::UNWRITABLE.contains(&family) => Class::Unknown,
            _ => Class::Other,
        }
    }
}

impl TableFacts {
    pub(crate) async fn query<D: RowDialect>(store: &SqlStore<D>, table: &Table) -> Result<Self, Error> {
        let columns = store.query(D::columns_query(table)).await?;
        let references = store.query(D::foreign_keys_query(table, store.table())).await?;
        Ok(Self {
            columns: columns.iter().map(column::<D>).collect::<Result<_, _>>()?,
            keys: Self::query_keys(store, table).await?,
            references: references.iter().map(reference::<D>).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) async fn query_keys<D: RowDialect>(store: &SqlStore<D>, table: &Table) -> Result<Vec<KeyFacts>, Error> {
        let mut keys: Vec<KeyFacts> = Vec::new();
        for row in store.query(D::unique_indexes_query(table)).await? {
            let (index, column) = (text::<D>(&row, 0)?, text::<D>(&row, 1)?);
            let found = keys.iter().position(|key| key.index == index);
            let place = found.unwrap_or_else(|| {
                keys.push(KeyFacts { index, columns: Vec::new(), is_whole: true, inexact: Vec::new() });
                keys.len() - 1
            });
            let key = &mut keys[place];
            key.is_whole &= flag::<D>(&row, 2)?;
            if !flag::<D>(&row, 3)? {
                key.inexact.push(column.clone());
            }
            key.columns.push(column);
        }
        Ok(keys)
    }
}

impl KeyFacts {
    /// Returns whether the index is over exactly these columns, in any order.
    pub(crate) fn is_of<D: RowDialect>(&self, columns: &[&str]) -> bool {
        let has = |column: &&str| self.columns.iter().any(|other| is_same_name::<D>(other, column));
        self.is_whole && self.columns.len() == columns.len() && columns.iter().all(has)
    }
}

pub(crate) fn is_same_name<D: RowDialect>(one: &str, other: &str) -> bool {
    if D::IGNORES_CASE { one.eq_ignore_ascii_case(other) } else { one == other }
}

fn column<D: RowDialect>(row: &D::Row) -> Result<ColumnFacts, Error> {
    Ok(ColumnFacts {
        name: text::<D>(row, 0)?,
        type_name: text::<D>(row, 1)?,
        family: text::<D>(row, 2)?.to_ascii_lowercase(),
        is_nullable: flag::<D>(row, 3)?,
        has_default: flag::<D>(row, 4)?,
        is_generated: flag::<D>(row, 5)?,
        collation: text::<D>(row, 6)?,
    })
}

fn reference<D: RowDialect>(row: &D::Row) -> Result<ReferenceFacts, Error> {
    Ok(ReferenceFacts {
        column: text::<D>(row, 0)?,
        to: text::<D>(row, 1)?,
        is_to_sessions: flag::<D>(row, 2)?,
        cascades: flag::<D>(row, 3)?,
    })
}

fn text<D: RowDialect>(row: &D::Row, place: usize) -> Result<String, Error> {
    Ok(D::text(row, place)?.unwrap_or_default().to_owned())
}

pub(crate) fn flag<D: RowDialect>(row: &D::Row, place: usize) -> Result<bool, Error> {
    Ok(D::integer(row, place)?.is_some_and(|value| value != 0))
}
