//! PostgreSQL.

use sqlx::postgres::PgRow;
use sqlx::{Error, Postgres, Row as _};

use super::cell::{Cell, Elements, Form};
use super::dialect::{RowDialect, name_of, quoted, upsert};
use super::mapped_table::{Column, MappedTable};
use super::shape::Kind;
use crate::store::sql::{Dialect as _, Table};

impl RowDialect for Postgres {
    const IGNORES_CASE: bool = false;
    const NEEDS: Option<(&'static str, &'static str)> = None;
    const EXACT_TEXTS: &'static str = "make it TEXT, with a deterministic collation";
    const SESSION_TYPE: &'static str = "BYTEA";
    const UNWRITABLE: &'static [&'static str] = &["bit", "varbit"];
    const TABLE_END: &'static str = "";

    fn type_of(kind: Kind, _is_key: bool) -> &'static str {
        match kind {
            Kind::Bool => "BOOLEAN",
            Kind::Integer => "BIGINT",
            Kind::Float32 => "REAL",
            Kind::Float64 => "DOUBLE PRECISION",
            Kind::Text => "TEXT",
            Kind::Json | Kind::Any => "JSONB",
        }
    }

    fn columns_query(table: &Table) -> String {
        format!(
            "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), \
             COALESCE('array of ' || f.typname, b.typname::text), (NOT a.attnotnull)::int::int8, \
             (a.atthasdef OR a.attidentity <> '')::int::int8, (a.attgenerated <> '' OR a.attidentity = 'a')::int::int8, '' \
             FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid \
             JOIN pg_type AS b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
             LEFT JOIN pg_type AS e ON e.oid = b.typelem AND b.typcategory = 'A' \
             LEFT JOIN pg_type AS f ON f.oid = CASE WHEN e.typtype = 'd' THEN e.typbasetype ELSE e.oid END \
             WHERE a.attrelid = to_regclass('{}') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            table.quoted(Self::QUOTE)
        )
    }

    fn unique_indexes_query(table: &Table) -> String {
        format!(
            "SELECT i.indexrelid::text, COALESCE(a.attname::text, ''), \
             (i.indpred IS NULL AND i.indisvalid AND i.indimmediate)::int::int8, \
             (COALESCE(c.collisdeterministic, true) AND COALESCE(t.typname NOT IN ('citext', 'bpchar'), true))::int::int8 \
             FROM pg_index AS i CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place) \
             LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
             LEFT JOIN pg_type AS t ON t.oid = a.atttypid LEFT JOIN pg_collation AS c ON c.oid = a.attcollation \
             WHERE i.indrelid = to_regclass('{}') AND i.indisunique AND k.place <= i.indnkeyatts \
             ORDER BY i.indexrelid, k.place",
            table.quoted(Self::QUOTE)
        )
    }

    fn foreign_keys_query(table: &Table, parent: &Table) -> String {
        format!(
            "SELECT a.attname::text, p.attname::text, COALESCE(f.confrelid = to_regclass('{parent}'), false)::int::int8, \
             (f.confdeltype = 'c')::int::int8 FROM pg_constraint AS f \
             JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1] \
             JOIN pg_attribute AS p ON p.attrelid = f.confrelid AND p.attnum = f.confkey[1] \
             WHERE f.conrelid = to_regclass('{table}') AND f.contype = 'f' AND cardinality(f.conkey) = 1",
            table = table.quoted(Self::QUOTE),
            parent = parent.quoted(Self::QUOTE)
        )
    }

    fn read(column: &Column) -> String {
        let name = name(column);
        match column.form {
            Form::Float => format!("{name}::float8::text"),
            Form::Text => text(&name, &column.facts.family),
            Form::Array(Elements::Scalars | Elements::Json) => format!("to_json({name})::text"),
            Form::Array(Elements::Texts) => {
                let text = text("e.value", column.facts.element_family().unwrap_or_default());
                let list =
                    format!("SELECT {text} FROM unnest({name}) WITH ORDINALITY AS e (value, place) ORDER BY e.place");
                format!("CASE WHEN {name} IS NOT NULL THEN to_json(ARRAY({list}))::text END")
            }
            _ => format!("{name}::text"),
        }
    }

    fn list(column: &Column) -> Option<String> {
        Some(match column.form {
            Form::Bool => format!("array_agg({}::int::int8)", name(column)),
            Form::Integer if is_integer(column) => format!("array_agg({}::int8)", name(column)),
            _ => format!("array_agg({})", Self::read(column)),
        })
    }

    fn cells<'r>(row: &'r PgRow, place: usize, column: &Column) -> Result<Option<Vec<Cell<'r>>>, Error> {
        Ok(Some(if is_integer(column) {
            let list: Option<Vec<Option<i64>>> = row.try_get(place)?;
            list.into_iter().flatten().map(|number| number.map_or(Cell::Null, Cell::Integer)).collect()
        } else {
            let list: Option<Vec<Option<String>>> = row.try_get(place)?;
            list.into_iter().flatten().map(|text| text.map_or(Cell::Null, |text| Cell::Text(text.into()))).collect()
        }))
    }

    fn given(column: &Column, name: &str) -> String {
        let type_name = &column.facts.type_name;
        match column.form {
            Form::Json => format!("r.{name}::{type_name}"),
            // A cast to an array of texts with a limit would cut its elements.
            Form::Array(Elements::Scalars | Elements::Texts) => format!(
                "(SELECT v.list FROM json_to_record(json_build_object('list', r.{name}::json)) AS v (list {type_name}))"
            ),
            Form::Array(Elements::Json) => format!(
                "CASE WHEN r.{name} IS NOT NULL \
                 THEN ARRAY(SELECT json_array_elements(r.{name}::json))::{type_name} END"
            ),
            _ => format!("r.{name}"),
        }
    }

    fn delete(table: &MappedTable, session: &str) -> String {
        let (name, session) = (table.table.quoted(Self::QUOTE), quoted::<Self>(session));
        let is_given = |(place, column): (usize, &Column)| {
            format!(" AND t.{} = {}", quoted::<Self>(&column.name), Self::given(column, &name_of(place)))
        };
        let is_given: String = table.key_columns().map(is_given).collect();
        let source = source(table.key_columns());
        format!("DELETE FROM {name} AS t USING {source} WHERE t.{session} = :session{is_given}")
    }

    fn puts(table: &MappedTable, session: &str) -> Vec<String> {
        vec![upsert::<Self>(table, session, &source(table.columns.iter().enumerate()))]
    }

    fn bytes_literal(hex: &str) -> String {
        format!("decode('{hex}', 'hex')")
    }

    fn refuses_nul(column: &Column) -> bool {
        column.form != Form::Json || column.facts.family == "jsonb"
    }
}

