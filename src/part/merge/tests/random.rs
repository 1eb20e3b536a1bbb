//! Random concurrent changes of a part.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::{apply, decode, encode};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Rich {
    name: String,
    big: u128,
    ratio: f64,
    lines: BTreeMap<String, Line>,
    counts: HashMap<u16, u32>,
    gift: Option<Line>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wish: Option<Box<Line>>,
    ids: HashSet<u32>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    tags: BTreeSet<(u8, char)>,
    list: Vec<Line>,
    step: Step,
    kind: Kind,
    pair: (u32, BTreeMap<u8, i128>),
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    shelves: HashMap<u8, HashMap<u8, u8>>,
    #[serde(flatten)]
    flat: Flat,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Line {
    count: u32,
    note: Option<String>,
    seen: HashSet<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Flat {
    flat: i8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Step {
    #[default]
    New,
    Address {
        city: u32,
        street: u32,
    },
    Paid(u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Kind {
    Card { number: u32, name: u32 },
    Cash { coins: u32 },
}

impl Default for Kind {
    fn default() -> Self {
        Self::Cash { coins: 1 }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as u32) % end
    }
}

/// One change: its place, its effect, and a check that it is visible.
struct Edit {
    place: String,
    is_removal: bool,
    make: Box<dyn Fn(&mut Rich)>,
    shows: Box<dyn Fn(&Rich) -> bool>,
}

fn set(place: impl Into<String>, make: impl Fn(&mut Rich) + 'static, shows: impl Fn(&Rich) -> bool + 'static) -> Edit {
    Edit { place: place.into(), is_removal: false, make: Box::new(make), shows: Box::new(shows) }
}

fn remove(
    place: impl Into<String>,
    make: impl Fn(&mut Rich) + 'static,
    shows: impl Fn(&Rich) -> bool + 'static,
) -> Edit {
    Edit { is_removal: true, ..set(place, make, shows) }
}

fn line(n: u32) -> Line {
    Line { count: n, note: None, seen: [1, 2, n as u8].into() }
}

/// Returns a change of a number, a text or an element.
fn plain_edit(random: &mut Random) -> Edit {
    let (n, key) = (random.below(1000), random.below(4));
    let byte = key as u8;
    match random.below(9) {
        0 => set("name", move |r| r.name = n.to_string(), move |r| r.name == n.to_string()),
        1 => {
            let big = (1 << 100) + u128::from(n);
            set("big", move |r| r.big = big, move |r| r.big == big)
        }
        2 => {
            let ratio = if n % 9 == 0 { -0.0 } else { f64::from(n) / 7.0 };
            set("ratio", move |r| r.ratio = ratio, move |r| r.ratio.to_bits() == ratio.to_bits())
        }
        3 => set(format!("ids/{key}"), move |r| _ = r.ids.replace(key), move |r| r.ids.contains(&key)),
        4 => remove(format!("ids/{key}"), move |r| _ = r.ids.take(&key), move |r| !r.ids.contains(&key)),
        5 => {
            let tag = (byte, 'x');
            set(format!("tags/{key}"), move |r| _ = r.tags.replace(tag), move |r| r.tags.contains(&tag))
        }
        6 => {
            let tag = (byte, 'x');
            remove(format!("tags/{key}"), move |r| _ = r.tags.take(&tag), move |r| !r.tags.contains(&tag))
        }
        7 => set("pair/0", move |r| r.pair.0 = n, move |r| r.pair.0 == n),
        _ => set("flat", move |r| r.flat.flat = byte as i8, move |r| r.flat.flat == byte as i8),
    }
}

/// Returns a change of an entry of a map.
fn entry_edit(random: &mut Random) -> Edit {
    let (n, key) = (random.below(1000), random.below(4));
    let (byte, word, number) = (key as u8, key.to_string(), key as u16);
    let (place, again) = (format!("lines/{key}"), word.clone());
    match random.below(9) {
        0 => set(
            place,
            move |r| drop(r.lines.insert(word.clone(), line(n))),
            move |r| r.lines.get(&again).is_some_and(|line| line.count == n),
        ),
        1 => remove(place, move |r| drop(r.lines.remove(&word)), move |r| !r.lines.contains_key(&again)),
        2 => set(
            place + "/count",
            move |r| r.lines.get_mut(&word).into_iter().for_each(|line| line.count = n),
            move |r| r.lines.get(&again).is_some_and(|line| line.count == n),
        ),
        3 => set(
            place + "/seen/7",
            move |r| r.lines.get_mut(&word).into_iter().for_each(|line| _ = line.seen.replace(7)),
            move |r| r.lines.get(&again).is_some_and(|line| line.seen.contains(&7)),
        ),
        4 => set(
            format!("counts/{key}"),
            move |r| _ = r.counts.insert(number, n),
            move |r| r.counts.get(&number) == Some(&n),
        ),
        5 => remove(
            format!("counts/{key}"),
            move |r| _ = r.counts.remove(&number),
            move |r| !r.counts.contains_key(&number),
        ),
        6 => {
            let value = i128::MIN + i128::from(n);
            set(
                format!("pair/1/{key}"),
                move |r| _ = r.pair.1.insert(byte, value),
                move |r| r.pair.1.get(&byte) == Some(&value),
            )
        }
        7 => set(
            format!("shelves/{}/{key}", key % 2),
            move |r| _ = r.shelves.entry(byte % 2).or_default().insert(byte, n as u8),
            move |r| r.shelves.get(&(byte % 2)).and_then(|shelf| shelf.get(&byte)) == Some(&(n as u8)),
        ),
        _ => remove(
            format!("shelves/{}", key % 2),
            move |r| drop(r.shelves.remove(&(byte % 2))),
            move |r| !r.shelves.contains_key(&(byte % 2)),
        ),
    }
}

/// Returns a change of an option, an enum or a list.
fn shape_edit(random: &mut Random) -> Edit {
    let n = random.below(1000);
    match random.below(12) {
        0 => set("gift", move |r| r.gift = Some(line(n)), move |r| r.gift.as_ref().is_some_and(|l| l.count == n)),
        1 => remove("gift", |r| r.gift = None, |r| r.gift.is_none()),
        2 => set(
            "gift/count",
            move |r| r.gift.iter_mut().for_each(|l| l.count = n),
            move |r| r.gift.as_ref().is_some_and(|l| l.count == n),
        ),
        3 => {
            set("wish", move |r| r.wish = Some(line(n).into()), move |r| r.wish.as_ref().is_some_and(|l| l.count == n))
        }
        4 => remove("wish", |r| r.wish = None, |r| r.wish.is_none()),
        5 => set(
            "wish/note",
            move |r| r.wish.iter_mut().for_each(|l| l.note = Some(n.to_string())),
            move |r| r.wish.as_ref().is_some_and(|l| l.note == Some(n.to_string())),
        ),
        6 => set("step", move |r| r.step = Step::Paid(n), move |r| r.step == Step::Paid(n)),
        7 => {
            let step = Step::Address { city: n, street: 1 };
            let shown = step.clone();
            set("step", move |r| r.step = step.clone(), move |r| r.step == shown)
        }
        8 => set(
            "step/city",
            move |r| {
                if let Step::Address { city, .. } = &mut r.step {
                    *city = n
                }
            },
            move |r| matches!(r.step, Step::Address { city, .. } if city == n),
        ),
        9 => {
            let kind = if n.is_multiple_of(2) { Kind::Cash { coins: n } } else { Kind::Card { number: n, name: 1 } };
            let shown = kind.clone();
            set("kind", move |r| r.kind = kind.clone(), move |r| r.kind == shown)
        }
        10 => set(
            "kind/name",
            move |r| {
                if let Kind::Card { name, .. } = &mut r.kind {
                    *name = n
                }
            },
            move |r| matches!(r.kind, Kind::Card { name, .. } if name == n),
        ),
        _ => set("list", move |r| r.list.push(line(n)), move |r| r.list.iter().any(|l| l.count == n)),
    }
}

fn edits(random: &mut Random, most: u32) -> Vec<Edit> {
    let edit = |random: &mut Random| match random.below(3) {
        0 => plain_edit(random),
        1 => entry_edit(random),
        _ => shape_edit(random),
    };
    (0..1 + random.below(most)).map(|_| edit(random)).collect()
}

fn after(base: &Rich, edits: &[Edit]) -> Rich {
    let mut value = decode(&encode(base));
    edits.iter().for_each(|edit| (edit.make)(&mut value));
    value
}

fn is_inside(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns `true` if one of the other edits may hide this one: it changes the same leaf or a container of it. A
/// container that is replaced as a whole may include the other's changes.
fn is_excused(edit: &Edit, others: &[Edit]) -> bool {
    let may = |other: &Edit| {
        is_inside(&edit.place, &other.place) || (!edit.is_removal && is_inside(&other.place, &edit.place))
    };
    others.iter().any(may)
}

fn check(seed: u64, base: &Rich, first: &[Edit], second: &[Edit]) {
    let (one, other) = (after(base, first), after(base, second));
    let stored = apply(base, &one, &encode(base), &[]);
    assert_eq!(decode::<Rich>(&stored), one, "seed {seed}: without a concurrent change");
    let merged: Rich = decode(&apply(base, &other, &stored, &[]));
    for (edits, others, alone) in [(first, second, &one), (second, first, &other)] {
        for edit in edits.iter().filter(|edit| (edit.shows)(alone) && !(edit.shows)(base)) {
            let shows = (edit.shows)(&merged) || is_excused(edit, others);
            assert!(shows, "seed {seed}: {} is lost from {alone:?}\nmerged: {merged:?}\nbase: {base:?}", edit.place);
        }
    }
    let meets =
        |edit: &Edit| second.iter().any(|o| is_inside(&o.place, &edit.place) || is_inside(&edit.place, &o.place));
    if !first.iter().any(meets) {
        assert_eq!(merged, after(&one, second), "seed {seed}: the changes do not overlap");
    }
}

#[test]
fn a_merge_decodes_and_has_the_changes_of_both() {
    for seed in 0..1500 {
        let mut random = Random(seed);
        let filled = edits(&mut random, 30);
        let base = after(&Rich::default(), &filled);
        let (first, second) = (edits(&mut random, 6), edits(&mut random, 6));
        check(seed, &base, &first, &second);
        check(seed, &base, &second, &first);
    }
}
