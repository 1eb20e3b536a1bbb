//! MySQL and MariaDB.

use sqlx::MySql;

use super::cell::Form;
use super::dialect::{RowDialect, name_of, quoted};
use super::mapped_table::{Column, MappedTable};
use super::shape::Kind;
use crate::store::sql::{Dialect as _, Table};

impl RowDialect for MySql {
    const IGNORES_CASE: bool = true;
    const NEEDS: Option<(&'static str, &'static str)> = Some((
        "SELECT @@sql_mode LIKE '%STRICT_%'",
        "the server truncates values that do not fit: add `STRICT_TRANS_TABLES` to `sql_mode`, as by default",
    ));
    const EXACT_TEXTS: &'static str =
        "make it VARCHAR, with the collation utf8mb4_nopad_bin in MariaDB and utf8mb4_0900_bin in MySQL";
    const SESSION_TYPE: &'static str = "BINARY(16)";
    const UNWRITABLE: &'static [&'static str] = &[
        "bit",
        "binary",
        "tinyblob",
        "blob",
        "mediumblob",
        "longblob",
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geometrycollection",
        "geomcollection",
        "vector",
        "set",
    ];
    const TABLE_END: &'static str = " ENGINE = InnoDB";

    fn type_of(kind: Kind, is_key: bool) -> &'static str {
        match kind {
            Kind::Bool => "BOOLEAN",
            Kind::Integer => "BIGINT",
            Kind::Float32 => "FLOAT",
            Kind::Float64 => "DOUBLE",
            // Each engine executes its own comment. Other collations ignore trailing spaces.
            Kind::Text if is_key => {
                "VARCHAR(255) CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */"
            }
            Kind::Text => "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            Kind::Json | Kind::Any => "JSON",
        }
    }

    fn columns_query(table: &Table) -> String {
        format!(
            "SELECT CAST(COLUMN_NAME AS CHAR), CAST(COLUMN_TYPE AS CHAR), CAST(DATA_TYPE AS CHAR), \
             CAST(IS_NULLABLE = 'YES' AS SIGNED), \
             CAST(COLUMN_DEFAULT IS NOT NULL OR EXTRA LIKE '%auto_increment%' AS SIGNED), \
             CAST(EXTRA LIKE '%VIRTUAL GENERATED%' OR EXTRA LIKE '%STORED GENERATED%' AS SIGNED), \
             CAST(COALESCE(COLLATION_NAME, '') AS CHAR) \
             FROM information_schema.COLUMNS WHERE {} ORDER BY ORDINAL_POSITION",
            is_table("", table)
        )
    }

    fn unique_indexes_query(table: &Table) -> String {
        format!(
            "SELECT CAST(s.INDEX_NAME AS CHAR), CAST(COALESCE(s.COLUMN_NAME, '') AS CHAR), \
             CAST(s.SUB_PART IS NULL AS SIGNED), CAST(c.COLLATION_NAME IS NULL \
             OR c.DATA_TYPE <> 'char' AND RIGHT(c.COLLATION_NAME, 9) IN ('nopad_bin', '_0900_bin') AS SIGNED) \
             FROM information_schema.STATISTICS AS s LEFT JOIN information_schema.COLUMNS AS c \
             ON c.TABLE_SCHEMA = s.TABLE_SCHEMA AND c.TABLE_NAME = s.TABLE_NAME AND c.COLUMN_NAME = s.COLUMN_NAME \
             WHERE {} AND s.NON_UNIQUE = 0 ORDER BY s.INDEX_NAME, s.SEQ_IN_INDEX",
            is_table("s.", table)
        )
    }

    fn foreign_keys_query(table: &Table, parent: &Table) -> String {
        format!(
            "SELECT CAST(k.COLUMN_NAME AS CHAR), CAST(k.REFERENCED_COLUMN_NAME AS CHAR), \
             CAST({} AS SIGNED), CAST(r.DELETE_RULE = 'CASCADE' AS SIGNED) \
             FROM information_schema.KEY_COLUMN_USAGE AS k JOIN information_schema.REFERENTIAL_CONSTRAINTS AS r \
             ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME \
             AND r.TABLE_NAME = k.TABLE_NAME WHERE {} AND k.REFERENCED_TABLE_NAME IS NOT NULL",
            is_table("k.REFERENCED_", parent),
            is_table("k.", table)
        )
    }

    fn read(column: &Column) -> String {
        let name = format!("t.{}", quoted::<Self>(&column.name));
        let text = match (column.form, &*column.facts.family) {
            (Form::Bool, _) => as_text(&format!("{name} + 0")),
            // A `FLOAT` would be written with six digits.
            (Form::Float, _) => as_text(&format!("{name} + 0E0")),
            (_, "datetime") => format!("REPLACE({}, ' ', 'T')", as_text(&name)),
            (_, "timestamp") => {
                let in_utc = format!("CONVERT_TZ({name}, @@session.time_zone, '+00:00')");
                format!("CONCAT(REPLACE({}, ' ', 'T'), 'Z')", as_text(&in_utc))
            }
            (_, _) if column.facts.collation.is_empty() && column.facts.family != "json" => as_text(&name),
            _ => format!("CONVERT({name} USING utf8mb4)"),
        };
        // The columns of a `UNION` need the same collation.
        format!("{text} COLLATE utf8mb4_bin")
    }

    fn given(column: &Column, name: &str) -> String {
        match (column.form, &*column.facts.family) {
            (Form::Bool | Form::Integer, _) => format!("CAST(r.{name} AS SIGNED)"),
            (_, "timestamp") => {
                format!("CONVERT_TZ(TRIM(TRAILING 'Z' FROM r.{name}), '+00:00', @@session.time_zone)")
            }
            _ => format!("r.{name}"),
        }
    }

    fn delete(table: &MappedTable, session: &str) -> String {
        let join = join(table, session);
        format!("DELETE t FROM {} STRAIGHT_JOIN {join}", source(table.key_columns()))
    }

    /// `INSERT ... ON DUPLICATE KEY UPDATE` would update the row of another session on a conflict in another unique
    /// index.
    fn puts(table: &MappedTable, session: &str) -> Vec<String> {
        let (name, column) = (table.table.quoted(Self::QUOTE), quoted::<Self>(session));
        let (source, join) = (source(table.columns.iter().enumerate()), join(table, session));
        let mut columns = vec![column.clone()];
        columns.extend(table.columns.iter().map(|column| quoted::<Self>(&column.name)));
        let mut given = vec!["CAST(:session AS BINARY(16))".to_owned()];
        given.extend(table.columns.iter().enumerate().map(|(i, column)| Self::given(column, &name_of(i))));
        let insert = format!(
            "INSERT INTO {name} ({}) SELECT {} FROM {source} LEFT JOIN {join} WHERE t.{column} IS NULL",
            columns.join(", "),
            given.join(", ")
        );
        let set = |(place, column): (usize, &Column)| {
            format!("t.{} = {}", quoted::<Self>(&column.name), Self::given(column, &name_of(place)))
        };
        let set: Vec<_> = table.other_columns().map(set).collect();
        if set.is_empty() {
            return vec![insert];
        }
        vec![format!("UPDATE {source} STRAIGHT_JOIN {join} SET {}", set.join(", ")), insert]
    }
}

