//! Lengths of files, of functions, and of lines of comments.

use crate::sources::{File, assert_bites, assert_passes, assert_tidy, blank};

/// The most lines of a source file before its tests.
const FILE_LINES: usize = 400;

/// The most lines of a file of tests.
const TEST_FILE_LINES: usize = 500;

/// The most lines of a function, from its signature to its closing brace.
const FUNCTION_LINES: usize = 70;

/// The most characters of a line, which is rustfmt's `max_width`. rustfmt itself leaves comments alone.
const LINE_WIDTH: usize = 120;

/// Folders and files in which comments may still be wider.
const EXCEPTED: &[&str] = &[];

fn long_file(file: &File) -> Vec<String> {
    let (lines, limit, what) = if file.is_test() {
        (file.text.lines().count(), TEST_FILE_LINES, "the file of tests has")
    } else {
        (file.lines_before_tests().len(), FILE_LINES, "before its tests the file has")
    };
    if !file.is_rust() || lines <= limit {
        return Vec::new();
    }
    vec![file.complaint(lines - 1, format!("{what} {lines} lines, more than {limit}"))]
}

/// Finds long functions by rustfmt's indentation: a function ends at the first line that begins with its own
/// indentation and a closing brace.
fn long_functions(file: &File) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    // A function written in a string, such as a sample, is not one.
    let text = blank(&file.text);
    let lines: Vec<&str> = text.lines().collect();
    let mut complaints = Vec::new();
    for (start, line) in lines.iter().enumerate().filter(|(_, line)| begins_function(line)) {
        let indentation = &line[..line.len() - line.trim_start().len()];
        let closes = |line: &&str| {
            let ends = |rest: &str| rest.starts_with('}') || (rest.starts_with(')') && rest.ends_with(';'));
            line.strip_prefix(indentation).is_some_and(|rest| ends(rest.trim_end()))
        };
        let one_line = line.trim_end().ends_with(['}', ';']);
        let length = if one_line { 1 } else { lines[start..].iter().position(closes).map_or(1, |end| end + 1) };
        if length > FUNCTION_LINES {
            complaints
                .push(file.complaint(start, format!("the function has {length} lines, more than {FUNCTION_LINES}")));
        }
    }
    complaints
}

fn begins_function(line: &str) -> bool {
    let qualifiers = ["pub", "default", "const", "async", "unsafe", "extern", "\"\"\""];
    let is_qualifier = |word: &str| qualifiers.contains(&word) || word.starts_with("pub(") || word.ends_with(')');
    line.split_whitespace().find(|word| !is_qualifier(word)) == Some("fn")
}

/// Finds comments that go over the width. Rows of tables, link definitions and URLs cannot be wrapped.
fn wide_comments(file: &File) -> Vec<String> {
    if !file.is_rust() || EXCEPTED.iter().any(|excepted| file.path.starts_with(excepted)) {
        return Vec::new();
    }
    let blanked = blank(&file.text);
    let wide = |line: &str, code: &str| {
        let width = line.chars().count();
        // A string that ends the line keeps its quote when it is blanked, a comment keeps nothing.
        width > LINE_WIDTH && code.trim_end().chars().count() < line.trim_end().chars().count() && !cannot_wrap(line)
    };
    let lines = file.text.lines().zip(blanked.lines()).enumerate();
    lines
        .filter(|(_, (line, code))| wide(line, code))
        .map(|(at, (line, _))| {
            let width = line.chars().count();
            file.complaint(at, format!("the comment is {width} characters wide, more than {LINE_WIDTH}"))
        })
        .collect()
}

fn cannot_wrap(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches(['/', '!']).trim_start();
    let is_link_definition = text.starts_with('[') && text.contains("]: ");
    let has_wide_url = text.split_whitespace().any(|word| word.contains("://") && word.len() > LINE_WIDTH / 2);
    text.starts_with('|') || is_link_definition || has_wide_url
}

#[test]
fn source_files_fit_in_400_lines_before_their_tests() {
    let with_tests = |lines| format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", "a\n".repeat(lines), "b\n".repeat(99));
    assert_bites(long_file, "src/a.rs", &"line\n".repeat(401));
    assert_bites(long_file, "examples/a.rs", &"line\n".repeat(401));
    assert_bites(long_file, "src/a.rs", &with_tests(401));
    assert_bites(long_file, "src/a.rs", &format!("#[cfg(test)]\nmod tests;\n{}", "line\n".repeat(399)));
    assert_passes(long_file, "src/a.rs", &with_tests(400));
}

#[test]
fn files_of_tests_fit_in_500_lines() {
    for path in ["tests/a.rs", "tests/layer/a.rs", "src/seal/tests.rs", "src/a/tests/b.rs", "src/a_tests.rs"] {
        assert_bites(long_file, path, &"line\n".repeat(501));
        assert_passes(long_file, path, &"line\n".repeat(500));
    }
    assert_bites(long_file, "tests/a.rs", &format!("a\n#[cfg(test)]\nmod tests {{\n{}}}\n", "line\n".repeat(500)));
}

#[test]
fn no_file_is_too_long() {
    assert_tidy(long_file);
}

#[test]
fn functions_fit_in_70_lines() {
    let function = |signature, lines| {
        format!("impl A {{\n    {signature}(\n        a: u8,\n    ) {{\n{}    }}\n}}\n", "        a\n".repeat(lines))
    };
    for signature in ["fn f", "pub async fn f", "pub(in crate::a) fn f", "const unsafe extern \"C\" fn f"] {
        assert_bites(long_functions, "src/a.rs", &function(signature, 67));
        assert_passes(long_functions, "src/a.rs", &function(signature, 66));
    }
    assert_bites(long_functions, "tests/a.rs", &function("fn f", 67));
    assert_bites(long_functions, "src/a.rs", &format!("fn f() {{ // a\n{}}}\n", "    a\n".repeat(69)));
    assert_passes(long_functions, "src/a.rs", &format!("fn f() {{}} // a\nfn g(\n);\n{}", "a\n".repeat(99)));
    assert_tidy(long_functions);
}

#[test]
fn comments_fit_in_120_columns() {
    let filled = |start: &str, width| format!("{start}{}\n", "é".repeat(width - start.len()));
    for start in ["// ", "    /// ", "//! - ", "let a = 1; // ", "/* a */ // "] {
        assert_bites(wide_comments, "src/a.rs", &filled(start, 121));
        assert_passes(wide_comments, "src/a.rs", &filled(start, 120));
    }
    for start in ["/// | ", "/// [a]: ", "// https://", "//! see <https://"] {
        assert_passes(wide_comments, "src/a.rs", &filled(start, 130));
    }
    assert_passes(wide_comments, "src/a.rs", &format!("let a = \"// {}\";\n", "a".repeat(130)));
    assert_tidy(wide_comments);
}
