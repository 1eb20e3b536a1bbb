//! The style as a test: what a reviewer would otherwise have to notice.
//!
//! Each check is a function from a file's name and text to its complaints, so that every one of them is shown to bite
//! on a broken sample before it is let loose on the sources.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

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
    "test_kit",
    "guide",
];

/// The most lines a source file has before its tests.
const FILE_LINES: usize = 400;

/// The most lines a function has, with its signature and its closing brace.
const FUNCTION_LINES: usize = 70;

// Put together here, so that this file does not complain about itself.
const UNFINISHED: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("db", "g!("), concat!("to", "do!(")];
const IGNORED: [&str; 2] = [concat!("#[", "ignore"), concat!(", ", "ignore)")];
const CLOCKS: [&str; 2] = [concat!("SystemTime::", "now"), concat!("Instant::", "now")];
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tm", "p/")];

/// A file of the repository: its path with `/` from the root, and its text.
struct File {
    path: String,
    text: String,
}

impl File {
    /// Whether it is code of the library.
    fn is_source(&self) -> bool {
        self.path.starts_with("src/") && self.is_rust()
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether all of it is tests.
    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    /// The lines before the module of tests at the end.
    fn lines_before_tests(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = lines.windows(2).position(|two| two[0].starts_with("#[cfg(test)]") && two[1].starts_with("mod "));
        lines[..tests.unwrap_or(lines.len())].to_vec()
    }

    /// The top-level module it belongs to; none for `lib.rs`.
    fn module(&self) -> Option<&str> {
        let module = self.path.strip_prefix("src/")?.split('/').next()?.trim_end_matches(".rs");
        (module != "lib").then_some(module)
    }

    fn complaint(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }
}

/// Every text file that is ours, in the order of their paths.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(root, root, &mut files);
    files.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the sources were not found");
    files
}

fn collect(root: &Path, directory: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(directory).expect("a readable directory") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy();
        if path.is_dir() {
            if !["target", ".git", "artifacts", "corpus"].contains(&&*name) {
                collect(root, &path, files);
            }
        } else if name != "Cargo.lock"
            && let Ok(text) = fs::read_to_string(&path)
        {
            let path =
                path.strip_prefix(root).expect("an entry is below the root").to_string_lossy().replace('\\', "/");
            files.push(File { path, text });
        }
    }
}

/// A line without its comment. A string with two slashes in it loses its end, which no check minds.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

fn long_file(file: &File) -> Vec<String> {
    let lines = file.lines_before_tests().len();
    if !file.is_source() || file.is_test() || lines <= FILE_LINES {
        return Vec::new();
    }
    vec![file.complaint(lines - 1, format!("the file has {lines} lines before its tests, more than {FILE_LINES}"))]
}

/// Finds long functions by rustfmt's indentation: a function ends at the first line that begins with its own
/// indentation and a closing brace.
fn long_functions(file: &File) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let mut complaints = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
        let indentation = &line[..line.len() - line.trim_start().len()];
        let closes = |line: &&str| {
            let ends = |rest: &str| rest.starts_with('}') || (rest.starts_with(')') && rest.ends_with(';'));
            line.strip_prefix(indentation).is_some_and(ends)
        };
        let one_line = line.ends_with('}') || line.ends_with(';');
        let length = if one_line { 1 } else { lines[start..].iter().position(closes).map_or(1, |end| end + 1) };
        if length > FUNCTION_LINES {
            complaints
                .push(file.complaint(start, format!("the function has {length} lines, more than {FUNCTION_LINES}")));
        }
    }
    complaints
}

fn begins_function(line: &str) -> bool {
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "extern"];
    line.split_whitespace().find(|word| !qualifiers.contains(word)) == Some("fn")
}

fn unfinished(file: &File) -> Vec<String> {
    let code = file.is_rust() || file.path.ends_with(".md") || file.path.ends_with(".toml");
    let found = |line: &&str| UNFINISHED.iter().copied().find(|word| code && line.contains(word));
    let lines = file.text.lines().enumerate();
    lines.filter_map(|(at, line)| found(&line).map(|word| file.complaint(at, format!("`{word}`")))).collect()
}

fn ignored(file: &File) -> Vec<String> {
    let fence = |line: &str| {
        let doc = line.trim_start().trim_start_matches("//!").trim_start_matches("///").trim_start();
        doc.strip_prefix("```").is_some_and(|info| info.split(',').any(|word| word.trim() == "ignore"))
    };
    let code = file.is_rust() || file.path.ends_with(".md");
    let found = |line: &str| code && (fence(line) || IGNORED.iter().any(|word| line.contains(word)));
    let lines = file.text.lines().enumerate();
    lines.filter(|(_, line)| found(line)).map(|(at, _)| file.complaint(at, "an ignored test is no test")).collect()
}