/// Returns the join of the table with the input rows.
fn join(table: &MappedTable, session: &str) -> String {
    let (name, session) = (table.table.quoted(MySql::QUOTE), quoted::<MySql>(session));
    let is_given = |(place, column): (usize, &Column)| {
        let given = MySql::given(column, &name_of(place));
        // The name of a collation begins with that of its character set.
        let given = match column.facts.collation.split_once('_') {
            Some((character_set, _)) => {
                format!("CONVERT({given} USING {character_set}) COLLATE {}", column.facts.collation)
            }
            None => given,
        };
        format!(" AND t.{} = {given}", quoted::<MySql>(&column.name))
    };
    let is_given: String = table.key_columns().map(is_given).collect();
    format!("{name} AS t ON t.{session} = :session{is_given}")
}

/// Returns the input rows.
fn source<'c>(columns: impl Iterator<Item = (usize, &'c Column)>) -> String {
    let columns = columns.map(|(place, _)| {
        let name = name_of(place);
        format!("{name} LONGTEXT CHARACTER SET utf8mb4 PATH '$.{name}'")
    });
    format!("JSON_TABLE(:rows, '$[*]' COLUMNS ({})) AS r", columns.collect::<Vec<_>>().join(", "))
}

fn as_text(value: &str) -> String {
    format!("CAST({value} AS CHAR CHARACTER SET utf8mb4)")
}

/// Returns the condition for the rows of the information schema about a table.
fn is_table(prefix: &str, table: &Table) -> String {
    let schema = table.schema().map_or_else(|| "DATABASE()".to_owned(), |schema| format!("'{schema}'"));
    format!("{prefix}TABLE_SCHEMA = {schema} AND {prefix}TABLE_NAME = '{}'", table.name())
}
