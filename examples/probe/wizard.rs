//! The wizard: a part in the place that `--part-place` names.
//!
//! Its fields are of the kinds that a merge of two changes can leave unreadable: a map, an option, an enum, a number
//! beyond 64 bits and a set without an order. Each route but `/part/count` loads the part, waits, and changes it
//! through `DerefMut`.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use axum::routing::{get, post};
use axum::{Json, Router};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};
use session_state::{Error, Part, Session, SessionPart};

use crate::body::HeldBody;
use crate::routes::{hold, ok};

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Wizard {
    lines: BTreeMap<String, Line>,
    address: Option<Address>,
    step: Step,
    big: u128,
    tags: HashSet<String>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    name: String,
    price: Number,
    qty: i64,
}

#[derive(Serialize, Deserialize)]
struct Address {
    street: String,
    zip: String,
}

#[derive(Default, Serialize, Deserialize)]
enum Step {
    #[default]
    Start,
    Address(Address),
    Paid {
        receipt: String,
    },
}

impl SessionPart for Wizard {
    const NAME: &'static str = "wizard";
}

/// Any JSON in the place of the [`Wizard`], readable or not.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Unreadable(Value);

impl SessionPart for Unreadable {
    const NAME: &'static str = Wizard::NAME;
}

pub(crate) fn router() -> Router {
    Router::new()
        .route("/part", get(show))
        .route("/part/line", post(change::<SetLine>))
        .route("/part/remove-line", post(change::<RemoveLine>))
        .route("/part/qty", post(change::<AddQty>))
        .route("/part/address", post(change::<SetAddress>))
        .route("/part/zip", post(change::<SetZip>))
        .route("/part/step", post(change::<SetStep>))
        .route("/part/receipt", post(change::<SetReceipt>))
        .route("/part/big", post(change::<SetBig>))
        .route("/part/tag", post(change::<AddTag>))
        .route("/part/count", post(count))
        .route("/part/reset", post(reset))
}

/// Returns the route that needs the layer in which the part is an [`Unreadable`].
pub(crate) fn breaking_router() -> Router {
    Router::new().route("/part/break", post(break_part))
}

async fn show(wizard: Part<Wizard>) -> Json<Value> {
    let Wizard { lines, address, step, big, tags } = &*wizard;
    let tags: BTreeSet<_> = tags.iter().collect();
    Json(json!({ "lines": lines, "address": address, "step": step, "big": big.to_string(), "tags": tags }))
}

async fn change<C: Change>(mut wizard: Part<Wizard>, HeldBody { hold_ms, body }: HeldBody<C>) -> Json<Value> {
    hold(hold_ms).await;
    body.apply_to(&mut wizard);
    ok()
}

#[derive(Deserialize)]
struct Count {
    by: i64,
}

/// Adds to the quantity of the line `n` in a way that can be repeated. The line begins with 0.
async fn count(mut wizard: Part<Wizard>, HeldBody { hold_ms, body }: HeldBody<Count>) -> Json<Value> {
    hold(hold_ms).await;
    let Count { by } = body;
    wizard.update(move |wizard| {
        let none = || Line { name: "n".to_owned(), price: 0.into(), qty: 0 };
        let line = wizard.lines.entry("n".to_owned()).or_insert_with(none);
        line.qty = line.qty.saturating_add(by);
    });
    Json(json!({ "value": wizard.lines.get("n").map(|line| line.qty) }))
}

async fn break_part(mut part: Part<Unreadable>, HeldBody { hold_ms, .. }: HeldBody<IgnoredAny>) -> Json<Value> {
    hold(hold_ms).await;
    *part = Unreadable("no wizard".into());
    ok()
}

async fn reset(session: Session, HeldBody { hold_ms, .. }: HeldBody<IgnoredAny>) -> Result<Json<Value>, Error> {
    hold(hold_ms).await;
    session.remove_part::<Wizard>()?;
    Ok(ok())
}

/// The body of a route, which is a change of the wizard.
trait Change: DeserializeOwned + Send + 'static {
    fn apply_to(self, wizard: &mut Wizard);
}

#[derive(Deserialize)]
struct SetLine {
    sku: String,
    #[serde(flatten)]
    line: Line,
}

impl Change for SetLine {
    fn apply_to(self, wizard: &mut Wizard) {
        wizard.lines.insert(self.sku, self.line);
    }
}

#[derive(Deserialize)]
struct RemoveLine {
    sku: String,
}

impl Change for RemoveLine {
    fn apply_to(self, wizard: &mut Wizard) {
        wizard.lines.remove(&self.sku);
    }
}

#[derive(Deserialize)]
struct AddQty {
    sku: String,
    by: i64,
}

impl Change for AddQty {
    fn apply_to(self, wizard: &mut Wizard) {
        if let Some(line) = wizard.lines.get_mut(&self.sku) {
            line.qty = line.qty.saturating_add(self.by);
        }
    }
}

#[derive(Deserialize)]
struct SetAddress {
    /// `null` removes it. Without `deserialize_with` a body that lacks it would do so too.
    #[serde(deserialize_with = "Deserialize::deserialize")]
    address: Option<Address>,
}

impl Change for SetAddress {
    fn apply_to(self, wizard: &mut Wizard) {
        wizard.address = self.address;
    }
}

#[derive(Deserialize)]
struct SetZip {
    zip: String,
}

impl Change for SetZip {
    fn apply_to(self, wizard: &mut Wizard) {
        if let Some(address) = &mut wizard.address {
            address.zip = self.zip;
        }
    }
}

#[derive(Deserialize)]
struct SetStep {
    step: Step,
}

impl Change for SetStep {
    fn apply_to(self, wizard: &mut Wizard) {
        wizard.step = self.step;
    }
}

#[derive(Deserialize)]
struct SetReceipt {
    receipt: String,
}

impl Change for SetReceipt {
    fn apply_to(self, wizard: &mut Wizard) {
        if let Step::Paid { receipt } = &mut wizard.step {
            *receipt = self.receipt;
        }
    }
}

#[derive(Deserialize)]
struct SetBig {
    #[serde(deserialize_with = "decimal")]
    value: u128,
}

impl Change for SetBig {
    fn apply_to(self, wizard: &mut Wizard) {
        wizard.big = self.value;
    }
}

/// Reads a number of up to 128 bits, or its decimal in a string.
fn decimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    let json = json.get();
    let digits = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
    let digits = Some(digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| D::Error::custom("a value has up to 128 bits"))
}

#[derive(Deserialize)]
struct AddTag {
    tag: String,
}

impl Change for AddTag {
    fn apply_to(self, wizard: &mut Wizard) {
        wizard.tags.insert(self.tag);
    }
}
