//! Tests of the rows that are written.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::engines::{Loaded as _, NOW, Scene, TestEngine, handle, key, on_each_engine, record, value, writes};
use super::values::{Text, Texts, texts};
use crate::error::{Error, ErrorKind};
use crate::part::SessionPart;
use crate::part::in_tables::sql::mapped::batches;
use crate::part::merge::Collection;
use crate::store::RecordCall;
use crate::store::{Forward, Outcome, Renewal, Store as _, StoreErrorKind, Version};

on_each_engine! {
    only_rows_that_changed_are_written
    many_rows_take_as_many_statements_as_one
    columns_that_the_type_does_not_know_keep_what_they_have
    a_call_that_does_not_take_place_writes_no_row
    a_row_that_is_refused_leaves_nothing_behind
    a_row_of_another_session_is_never_changed
    rows_go_where_their_session_goes
    sessions_that_write_at_once_do_not_disturb_each_other
    rows_that_refer_to_other_rows_of_the_part_come_after_them_and_go_before
    a_database_knows_its_store
}

/// Counts the changes of the rows of `@_lines`.
async fn count_changes<D: TestEngine>(scene: &Scene<D>) {
    scene.run("CREATE TABLE @_log (what VARCHAR(9))").await;
    for (what, row) in [("INSERT", "NEW"), ("UPDATE", "NEW"), ("DELETE", "OLD")] {
        let insert = format!("INSERT INTO @_log SELECT '{what}'");
        let trigger = match D::STORE {
            "postgres" => format!(
                "CREATE FUNCTION @_{what}() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN {insert}; RETURN {row}; END $$; \
                 CREATE TRIGGER {what} AFTER {what} ON @_lines FOR EACH ROW EXECUTE FUNCTION @_{what}()"
            ),
            "sqlite" => format!("CREATE TRIGGER @_{what} AFTER {what} ON @_lines BEGIN {insert}; END"),
            _ => format!("CREATE TRIGGER @_{what} AFTER {what} ON @_lines FOR EACH ROW {insert}"),
        };
        scene.run(&trigger).await;
    }
}

/// Returns how many rows were inserted, updated and deleted since the last call.
async fn changes<D: TestEngine>(scene: &Scene<D>) -> [i64; 3] {
    let mut counts = [0; 3];
    for (count, what) in counts.iter_mut().zip(["INSERT", "UPDATE", "DELETE"]) {
        scene.run(&format!("CREATE TABLE @_{what}s AS SELECT what FROM @_log WHERE what = '{what}'")).await;
        *count = scene.count(&format!("{what}s")).await;
        scene.run(&format!("DROP TABLE @_{what}s")).await;
    }
    scene.run("DELETE FROM @_log").await;
    counts
}

async fn only_rows_that_changed_are_written<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    count_changes(&scene).await;
    let skus: Vec<String> = (0..100).map(|n| format!("{n:03}")).collect();
    let pairs: Vec<_> = skus.iter().map(|sku| (&**sku, "")).collect();
    scene.create(&tables, 1, &texts(&pairs)).await.expect("written");
    scene.create(&tables, 2, &texts(&pairs)).await.expect("written");
    assert_eq!(changes(&scene).await, [200, 0, 0]);

    let mut after = value(&texts(&pairs));
    after["lines"][50]["text"] = json!("changed");
    scene.change(&*tables.mapped, 1, Some(&after)).await;
    assert_eq!(changes(&scene).await, [0, 1, 0]);

    let lines = after["lines"].as_array_mut().expect("a list");
    lines.remove(7);
    lines[60]["text"] = json!(null);
    lines[61]["text"] = json!("also");
    lines.insert(0, json!({"sku": "new", "text": ""}));
    lines.reverse();
    scene.change(&*tables.mapped, 1, Some(&after)).await;
    assert_eq!(changes(&scene).await, [1, 2, 1]);
    after["lines"].as_array_mut().expect("a list").sort_by_key(|line| line["sku"].as_str().map(str::to_owned));
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(after.clone()));
    assert_eq!(tables.mapped.loaded(handle(2)).await.expect("read"), Some(value(&texts(&pairs))));

    let nothing = scene.change(&*tables.mapped, 1, Some(&after)).await;
    assert!(nothing.is_empty());
    scene.change(&*tables.mapped, 1, None).await;
    assert_eq!(changes(&scene).await, [0, 0, 100]);
}

