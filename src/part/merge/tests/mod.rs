//! Merges of every kind of type that serde can describe.

mod aliases;
mod arrays;
mod enums;
mod fields;
mod random;

use std::fmt::Debug;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Collection, TextChange};

/// A type as a function of texts.
struct Plain<T>(PhantomData<T>);

impl<T: Serialize + DeserializeOwned> Codec for Plain<T> {
    fn again(&self, text: &str) -> Option<String> {
        serde_json::to_string(&serde_json::from_str::<T>(text).ok()?).ok()
    }
}

fn encode<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("it encodes")
}

fn decode<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Applies a change to a stored text, which is the base of the change or newer.
fn apply<T: Serialize + DeserializeOwned>(before: &T, after: &T, stored: &str, collections: &[Collection]) -> String {
    let (before, after) = (encode(before), encode(after));
    let theirs = Plain::<T>(PhantomData).again(stored).expect("the stored text decodes");
    let change = TextChange { before: Some(&before), after: &after, collections };
    change.apply(&Plain::<T>(PhantomData), &theirs, stored)
}

/// Changes a stored text without a concurrent change.
fn change<T: Serialize + DeserializeOwned>(stored: &str, change: impl Fn(&mut T)) -> String {
    let (before, mut after) = (decode::<T>(stored), decode(stored));
    change(&mut after);
    apply(&before, &after, stored, &[])
}

/// Makes two concurrent changes of one part.
fn both<T>(base: &T, first: impl Fn(&mut T), second: impl Fn(&mut T)) -> T
where
    T: Serialize + DeserializeOwned + Debug,
{
    let changed = |change: &dyn Fn(&mut T)| {
        let mut value = decode(&encode(base));
        change(&mut value);
        value
    };
    let stored = apply(base, &changed(&first), &encode(base), &[]);
    decode(&apply(base, &changed(&second), &stored, &[]))
}

fn is_empty<T: Serialize + DeserializeOwned>(before: &str, after: &str) -> bool {
    let change = TextChange { before: Some(before), after, collections: &[] };
    change.is_empty(&Plain::<T>(PhantomData))
}
