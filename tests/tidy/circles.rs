//! No two files of the library depend on each other, directly or through others.
//!
//! File A needs file B if A names something that B defines: in a `use`, or by a path such as `super::b::f()`. Names are
//! followed through re-exports to the file that defines them, so `use super::Y` leads to `y.rs` if `mod.rs` has nothing
//! but `pub use y::Y`. Module declarations and re-exports are no needs, unless the file uses the name itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::paths::Sources;
use crate::sources::{File, files};

/// Folders that still have circles.
const EXCEPTED: &[&str] = &[];

/// Which files each file needs, and the line that says so.
type Needs<'s> = BTreeMap<&'s str, BTreeMap<&'s str, String>>;

/// Returns a complaint for each group of files that all need each other, with one circle as an example.
fn circles(files: &[File], excepted: &[&str]) -> Vec<String> {
    let sources = Sources::new(files);
    let mut needs = Needs::new();
    for need in sources.needs() {
        if !excepted.iter().any(|folder| need.file.starts_with(folder)) {
            needs.entry(need.file).or_default().entry(need.target).or_insert(need.line);
        }
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = needs.keys().map(|file| (*file, reached(&needs, file))).collect();
    let mut seen: Vec<&str> = Vec::new();
    let mut complaints = Vec::new();
    for (&file, others) in &reached {
        if seen.contains(&file) || !others.contains(file) {
            continue;
        }
        let needs_it = |other: &&str| reached.get(other).is_some_and(|others| others.contains(file));
        let group: Vec<&str> = others.iter().copied().filter(needs_it).collect();
        let circle = shortest(&needs, file, file).unwrap_or_default();
        let steps: Vec<String> = circle.windows(2).map(|step| format!("\n    {}", needs[step[0]][step[1]])).collect();
        complaints.push(format!("files that need each other: {}{}", group.join(", "), steps.concat()));
        seen.extend(group);
    }
    complaints
}

/// Returns the files that a file needs, directly or through others.
fn reached<'s>(needs: &Needs<'s>, from: &'s str) -> BTreeSet<&'s str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        let next = needs.get(file).into_iter().flat_map(BTreeMap::keys);
        open.extend(next.copied().filter(|file| reached.insert(*file)));
    }
    reached
}

/// Returns the shortest way of at least one step from one file to another, with both ends.
fn shortest<'s>(needs: &Needs<'s>, from: &'s str, to: &'s str) -> Option<Vec<&'s str>> {
    let mut ways = VecDeque::from([vec![from]]);
    let mut seen = Vec::new();
    while let Some(way) = ways.pop_front() {
        let next = way.last().and_then(|last| needs.get(last)).into_iter().flat_map(BTreeMap::keys);
        for &file in next {
            let longer = [way.as_slice(), &[file]].concat();
            if file == to {
                return Some(longer);
            }
            if !seen.contains(&file) {
                seen.push(file);
                ways.push_back(longer);
            }
        }
    }
    None
}

fn sample(files: &[(&str, &str)]) -> Vec<File> {
    files.iter().map(|(path, text)| File::new(*path, *text)).collect()
}

/// Asserts that there is one circle, which goes through these lines.
#[track_caller]
fn assert_circle(files: &[(&str, &str)], steps: &[&str]) {
    let complaints = circles(&sample(files), &[]);
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    let found: Vec<&str> = complaints[0].lines().skip(1).map(str::trim).collect();
    assert_eq!(found, steps);
}

#[track_caller]
fn assert_no_circle(files: &[(&str, &str)]) {
    assert_eq!(circles(&sample(files), &[]), [""; 0]);
}

#[test]
fn two_files_that_import_from_each_other_are_a_circle() {
    let steps = ["src/a.rs:1: needs src/b.rs for `crate::b::B`", "src/b.rs:1: needs src/a.rs for `super::a::A`"];
    let a = ("src/a.rs", "use crate::b::B;\npub struct A;\n");
    assert_circle(&[a, ("src/b.rs", "use super::a::A;\npub struct B;\n")], &steps);
    assert_circle(&[a, ("src/b.rs", "pub struct B(super::a::A);\n")], &steps);
    assert_no_circle(&[a, ("src/b.rs", "pub struct B;\n")]);
}

#[test]
fn a_circle_may_go_through_others() {
    let files = [
        ("src/a.rs", "use crate::b::{\n    self,\n    B,\n};\n"),
        ("src/b.rs", "use crate::c;\nfn f() {\n    c::g()\n}\n"),
        ("src/c.rs", "use crate::d::{e::{E, F as G}, D};\n"),
        ("src/d/e.rs", "use crate::a::A as _;\n"),
        ("src/d/mod.rs", "mod e;\n"),
    ];
    assert_circle(
        &files,
        &[
            "src/a.rs:3: needs src/b.rs for `crate::b::B`",
            "src/b.rs:3: needs src/c.rs for `c::g`",
            "src/c.rs:1: needs src/d/e.rs for `crate::d::e::E`",
            "src/d/e.rs:1: needs src/a.rs for `crate::a::A`",
        ],
    );
    assert_no_circle(&files[..3]);
    assert_eq!(circles(&sample(&files), &["src/d/"]), [""; 0]);
}