async fn many_rows_take_as_many_statements_as_one<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    let skus: Vec<String> = (0..500).map(|n| format!("{n:03}")).collect();
    let all = |text| texts(&skus.iter().map(|sku| (&**sku, text)).collect::<Vec<_>>());
    let (one, other) = (value(&all("one")), value(&all("other")));
    let none = json!({"lines": []});
    let mut one_changed = one.clone();
    one_changed["lines"][3]["text"] = json!("changed");
    let mut half = one.clone();
    half["lines"].as_array_mut().expect("a list").truncate(250);
    let most = if D::STORE == "mysql" { 2 } else { 1 };
    for (before, after, rows) in [(&one, &one_changed, 1), (&one, &other, 500), (&none, &one, 500), (&one, &half, 250)]
    {
        let writes = [writes(&tables, Some(before), Some(after))];
        let batches = batches(&writes).expect("of this engine");
        assert_eq!((batches.len(), batches[0].count), (1, rows));
        assert!(batches[0].statements.len() <= most);
    }
    scene.create(&tables, 1, &all("one")).await.expect("written");
    scene.change(&*tables.mapped, 1, Some(&other)).await;
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(other));
    scene.change(&*tables.mapped, 1, Some(&half)).await;
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(half));
}

async fn columns_that_the_type_does_not_know_keep_what_they_have<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    scene.run("ALTER TABLE @_lines ADD COLUMN note TEXT").await;
    scene.create(&tables, 1, &texts(&[("a", "1"), ("b", "2")])).await.expect("written");
    scene.run("UPDATE @_lines SET note = sku").await;
    scene.change(&*tables.mapped, 1, Some(&value(&texts(&[("a", "9"), ("c", "3")])))).await;
    for (sku, note) in [("a", Some("a")), ("b", None), ("c", None)] {
        assert_eq!(scene.text(&format!("SELECT note FROM @_lines WHERE sku = '{sku}'")).await.as_deref(), note);
    }
}

async fn a_call_that_does_not_take_place_writes_no_row<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    let database = tables.mapped.database();
    let rows = [writes(&tables, None, Some(&value(&texts(&[("a", "1")]))))];
    let update =
        |key, expected| RecordCall::Update { key, expected: Version::from_u64(expected), record: record(1, 9) };
    let key = key(1);
    assert_eq!(database.write(update(&key, 1), &rows, NOW).await.expect("asked"), Outcome::Gone);
    scene.create(&tables, 1, &Texts::default()).await.expect("written");
    let outcome = database.write(update(&key, 5), &rows, NOW).await.expect("asked");
    assert_eq!(outcome, Outcome::Conflict(Some(record(1, 1))));
    let call = RecordCall::Create { key: &key, record: record(2, 9) };
    assert_eq!(database.write(call, &rows, NOW).await.expect("asked"), Outcome::Conflict(None));
    let later = NOW.after(Duration::from_secs(3601));
    assert_eq!(database.write(update(&key, 1), &rows, later).await.expect("asked"), Outcome::Gone);
    assert_eq!(scene.count("lines").await, 0);
    // An expired session makes room.
    let mut next = (*record(3, 9)).clone();
    next.expires_at = later.after(Duration::from_secs(60));
    let call = RecordCall::Create { key: &key, record: Arc::new(next) };
    assert_eq!(database.write(call, &rows, later).await.expect("asked"), Outcome::Done);
    assert_eq!((scene.count("s").await, scene.count("lines").await), (1, 1));
}

async fn a_row_that_is_refused_leaves_nothing_behind<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    scene.create(&tables, 1, &texts(&[("a", "1"), ("b", "2")])).await.expect("written");
    let before = tables.mapped.loaded(handle(1)).await.expect("read");
    let column = if D::STORE == "mysql" { "text(99)" } else { "text" };
    scene.run(&format!("CREATE UNIQUE INDEX @_text ON @_lines ({column})")).await;
    scene.run("CREATE TABLE @_skus (sku VARCHAR(9) NOT NULL PRIMARY KEY)").await;
    for (broken, sku, text) in [("unique", "c", "1"), ("of two sessions", "c", "1")] {
        let after = value(&texts(&[("a", "1"), (sku, text)]));
        let error = if broken == "unique" {
            let rows = writes(&tables, before.as_ref(), Some(&after));
            scene.update(&*tables.mapped, 1, &rows).await.expect_err(broken)
        } else {
            scene.create(&tables, 2, &texts(&[("x", "new"), (sku, text)])).await.expect_err(broken)
        };
        assert_eq!((error.kind(), error.store()), (StoreErrorKind::Constraint, D::STORE), "{broken}: {error:?}");
        let error = Error::from(error);
        assert_eq!((error.kind(), error.status()), (&ErrorKind::Constraint, http::StatusCode::CONFLICT));
        assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), before, "{broken}");
        let version = scene.store.load(&key(1), NOW).await.expect("asked");
        assert_eq!(version, Some(crate::store::Entry::Live(record(1, 1))), "{broken}");
        assert_eq!(scene.store.load(&key(2), NOW).await.expect("asked"), None, "{broken}");
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seat {
    seat: String,
    step: u8,
}

