//! Lists, sets and tuples.

use std::collections::{BTreeSet, BinaryHeap, HashSet};

use serde::{Deserialize, Serialize};

use super::super::questions::{Order, Questions};
use super::super::text::{Path, items};
use super::{Plain, both, change, decode, encode, is_empty};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Seen {
    ids: HashSet<u32>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    sorted: BTreeSet<Item>,
    nested: Vec<HashSet<String>>,
    list: Vec<u32>,
    n: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Item {
    id: u32,
    name: String,
}

fn item(id: u32) -> Item {
    Item { id, name: id.to_string() }
}

fn seen() -> Seen {
    let nested = (0..3).map(|n| (0..5).map(|i| format!("{n}{i}")).collect()).collect();
    Seen { ids: (0..4).collect(), sorted: [1, 2].map(item).into(), nested, list: vec![3, 1, 2], n: 0 }
}

#[test]
fn the_meaning_of_order_is_determined() {
    fn order<T: Serialize + serde::de::DeserializeOwned>(text: &str) -> Order {
        let plain = Plain::<T>(std::marker::PhantomData);
        Questions::new(&plain).order(text, &Path::default(), &items(text).expect("an array"))
    }
    for text in ["[1,2]", "[2,1,3]", "[5,1,4,2,3]"] {
        for _ in 0..50 {
            assert_eq!(order::<Vec<u32>>(text), Order::List);
            // A set of two keeps its order by chance.
            assert!(order::<HashSet<u32>>(text) == Order::Set || text == "[1,2]");
            assert_ne!(order::<HashSet<u32>>(text), Order::List);
            assert_eq!(order::<BTreeSet<u32>>(text), Order::Set);
            assert_eq!(order::<BinaryHeap<u32>>(text), Order::Bag);
        }
    }
    assert_eq!(order::<(u32, u32)>("[1,2]"), Order::List);
    assert_eq!(order::<[u32; 2]>("[1,2]"), Order::List);
    assert_eq!(order::<Vec<HashSet<u32>>>("[[1,2,3],[4,5,6]]"), Order::List);
    assert_eq!(order::<BTreeSet<BTreeSet<u32>>>("[[1,2,3],[4,5,6]]"), Order::Set);
}

#[test]
fn the_order_of_a_set_is_no_change() {
    for _ in 0..20 {
        let one: Seen = decode(&encode(&seen()));
        assert!(is_empty::<Seen>(&encode(&one), &encode(&decode::<Seen>(&encode(&one)))));
    }
    assert!(!is_empty::<Vec<u32>>("[1,2]", "[2,1]") && is_empty::<BTreeSet<u32>>("[1,2]", "[2,1]"));
    assert!(!is_empty::<(u32, u32)>("[1,2]", "[2,1]") && !is_empty::<Vec<Vec<u32>>>("[[1,2]]", "[[2,1]]"));
}

#[test]
fn elements_of_sets_are_added_and_removed_individually() {
    for _ in 0..20 {
        let merged = both(
            &seen(),
            |seen| {
                seen.ids.insert(7);
                seen.ids.remove(&0);
                seen.sorted.insert(item(3));
                seen.nested[1].insert("x".into());
            },
            |seen| {
                seen.ids.insert(8);
                seen.ids.remove(&1);
                seen.sorted.remove(&item(1));
                seen.n = 1;
            },
        );
        let mut expected = Seen { ids: [2, 3, 7, 8].into(), sorted: [2, 3].map(item).into(), n: 1, ..seen() };
        expected.nested[1].insert("x".into());
        assert_eq!(merged, expected);
    }
}

#[test]
fn a_set_that_is_left_out_when_empty_is_merged_too() {
    let empty = Seen::default();
    let insert = |id| move |seen: &mut Seen| assert!(seen.sorted.insert(item(id)));
    assert_eq!(both(&empty, insert(1), insert(2)).sorted, [1, 2].map(item).into());
    let emptied = both(&seen(), insert(3), |seen| seen.sorted.clear());
    assert_eq!(emptied.sorted, [item(3)].into());
    let emptied = both(&seen(), |seen| seen.sorted.clear(), insert(3));
    assert_eq!(emptied.sorted, [item(3)].into());
}

#[test]
fn the_later_change_of_a_list_wins_and_a_single_change_is_kept() {
    let push = |n| move |seen: &mut Seen| seen.list.push(n);
    assert_eq!(both(&seen(), push(4), push(5)).list, [3, 1, 2, 5]);
    assert_eq!(both(&seen(), push(4), |seen| seen.n = 1).list, [3, 1, 2, 4]);
    assert_eq!(both(&seen(), |seen| seen.n = 1, |seen| seen.list.sort_unstable()).list, [1, 2, 3]);
}

#[test]
fn the_elements_of_a_tuple_are_merged_by_their_places() {
    type Pair = (u32, Vec<u32>, [f64; 2]);
    let base: Pair = (1, vec![1], [0.0, 0.0]);
    let merged = both(&base, |pair| pair.0 = 2, |pair| (pair.1, pair.2[1]) = (vec![], 1.0));
    assert_eq!(merged, (2, vec![], [0.0, 1.0]));
    assert_eq!(both(&base, |pair| pair.2[0] = 5.0, |pair| pair.2[1] = 1.0).2, [5.0, 1.0]);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lines {
    lines: Vec<Item>,
    set: HashSet<Item>,
}

#[test]
fn elements_keep_what_a_newer_release_stored_in_them() {
    let one = r#"{"id":1,"new":1.50,"name":"a"}"#;
    let other = r#"{"id":2,"new":2.50,"name":"b"}"#;
    let third = r#"{"id":3,"new":3.50,"name":"c"}"#;
    let stored = format!(r#"{{"lines":[{one},{other},{third}],"set":[{one},{other}]}}"#);
    let after = |lines: &str, set: &str| format!(r#"{{"lines":[{lines}],"set":[{set}]}}"#);
    let (set, lines) = (format!("{one},{other}"), format!("{one},{other},{third}"));
    let edited = change::<Lines>(&stored, |part| part.lines[1].name = "x".into());
    assert_eq!(edited, after(&format!("{one},{},{third}", other.replace("\"b\"", "\"x\"")), &set));
    assert_eq!(change::<Lines>(&stored, |part| drop(part.lines.remove(0))), after(&format!("{other},{third}"), &set));
    assert_eq!(change::<Lines>(&stored, |part| part.lines.reverse()), after(&format!("{third},{other},{one}"), &set));
    let pushed = change::<Lines>(&stored, |part| part.lines.insert(1, item(9)));
    assert_eq!(pushed, after(&format!(r#"{one},{{"id":9,"name":"9"}},{other},{third}"#), &set));
    let removed = change::<Lines>(&stored, |part| part.set.retain(|item| item.id == 2));
    assert_eq!(removed, after(&lines, other));
    let inserted = change::<Lines>(&stored, |part| assert!(part.set.insert(item(9))));
    assert_eq!(inserted, after(&lines, &format!(r#"{one},{other},{{"id":9,"name":"9"}}"#)));
}

#[test]
fn equal_elements_of_a_bag_are_counted() {
    let heap = |items: &[u32]| items.iter().copied().collect::<BinaryHeap<_>>().into_sorted_vec();
    let base: BinaryHeapPart = BinaryHeapPart { heap: [1, 1, 2].into() };
    let merged = both(&base, |part| part.heap.push(2), |part| part.heap.push(2));
    assert_eq!(merged.heap.into_sorted_vec(), heap(&[1, 1, 2, 2, 2]));
}

#[derive(Debug, Serialize, Deserialize)]
struct BinaryHeapPart {
    heap: BinaryHeap<u32>,
}
