//! Changes of a part, as pure functions from one JSON text to the next.

use std::marker::PhantomData;
use std::sync::Arc;

use super::json::{check_readable, from_json, to_json};
use crate::error::Error;
use crate::part::{Codec, Collection, SessionPart, TextChange};

/// A change of a part through `DerefMut`.
#[derive(Debug)]
pub(crate) struct PartPatch {
    /// The stored text that the part was loaded from.
    base: Option<Box<[u8]>>,
    /// That text and the changed part, both as the type encodes them.
    before: Option<Box<str>>,
    after: Box<str>,
}

/// Returns the change from the part that was loaded from `base` to `after`, or `None` if they are the same.
///
/// # Errors
///
/// `Decode` when `base` is not a `T`, `Encode` when `after` cannot be written as JSON.
pub(crate) fn difference<T: SessionPart>(
    base: Option<&[u8]>,
    after: &T,
    collections: &[Collection],
) -> Result<Option<PartPatch>, Error> {
    let after = encode(after)?;
    let before = match base {
        Some(base) => encode(&from_json::<T>(T::NAME, base)?).ok(),
        // A part that was only read is not stored; a changed one is stored whole.
        None => encode(&T::default()).ok(),
    };
    let change = TextChange { before: before.as_deref(), after: &after, collections };
    if change.is_empty(&codec::<T>()) {
        return Ok(None);
    }
    Ok(Some(PartPatch { base: base.map(Into::into), before, after }))
}

/// Applies a change to the text that is stored now, and leaves the rest of it.
///
/// A part that was removed meanwhile begins with its default: the changed fields alone may not decode.
///
/// # Errors
///
/// `Encode` when `T` cannot decode its own text, `Conflict` when it cannot decode the merge with another request's
/// change.
pub(crate) fn merge<T: SessionPart>(
    patch: &PartPatch,
    newer: Option<&[u8]>,
    collections: &[Collection],
) -> Result<Arc<[u8]>, Error> {
    let PartPatch { base, before, after } = patch;
    if newer == base.as_deref() {
        return written::<T>(newer, before.as_deref(), after, collections);
    }
    let stored = newer.map_or_else(|| encode(&T::default()), |newer| text::<T>(newer).map(Into::into))?;
    let theirs = codec::<T>().again(&stored);
    let change = TextChange { before: before.as_deref(), after, collections };
    let merged = change.apply(&codec::<T>(), theirs.as_deref().unwrap_or(&stored), &stored);
    from_json::<T>(T::NAME, merged.as_bytes()).map_err(|_| Error::conflict())?;
    Ok(merged.into_bytes().into())
}

/// Computes a part from the text that is stored now. Returns the part and its text.
///
/// # Errors
///
/// `Decode` when the stored text is not a `T`, `Encode` when `T` cannot decode its own text.
pub(crate) fn apply<T: SessionPart>(
    before: Option<&[u8]>,
    change: &dyn Fn(&mut T),
    collections: &[Collection],
) -> Result<(T, Arc<[u8]>), Error> {
    let mut part: T = before.map(|json| from_json(T::NAME, json)).transpose()?.unwrap_or_default();
    let json = apply_to(&mut part, before, change, collections)?;
    Ok((part, json))
}

/// Like [`apply`], for a `part` that was already decoded from `before`.
pub(crate) fn apply_to<T: SessionPart>(
    part: &mut T,
    before: Option<&[u8]>,
    change: &dyn Fn(&mut T),
    collections: &[Collection],
) -> Result<Arc<[u8]>, Error> {
    let known = before.and_then(|_| encode(part).ok());
    change(part);
    written::<T>(before, known.as_deref(), &encode(part)?, collections)
}

/// Applies a change to the text that it was computed from. The outcome is `after`, written as a whole if necessary.
fn written<T: SessionPart>(
    base: Option<&[u8]>,
    before: Option<&str>,
    after: &str,
    collections: &[Collection],
) -> Result<Arc<[u8]>, Error> {
    if let Some((base, before)) = base.zip(before) {
        let change = TextChange { before: Some(before), after, collections };
        let merged = change.apply(&codec::<T>(), before, text::<T>(base)?);
        if merged != after && check_readable::<T>(T::NAME, merged.as_bytes()).is_ok() {
            return Ok(merged.into_bytes().into());
        }
    }
    check_readable::<T>(T::NAME, after.as_bytes())?;
    Ok(after.as_bytes().into())
}

fn encode<T: SessionPart>(part: &T) -> Result<Box<str>, Error> {
    let json = to_json(T::NAME, part)?;
    text::<T>(&json).map(Into::into)
}

fn text<T: SessionPart>(json: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(json).map_err(|error| Error::decode_as::<T>(T::NAME, error.into()))?;
    Ok(text.trim_ascii())
}

/// The type of a part, which decodes and encodes texts.
struct CodecOf<T>(PhantomData<fn() -> T>);

fn codec<T>() -> CodecOf<T> {
    CodecOf(PhantomData)
}