impl SessionPart for Seat {
    const NAME: &'static str = "seat";
}

/// MySQL's `ON DUPLICATE KEY UPDATE` would change it.
async fn a_row_of_another_session_is_never_changed<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Seat>(&scene.tables()).await;
    let column = if D::STORE == "mysql" { "seat(99)" } else { "seat" };
    scene.run(&format!("CREATE UNIQUE INDEX @_seat ON @_row ({column})")).await;
    let taken = Seat { seat: "17A".to_owned(), step: 1 };
    scene.create(&tables, 1, &taken).await.expect("written");
    let error = scene.create(&tables, 2, &Seat { step: 2, ..taken.clone() }).await.expect_err("it is taken");
    assert_eq!(error.kind(), StoreErrorKind::Constraint);
    scene.create(&tables, 3, &Seat { seat: "17B".to_owned(), step: 3 }).await.expect("written");
    let rows = writes(&tables, Some(&value(&Seat { seat: "17B".to_owned(), step: 3 })), Some(&value(&taken)));
    let error = scene.update(&*tables.mapped, 3, &rows).await.expect_err("it is taken");
    assert_eq!(error.kind(), StoreErrorKind::Constraint);
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(value(&taken)));
}

async fn rows_go_where_their_session_goes<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    let database = tables.mapped.database();
    for n in [1, 2] {
        scene.create(&tables, n, &texts(&[("a", "1"), ("b", "2")])).await.expect("written");
    }
    let renewal = |to: u8, handle: u8, old: u8, version: u64| {
        let forward = Forward { successor: None, grace_until: NOW, expires_at: NOW.after(Duration::from_secs(60)) };
        let expected = Version::from_u64(version);
        Renewal { old: key(old), expected, new: key(to), record: record(handle, version + 1), forward }
    };
    let before = value(&texts(&[("a", "1"), ("b", "2")]));
    let after = value(&texts(&[("a", "1"), ("b", "3"), ("c", "4")]));
    let rows = [writes(&tables, Some(&before), Some(&after))];
    let outcome = database.write(RecordCall::Renew(renewal(11, 1, 1, 1)), &rows, NOW).await.expect("asked");
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(after.clone()), "the new id keeps the rows");
    // Another principal takes the session over: the first principal's rows are deleted, and the new rows belong to the
    // second.
    let rows = [writes(&tables, None, Some(&before))];
    let outcome = database.write(RecordCall::Renew(renewal(12, 9, 11, 2)), &rows, NOW).await.expect("asked");
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), None);
    assert_eq!(tables.mapped.loaded(handle(9)).await.expect("read"), Some(before.clone()));
    assert_eq!(scene.store.delete(&key(12), None, NOW).await.expect("asked"), Outcome::Done);
    assert_eq!(tables.mapped.loaded(handle(9)).await.expect("read"), None, "a logout deletes the rows");
    assert_eq!(scene.count("lines").await, 2);
    scene.store.sweep(NOW.after(Duration::from_secs(10_000)), 100).await.expect("swept");
    assert_eq!((scene.count("s").await, scene.count("lines").await), (0, 0), "so does a sweep");
}

