//! Tests of the plan and of its SQL.

#![cfg(feature = "sqlite")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::Sqlite;

use super::engines::TestEngine;
use crate::part::SessionPart;
use crate::part::in_tables::sql::InTables;
use crate::{AnyStore, SessionLayer};

macro_rules! part {
    ($type:ident $name:literal { $($(#[$attribute:meta])* $field:ident: $of:ty,)* }) => {
        #[derive(Default, Serialize, Deserialize)]
        struct $type { $($(#[$attribute])* $field: $of,)* }

        const _: fn(&$type) = |part| { $(let _ = &part.$field;)* };

        impl SessionPart for $type {
            const NAME: &'static str = $name;
        }
    };
}

#[derive(Default, Serialize, Deserialize)]
struct Line {
    sku: String,
    place: i8,
    note: Option<String>,
    weight: f32,
    extra: Option<Value>,
}

part!(Cart "cart" {
    #[serde(rename = "Voucher")]
    voucher: Option<String>,
    lines: Vec<Line>,
    names: Vec<String>,
    maybe: Option<Vec<Line>>,
});

fn engine<D: TestEngine>(store: crate::store::SqlStore<D>) -> InTables {
    InTables::new(&store)
}

async fn tables() -> InTables {
    engine(Sqlite::store(Sqlite::pool().await.expect("SQLite in memory")))
}

#[tokio::test]
async fn the_schema_is_printed_in_the_dialect_of_each_engine() {
    let expected = r#"CREATE TABLE IF NOT EXISTS "main"."carts" (
    "session" BLOB NOT NULL,
    "Voucher" TEXT,
    "names" TEXT NOT NULL,
    "maybe" TEXT,
    PRIMARY KEY ("session"),
    FOREIGN KEY ("session") REFERENCES "session_state" (handle) ON DELETE CASCADE
) STRICT;
CREATE TABLE IF NOT EXISTS "cart_items" (
    "session" BLOB NOT NULL,
    "sku" TEXT NOT NULL,
    "place" INTEGER NOT NULL,
    "note" TEXT,
    "weight" REAL NOT NULL,
    "extra" TEXT,
    PRIMARY KEY ("session", "place", "sku"),
    FOREIGN KEY ("session") REFERENCES "session_state" (handle) ON DELETE CASCADE
) STRICT;
"#;
    let wished = |tables: InTables| tables.add_collection("lines", "cart_items", &["place", "sku"]);
    let tables = wished(tables().await).with_row("main.carts");
    assert_eq!(tables.schema::<Cart>().as_deref(), Ok(expected));
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn the_schema_of_postgres_has_its_types() {
    let pool = sqlx::postgres::PgPoolOptions::new().connect_lazy("postgres://nobody@localhost/").expect("a URL");
    let tables = InTables::new(&crate::PostgresStore::new(pool)).add_collection("lines", "cart_items", &["sku"]);
    let schema = tables.with_session_column("of").schema::<Cart>().expect("it fits");
    for line in ["\"of\" BYTEA NOT NULL", "\"weight\" REAL NOT NULL", "\"extra\" JSONB,", "\"place\" BIGINT NOT NULL,"]
    {
        assert!(schema.contains(line), "{line}: {schema}");
    }
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn the_schema_of_mysql_compares_keys_exactly() {
    let pool = sqlx::mysql::MySqlPoolOptions::new().connect_lazy("mysql://nobody@localhost/").expect("a URL");
    let tables = InTables::new(&crate::MySqlStore::new(pool)).add_collection("lines", "shop.items", &["sku"]);
    let schema = tables.schema::<Cart>().expect("it fits");
    for line in [
        "`shop`.`items`",
        "`session` BINARY(16) NOT NULL",
        "`sku` VARCHAR(255) CHARACTER SET utf8mb4 /*M! COLLATE utf8mb4_nopad_bin */ /*!80017 COLLATE utf8mb4_0900_bin */ NOT NULL",
        "`note` LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,",
        ") ENGINE = InnoDB;",
    ] {
        assert!(schema.contains(line), "{line}: {schema}");
    }
}

#[tokio::test]
async fn a_part_that_cannot_be_in_tables_is_rejected_with_a_reason() {
    type Map = BTreeMap<String, u8>;
    part!(Flat "flat" { a: u8, #[serde(flatten)] rest: Map, });
    part!(HalfRead "half" { a: u8, #[serde(skip_serializing)] cache: u8, });
    part!(Renamed "renamed" { #[serde(alias = "old")] a: u8, });
    part!(Lists "lists" { lines: Vec<Line>, });
    part!(Spaced "spaced" { #[serde(rename = "a b")] a: u8, });
    part!(Nested "nested" { lines: Vec<Flat>, numbers: Vec<u8>, });
    #[derive(Serialize, Deserialize)]
    struct Full {
        lines: Vec<Line>,
    }
    impl Default for Full {
        fn default() -> Self {
            Self { lines: vec![Line::default()] }
        }
    }
    impl SessionPart for Full {
        const NAME: &'static str = "full";
    }
    #[derive(Default, Serialize, Deserialize)]
    struct Tuple(u8, u8);
    impl SessionPart for Tuple {
        const NAME: &'static str = "tuple";
    }

    let of = tables().await;
    let lines = |key: &[&str]| of.clone().add_collection("lines", "items", key);
    let refused = [
        (of.schema::<Flat>(), "part \"flat\" is a map, or has `#[serde(flatten)]`"),
        (of.schema::<Tuple>(), "part \"tuple\" is not a struct with named fields"),
        (of.schema::<HalfRead>(), "reads its field \"cache\" and does not write it"),
        (of.schema::<Renamed>(), "reads its field \"old\" and does not write it"),
        (of.schema::<Spaced>(), "needs a column \"a b\" in table \"spaced\", which is not a name"),
        (lines(&["sku"]).schema::<Flat>(), "`#[serde(flatten)]`"),
        (lines(&["sku"]).with_row("r").schema::<Lists>(), "has only collections"),
        (lines(&["sku"]).schema::<Full>(), "has a default for \"lines\" that is not empty"),
        (lines(&[]).schema::<Cart>(), "needs a key for \"lines\""),
        (lines(&["nothing"]).schema::<Cart>(), "has no field \"nothing\" in \"lines\""),
        (lines(&["note"]).schema::<Cart>(), "cannot have \"note\" in the key"),
        (lines(&["weight"]).schema::<Cart>(), "cannot have \"weight\" in the key"),
        (lines(&["sku", "sku"]).schema::<Cart>(), "cannot have \"sku\" in the key"),
        (lines(&["a"]).schema::<Nested>(), "has a list \"lines\" whose elements are not structs"),
        (
            of.clone().add_collection("numbers", "n", &["a"]).schema::<Nested>(),
            "a list \"numbers\" whose elements are not structs",
        ),
        (of.clone().add_collection("maybe", "n", &["sku"]).schema::<Cart>(), "a field \"maybe\" that is not a list"),
        (of.clone().add_collection("Voucher", "n", &["sku"]).schema::<Cart>(), "\"Voucher\" that is not a list"),
        (of.clone().add_collection("voucher", "n", &["sku"]).schema::<Cart>(), "has no field \"voucher\""),
        (lines(&["sku"]).with_row("items").schema::<Cart>(), "uses the table \"items\" twice"),
        (
            lines(&["sku"]).with_session_column("SKU").schema::<Cart>(),
            "needs the column \"sku\" of table \"items\" twice",
        ),
        (lines(&["sku"]).with_session_column("").schema::<Cart>(), "needs a column \"\""),
        (lines(&["sku"]).with_row("a;b").schema::<Cart>(), "table \"a;b\" is not a name"),
    ];
    for (schema, why) in refused {
        let error = schema.expect_err(why).to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    assert!(lines(&["sku"]).schema::<Lists>().is_ok_and(|schema| schema.matches("CREATE").count() == 1));
}

#[tokio::test]
async fn the_tables_of_a_store_chosen_at_run_time_are_those_of_its_engine() {
    let (store, other) = (sqlite_chosen_at_run_time().await, sqlite_chosen_at_run_time().await);
    let chosen = InTables::new(&store).with_row("main.carts");
    let schema = chosen.schema::<Cart>().expect("it fits");
    assert_eq!(Ok(&schema), tables().await.with_row("main.carts").schema::<Cart>().as_ref());
    let pool = store.downcast_ref::<crate::SqliteStore>().expect("SQLite").pool();
    sqlx::raw_sql(sqlx::AssertSqlSafe(schema)).execute(pool).await.expect("the tables");
    let tables = chosen.check::<Cart>().await.expect("they fit");
    let is_placed = |store| SessionLayer::server(store).with_part::<Cart>(tables.clone()).is_ok();
    assert_eq!((is_placed(store), is_placed(other)), (true, false), "only where the tables are");
}

async fn sqlite_chosen_at_run_time() -> AnyStore {
    let store = AnyStore::connect("sqlite::memory:").await.expect("SQLite in memory");
    store.migrate().await.expect("a schema");
    store
}

#[tokio::test]
async fn a_store_chosen_at_run_time_without_tables_is_rejected_at_set_up() {
    let tables = InTables::new(&AnyStore::new(crate::MemoryStore::new()));
    let schema = tables.schema::<Cart>().expect_err("no tables");
    let check = tables.check::<Cart>().await.expect_err("no tables");
    for error in [schema.to_string(), check.to_string()] {
        assert!(error.starts_with("part \"cart\" cannot live in tables of the memory store: "), "{error}");
    }
}
