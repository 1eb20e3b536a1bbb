//! Modules import only from those below them.

use std::collections::BTreeMap;

use crate::sources::{File, assert_bites, assert_passes, assert_tidy, blank, files};

/// The modules from the bottom to the top: each may import only from those before it.
const LAYERS: &[&str] = &[
    "clock",
    "error",
    "random",
    "base64url",
    "record",
    "event",
    "seal",
    "cookie",
    "store",
    "part",
    "state",
    "session",
    "middleware",
    "account",
    "test_kit",
    "guide",
];

/// Returns the top-level module a file belongs to; none for `lib.rs`.
fn module(file: &File) -> Option<&str> {
    let module = file.path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
    (module != "lib").then_some(module)
}

/// Returns what `lib.rs` exports at the top, and the module each name comes from.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let text = blank(lib);
    let mut exports = BTreeMap::new();
    for statement in text.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or("").trim_start_matches("crate::");
        let Some((module, names)) = statement.split_once("::") else { continue };
        for name in names.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|name| !name.is_empty()) {
            exports.insert(name.to_owned(), module.trim().to_owned());
        }
    }
    exports
}

/// Returns the modules that a line of code reaches through `crate::`.
fn reached(line: &str) -> Vec<&str> {
    let mut reached = Vec::new();
    // What a macro names with `$crate::` is reached from where the macro is used.
    let is_of_macro = |at: usize| line[..at].ends_with('$');
    for (at, path) in line.match_indices("crate::").filter(|(at, _)| !is_of_macro(*at)) {
        let rest = &line[at + path.len()..];
        let end = |list: &str| list.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(list.len());
        match rest.strip_prefix('{') {
            // `use crate::{one::A, two::B}`: names at the top of the list only.
            Some(list) => {
                reached.extend(list.split(", ").map(|item| &item[..end(item)]).filter(|name| !name.is_empty()))
            }
            None => reached.push(&rest[..end(rest)]),
        }
    }
    reached
}

fn imports(file: &File, exports: &BTreeMap<String, String>) -> Vec<String> {
    let Some(module) = module(file).filter(|_| file.is_source() && !file.is_test()) else { return Vec::new() };
    let Some(own) = LAYERS.iter().position(|layer| *layer == module) else {
        return vec![file.complaint(0, format!("the module `{module}` is missing in the order of modules"))];
    };
    let mut complaints = Vec::new();
    let code = blank(&file.lines_before_tests().join("\n"));
    for (at, line) in code.lines().enumerate() {
        for name in reached(line) {
            let target = exports.get(name).map_or(name, String::as_str);
            match LAYERS.iter().position(|layer| *layer == target) {
                Some(layer) if layer <= own => {}
                Some(_) => complaints.push(file.complaint(at, format!("`{module}` imports from `{target}` above it"))),
                None => complaints.push(file.complaint(at, format!("`crate::{name}` belongs to an unknown module"))),
            }
        }
    }
    complaints
}

#[test]
fn modules_import_only_from_those_below_them() {
    let known = exports("pub use session::{Session, SessionMap};\n#[cfg(a)]\npub use record::Timestamp;\n");
    let check = |file: &File| imports(file, &known);
    assert_bites(check, "src/record/a.rs", "use crate::session::Session;\n");
    assert_bites(check, "src/record/a.rs", "use crate::Session;\n");
    assert_bites(check, "src/record/a.rs", "#[cfg(test)]\nmod tests;\nuse crate::Session;\n");
    assert_bites(check, "src/seal/a.rs", "use crate::{clock::Clock, store::Store};\n");
    assert_bites(check, "src/seal/a.rs", "fn f(a: &crate::store::Store) {}\n");
    assert_bites(check, "src/other.rs", "");
    assert_bites(check, "src/seal/a.rs", "use crate::other::B;\n");
    assert_passes(check, "src/seal/a.rs", "$crate::some_macro! {}\n");
    assert_passes(check, "src/session/a.rs", "use crate::session::b::C;\nuse crate::{Timestamp, clock::Clock};\n");
    assert_passes(
        check,
        "src/record/a.rs",
        "/// [`crate::Session`]\n#[cfg(test)]\nmod tests {\n    use crate::Session;\n}\n",
    );

    let lib = files().into_iter().find(|file| file.path == "src/lib.rs").unwrap();
    let known = exports(&lib.text);
    assert_tidy(|file| imports(file, &known));
}
