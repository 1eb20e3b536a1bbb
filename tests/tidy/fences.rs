//! Fenced blocks of the documentation: each is of a language that has a rule, and keeps the rule.

use crate::sources::{File, assert_bites, assert_passes, assert_tidy, files};
use crate::{commands, manifests};

const FENCE: &str = concat!("``", "`");

/// Attributes of a Rust block that leave it compiled.
const COMPILED: [&str; 3] = ["no_run", "should_panic", "compile_fail"];

/// Languages whose blocks are tried by a test that reads the page: the language, the page, the test.
const TRIED: [(&str, &str, &str); 5] = [
    ("nginx", "recipes.md", "tests/stores/nginx.rs"),
    ("sql", "in_tables/sql/in_tables.rs", "tests/stores/sql/rights.rs"),
    ("sql", "store/sql/mysql.rs", "tests/stores/sql/mysql_roles.rs"),
    ("sql", "store/sql/postgres.rs", "tests/stores/sql/postgres_roles.rs"),
    ("js", "store/mongodb/store.rs", "tests/stores/mongodb/rights.rs"),
];

/// A fenced block, without its fences.
struct Block<'f> {
    /// The line of the opening fence.
    at: usize,
    language: &'f str,
    attributes: Vec<&'f str>,
    lines: Vec<&'f str>,
}

impl Block<'_> {
    fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// Returns the documentation in a file, line by line with their places: a page whole, and the doc comments of Rust.
fn documentation(file: &File) -> Vec<(usize, &str)> {
    let doc_comment = |line: &'_ str| {
        let text = line.trim_start();
        let content = text.strip_prefix("//!").or_else(|| text.strip_prefix("///"))?;
        Some(line.len() - content.strip_prefix(' ').unwrap_or(content).len())
    };
    let lines = file.text.lines().enumerate();
    match file.path.rsplit_once('.') {
        Some((_, "md")) => lines.collect(),
        Some((_, "rs")) => lines.filter_map(|(at, line)| Some((at, &line[doc_comment(line)?..]))).collect(),
        _ => Vec::new(),
    }
}

/// Returns the blocks of a file, or complaints about its fences.
fn blocks(file: &File) -> Result<Vec<Block<'_>>, Vec<String>> {
    let (mut blocks, mut open, mut complaints) = (Vec::new(), None::<Block<'_>>, Vec::new());
    for (at, line) in documentation(file) {
        let fence = line.trim_start().strip_prefix(FENCE);
        match (&mut open, fence) {
            (Some(_), Some("")) => blocks.extend(open.take()),
            (None, Some(info)) => {
                let mut attributes: Vec<&str> = info.split(',').collect();
                let language = if COMPILED.contains(&attributes[0]) { "" } else { attributes.remove(0) };
                open = Some(Block { at, language, attributes, lines: Vec::new() });
            }
            _ if line.contains(FENCE) || line.trim_start().starts_with("~~~") => {
                complaints.push(file.complaint(at, "a fence has a line of its own, of three back quotes"));
            }
            (Some(block), None) => block.lines.push(line),
            _ => {}
        }
    }
    complaints.extend(open.map(|block| file.complaint(block.at, "this block has no end")));
    if complaints.is_empty() { Ok(blocks) } else { Err(complaints) }
}

/// Returns whether rustdoc compiles the Rust in a file: it is the crate's, or a page that one of its files includes.
fn is_doctested(file: &File, sources: &[File]) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    let includes = |source: &File| {
        let mut included = source.text.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next());
        source.is_source() && included.any(|path| path.rsplit('/').next() == Some(name))
    };
    file.is_source() || sources.iter().any(includes)
}

