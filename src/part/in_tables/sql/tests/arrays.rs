//! Tests of columns of PostgreSQL's array types.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::engines::{Loaded as _, Scene, handle, value, writes};
use crate::part::SessionPart;
use crate::store::StoreErrorKind;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum Mood {
    #[serde(rename = "very happy")]
    Happy,
    #[serde(rename = "sad")]
    Sad,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lists {
    moods: Vec<Mood>,
    maybe_moods: Option<Vec<Option<Mood>>>,
    tags: Vec<String>,
    times: Vec<String>,
    local_times: Vec<Option<String>>,
    prices: Vec<String>,
    any_prices: Vec<Value>,
    rates: Vec<f64>,
    ids: Vec<String>,
    flags: Vec<Option<bool>>,
    counts: Vec<i64>,
    weights: Vec<f64>,
    extras: Vec<BTreeMap<String, i64>>,
    any_extras: Vec<Value>,
    pair: (i64, i64),
}

impl Default for Lists {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Self {
            moods: vec![Mood::Sad, Mood::Happy, Mood::Sad],
            maybe_moods: Some(vec![None, Some(Mood::Happy)]),
            tags: texts(&["", "a, \"b\"", "{x}\\", "NULL", "12345678"]),
            times: texts(&["2024-05-01T10:00:00.25Z", "1999-12-31T23:59:59Z"]),
            local_times: vec![Some("2024-03-31T02:30:00".to_owned()), None],
            prices: texts(&["0.1000", "1234567890123456.7890"]),
            any_prices: vec![json!("0.1000"), Value::Null],
            rates: vec![0.1, 2.0],
            ids: texts(&["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
            flags: vec![Some(true), None, Some(false)],
            counts: vec![i64::MIN, 0, i64::MAX],
            weights: vec![0.1, 1e300, -2.5],
            extras: vec![BTreeMap::new(), BTreeMap::from([("a".to_owned(), 1)])],
            any_extras: vec![json!([1, [2]]), json!("text"), json!(1.5), json!({"a": null}), Value::Null],
            pair: (1, 2),
        }
    }
}

impl SessionPart for Lists {
    const NAME: &'static str = "lists";
}

async fn scene() -> Option<Scene<sqlx::Postgres>> {
    let scene = Scene::<sqlx::Postgres>::open().await?;
    scene.run("CREATE TYPE \"mood of @\" AS ENUM ('very happy', 'sad'); CREATE DOMAIN flags_@ AS BOOLEAN[]").await;
    scene
        .run(
            "CREATE TABLE @_row (session BYTEA PRIMARY KEY REFERENCES @_s (handle) ON DELETE CASCADE, \
             moods \"mood of @\"[] NOT NULL, maybe_moods \"mood of @\"[], tags VARCHAR(8)[] NOT NULL, \
             times TIMESTAMPTZ[] NOT NULL, local_times TIMESTAMP[] NOT NULL, prices NUMERIC(20, 4)[] NOT NULL, \
             any_prices NUMERIC(20, 4)[] NOT NULL, rates NUMERIC[] NOT NULL, ids UUID[] NOT NULL, \
             flags flags_@ NOT NULL, counts BIGINT[] NOT NULL, weights FLOAT8[] NOT NULL, extras JSONB[] NOT NULL, \
             any_extras JSONB[] NOT NULL, pair INT[] NOT NULL)",
        )
        .await;
    Some(scene)
}

#[tokio::test]
async fn values_in_arrays_read_back_as_they_were_written() {
    let Some(scene) = scene().await else { return };
    let tables = scene.tables().check::<Lists>().await.expect("they fit");
    scene.create(&tables, 1, &Lists::default()).await.expect("written");
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(value(&Lists::default())));
    for (expression, text) in [
        ("moods[2]", "very happy"),
        ("'sad' = ANY (moods)", "true"),
        ("maybe_moods[1] IS NULL", "true"),
        ("cardinality(tags)", "5"),
        ("tags[4]", "NULL"),
        ("times[1] = '2024-05-01 10:00:00.25+00'", "true"),
        ("prices[2] * 10", "12345678901234567.8900"),
        ("extras[2] ->> 'a'", "1"),
        ("any_extras[1] -> 1", "[2]"),
        ("any_extras[5] IS NULL", "false"),
        ("flags[3]", "false"),
    ] {
        let found = scene.text(&format!("SELECT ({expression})::text FROM @_row")).await;
        assert_eq!(found.as_deref(), Some(text), "{expression}");
    }
    let emptied = Lists { moods: vec![], maybe_moods: None, times: vec![], any_extras: vec![], ..Lists::default() };
    scene.change(&*tables.mapped, 1, Some(&value(&emptied))).await;
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(value(&emptied)));
}

#[tokio::test]
async fn an_element_that_its_array_cannot_hold_is_refused_and_not_changed() {
    let Some(scene) = scene().await else { return };
    let tables = scene.tables().check::<Lists>().await.expect("they fit");
    scene.create(&tables, 1, &Lists::default()).await.expect("written");
    let before = tables.mapped.loaded(handle(1)).await.expect("read").expect("a row");
    for (field, wrong) in [
        ("tags", json!(["fine", "too long for it"])),
        ("moods", json!(["sad", "furious"])),
        ("ids", json!(["no ID"])),
        ("times", json!(["2024-02-30T10:00:00Z"])),
        ("prices", json!(["12345678901234567890"])),
        ("pair", json!([1, 9_999_999_999_i64])),
    ] {
        let mut after = before.clone();
        after[field] = wrong;
        let rows = writes(&tables, Some(&before), Some(&after));
        let error = scene.update(&*tables.mapped, 1, &rows).await.expect_err(field);
        assert_eq!(error.kind(), StoreErrorKind::Constraint, "{field}: {error:?}");
        assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read").as_ref(), Some(&before), "{field}");
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Misfits {
    texts: Vec<String>,
    numbers: Vec<i64>,
    grid: Vec<Vec<i64>>,
    maps: Vec<BTreeMap<String, i64>>,
    bytes: Vec<u8>,
}

impl SessionPart for Misfits {
    const NAME: &'static str = "misfits";
}

#[tokio::test]
async fn an_array_of_other_elements_is_found_when_the_application_starts() {
    let Some(scene) = Scene::<sqlx::Postgres>::open().await else { return };
    scene
        .run(
            "CREATE TABLE @_row (session BYTEA PRIMARY KEY REFERENCES @_s (handle) ON DELETE CASCADE, \
             texts INT[] NOT NULL, numbers TEXT[] NOT NULL, grid INT[] NOT NULL, maps TEXT[] NOT NULL, \
             bytes BYTEA[] NOT NULL)",
        )
        .await;
    let error = scene.tables().check::<Misfits>().await.expect_err("they do not fit").to_string();
    for (column, type_name) in
        [("texts", "integer"), ("numbers", "text"), ("grid", "integer"), ("maps", "text"), ("bytes", "bytea")]
    {
        let finding = format!("has {type_name}[] for its column {column:?}, which cannot hold the field's values");
        assert!(error.contains(&finding), "{finding}: {error}");
    }
}
