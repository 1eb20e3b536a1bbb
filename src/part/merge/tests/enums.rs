//! Enums of every representation: never two variants in one.

use serde::{Deserialize, Serialize};

use super::{both, decode, encode};

/// The same enum in a representation of serde.
macro_rules! step {
    ($name:ident $(, $attribute:meta)?) => {
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        $(#[$attribute])?
        enum $name {
            Address { street: String, city: String },
            Sent { amount: u64, code: String, tags: Vec<u8> },
            Paid { amount: u64, note: Option<String> },
        }

        impl Step for $name {
            fn address(city: &str) -> Self {
                Self::Address { street: "x".into(), city: city.into() }
            }
            fn paid(amount: u64) -> Self {
                Self::Paid { amount, note: None }
            }
            fn sent(amount: u64) -> Self {
                Self::Sent { amount, code: "c".into(), tags: vec![1] }
            }
            fn edit(&mut self) {
                match self {
                    Self::Address { city, .. } => city.push('!'),
                    Self::Paid { amount, .. } | Self::Sent { amount, .. } => *amount += 10,
                }
            }
        }
    };
}

trait Step: Clone + std::fmt::Debug + PartialEq + Serialize + serde::de::DeserializeOwned {
    fn address(city: &str) -> Self;
    fn paid(amount: u64) -> Self;
    fn sent(amount: u64) -> Self;
    fn edit(&mut self);
}

step!(External);
step!(Internal, serde(tag = "kind"));
step!(InternalStrict, serde(tag = "kind", deny_unknown_fields));
step!(Adjacent, serde(tag = "kind", content = "content"));
step!(Untagged, serde(untagged));
step!(UntaggedStrict, serde(untagged, deny_unknown_fields));

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order<S> {
    step: S,
    count: u32,
}

fn merge_of<S: Step>() {
    let base = [S::address("a"), S::paid(1), S::sent(1)];
    for (from, base) in base.iter().enumerate() {
        let others = || [S::address("b"), S::paid(2), S::sent(2)].into_iter().enumerate().filter(|(to, _)| *to != from);
        let order = Order { step: base.clone(), count: 0 };
        for (_, one) in others() {
            for (_, other) in others() {
                let merged = both(&order, |order| order.step = one.clone(), |order| order.step = other.clone());
                assert!([&one, &other].contains(&&merged.step), "{base:?} to {one:?} and {other:?}: {merged:?}");
            }
            // A change inside a variant that the other one replaced.
            let replaced = Order { step: one.clone(), count: 0 };
            let (replace, edit) = (|order: &mut Order<S>| order.step = one.clone(), |o: &mut Order<S>| o.step.edit());
            assert_eq!(both(&order, replace, edit), replaced, "{base:?} replaced, then edited");
            assert_eq!(both(&order, edit, replace), replaced, "{base:?} edited, then replaced");
        }
        // Two changes inside of one variant.
        let merged = both(&order, |order| order.step.edit(), |order| order.count = 1);
        let mut edited = base.clone();
        edited.edit();
        assert_eq!(merged, Order { step: edited, count: 1 });
    }
    // The enum is the whole part, is in an option, or in a map.
    let (one, other) = (S::paid(2), S::sent(3));
    for merged in [
        both(&S::address("a"), |step| *step = one.clone(), |step| *step = other.clone()),
        both(&None, |step| *step = Some(one.clone()), |step| *step = Some(other.clone())).expect("one of the variants"),
    ] {
        assert!([&one, &other].contains(&&merged), "{merged:?}");
    }
}

#[test]
fn variants_are_never_mixed() {
    merge_of::<External>();
    merge_of::<Internal>();
    merge_of::<InternalStrict>();
    merge_of::<Adjacent>();
    merge_of::<Untagged>();
    merge_of::<UntaggedStrict>();
}

#[test]
fn two_changes_inside_one_variant_are_both_kept() {
    fn check<S: Step>(first: impl Fn(&mut S), second: impl Fn(&mut S), is_both: impl Fn(&S) -> bool) {
        let merged = both(&S::paid(1), first, second);
        assert!(is_both(&merged), "{merged:?}");
    }
    macro_rules! check {
        ($($name:ident),*) => {
            $(check::<$name>(
                |step| if let $name::Paid { amount, .. } = step { *amount = 2 },
                |step| if let $name::Paid { note, .. } = step { *note = Some("n".into()) },
                |step| *step == $name::Paid { amount: 2, note: Some("n".into()) },
            );)*
        };
    }
    check!(External, Internal, InternalStrict, Adjacent, Untagged, UntaggedStrict);
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Small {
    #[default]
    Unit,
    Newtype(u32),
    Tuple(u32, String),
    Nested(Box<Option<Small>>),
}

#[test]
fn unit_newtype_and_tuple_variants_count_as_a_whole() {
    let values = || {
        let nested = Small::Nested(Box::new(Some(Small::Newtype(4))));
        [
            Small::Unit,
            Small::Newtype(1),
            Small::Newtype(2),
            Small::Tuple(1, "a".into()),
            Small::Tuple(2, "b".into()),
            nested,
        ]
    };
    for base in values() {
        for one in values() {
            for other in values() {
                let merged = both(&base, |value| *value = one.clone(), |value| *value = other.clone());
                assert!([&one, &other].contains(&&merged), "{base:?} to {one:?} and {other:?}: {merged:?}");
                let changed = both(&(base.clone(), 0), |value| value.0 = one.clone(), |value| value.1 = 1);
                assert_eq!(changed, (one.clone(), 1));
            }
        }
    }
}

/// A struct whose fields must be consistent, unlike variants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Span")]
struct Checked {
    name: String,
    start: u32,
    end: u32,
}

#[derive(Deserialize)]
struct Span {
    name: String,
    start: u32,
    end: u32,
}

impl TryFrom<Span> for Checked {
    type Error = &'static str;

    fn try_from(Span { name, start, end }: Span) -> Result<Self, Self::Error> {
        if start <= end { Ok(Self { name, start, end }) } else { Err("it ends before it starts") }
    }
}

#[test]
fn inconsistent_fields_are_not_variants() {
    let base = Checked { name: "a".into(), start: 1, end: 5 };
    let merged = both(&base, |span| span.end = 9, |span| span.start = 3);
    assert_eq!(merged, Checked { start: 3, end: 9, ..base.clone() });
    let (one, other) =
        (Checked { end: 2, name: "b".into(), ..base.clone() }, Checked { start: 4, name: "c".into(), ..base.clone() });
    let merged = super::apply(&base, &other, &encode(&one), &[]);
    assert!(serde_json::from_str::<Checked>(&merged).is_err(), "neither change is silently dropped: {merged}");
    let unharmed: Checked = decode(&super::apply(&base, &other, &encode(&base), &[]));
    assert_eq!(unharmed, other);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Known {
    New,
    #[serde(other)]
    Unknown,
}

#[test]
fn a_variant_that_only_a_newer_release_knows_is_kept_unless_it_is_changed() {
    let stored = r#"{"step":"Shipped","count":1}"#;
    let kept = super::change::<Order<Known>>(stored, |order| order.count = 2);
    assert_eq!(kept, r#"{"step":"Shipped","count":2}"#);
    let changed = super::change::<Order<Known>>(stored, |order| order.step = Known::New);
    assert_eq!(changed, r#"{"step":"New","count":1}"#);
}