/// Returns what is wrong with a block, and in which of its lines.
fn faults(block: &Block<'_>, file: &File, sources: &[File]) -> Vec<(usize, String)> {
    let of_block = |fault: Option<String>| fault.map(|fault| (0, fault)).into_iter().collect();
    let has_attributes = !block.attributes.is_empty();
    match block.language {
        // rustdoc takes a block without a language for Rust.
        "rust" | "" if block.attributes.iter().any(|word| !COMPILED.contains(word)) => {
            of_block(Some("an attribute that may keep rustdoc from compiling the block".to_owned()))
        }
        "" if !file.is_rust() => of_block(Some("a block says of what language it is".to_owned())),
        "rust" | "" => of_block((!is_doctested(file, sources)).then(|| "no test compiles this Rust".to_owned())),
        _ if has_attributes => of_block(Some("a language, and nothing else, stands behind the fence".to_owned())),
        "text" => Vec::new(),
        "toml" => of_block(manifests::fault(&block.text())),
        "console" => commands::faults(&block.lines, sources),
        language => {
            let is_tried = |(of, page, test): &(&str, &str, &str)| {
                let reads = |source: &File| source.path == *test && source.text.contains(&format!("/{page}\""));
                *of == language && file.path.ends_with(page) && sources.iter().any(reads)
            };
            let unknown = || format!("no rule says how {language:?} is checked; output and drawings are `text`");
            of_block((!TRIED.iter().any(is_tried)).then(unknown))
        }
    }
}

fn fences(file: &File, sources: &[File]) -> Vec<String> {
    let blocks = match blocks(file) {
        Ok(blocks) => blocks,
        Err(complaints) => return complaints,
    };
    let complaints = |block: &Block<'_>| -> Vec<String> {
        let faults = faults(block, file, sources).into_iter();
        faults.map(|(line, fault)| file.complaint(block.at + line, fault)).collect()
    };
    blocks.iter().flat_map(complaints).collect()
}

#[test]
fn every_block_of_the_documentation_keeps_the_rule_of_its_language() {
    let sources = files();
    let check = |file: &File| fences(file, &sources);
    let block = |info: &str, content: &str| format!("Text.\n\n{FENCE}{info}\n{content}\n{FENCE}\n");
    let comment = |text: &str| text.lines().map(|line| format!("/// {line}\n")).collect::<String>();

    assert_passes(check, "README.md", &block("text", "a drawing"));
    assert_passes(check, "README.md", &block("rust,no_run", "fn main() {}"));
    assert_passes(check, "src/a.rs", &comment(&block("", "fn main() {}")));
    assert_passes(check, "src/a.rs", &comment(&block("no_run", "fn main() {}")));
    assert_passes(check, "src/guide/recipes.md", &block("nginx", "location / {}"));
    assert_passes(check, "src/a.rs", &format!("let fence = \"{FENCE}\";\n"));

    assert_bites(check, "README.md", &block("", "fn main() {}"));
    assert_bites(check, "README.md", &block("no_run", "fn main() {}"));
    assert_bites(check, "README.md", &block("klingon", "Qapla'"));
    assert_bites(check, "README.md", &block("nginx", "location / {}"));
    assert_bites(check, "README.md", &block("rust,ignored", "fn main() {}"));
    assert_bites(check, "README.md", &block("toml,no_run", ""));
    assert_bites(check, "other.md", &block("rust", "fn main() {}"));
    assert_bites(check, "tests/a.rs", &comment(&block("rust", "fn main() {}")));
    assert_bites(check, "src/a.rs", &comment(&block("klingon", "Qapla'")));
    // What a formatter makes of a block that it takes for a paragraph.
    assert_bites(check, "README.md", &format!("{FENCE}text\na drawing {FENCE}\n"));
    assert_bites(check, "README.md", &format!("{FENCE}text a drawing\n{FENCE}\n"));
    assert_bites(check, "README.md", &format!("Text. {FENCE}text\na drawing\n{FENCE}\n"));
    assert_bites(check, "README.md", &format!("{FENCE}text\na drawing\n"));
    assert_bites(check, "README.md", "~~~text\na drawing\n~~~\n");

    assert_tidy(check);
}