async fn sessions_that_write_at_once_do_not_disturb_each_other<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    let scene = Arc::new(scene);
    let writers = (1..=8).map(|n: u8| {
        let (scene, tables) = (Arc::clone(&scene), tables.clone());
        tokio::spawn(async move {
            scene.create(&tables, n, &Texts::default()).await.expect("written");
            for step in 0..20 {
                let skus = [format!("a{}", step % 3), format!("b{step}"), format!("{n}")];
                let text = step.to_string();
                let part = texts(&skus.each_ref().map(|sku| (&**sku, &*text)));
                scene.change(&*tables.mapped, n, Some(&value(&part))).await;
                let loaded = tables.mapped.loaded(handle(n)).await.expect("read").expect("there are rows");
                assert_eq!(loaded["lines"].as_array().map(Vec::len), Some(3));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("no writer fails");
    }
    assert_eq!(scene.count("lines").await, 24);
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Tree {
    root: u8,
    lines: Vec<Text>,
}

impl SessionPart for Tree {
    const NAME: &'static str = "tree";
}

async fn rows_that_refer_to_other_rows_of_the_part_come_after_them_and_go_before<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.with_lines().with_row(&format!("{}_row", scene.name));
    // SQLite cannot add a foreign key to an existing table.
    let schema = tables.schema::<Tree>().expect("it fits").replacen(
        "(handle) ON DELETE CASCADE\n)",
        "(handle) ON DELETE CASCADE,\n FOREIGN KEY (session) REFERENCES @_row (session)\n)",
        2,
    );
    let schema = schema.replacen(",\n FOREIGN KEY (session) REFERENCES @_row (session)", "", 1);
    scene.run(&schema).await;
    let tables = tables.check::<Tree>().await.expect("they fit");
    let full = Tree { root: 1, lines: texts(&[("a", "1"), ("b", "2")]).lines };
    scene.create(&tables, 1, &full).await.expect("written");
    scene.change(&*tables.mapped, 1, None).await;
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), None);
    scene.change(&*tables.mapped, 1, Some(&value(&full))).await;
    assert_eq!(tables.mapped.loaded(handle(1)).await.expect("read"), Some(value(&full)));
}

#[cfg(feature = "mysql")]
#[tokio::test]
async fn on_mysql_a_change_of_one_row_takes_as_many_statements_as_of_many() {
    use sqlx::Row as _;

    let Some(scene) = Scene::<sqlx::MySql>::open().await else { return };
    let url = super::harness::engines::MYSQL.shared().expect("the server of the scene");
    scene.made::<Texts>(&scene.with_lines()).await;
    let pool = sqlx::mysql::MySqlPoolOptions::new().max_connections(1).connect(&url).await.expect("connected");
    let store = crate::MySqlStore::new(pool.clone()).with_table(&format!("{}_s", scene.name)).expect("a name");
    let tables = crate::InTables::new(&store).add_collection("lines", &format!("{}_lines", scene.name), &["sku"]);
    let tables = tables.check::<Texts>().await.expect("they fit");
    let executed = async || {
        let row = sqlx::query("SHOW SESSION STATUS LIKE 'Com_stmt_execute'").fetch_one(&pool).await.expect("a status");
        row.get::<String, _>(1).parse::<u32>().expect("a number")
    };
    let skus: Vec<String> = (0..500).map(|n| format!("{n:03}")).collect();
    let all = |text| texts(&skus.iter().map(|sku| (&**sku, text)).collect::<Vec<_>>());
    let mut one_changed = value(&all("one"));
    one_changed["lines"][3]["text"] = json!("changed");
    let begun = executed().await;
    scene.create(&tables, 1, &all("one")).await.expect("written");
    // The status query itself is one of them.
    assert_eq!(executed().await - begun, 1 + 2, "the record and the rows");
    for (after, count) in [(one_changed, 1), (value(&all("many")), 500), (json!({"lines": []}), 500)] {
        let before = tables.mapped.loaded(handle(1)).await.expect("read");
        let begun = executed().await;
        let rows = writes(&tables, before.as_ref(), Some(&after));
        assert_eq!(scene.update(&*tables.mapped, 1, &rows).await.expect("written"), Outcome::Done);
        assert_eq!(executed().await - begun, 1 + 2, "{count} rows");
    }
}

async fn a_database_knows_its_store<D: TestEngine>(scene: Scene<D>) {
    let tables = scene.made::<Texts>(&scene.with_lines()).await;
    let database = tables.mapped.database();
    assert!(database.is_of(&scene.store.clone()));
    assert!(!database.is_of(&D::store(scene.pool.clone())), "another table, perhaps");
    assert!(!database.is_of(&crate::MemoryStore::new()));
    let collection = Collection { field: "lines".to_owned(), key: vec!["sku".to_owned()] };
    assert_eq!(tables.mapped.collections(), [collection]);
    let shown = format!("{tables:?} {database:?}");
    assert!(shown.contains("texts") && shown.len() < 400, "{shown}");
}
