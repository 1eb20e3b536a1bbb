//! Words and calls that are forbidden, or allowed in one place only.

use crate::sources::{File, assert_bites, assert_passes, assert_tidy, blank};

// Assembled here, so that this file does not match itself.
const UNFINISHED: [&str; 4] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("db", "g!("), concat!("to", "do!(")];
const IGNORED: [&str; 2] = [concat!("#[", "ignore"), concat!(", ", "ignore)")];
/// The conformance suite shows what a store does not offer as ignored.
const NOT_OFFERED: &str = concat!("#[", "ignore = \"the store ");
const CLOCKS: [&str; 2] = [concat!("SystemTime::", "now"), concat!("Instant::", "now")];
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tm", "p/")];

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
    let is_ignored = |line: &str| !line.contains(NOT_OFFERED) && IGNORED.iter().any(|word| line.contains(word));
    let found = |line: &str| code && (fence(line) || is_ignored(line));
    let lines = file.text.lines().enumerate();
    lines.filter(|(_, line)| found(line)).map(|(at, _)| file.complaint(at, "ignored tests are forbidden")).collect()
}

fn clocks(file: &File) -> Vec<String> {
    if !file.is_source() || file.path == "src/clock.rs" {
        return Vec::new();
    }
    let asks = |line: &str| CLOCKS.iter().any(|call| line.contains(call));
    let code = blank(&file.text);
    let lines = code.lines().enumerate();
    lines.filter(|(_, line)| asks(line)).map(|(at, _)| file.complaint(at, "time comes from a `Clock`")).collect()
}

fn machine_paths(file: &File) -> Vec<String> {
    let found = |line: &&str| MACHINE_PATHS.iter().copied().find(|path| line.contains(path));
    let lines = file.text.lines().enumerate();
    lines
        .filter_map(|(at, line)| found(&line).map(|path| file.complaint(at, format!("a path of a machine: `{path}`"))))
        .collect()
}

#[test]
fn no_work_marker_is_left() {
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
    assert_bites(ignored, "src/a.rs", &format!("{} = \"slow\"]\nfn f() {{}}\n", IGNORED[0]));
    assert_passes(ignored, "src/a.rs", &format!("{}is not swept\"]\nfn f() {{}}\n", NOT_OFFERED));
    assert_tidy(ignored);
}

#[test]
fn only_the_clock_reads_the_time() {
    for call in CLOCKS {
        assert_bites(clocks, "src/record/a.rs", &format!("let now = {call}();\n"));
        assert_passes(clocks, "src/record/a.rs", &format!("// {call}()\n"));
        assert_passes(clocks, "src/clock.rs", &format!("let now = {call}();\n"));
    }
    assert_tidy(clocks);
}

#[test]
fn sources_contain_no_machine_path() {
    for path in MACHINE_PATHS {
        assert_bites(machine_paths, "README.md", &format!("see {path}notes\n"));
    }
    assert_tidy(machine_paths);
}
