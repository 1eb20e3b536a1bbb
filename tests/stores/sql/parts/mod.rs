//! Parts in tables, through a layer, on each engine.
//!
//! `rows` tests which rows are written and which request wins, `lifetimes` when rows are deleted, `dead_ids` requests
//! with dead IDs, `moves` parts that were in the record, `checkouts` how rows become data of the application,
//! `lock_statements` how they do in a transaction of the application,
//! `closures` closures during a checkout, `drops` dropped requests, and `network` network faults and round trips.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use session_state::{Error, LockStatement, Part, Session, SessionPart, Timestamp};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::browser::{App, Browser, Visit};

#[macro_use]
mod each_engine;
pub(crate) mod checkouts;
pub(crate) mod closures;
pub(crate) mod dead_ids;
pub(crate) mod drops;
pub(crate) mod lifetimes;
pub(crate) mod lock_statements;
pub(crate) mod moves;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) mod network;
pub(crate) mod rows;

pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A part with a row and a collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cart {
    pub(crate) note: Option<String>,
    pub(crate) is_gift: bool,
    pub(crate) lines: Vec<Line>,
}

/// The table rejects quantities above 24.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) wish: Option<String>,
}

impl SessionPart for Cart {
    const NAME: &'static str = "cart";
}

/// A part with only collections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seats {
    pub(crate) seats: Vec<Seat>,
    pub(crate) meals: Vec<Meal>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Seat {
    pub(crate) bench: i64,
    pub(crate) place: String,
    pub(crate) price: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Meal {
    pub(crate) name: String,
    pub(crate) is_warm: bool,
}

impl SessionPart for Seats {
    const NAME: &'static str = "seats";
}

/// The tables of both parts.
pub(crate) const TABLES: [&str; 4] = ["carts", "lines", "seats", "meals"];

impl Cart {
    pub(crate) fn push(&mut self, sku: impl Into<String>, quantity: i64) {
        self.lines.push(Line { sku: sku.into(), quantity, wish: None });
    }

    /// Adds to the quantity of a product.
    pub(crate) fn add(&mut self, sku: &str, quantity: i64) {
        match self.lines.iter_mut().find(|line| line.sku == sku) {
            Some(line) => line.quantity += quantity,
            None => self.push(sku, quantity),
        }
    }

    pub(crate) fn line(&mut self, sku: &str) -> &mut Line {
        self.lines.iter_mut().find(|line| line.sku == sku).expect("the cart has this product")
    }

    pub(crate) fn remove(&mut self, sku: &str) {
        self.lines.retain(|line| line.sku != sku);
    }

    /// Returns the content: `bun 1, tea 2`.
    pub(crate) fn shown(&self) -> String {
        let lines: Vec<_> = self.lines.iter().map(|line| format!("{} {}", line.sku, line.quantity)).collect();
        lines.join(", ")
    }
}

/// An application that keeps both parts in tables, and its database.
pub(crate) struct Shop {
    pub(crate) app: App,
    /// A release that kept them in the session's record.
    pub(crate) former: App,
    pub(crate) database: Arc<dyn Database>,
}

/// The database operations of the tests. In its SQL `@t` is the prefix of all table names.
pub(crate) trait Database: Send + Sync {
    fn run(&self, sql: String) -> Boxed<'_, ()>;
    fn number(&self, sql: String) -> Boxed<'_, i64>;
    fn sweep(&self, now: Timestamp) -> Boxed<'_, usize>;

    /// Logs each later insert, update and delete of a row of `@t_lines` in `@t_log`.
    fn watch(&self) -> Boxed<'_, ()>;

    /// Turns the lines of a cart into rows of `@t_orders`.
    fn check_out<'a>(&'a self, cart: &'a mut Part<Cart>, plan: Plan) -> Boxed<'a, Result<Checkout, Error>>;

    /// Turns the lines of a cart into rows of `@t_orders`, in a transaction of the application. Returns `None` if the
    /// statement locks no session.
    fn take<'a>(&'a self, lock: &'a LockStatement, plan: Plan) -> Boxed<'a, Option<Checkout>>;
}

/// The end of a checkout.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) end: End,
    pub(crate) gate: Option<Gate>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum End {
    #[default]
    Commit,
    Drop,
    /// A statement of the application fails.
    Fail,
}

/// The point where a checkout reports its open transaction, and waits.
pub(crate) struct Gate {
    is_open: oneshot::Sender<()>,
    go_on: oneshot::Receiver<()>,
}

impl Plan {
    pub(crate) async fn pass(&mut self) {
        if let Some(Gate { is_open, go_on }) = self.gate.take() {
            is_open.send(()).expect("the test is waiting");
            go_on.await.expect("the test continues it");
        }
    }
}

/// The result of a checkout.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Checkout {
    /// There was nothing to order.
    Nothing,
    Ordered(String),
    /// It was dropped, for example because a statement of the application failed.
    Dropped,
}

impl Checkout {
    pub(crate) fn of(lines: &str) -> Self {
        Self::Ordered(lines.to_owned())
    }
}