impl<T: SessionPart> Codec for CodecOf<T> {
    fn again(&self, text: &str) -> Option<String> {
        let part: T = from_json(T::NAME, text.as_bytes()).ok()?;
        encode(&part).ok().map(String::from)
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::ErrorKind;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Cart {
        lines: Vec<u32>,
        #[serde(default)]
        total: f64,
        discount: Option<f64>,
    }

    impl SessionPart for Cart {
        const NAME: &'static str = "cart";
    }

    const STORED: &[u8] = br#"{"new":1.50,"lines":[1],"discount":null}"#;

    fn patched(base: Option<&[u8]>, newer: Option<&[u8]>, change: impl Fn(&mut Cart)) -> Result<String, Error> {
        let mut part = base.map_or_else(Cart::default, |base| serde_json::from_slice(base).expect("a cart"));
        change(&mut part);
        let patch = difference(base, &part, &[])?.expect("a difference");
        merge::<Cart>(&patch, newer, &[]).map(|json| String::from_utf8_lossy(&json).into_owned())
    }

    fn is_encode<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
        matches!(result.expect_err("it cannot be read").kind(), ErrorKind::Encode { .. })
    }

    #[test]
    fn a_patch_applies_to_its_base_and_to_newer_state() {
        let change = |cart: &mut Cart| cart.lines.push(2);
        assert_eq!(patched(None, None, change).unwrap(), r#"{"lines":[2],"total":0.0,"discount":null}"#);
        let stored = patched(Some(STORED), Some(STORED), change).unwrap();
        assert_eq!(stored, r#"{"new":1.50,"lines":[1,2],"discount":null}"#);
        let newer = br#"{"lines":[1],"discount":0.50,"newer":[]}"#;
        assert_eq!(
            patched(Some(STORED), Some(newer), change).unwrap(),
            r#"{"lines":[1,2],"discount":0.50,"newer":[]}"#
        );
        let removed = patched(Some(STORED), None, |cart| cart.total = 1.5).unwrap();
        assert_eq!(removed, r#"{"lines":[],"total":1.5,"discount":null}"#, "it begins anew");
        assert!(difference(Some(STORED), &serde_json::from_slice::<Cart>(STORED).unwrap(), &[]).unwrap().is_none());
        assert!(difference(None, &Cart::default(), &[]).unwrap().is_none());
    }

    #[test]
    fn a_value_that_does_not_decode_is_rejected_before_it_is_stored() {
        assert!(is_encode(patched(Some(STORED), Some(STORED), |cart| cart.total = f64::NAN)));
        assert!(is_encode(patched(None, None, |cart| cart.discount = Some(f64::INFINITY))));
        assert!(is_encode(apply::<Cart>(Some(STORED), &|cart| cart.discount = Some(f64::NAN), &[])));
        assert!(is_encode(apply::<Lopsided>(None, &|part| part.0 = 5, &[])));
        assert!(is_encode(apply::<Lopsided>(Some(b"\"0\""), &|part| part.0 = 5, &[])));
    }

    /// Writes a number and reads a text.
    #[derive(Debug, Default, Serialize)]
    struct Lopsided(u32);

    impl<'de> Deserialize<'de> for Lopsided {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            text.parse().map(Self).map_err(serde::de::Error::custom)
        }
    }

    impl SessionPart for Lopsided {
        const NAME: &'static str = "lopsided";
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
    struct Span(u32, u32);

    impl TryFrom<(u32, u32)> for Span {
        type Error = &'static str;

        fn try_from((start, end): (u32, u32)) -> Result<Self, Self::Error> {
            if start <= end { Ok(Self(start, end)) } else { Err("it ends before it starts") }
        }
    }

    impl From<Span> for (u32, u32) {
        fn from(Span(start, end): Span) -> Self {
            (start, end)
        }
    }

    impl SessionPart for Span {
        const NAME: &'static str = "span";
    }

    #[test]
    fn two_incompatible_changes_are_a_conflict() {
        let patch = difference(Some(b"[1,5]"), &Span(4, 5), &[]).unwrap().expect("a difference");
        assert_eq!(&*merge::<Span>(&patch, Some(b"[1,9]"), &[]).unwrap(), b"[4,9]");
        let error = merge::<Span>(&patch, Some(b"[1,2]"), &[]).expect_err("it ends before it starts");
        assert_eq!(error.kind(), &ErrorKind::Conflict);
        let error = merge::<Span>(&patch, Some(b"{}"), &[]).expect_err("the stored value is not a span");
        assert_eq!(error.kind(), &ErrorKind::Conflict);
        let (span, json) = apply::<Span>(Some(b"[1,2]"), &|span| span.0 = 2, &[]).unwrap();
        assert_eq!((span, &*json), (Span(2, 2), &b"[2,2]"[..]));
    }

    #[test]
    fn an_update_keeps_the_bytes_of_unchanged_values() {
        let (cart, json) = apply::<Cart>(Some(STORED), &|cart| cart.discount = Some(0.1), &[]).unwrap();
        assert_eq!(String::from_utf8_lossy(&json), r#"{"new":1.50,"lines":[1],"discount":0.1}"#);
        assert_eq!(cart.lines, [1]);
        let (_, json) = apply::<Cart>(Some(STORED), &|_| (), &[]).unwrap();
        assert_eq!(&*json, STORED);
    }
}
