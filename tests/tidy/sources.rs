//! The files of the repository, and Rust without its comments, its strings and its tests.

use std::fmt::Display;
use std::fs;
use std::path::Path;

/// A file of the repository: its path with `/` from the root, and its text.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Returns whether the file is code of the library.
    pub(crate) fn is_source(&self) -> bool {
        self.path.starts_with("src/") && self.is_rust()
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Returns whether the file holds nothing but tests and their helpers.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or("");
        let in_tests = self.path.starts_with("tests/") || self.path.contains("/tests/");
        self.is_rust() && (in_tests || name == "tests.rs" || name.ends_with("_tests.rs"))
    }

    /// Returns the lines before the module of tests that ends the file.
    ///
    /// A declaration, `mod tests;`, is not the end of a file.
    pub(crate) fn lines_before_tests(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let begins_tests = |two: &[&str]| {
            two[0].starts_with("#[cfg(")
                && two[0].contains("test)")
                && two[1].starts_with("mod ")
                && two[1].ends_with('{')
        };
        let end = lines.windows(2).position(begins_tests).unwrap_or(lines.len());
        lines[..end].to_vec()
    }

    pub(crate) fn complaint(&self, line: usize, what: impl Display) -> String {
        format!("{}:{}: {what}", self.path, line + 1)
    }
}

/// Returns every text file of the repository, ordered by path.
pub(crate) fn files() -> Vec<File> {
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
        if ["target", ".git", "artifacts", "corpus", "Cargo.lock"].contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("an entry is below the root").to_string_lossy();
            files.push(File::new(path.replace('\\', "/"), text));
        }
    }
}

/// Stands in for every character of a string or a character literal in [`blank`].
const STRING: char = '"';

/// Returns Rust with its comments turned into spaces and its strings into quotes, line by line and column by column.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut blanked = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let (length, filler) = match comment_length(&chars[at..]) {
            Some(length) => (length, Some(' ')),
            None => match string_length(&chars, at) {
                Some(length) => (length, Some(STRING)),
                None => (1, None),
            },
        };
        let end = chars.len().min(at + length);
        for &kept in &chars[at..end] {
            blanked.push(filler.filter(|_| kept != '\n').unwrap_or(kept));
        }
        at = end;
    }
    blanked
}

fn comment_length(rest: &[char]) -> Option<usize> {
    match rest {
        ['/', '/', ..] => Some(rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())),
        ['/', '*', ..] => {
            let mut depth = 0;
            let mut at = 0;
            while at + 1 < rest.len() {
                match (rest[at], rest[at + 1]) {
                    ('/', '*') => (depth, at) = (depth + 1, at + 2),
                    ('*', '/') => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
                if depth == 0 {
                    return Some(at);
                }
            }
            Some(rest.len())
        }
        _ => None,
    }
}

/// Returns the length of the string or character literal that begins here. A lifetime is no literal.
fn string_length(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    match rest {
        ['"', ..] => Some(1 + escaped_length(&rest[1..], '"')),
        ['\'', '\\', ..] => Some(1 + escaped_length(&rest[1..], '\'')),
        ['\'', _, '\'', ..] => Some(3),
        ['r', '"' | '#', ..] if !after_word(chars, at) => {
            let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
            let body = 1 + hashes;
            if rest.get(body) != Some(&'"') {
                return None;
            }
            let closes = |tail: &[char]| tail[0] == '"' && tail[1..].iter().all(|c| *c == '#');
            let end = rest[body + 1..].windows(1 + hashes).position(closes)?;
            Some(body + 1 + end + 1 + hashes)
        }
        _ => None,
    }
}

fn escaped_length(rest: &[char], quote: char) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Returns whether the character belongs to a word that began before it, but for the prefix of a byte string.
fn after_word(chars: &[char], at: usize) -> bool {
    let is_word = |at: usize| chars.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    match at.checked_sub(1) {
        Some(before) if matches!(chars[before], 'b' | 'c') => before.checked_sub(1).is_some_and(is_word),
        Some(before) => is_word(before),
        None => false,
    }
}

/// Runs a check over all files and fails with everything it found.
#[track_caller]
pub(crate) fn assert_tidy(check: impl Fn(&File) -> Vec<String>) {
    let complaints: Vec<String> = files().iter().flat_map(check).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Asserts that a check finds fault with a sample.
#[track_caller]
pub(crate) fn assert_bites(check: impl Fn(&File) -> Vec<String>, path: &str, text: &str) {
    assert!(!check(&File::new(path, text)).is_empty(), "the check lets this pass:\n{text}");
}

#[track_caller]
pub(crate) fn assert_passes(check: impl Fn(&File) -> Vec<String>, path: &str, text: &str) {
    assert_eq!(check(&File::new(path, text)), [""; 0]);
}

#[test]
fn comments_and_strings_are_blanked_in_place() {
    let samples = [
        ("a // \"b\"\nc", "a       \nc"),
        ("a /* b /* c */ */ d", "a                 d"),
        (r#"f("a // b", 'c')"#, r#"f("""""""", """)"#),
        (r#"f("a\"", '\'')"#, r#"f(""""", """")"#),
        (r##"f(r"\", br#"a"b"#, r)"##, r##"f("""", b"""""""", r)"##),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("\"a\nb\" c", "\"\"\n\"\" c"),
    ];
    for (text, expected) in samples {
        assert_eq!(blank(text), expected, "{text}");
    }
}
