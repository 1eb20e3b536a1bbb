//! Tests of the checks of tables.

use serde::{Deserialize, Serialize};

use super::engines::{Scene, TestEngine, on_each_engine};
use super::values::Texts;
use crate::part::SessionPart;

on_each_engine! {
    everything_that_does_not_fit_is_told_at_once
    a_unique_index_works_like_a_primary_key
    a_store_that_was_not_migrated_is_noticed
    keys_that_are_not_compared_byte_by_byte_are_refused
}

#[derive(Default, Serialize, Deserialize)]
struct Note {
    title: String,
    body: Option<String>,
    count: i32,
    done: bool,
    ratio: f64,
    missing: u8,
}

impl SessionPart for Note {
    const NAME: &'static str = "note";
}

/// The type of the session's column.
fn bytes<D: TestEngine>() -> &'static str {
    D::SESSION_TYPE
}

async fn findings<T: SessionPart>(tables: &crate::InTables) -> String {
    tables.check::<T>().await.expect_err("it does not fit").to_string()
}

async fn everything_that_does_not_fit_is_told_at_once<D: TestEngine>(scene: Scene<D>) {
    let nothing = findings::<Note>(&scene.tables()).await;
    assert!(nothing.contains("_row\" does not exist: `InTables::schema` prints the SQL"), "{nothing}");
    scene
        .run(&format!(
            "CREATE TABLE @_row (session {} NOT NULL, title TEXT, body VARCHAR(9) NOT NULL, count TEXT NOT NULL, \
             done TEXT NOT NULL, ratio INTEGER NOT NULL, more INTEGER NOT NULL, fine INTEGER NOT NULL DEFAULT 1, \
             also INTEGER)",
            bytes::<D>()
        ))
        .await;
    let all = findings::<Note>(&scene.tables()).await;
    let table = format!("table \"{}_row\"", scene.name);
    for what in [
        &format!("{table} has no foreign key from \"session\" to \"{}_s\" (handle)", scene.name),
        &format!("{table} has no unique index over exactly (session)"),
        "has a nullable column \"title\" for a field that is not an `Option`",
        "has a NOT NULL column \"body\" for an `Option`",
        "for its column \"count\", which cannot hold the field's values",
        "for its column \"done\", which cannot hold the field's values",
        "for its column \"ratio\", which cannot hold the field's values",
        "has no column \"missing\": add it",
        "has a column \"more\" without a field",
    ] {
        assert!(all.contains(what), "{what}: {all}");
    }
    assert!(!all.contains("\"fine\"") && !all.contains("\"also\""), "{all}");
    assert_eq!(all.split("; ").count(), 9, "{all}");
    scene.run("DROP TABLE @_row; CREATE TABLE @_row (title INTEGER)").await;
    let all = findings::<Note>(&scene.tables()).await;
    assert!(all.contains("has no column \"session\" for the session"), "{all}");
}

async fn a_unique_index_works_like_a_primary_key<D: TestEngine>(scene: Scene<D>) {
    let sku = if D::STORE == "mysql" { D::type_of(super::super::shape::Kind::Text, true) } else { "TEXT" };
    let make = async |cascade: &str, session: &str| {
        let _ = scene.try_run("DROP TABLE @_lines").await;
        scene
            .run(&format!(
                "CREATE TABLE @_lines (sku {sku} NOT NULL, text TEXT, session {}{session}, \
                 FOREIGN KEY (session) REFERENCES @_s (handle) {cascade})",
                bytes::<D>()
            ))
            .await;
    };
    make("ON DELETE CASCADE", " NOT NULL").await;
    for (index, fits) in [("(sku)", false), ("(session)", false), ("(session, sku)", true)] {
        scene.run(&format!("CREATE UNIQUE INDEX @_{} ON @_lines {index}", index.len())).await;
        let checked = scene.with_lines().check::<Texts>().await;
        assert_eq!(checked.is_ok(), fits, "{index}: {checked:?}");
    }
    make("", "").await;
    scene.run("CREATE UNIQUE INDEX @_again ON @_lines (sku, session)").await;
    let all = findings::<Texts>(&scene.with_lines()).await;
    assert!(all.contains("declare the foreign key of \"session\" ON DELETE CASCADE"), "{all}");
    assert!(all.contains("has a nullable column \"session\""), "{all}");
    assert_eq!(all.split("; ").count(), 2, "{all}");
}