fn name(column: &Column) -> String {
    format!("t.{}", quoted::<Postgres>(&column.name))
}

/// Returns the expression for the text of a value.
fn text(value: &str, family: &str) -> String {
    match family {
        // RFC 3339 in UTC, whatever the settings of the connection.
        "timestamptz" => format!("(to_json({value} AT TIME ZONE 'UTC') #>> '{{}}') || 'Z'"),
        "timestamp" | "date" => format!("to_json({value}) #>> '{{}}'"),
        _ => format!("{value}::text"),
    }
}

/// Returns whether a column is read as an integer.
fn is_integer(column: &Column) -> bool {
    let is_integer = matches!(&*column.facts.family, "int2" | "int4" | "int8");
    column.form == Form::Bool || column.form == Form::Integer && is_integer
}

/// Returns the input rows. Their columns have the types of the table's columns, to which the engine converts the texts.
fn source<'c>(columns: impl Iterator<Item = (usize, &'c Column)>) -> String {
    let columns = columns.map(|(place, column)| {
        let is_text = matches!(column.form, Form::Json | Form::Array(_));
        format!("{} {}", name_of(place), if is_text { "text" } else { &column.facts.type_name })
    });
    format!("json_to_recordset(:rows::json) AS r ({})", columns.collect::<Vec<_>>().join(", "))
}
