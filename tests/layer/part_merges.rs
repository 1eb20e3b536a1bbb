//! Parts changed by two concurrent requests, or by two releases in turn: the stored part decodes, and has the changes
//! of both.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::{ErrorKind, InCookie, InStore, KeyRing, MemoryStore, Part, Session, SessionPart};

use crate::browser::{App, Browser, Visit};
use crate::part_kit::visit;

/// Lets two requests load a part, and then change it one after the other. Returns the response to the second.
async fn meet<T: SessionPart>(
    browser: &mut Browser,
    app: &App,
    first: fn(&mut Part<T>),
    second: fn(&mut Part<T>),
) -> Visit<()> {
    let (mut other, other_app) = (browser.clone(), app.clone());
    let visit = browser
        .send_raw(app, move |extensions| async move {
            let mut part = Part::<T>::from_extensions(&extensions).await?;
            visit::<T, _>(&mut other, &other_app, first).await.value();
            second(&mut part);
            Ok((StatusCode::OK, ()))
        })
        .await;
    browser.receive(&visit);
    visit
}

async fn read<T: SessionPart + Clone>(browser: &mut Browser, app: &App) -> T {
    visit::<T, _>(browser, app, |part| (**part).clone()).await.value()
}

/// A browser with a part, in the record and in a separate store.
async fn with_part<T: SessionPart>(fill: fn(&mut Part<T>)) -> Vec<(Browser, App)> {
    let in_store = App::memory().with(|layer| layer.with_part::<T>(InStore::new(MemoryStore::new())).unwrap());
    let mut scenes = Vec::new();
    for app in [App::memory(), in_store] {
        let mut browser = Browser::default();
        visit(&mut browser, &app, fill).await.value();
        scenes.push((browser, app));
    }
    scenes
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Order {
    lines: BTreeMap<String, Line>,
    gift: Option<Line>,
    step: Step,
    seen: HashSet<u32>,
    count: u128,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    quantity: u32,
    price: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Step {
    #[default]
    Open,
    Address {
        city: String,
        street: String,
    },
    Paid {
        amount: u32,
        receipt: u32,
    },
}

impl SessionPart for Order {
    const NAME: &'static str = "order";
}

fn fill(order: &mut Part<Order>) {
    order.lines.insert("tea".into(), Line { quantity: 1, price: 2 });
    order.gift = Some(Line { quantity: 1, price: 3 });
    order.step = Step::Address { city: "a".into(), street: "b".into() };
    order.seen.extend([1, 2, 3, 4, 5]);
    order.count = 1 << 100;
}

fn edit_line(order: &mut Part<Order>) {
    order.lines.get_mut("tea").into_iter().for_each(|line| line.quantity = 2);
}

fn edit_gift(order: &mut Part<Order>) {
    order.gift.iter_mut().for_each(|line| line.quantity = 2);
}

fn edit_address(order: &mut Part<Order>) {
    if let Step::Address { city, .. } = &mut order.step {
        city.push('!');
    }
}

#[tokio::test]
async fn a_removal_is_not_undone_by_a_change_inside_it() {
    type Edit = fn(&mut Part<Order>);
    let cases: [(Edit, Edit); 3] = [
        (|order| _ = order.lines.remove("tea"), edit_line),
        (|order| order.gift = None, edit_gift),
        (|order| order.step = Step::Paid { amount: 1, receipt: 2 }, edit_address),
    ];
    for (index, (remove, edit)) in cases.into_iter().enumerate() {
        for (first, second) in [(remove, edit), (edit, remove)] {
            for (mut browser, app) in with_part(fill).await {
                let mut alone = browser.clone();
                meet(&mut browser, &app, first, second).await.value();
                let merged: Order = read(&mut browser, &app).await;
                visit(&mut alone, &app, remove).await.value();
                assert_eq!(merged, read(&mut alone, &app).await, "case {index}");
                let is_gone =
                    merged.lines.is_empty() || merged.gift.is_none() || matches!(merged.step, Step::Paid { .. });
                assert!(is_gone, "case {index}: {merged:?}");
            }
        }
    }
}

#[tokio::test]
async fn one_of_two_variants_wins_as_a_whole() {
    for (mut browser, app) in with_part(fill).await {
        let pay = |order: &mut Part<Order>| order.step = Step::Paid { amount: 1, receipt: 2 };
        meet::<Order>(&mut browser, &app, |order| order.step = Step::Open, pay).await.value();
        assert_eq!(read::<Order>(&mut browser, &app).await.step, Step::Paid { amount: 1, receipt: 2 });
    }
}

#[tokio::test]
async fn a_set_keeps_concurrent_changes_of_elements_and_other_fields() {
    for _ in 0..5 {
        for (mut browser, app) in with_part(fill).await {
            meet::<Order>(&mut browser, &app, |order| _ = order.seen.insert(6), |order| order.count += 1).await.value();
            let other = |order: &mut Part<Order>| order.seen = [1, 2, 3, 4, 5, 6, 8].into();
            meet::<Order>(&mut browser, &app, |order| _ = order.seen.replace(7), other).await.value();
            meet::<Order>(&mut browser, &app, |order| _ = order.seen.remove(&1), |order| _ = order.seen.remove(&2))
                .await
                .value();
            let merged: Order = read(&mut browser, &app).await;
            assert_eq!((merged.seen, merged.count), ([3, 4, 5, 6, 7, 8].into(), (1 << 100) + 1));
        }
    }
}

#[tokio::test]
async fn a_set_in_another_order_is_not_a_change() {
    let app = App::encrypted();
    let mut browser = Browser::default();
    visit(&mut browser, &app, fill).await.value();
    for _ in 0..5 {
        let again = |order: &mut Part<Order>| order.seen = [5, 4, 3, 2, 1].into();
        assert!(visit(&mut browser, &app, again).await.set_cookies().is_empty());
    }
}

/// The same part in a newer release.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct NewOrder {
    #[serde(alias = "count")]
    total: u128,
    #[serde(default)]
    weight: Option<i128>,
}

impl SessionPart for NewOrder {
    const NAME: &'static str = "order";
}

#[tokio::test]
async fn releases_take_turns_without_losing_a_digit_or_poisoning_a_renamed_field() {
    let (mut browser, app) = with_part(fill).await.remove(0);
    visit::<NewOrder, _>(&mut browser, &app, |order| order.weight = Some(i128::MIN)).await.value();
    visit::<Order, _>(&mut browser, &app, edit_line).await.value();
    visit::<NewOrder, _>(&mut browser, &app, |order| order.total += 1).await.value();
    visit::<NewOrder, _>(&mut browser, &app, |order| order.update(|order| order.total += 1)).await.value();
    let expected = NewOrder { total: (1 << 100) + 2, weight: Some(i128::MIN) };
    assert_eq!(read::<NewOrder>(&mut browser, &app).await, expected);
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Ends")]
struct Span {
    start: u32,
    end: u32,
    ratio: Option<f64>,
}

#[derive(Deserialize)]
struct Ends {
    start: u32,
    end: u32,
    ratio: Option<f64>,
}

impl TryFrom<Ends> for Span {
    type Error = &'static str;

    fn try_from(Ends { start, end, ratio }: Ends) -> Result<Self, Self::Error> {
        if start <= end { Ok(Self { start, end, ratio }) } else { Err("the end is before the start") }
    }
}

impl SessionPart for Span {
    const NAME: &'static str = "span";
}

#[tokio::test]
async fn two_incompatible_changes_are_a_conflict() {
    for (mut browser, app) in with_part::<Span>(|span| (span.start, span.end) = (1, 5)).await {
        let failed = meet::<Span>(&mut browser, &app, |span| span.end = 2, |span| span.start = 4).await;
        assert_eq!((failed.status, failed.error.unwrap().kind()), (StatusCode::CONFLICT, &ErrorKind::Conflict));
        assert_eq!(read::<Span>(&mut browser, &app).await, Span { start: 1, end: 2, ratio: None });
        // The update runs again on the newer part.
        let up = |span: &mut Part<Span>| span.update(|span| (span.start, span.end) = (span.end, span.end + 4));
        meet::<Span>(&mut browser, &app, |span| span.end = 3, up).await.value();
        assert_eq!(read::<Span>(&mut browser, &app).await, Span { start: 3, end: 7, ratio: None });
    }
}

#[tokio::test]
async fn a_value_that_does_not_decode_is_not_stored() {
    let unreadable: [fn(&mut Part<Span>); 4] = [
        |span| span.ratio = Some(f64::NAN),
        |span| span.update(|span| span.ratio = Some(f64::INFINITY)),
        |span| span.start = 9,
        |span| span.update(|span| span.start = 9),
    ];
    for change in unreadable {
        for (mut browser, app) in with_part::<Span>(|span| (span.start, span.end) = (1, 5)).await {
            let failed = visit(&mut browser, &app, change).await;
            assert_eq!(failed.status, StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(failed.error.unwrap().kind(), &ErrorKind::Encode { key: "span".into() });
            assert_eq!(read::<Span>(&mut browser, &app).await, Span { start: 1, end: 5, ratio: None });
        }
    }
    let values = |session: Session| async move {
        assert!(session.insert("n", Some(f64::NAN)).is_err() && session.insert("n", [f32::INFINITY]).is_err());
        assert!(session.update("n", |n: &mut Option<f64>| *n = Some(f64::NAN)).is_err());
        session.len()
    };
    assert_eq!(Browser::default().visit(&App::memory(), values).await.value(), 0);
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Token {
    token: u32,
    note: String,
}

impl SessionPart for Token {
    const NAME: &'static str = "@token";
}

/// The same with a name that is valid for a cookie.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Plain {
    token: u32,
    note: String,
}

impl SessionPart for Plain {
    const NAME: &'static str = "token";
}

/// Applications with the part in every place.
fn placements() -> Vec<App> {
    let mut apps = Vec::from(App::everywhere());
    let keys = || KeyRing::generate().unwrap();
    apps.push(App::memory().with(|layer| layer.with_part::<Plain>(InStore::new(MemoryStore::new())).unwrap()));
    apps.push(App::memory().with(|layer| layer.with_part::<Plain>(InCookie::encrypted(keys())).unwrap()));
    apps.push(
        App::memory()
            .with(|layer| layer.with_part::<Plain>(InCookie::signed(keys()).with_default_retention()).unwrap()),
    );
    apps
}

#[tokio::test]
async fn an_update_runs_once_and_its_outcome_is_seen_and_stored() {
    for app in placements() {
        let mut browser = Browser::default();
        let runs = Arc::new(AtomicU32::new(0));
        for round in 1..4 {
            let counted = Arc::clone(&runs);
            let seen = visit::<Plain, _>(&mut browser, &app, move |part| {
                part.note.push('x');
                part.update(move |part| part.token = counted.fetch_add(1, Ordering::Relaxed) + 1);
                (**part).clone()
            });
            let seen = seen.await.value();
            assert_eq!(runs.load(Ordering::Relaxed), round);
            assert_eq!(seen, Plain { token: round, note: "x".repeat(round as usize) });
            assert_eq!(read::<Plain>(&mut browser, &app).await, seen);
        }
    }
}

#[tokio::test]
async fn an_update_runs_again_after_a_change_of_another_request_or_its_own() {
    for (mut browser, app) in with_part::<Plain>(|part| part.token = 1).await {
        let up = |part: &mut Part<Plain>| part.update(|part| part.token *= 10);
        meet::<Plain>(&mut browser, &app, |part| part.token = 7, up).await.value();
        assert_eq!(read::<Plain>(&mut browser, &app).await.token, 70);
        let cleared = browser.send_raw(&app, |extensions| async move {
            let session = Session::from_extensions(&extensions)?.load().await?;
            let mut part = Part::<Plain>::from_extensions(&extensions).await?;
            session.destroy();
            part.update(|part| part.note.push('y'));
            Ok((StatusCode::OK, (*part).clone()))
        });
        let cleared = cleared.await;
        browser.receive(&cleared);
        assert_eq!(cleared.value(), Plain { token: 0, note: "y".into() });
        assert_eq!(read::<Plain>(&mut browser, &app).await, Plain { token: 0, note: "y".into() });
    }
}

#[tokio::test]
async fn part_names_and_value_keys_never_collide() {
    let app = App::memory();
    let mut browser = Browser::default();
    visit::<Token, _>(&mut browser, &app, |part| part.token = 5).await.value();
    visit::<Plain, _>(&mut browser, &app, |part| part.token = 6).await.value();
    let keys = ["token", "@token", "@@token", "=token", "=@token", "#token", "", "@", "#", "="];
    let seen = browser.visit(&app, move |session| async move {
        assert!(session.is_empty() && keys.iter().all(|key| !session.contains(key)));
        keys.iter().for_each(|key| session.insert(key, key).unwrap());
        session.keys()
    });
    assert_eq!(seen.await.value(), keys);
    let seen = browser.visit(&app, move |session| async move {
        keys.iter().all(|key| session.get::<String>(key).unwrap().as_deref() == Some(key))
    });
    assert!(seen.await.value());
    assert_eq!(read::<Token>(&mut browser, &app).await.token, 5);
    assert_eq!(read::<Plain>(&mut browser, &app).await.token, 6);
}
