//! Tests of columns with types specific to an engine.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::engines::{Loaded as _, Scene, handle, value};
use crate::part::SessionPart;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Order {
    id: String,
    at: String,
    maybe_at: Option<String>,
    local: Option<String>,
    day: Option<String>,
    price: String,
    any_price: Value,
    attributes: Option<Value>,
    is_open: bool,
    tags: Option<Vec<Option<String>>>,
    numbers: Option<Value>,
    mood: Option<String>,
    count: u16,
    small: f32,
    code: Option<String>,
}

impl SessionPart for Order {
    const NAME: &'static str = "order";
}

fn order() -> Order {
    let some = |text: &str| Some(text.to_owned());
    Order {
        id: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".to_owned(),
        at: "2024-05-01T10:00:00.25Z".to_owned(),
        maybe_at: None,
        local: some("2024-03-31T02:30:00"),
        day: some("2024-02-29"),
        price: "12.30".to_owned(),
        any_price: json!("0.10"),
        attributes: Some(json!({"a": [1, 2.5, null], "b": "\"'ä\u{1F600}"})),
        is_open: true,
        tags: Some(vec![some("a, \"b\""), None, some(""), some("{x}\\")]),
        numbers: Some(json!([1, -2, 3])),
        mood: some("very happy"),
        count: u16::MAX,
        small: 0.1,
        code: some("abc"),
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_values_take_the_types_of_their_columns() {
    let Some(scene) = Scene::<sqlx::Postgres>::open().await else { return };
    scene.run("CREATE TYPE \"mood of @\" AS ENUM ('very happy', 'sad'); CREATE DOMAIN code_@ AS VARCHAR(3)").await;
    scene
        .run(
            "CREATE TABLE @_row (session BYTEA PRIMARY KEY REFERENCES @_s (handle) ON DELETE CASCADE, \
             id UUID NOT NULL, at TIMESTAMPTZ NOT NULL, maybe_at TIMESTAMPTZ, local TIMESTAMP, day DATE, \
             price NUMERIC(12, 2) NOT NULL, any_price NUMERIC NOT NULL, attributes JSONB, is_open BOOLEAN NOT NULL, \
             tags TEXT[], numbers INT[], mood \"mood of @\", count INT NOT NULL, small REAL NOT NULL, code code_@, \
             made_at TIMESTAMPTZ NOT NULL DEFAULT now(), twice INT GENERATED ALWAYS AS (count * 2) STORED)",
        )
        .await;
    let tables = scene.tables().check::<Order>().await.expect("they fit");
    scene.create(&tables, 1, &order()).await.expect("written");
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(value(&order())));
    for (expression, text) in [
        ("pg_typeof(price)::text || price", "numeric12.30"),
        ("(at = '2024-05-01 10:00:00.25+00')::text", "true"),
        ("(local = '2024-03-31 02:30:00')::text", "true"),
        ("tags[1] || cardinality(tags)", "a, \"b\"4"),
        ("(attributes -> 'a' ->> 1)", "2.5"),
        ("(numbers[2] + 1)::text", "-1"),
        ("twice::text", "131070"),
    ] {
        let found = scene.text(&format!("SELECT {expression} FROM @_row")).await;
        assert_eq!(found.as_deref(), Some(text), "{expression}");
    }
    // Other spellings of the same value read back in the engine's own form.
    let other = Order {
        id: "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}".to_owned(),
        at: "2024-05-01T12:00:00+02:00".to_owned(),
        price: "7".to_owned(),
        any_price: json!(1.5),
        tags: Some(vec![]),
        ..order()
    };
    scene.change(&*tables.mapped, 1, Some(&value(&other))).await;
    let found = tables.mapped.loaded(handle(1)).await.expect("read").expect("a row");
    let same = Order { at: "2024-05-01T10:00:00Z".to_owned(), price: "7.00".to_owned(), id: order().id, ..other };
    assert_eq!(found, value(&Order { any_price: json!("1.5"), ..same.clone() }));
    let empty =
        Order { attributes: None, tags: None, numbers: None, mood: None, code: None, local: None, day: None, ..same };
    let empty = value(&Order { any_price: json!("0"), ..empty });
    scene.change(&*tables.mapped, 1, Some(&empty)).await;
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(empty));
    refused(&scene, &tables).await;
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn mysql_values_take_the_types_of_their_columns() {
    let Some(scene) = Scene::<sqlx::MySql>::open().await else { return };
    scene
        .run(
            "CREATE TABLE @_row (session BINARY(16) PRIMARY KEY, id CHAR(36) CHARACTER SET ascii NOT NULL, \
             at TIMESTAMP(2) NOT NULL DEFAULT NOW(2), maybe_at TIMESTAMP(6) NULL, local DATETIME, day DATE, \
             price DECIMAL(12, 2) NOT NULL, any_price DECIMAL(20, 2) NOT NULL, attributes JSON, \
             is_open BOOLEAN NOT NULL, tags LONGTEXT CHARACTER SET utf8mb4, numbers JSON, \
             mood ENUM ('very happy', 'sad'), count SMALLINT UNSIGNED NOT NULL, small FLOAT NOT NULL, \
             code VARCHAR(3) CHARACTER SET latin1, made_at TIMESTAMP NOT NULL DEFAULT NOW(), \
             twice INT GENERATED ALWAYS AS (count * 2) STORED, \
             FOREIGN KEY (session) REFERENCES @_s (handle) ON DELETE CASCADE) ENGINE = InnoDB",
        )
        .await;
    let tables = scene.tables().check::<Order>().await.expect("they fit");
    scene.create(&tables, 1, &order()).await.expect("written");
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(value(&order())));
    for (expression, text) in [
        ("CAST(at AS CHAR)", "2024-05-01 15:45:00.25"),
        ("CAST(local AS CHAR)", "2024-03-31 02:30:00"),
        ("CAST(price + 1 AS CHAR)", "13.30"),
        ("CAST(JSON_VALUE(attributes, '$.a[1]') AS CHAR)", "2.5"),
        ("CAST(twice AS CHAR)", "131070"),
    ] {
        let found = scene.text(&format!("SELECT {expression} FROM @_row")).await;
        assert_eq!(found.as_deref(), Some(text), "{expression}");
    }
    let empty = Order {
        maybe_at: Some("2024-12-31T23:59:59.000001Z".to_owned()),
        attributes: None,
        tags: None,
        numbers: None,
        mood: None,
        code: None,
        local: None,
        day: None,
        is_open: false,
        ..order()
    };
    scene.change(&*tables.mapped, 1, Some(&value(&empty))).await;
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(value(&empty)));
    scene.change(&*tables.mapped, 1, Some(&value(&order()))).await;
    refused(&scene, &tables).await;
}

/// Asserts that values rejected by a column are constraint errors, and are not truncated.
async fn refused<D: super::engines::TestEngine>(scene: &Scene<D>, tables: &crate::Tables<Order>) {
    let before = tables.mapped.loaded(handle(1)).await.expect("read").expect("a row");
    for (field, wrong) in [
        ("at", json!("2024-02-30T10:00:00Z")),
        ("day", json!("no day")),
        ("price", json!("12345678901.00")),
        ("mood", json!("none")),
        ("count", json!(9_999_999_999_i64)),
        ("code", json!("abcd")),
        ("at", json!("")),
    ] {
        let mut after = before.clone();
        after[field] = wrong;
        let rows = super::engines::writes(tables, Some(&before), Some(&after));
        let error = scene.update(&*tables.mapped, 1, &rows).await.expect_err(field);
        assert_eq!(error.kind(), crate::store::StoreErrorKind::Constraint, "{field}: {error:?}");
        assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read").as_ref(), Some(&before), "{field}");
    }
}