impl Shop {
    /// Changes the settings of the layer.
    pub(crate) fn with(mut self, set: impl FnOnce(session_state::SessionLayer) -> session_state::SessionLayer) -> Self {
        self.app = self.app.with(set);
        self
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.database.run(sql.to_owned()).await;
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.database.number(sql.to_owned()).await
    }

    /// Returns the number of rows in each of the [`TABLES`], of all sessions.
    pub(crate) async fn rows(&self) -> [i64; 4] {
        let mut counts = [0; 4];
        for (count, table) in counts.iter_mut().zip(TABLES) {
            *count = self.number(&format!("SELECT COUNT(*) FROM @t_{table}")).await;
        }
        counts
    }

    pub(crate) async fn sessions(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM @t WHERE version IS NOT NULL").await
    }

    pub(crate) async fn orders(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM @t_orders").await
    }

    /// Returns a browser with a session that has these lines.
    pub(crate) async fn browser_with(&self, lines: &'static [(&'static str, i64)]) -> Browser {
        let mut browser = Browser::default();
        browser.set(&self.app, "n", 1).await.value();
        if !lines.is_empty() {
            let fill = |cart: &mut Part<Cart>| lines.iter().for_each(|(sku, quantity)| cart.push(*sku, *quantity));
            self.change(&mut browser, fill).await.value();
        }
        browser
    }

    /// Sends a request that changes a part.
    pub(crate) async fn change<T: SessionPart + Send>(
        &self,
        browser: &mut Browser,
        change: impl FnOnce(&mut Part<T>) + Send + 'static,
    ) -> Visit<()> {
        let visit = self.send(browser, change).await;
        browser.receive(&visit);
        visit
    }

    async fn send<T: SessionPart + Send>(
        &self,
        browser: &Browser,
        change: impl FnOnce(&mut Part<T>) + Send + 'static,
    ) -> Visit<()> {
        let handler = |extensions| async move {
            change(&mut Part::<T>::from_extensions(&extensions).await?);
            Ok((StatusCode::OK, ()))
        };
        browser.send_raw(&self.app, handler).await
    }

    /// Sends a request that changes the session, but no part.
    pub(crate) async fn act(&self, browser: &mut Browser, act: impl FnOnce(&Session) + Send + 'static) {
        browser.visit(&self.app, async move |session| act(&session)).await.value();
    }

    /// Begins a request that has loaded the part, and has not changed it yet.
    pub(crate) async fn slow<T: SessionPart + Send>(
        &self,
        browser: &Browser,
        change: impl FnOnce(&mut Part<T>) + Send + 'static,
    ) -> Slow {
        let ((loaded, is_loaded), (go_on, may_go_on)) = (oneshot::channel(), oneshot::channel());
        let handler = |extensions| async move {
            let mut part = Part::<T>::from_extensions(&extensions).await?;
            loaded.send(()).expect("the test is waiting");
            may_go_on.await.expect("the test continues it");
            change(&mut part);
            Ok((StatusCode::OK, Checkout::Nothing))
        };
        let (browser, app) = (browser.clone(), self.app.clone());
        let visit = tokio::spawn(async move { browser.send_raw(&app, handler).await });
        is_loaded.await.expect("the request loads the part");
        Slow { go_on, visit }
    }

    /// Reads a part without keeping cookies.
    pub(crate) async fn read<T: SessionPart + Clone + Send>(&self, browser: &Browser) -> T {
        let handler =
            |extensions| async move { Ok((StatusCode::OK, (*Part::<T>::from_extensions(&extensions).await?).clone())) };
        browser.send_raw(&self.app, handler).await.value()
    }

    pub(crate) async fn cart(&self, browser: &Browser) -> String {
        self.read::<Cart>(browser).await.shown()
    }

    pub(crate) async fn check_out(&self, browser: &Browser, end: End) -> Visit<Checkout> {
        self.check_out_by(browser, Plan { end, gate: None }).await
    }

    async fn check_out_by(&self, browser: &Browser, plan: Plan) -> Visit<Checkout> {
        let database = Arc::clone(&self.database);
        let handler = |extensions| async move {
            let mut cart = Part::<Cart>::from_extensions(&extensions).await?;
            Ok((StatusCode::OK, database.check_out(&mut cart, plan).await?))
        };
        browser.send_raw(&self.app, handler).await
    }

    /// Begins a checkout whose transaction is open.
    pub(crate) async fn open_checkout(&self, browser: &Browser, end: End) -> Slow {
        let ((is_open, opened), (go_on, may_go_on)) = (oneshot::channel(), oneshot::channel());
        let plan = Plan { end, gate: Some(Gate { is_open, go_on: may_go_on }) };
        let shop = Self { app: self.app.clone(), former: self.former.clone(), database: Arc::clone(&self.database) };
        let browser = browser.clone();
        let visit = tokio::spawn(async move { shop.check_out_by(&browser, plan).await });
        opened.await.expect("the transaction is opened");
        Slow { go_on, visit }
    }
}

/// A running request.
pub(crate) struct Slow {
    go_on: oneshot::Sender<()>,
    visit: JoinHandle<Visit<Checkout>>,
}

impl Slow {
    pub(crate) async fn finish(self) -> Visit<Checkout> {
        self.go_on.send(()).expect("the request is running");
        self.visit.await.expect("the request is answered")
    }
}
