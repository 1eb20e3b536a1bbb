//! Tests that a request sees the rows of a session only in its loaded generation.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::engines::{NOW, Scene, TestEngine, handle, key, on_each_engine, record};
use crate::part::SessionPart;
use crate::part::in_tables::sql::mapped::Mapped;
use crate::part::in_tables::sql::{InTables, Tables};
use crate::record::{Generation, Record};
use crate::store::sql::{Call, Parameter, Statement};
use crate::store::{Outcome, Store as _};

on_each_engine! {
    rows_are_read_in_the_generation_that_the_session_has
    rows_are_found_by_indexes
}

/// SQLite reads it as one row of lists.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Names {
    owner: String,
    lines: Vec<Name>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Name {
    sku: String,
}

impl SessionPart for Names {
    const NAME: &'static str = "names";
}

/// SQLite reads it row by row: it has no exact list of floating-point numbers.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Prices {
    total: f64,
    lines: Vec<Price>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Price {
    sku: String,
    price: f64,
}

impl SessionPart for Prices {
    const NAME: &'static str = "prices";
}

fn names() -> Names {
    Names { owner: "alice".to_owned(), lines: vec![Name { sku: "a".to_owned() }] }
}

fn prices() -> Prices {
    Prices { total: 0.5, lines: vec![Price { sku: "a".to_owned(), price: 0.5 }] }
}

impl<D: TestEngine> Scene<D> {
    fn tables_of(&self, part: &str) -> InTables {
        let lines = format!("{}_{part}_lines", self.name);
        InTables::new(&self.store).with_row(&format!("{}_{part}", self.name)).add_collection("lines", &lines, &["sku"])
    }

    async fn write_record(&self, version: u64, generation: Generation) {
        let next = Record { generation, ..Record::clone(&record(1, version + 1)) };
        let expected = record(1, version).version;
        let outcome = self.store.update(&key(1), expected, Arc::new(next), NOW).await;
        assert_eq!(outcome.expect("written"), Outcome::Done);
    }
}

fn mapped<D: TestEngine, T>(tables: &Tables<T>) -> &Mapped<D> {
    tables.mapped.as_any().downcast_ref().expect("a part of this engine")
}

async fn is_shown<D: TestEngine, T>(scene: &Scene<D>, tables: &Tables<T>, generation: Generation) -> bool {
    let outside = tables.mapped.load(handle(1), generation).await.expect("read");
    let mut connection = scene.pool.acquire().await.expect("a connection");
    let inside = mapped::<D, T>(tables).load_on(&mut connection, handle(1), generation).await.expect("read");
    assert_eq!(outside, inside, "in a transaction and outside of one");
    outside.is_some()
}

async fn rows_are_read_in_the_generation_that_the_session_has<D: TestEngine>(scene: Scene<D>) {
    let one = scene.made::<Names>(&scene.tables_of("names")).await;
    let other = scene.made::<Prices>(&scene.tables_of("prices")).await;
    scene.create(&one, 1, &names()).await.expect("written");
    scene.create(&other, 2, &prices()).await.expect("written");
    scene.run("UPDATE @_prices SET session = (SELECT session FROM @_names)").await;
    scene.run("UPDATE @_prices_lines SET session = (SELECT session FROM @_names)").await;

    let (nobody, first) = (Generation::default(), Generation::default().next(7));
    let second = first.next(8);
    assert!(is_shown(&scene, &one, nobody).await && is_shown(&scene, &other, nobody).await);
    for (version, now) in [(1, first), (2, second)] {
        scene.write_record(version, now).await;
        for generation in [nobody, first, second, first.next(9)] {
            let is_expected = generation == now;
            assert_eq!(is_shown(&scene, &one, generation).await, is_expected, "{generation:?} in {now:?}");
            assert_eq!(is_shown(&scene, &other, generation).await, is_expected, "{generation:?} in {now:?}");
        }
    }
    scene.store.delete(&key(1), None, NOW).await.expect("deleted");
    assert!(!is_shown(&scene, &one, second).await && !is_shown(&scene, &other, second).await);
}

async fn rows_are_found_by_indexes<D: TestEngine>(scene: Scene<D>) {
    let one = scene.made::<Names>(&scene.tables_of("names")).await;
    let other = scene.made::<Prices>(&scene.tables_of("prices")).await;
    scene.create(&one, 1, &names()).await.expect("written");
    scene.create(&other, 2, &prices()).await.expect("written");
    for statement in [mapped::<D, _>(&one).load_statement(), mapped::<D, _>(&other).load_statement()] {
        let plan = plan_of(&scene, statement).await;
        let index = format!("{}_s_handle", scene.name);
        assert!(plan.matches(&index).count() >= 2, "one look-up for each of two tables: {plan}");
        for scan in ["SCAN t\n", "SCAN s\n", "Seq Scan", "\"access_type\": \"ALL\"", "\"access_type\": \"index\""] {
            assert!(!plan.contains(scan), "{scan:?}: {plan}");
        }
    }
}

/// Returns the query plan of a statement about session 1.
async fn plan_of<D: TestEngine>(scene: &Scene<D>, statement: &Statement) -> String {
    let hex = "01".repeat(16);
    let session = if D::STORE == "postgres" { format!("'\\x{hex}'::bytea") } else { format!("X'{hex}'") };
    let mut text = statement.text().to_string();
    // From the last to the first: `$1` is a prefix of `$10`.
    for (i, parameter) in statement.parameters().iter().enumerate().rev() {
        let value = if *parameter == Parameter::Session { &session } else { "0" };
        let place = text.rfind(&*D::placeholder(i + 1)).expect("the placeholder");
        if D::NUMBERED {
            text = text.replace(&*D::placeholder(i + 1), value);
        } else {
            text.replace_range(place..=place, value);
        }
    }
    let (explain, column) = match D::STORE {
        "sqlite" => ("EXPLAIN QUERY PLAN", 3),
        "postgres" => ("EXPLAIN", 0),
        _ => ("EXPLAIN FORMAT = JSON", 0),
    };
    let mut connection = scene.pool.acquire().await.expect("a connection");
    if D::STORE == "postgres" {
        // The planner reads a table of one row sequentially unless that is disabled.
        let set = Statement::new::<D>("SET enable_seqscan = off");
        scene.store.fetch_rows_on(&mut connection, &set, &Call::default()).await.expect("set");
    }
    let explain = Statement::new::<D>(&format!("{explain} {text}"));
    let rows = scene.store.fetch_rows_on(&mut connection, &explain, &Call::default()).await.expect("a plan");
    let mut plan = String::new();
    for row in &rows {
        plan += D::text(row, column).expect("a text").unwrap_or_default();
        plan += "\n";
    }
    plan
}