#[test]
fn separate_circles_are_reported_separately() {
    let complaints = circles(
        &sample(&[
            ("src/a.rs", "use crate::b::B;\n"),
            ("src/b.rs", "use crate::{a::A, c::C};\n"),
            ("src/c.rs", "use crate::d::D;\n"),
            ("src/d.rs", "use crate::c::C;\n"),
        ]),
        &[],
    );
    assert_eq!(complaints.len(), 2);
    assert!(complaints[0].starts_with("files that need each other: src/a.rs, src/b.rs\n"));
    assert!(complaints[1].starts_with("files that need each other: src/c.rs, src/d.rs\n"));
}

#[test]
fn a_name_leads_to_the_file_that_defines_it() {
    let parts = ("src/m/mod.rs", "mod x;\nmod y;\npub(crate) use self::x::X;\npub(super) use y::{Y as Z, *};\n");
    let y = ("src/m/y.rs", "pub fn f() {}\npub struct Y;\n");
    for (line, name) in
        [("use super::Z;", "super::Z"), ("use super::f;", "super::f"), ("use crate::n::N;", "crate::n::N")]
    {
        assert_circle(
            &[
                ("src/lib.rs", "pub mod m;\nmod n {\n    pub(crate) use crate::m::Z as N;\n}\n"),
                parts,
                ("src/m/x.rs", line),
                ("src/m/y.rs", "use super::X;\npub fn f() {}\npub struct Y;\n"),
            ],
            &[&format!("src/m/x.rs:1: needs src/m/y.rs for `{name}`"), "src/m/y.rs:1: needs src/m/x.rs for `super::X`"],
        );
        assert_no_circle(&[parts, ("src/m/x.rs", line), y]);
    }
}

#[test]
fn an_associated_item_hides_no_import_of_its_name() {
    assert_circle(
        &[
            ("src/m/mod.rs", "mod x;\npub use x::X;\nimpl A for B {\n    type X = u8;\n}\n"),
            ("src/m/x.rs", "use crate::library::L;\npub struct X;\n"),
            ("src/library.rs", "use crate::m::X;\npub struct L;\n"),
        ],
        &[
            "src/library.rs:1: needs src/m/x.rs for `crate::m::X`",
            "src/m/x.rs:1: needs src/library.rs for `crate::library::L`",
        ],
    );
}

#[test]
fn a_parent_and_a_child_that_need_each_other_are_a_circle() {
    let child = ("src/m/x.rs", "use super::M;\npub struct X;\n");
    let step = "src/m/x.rs:1: needs src/m/mod.rs for `super::M`";
    for (parent, need) in [
        ("mod x;\nuse x::X;\npub struct M;\n", "2: needs src/m/x.rs for `x::X`"),
        ("mod x;\npub struct M(x::X);\n", "2: needs src/m/x.rs for `x::X`"),
        ("mod x;\npub use x::X;\npub struct M(X);\n", "2: needs src/m/x.rs for `x::X`"),
    ] {
        assert_circle(&[("src/m/mod.rs", parent), child], &[&format!("src/m/mod.rs:{need}"), step]);
    }
    assert_no_circle(&[("src/m/mod.rs", "mod x;\npub use x::X;\npub struct M;\n"), child]);
}

#[test]
fn tests_comments_and_strings_are_not_dependencies() {
    let a = ("src/a.rs", "use crate::b::B;\n");
    for text in [
        "// use crate::a::A;\n",
        "const A: &str = \"\nuse crate::a::A;\n\";\n",
        "#[cfg(test)]\nuse crate::a::A;\n",
        "#[cfg(test)]\n#[derive(Clone)]\nfn f(a: [u8; 2]) {\n    crate::a::f();\n}\n",
        "#[cfg(all(test, unix))]\nmod tests {\n    use crate::a::A;\n}\n",
        "pub(in crate::a) struct B;\n",
        "macro_rules! m {\n    () => { $crate::a::f() };\n}\n",
        "use a::A;\n",
    ] {
        assert_no_circle(&[a, ("src/b.rs", text)]);
    }
    assert_no_circle(&[a, ("src/b.rs", ""), ("src/b/tests.rs", "use crate::a::A;\n")]);
    assert_circle(
        &[a, ("src/b.rs", "#[cfg(test)]\nmod tests;\n\nuse crate::a::A;\n")],
        &["src/a.rs:1: needs src/b.rs for `crate::b::B`", "src/b.rs:4: needs src/a.rs for `crate::a::A`"],
    );
}

#[test]
fn the_library_has_no_circles_between_files() {
    let complaints = circles(&files(), EXCEPTED);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