fn clocks(file: &File) -> Vec<String> {
    if !file.is_source() || file.path == "src/clock.rs" {
        return Vec::new();
    }
    let asks = |line: &str| CLOCKS.iter().any(|call| code(line).contains(call));
    let lines = file.text.lines().enumerate();
    lines.filter(|(_, line)| asks(line)).map(|(at, _)| file.complaint(at, "time comes from a `Clock`")).collect()
}

fn machine_paths(file: &File) -> Vec<String> {
    let found = |line: &&str| MACHINE_PATHS.iter().copied().find(|path| line.contains(path));
    let lines = file.text.lines().enumerate();
    lines
        .filter_map(|(at, line)| found(&line).map(|path| file.complaint(at, format!("a path of a machine: `{path}`"))))
        .collect()
}

/// What `lib.rs` exports at the top, and the module each name comes from.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let text: String = lib.lines().map(code).collect::<Vec<_>>().join(" ");
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

/// The modules that a line of code reaches through `crate::`.
fn reached(line: &str) -> Vec<&str> {
    let mut reached = Vec::new();
    let line = code(line);
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
    let Some(module) = file.module().filter(|_| file.is_source() && !file.is_test()) else { return Vec::new() };
    let Some(own) = LAYERS.iter().position(|layer| *layer == module) else {
        return vec![file.complaint(0, format!("the module `{module}` has no place in the order of modules"))];
    };
    let mut complaints = Vec::new();
    for (at, line) in file.lines_before_tests().into_iter().enumerate() {
        for name in reached(line) {
            let target = exports.get(name).map_or(name, String::as_str);
            match LAYERS.iter().position(|layer| *layer == target) {
                Some(layer) if layer <= own => {}
                Some(_) => complaints.push(file.complaint(at, format!("`{module}` imports from `{target}` above it"))),
                None => complaints.push(file.complaint(at, format!("`crate::{name}` is of no module known here"))),
            }
        }
    }
    complaints
}

/// Runs one check over all files and fails with everything it found.
fn assert_tidy(check: impl Fn(&File) -> Vec<String>) {
    let complaints: Vec<String> = files().iter().flat_map(check).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Asserts that a check finds fault with a sample.
#[track_caller]
fn assert_bites(check: impl Fn(&File) -> Vec<String>, path: &str, text: &str) {
    let sample = File { path: path.to_owned(), text: text.to_owned() };
    assert!(!check(&sample).is_empty(), "the check lets this pass:\n{text}");
}

#[track_caller]
fn assert_passes(check: impl Fn(&File) -> Vec<String>, path: &str, text: &str) {
    let sample = File { path: path.to_owned(), text: text.to_owned() };
    assert_eq!(check(&sample), [""; 0]);
}

#[test]
fn source_files_fit_in_400_lines_before_their_tests() {
    assert_bites(long_file, "src/a.rs", &"line\n".repeat(401));
    assert_passes(
        long_file,
        "src/a.rs",
        &format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "a\n".repeat(400), "b\n".repeat(99)),
    );
    assert_tidy(long_file);
}

#[test]
fn functions_fit_in_70_lines() {
    let function = |lines| {
        format!("impl A {{\n    pub async fn f(\n        a: u8,\n    ) {{\n{}    }}\n}}\n", "        a\n".repeat(lines))
    };
    assert_bites(long_functions, "src/a.rs", &function(67));
    assert_passes(long_functions, "src/a.rs", &function(66));
    assert_passes(long_functions, "src/a.rs", &format!("fn f() {{}}\nfn g(\n);\n{}", "a\n".repeat(99)));
    assert_tidy(long_functions);
}

#[test]
fn nothing_is_left_unfinished() {
    for word in UNFINISHED {
        assert_bites(unfinished, "src/a.rs", &format!("    // {word}\n"));
    }
    assert_tidy(unfinished);
}

#[test]
fn no_test_is_ignored() {
    assert_bites(ignored, "src/a.rs", &format!("{}]\nfn f() {{}}\n", IGNORED[0]));
    assert_bites(ignored, "src/a.rs", concat!("/// ```", "ignore\n"));
    assert_bites(ignored, "README.md", concat!("```rust,", "ignore\n"));
    assert_tidy(ignored);
}

#[test]
fn only_the_clock_asks_for_the_time() {
    for call in CLOCKS {
        assert_bites(clocks, "src/record/a.rs", &format!("let now = {call}();\n"));
        assert_passes(clocks, "src/clock.rs", &format!("let now = {call}();\n"));
    }
    assert_tidy(clocks);
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    for path in MACHINE_PATHS {
        assert_bites(machine_paths, "README.md", &format!("see {path}notes\n"));
    }
    assert_tidy(machine_paths);
}

#[test]
fn modules_import_only_from_those_below_them() {
    let known = exports("pub use session::{Session, SessionMap};\n#[cfg(a)]\npub use record::Timestamp;\n");
    let check = |file: &File| imports(file, &known);
    assert_bites(check, "src/record/a.rs", "use crate::session::Session;\n");
    assert_bites(check, "src/record/a.rs", "use crate::Session;\n");
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