async fn a_store_that_was_not_migrated_is_noticed<D: TestEngine>(scene: Scene<D>) {
    let store = D::store(scene.pool.clone()).with_table(&format!("{}_none", scene.name)).expect("a name");
    let error = findings::<Texts>(&crate::InTables::new(&store)).await;
    assert!(
        error.contains("_none\" does not exist, or has no unique index over \"handle\": run the store's `migrate`"),
        "{error}"
    );
}

async fn keys_that_are_not_compared_byte_by_byte_are_refused<D: TestEngine>(scene: Scene<D>) {
    let (exact, inexact): (&[&str], &[&str]) = match D::STORE {
        "sqlite" => (&["TEXT", "TEXT COLLATE BINARY"], &["TEXT COLLATE NOCASE", "TEXT COLLATE RTRIM"]),
        "postgres" => (&["TEXT", "VARCHAR(9)", "UUID"], &["CHAR(9)", "TEXT COLLATE \"loose_@\""]),
        _ => (
            &["VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin", "DATE"],
            &["VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "CHAR(9) CHARACTER SET utf8mb4", "VARCHAR(9)"],
        ),
    };
    if D::STORE == "postgres" {
        scene
            .run("CREATE COLLATION \"loose_@\" (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
            .await;
    }
    for (sku, fits) in exact.iter().map(|sku| (sku, true)).chain(inexact.iter().map(|sku| (sku, false))) {
        let _ = scene.try_run("DROP TABLE @_lines").await;
        scene
            .run(&format!(
                "CREATE TABLE @_lines (session {} NOT NULL, sku {sku} NOT NULL, text TEXT, PRIMARY KEY (session, sku), \
                 FOREIGN KEY (session) REFERENCES @_s (handle) ON DELETE CASCADE)",
                bytes::<D>()
            ))
            .await;
        let checked = scene.with_lines().check::<Texts>().await;
        assert_eq!(checked.is_ok(), fits, "{sku}: {checked:?}");
        if let Err(error) = checked {
            assert!(error.to_string().contains("treats different texts in its column \"sku\" as equal"), "{error}");
        }
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn an_sqlite_connection_without_foreign_keys_is_reported() {
    let options = sqlx::sqlite::SqliteConnectOptions::new().in_memory(true).foreign_keys(false);
    let pool =
        sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect_with(options).await.expect("in memory");
    let store = crate::SqliteStore::new(pool.clone());
    store.migrate().await.expect("migrated");
    let tables = crate::InTables::new(&store).add_collection("lines", "lines", &["sku"]);
    sqlx::raw_sql(sqlx::AssertSqlSafe(tables.schema::<Texts>().expect("it fits"))).execute(&pool).await.expect("made");
    let error = findings::<Texts>(&tables).await;
    assert!(error.contains("does not enforce foreign keys"), "{error}");
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn a_mysql_server_that_truncates_values_is_reported() {
    let Some(scene) = Scene::<sqlx::MySql>::open().await else { return };
    let url = super::harness::engines::MYSQL.shared().expect("the server of the scene");
    let options = sqlx::mysql::MySqlPoolOptions::new().max_connections(1).after_connect(|connection, _| {
        Box::pin(async move { sqlx::raw_sql("SET sql_mode = ''").execute(connection).await.map(|_| ()) })
    });
    scene.made::<Texts>(&scene.with_lines()).await;
    let store = crate::MySqlStore::new(options.connect(&url).await.expect("connected"));
    let store = store.with_table(&format!("{}_s", scene.name)).expect("a name");
    let tables = crate::InTables::new(&store).add_collection("lines", &format!("{}_lines", scene.name), &["sku"]);
    let error = findings::<Texts>(&tables).await;
    assert!(error.contains("STRICT_TRANS_TABLES") && error.split("; ").count() == 1, "{error}");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_columns_without_strict_types_hold_the_same_values() {
    use super::engines::Loaded as _;
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Loose {
        flag: bool,
        number: i64,
        real: f64,
        text: String,
        at: Option<String>,
        any: String,
    }
    impl SessionPart for Loose {
        const NAME: &'static str = "loose";
    }
    let Some(scene) = super::engines::Scene::<sqlx::Sqlite>::open().await else { return };
    scene
        .run(
            "CREATE TABLE @_row (session BLOB NOT NULL PRIMARY KEY REFERENCES @_s (handle) ON DELETE CASCADE, \
             flag BOOLEAN NOT NULL, number UNSIGNED BIG INT NOT NULL, real DOUBLE NOT NULL, text VARCHAR(3) NOT NULL, \
             at DATETIME, any NOT NULL)",
        )
        .await;
    let tables = scene.tables().check::<Loose>().await.expect("they fit");
    let (at, any) = (Some("2024-05-01T10:00:00Z".to_owned()), "007".to_owned());
    let part = Loose { flag: true, number: i64::MIN, real: 0.1 + 0.2, text: "12e3".to_owned(), at, any };
    scene.create(&tables, 1, &part).await.expect("written");
    assert_eq!(
        tables.mapped.loaded(super::engines::handle(1)).await.expect("read"),
        Some(super::engines::value(&part))
    );
}

/// Without floating-point fields, whose columns are read row by row.
#[cfg(feature = "sqlite")]
#[tokio::test]
async fn sqlite_values_of_other_writers_are_read_or_reported_with_their_column() {
    use super::engines::Loaded as _;
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Odd {
        flag: bool,
        number: Option<i64>,
        text: String,
    }
    impl SessionPart for Odd {
        const NAME: &'static str = "odd";
    }
    let Some(scene) = super::engines::Scene::<sqlx::Sqlite>::open().await else { return };
    scene
        .run(
            "CREATE TABLE @_row (session BLOB NOT NULL PRIMARY KEY REFERENCES @_s (handle) ON DELETE CASCADE, \
             flag BOOLEAN NOT NULL, number INT, text TEXT NOT NULL)",
        )
        .await;
    let tables = scene.tables().check::<Odd>().await.expect("they fit");
    scene.create(&tables, 1, &Odd::default()).await.expect("written");
    let loaded = async || tables.mapped.loaded(super::engines::handle(1)).await;
    for (set, read) in [
        ("flag = 'true', number = '12', text = 5", serde_json::json!({"flag": true, "number": 12, "text": "5"})),
        ("flag = '0', number = 3.0, text = x'61'", serde_json::json!({"flag": false, "number": 3, "text": "a"})),
        ("flag = 1.0, number = NULL, text = ''", serde_json::json!({"flag": true, "number": null, "text": ""})),
    ] {
        scene.run(&format!("UPDATE @_row SET {set}")).await;
        assert_eq!(loaded().await.expect("read"), Some(read), "{set}");
    }
    for (set, column) in [("flag = 2", "flag"), ("number = 'x'", "number"), ("number = 1.5", "number")] {
        scene.run("UPDATE @_row SET flag = 0, number = 0").await;
        scene.run(&format!("UPDATE @_row SET {set}")).await;
        let error = loaded().await.expect_err("it cannot be");
        assert_eq!(error.kind(), crate::store::StoreErrorKind::Undecodable, "{set}");
        assert!(format!("{error:?}").contains(column), "{set}: {error:?}");
    }
}
