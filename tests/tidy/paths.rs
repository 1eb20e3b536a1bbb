//! Resolves Rust paths to files: modules, imports and re-exports, without a compiler.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{File, blank};

/// The deepest chain of re-exports that is followed. A name that leads back to itself ends here.
const DEEPEST: usize = 16;

/// The modules of the library, by their paths from the root: `""`, `"record"`, `"record::plan"`.
pub(crate) struct Sources<'f> {
    modules: BTreeMap<String, Module<'f>>,
}

#[derive(Default)]
struct Module<'f> {
    /// The path of the file it is written in.
    file: &'f str,
    imports: Vec<Import>,
    /// Paths in its code that are longer than a name.
    paths: Vec<(Vec<String>, usize)>,
    /// Names of the items it defines, but for those of macros.
    defined: BTreeSet<String>,
    /// All words of its code outside of imports.
    words: BTreeSet<String>,
}

/// One name of a `use`.
struct Import {
    path: Vec<String>,
    /// The name it has from then on, `*` for all names of a module.
    name: String,
    is_public: bool,
    line: usize,
}

/// One file names something that another defines.
pub(crate) struct Need<'f> {
    pub(crate) file: &'f str,
    pub(crate) target: &'f str,
    /// The line that says so, as reported.
    pub(crate) line: String,
}

/// The target of a path.
enum Target<'f> {
    Module(String),
    /// An item, in the file with this path.
    Item(&'f str),
}

impl<'f> Sources<'f> {
    pub(crate) fn new(files: &'f [File]) -> Self {
        let mut modules = BTreeMap::from([(String::new(), Module::default())]);
        for file in files.iter().filter(|file| file.is_source() && !file.is_test()) {
            let code = blank(&file.text);
            Reader { tokens: without_tests(tokens(&code)), at: 0, file: &file.path }.read(&mut modules);
        }
        Self { modules }
    }

    pub(crate) fn needs(&self) -> Vec<Need<'f>> {
        let mut needs = Vec::new();
        for (name, module) in &self.modules {
            let used = |import: &&Import| !import.is_public || module.words.contains(&import.name);
            let imported = module.imports.iter().filter(used).map(|import| (&import.path, import.line));
            for (path, line) in imported.chain(module.paths.iter().map(|(path, line)| (path, *line))) {
                if let Some(Target::Item(target)) = self.resolve(name, path, DEEPEST)
                    && target != module.file
                {
                    let path = path.join("::");
                    let line = format!("{}:{line}: needs {target} for `{path}`", module.file);
                    needs.push(Need { file: module.file, target, line });
                }
            }
        }
        needs
    }

    /// Follows a path that is written in a module. `None` if it leads out of the library.
    fn resolve(&self, module: &str, path: &[String], depth: usize) -> Option<Target<'f>> {
        let depth = depth.checked_sub(1)?;
        let mut target = Target::Module(module.to_owned());
        for (at, segment) in path.iter().enumerate() {
            let Target::Module(module) = target else { return Some(target) };
            let is_last = at + 1 == path.len();
            target = match segment.as_str() {
                "crate" => Target::Module(String::new()),
                "self" => Target::Module(module),
                "super" => Target::Module(parent(&module).to_owned()),
                // All names of a module are an item of the file that has it.
                "*" => Target::Item(self.modules.get(&module)?.file),
                name => match self.look_up(&module, name, is_last, depth) {
                    Some(target) => target,
                    // A path begins with a name in scope or with that of another crate.
                    None if at == 0 => return None,
                    None => Target::Item(self.modules.get(&module)?.file),
                },
            };
        }
        Some(target)
    }

    /// Finds a name among the modules, the imports and the glob imports of a module.
    ///
    /// At the end of a path an item goes before a module of the same name, such as `plan::plan`.
    fn look_up(&self, module: &str, name: &str, is_last: bool, depth: usize) -> Option<Target<'f>> {
        let scope = self.modules.get(module)?;
        let child = join(module, name);
        let imported = || {
            let import = scope.imports.iter().find(|import| import.name == name)?;
            self.resolve(module, &import.path, depth)
        };
        let is_child = self.modules.contains_key(&child);
        if is_child && !is_last {
            return Some(Target::Module(child));
        }
        let own = || scope.defined.contains(name).then_some(Target::Item(scope.file));
        own().or_else(imported).or(is_child.then_some(Target::Module(child))).or_else(|| {
            let globs = scope.imports.iter().filter(|import| import.name == "*");
            let mut found = globs.filter_map(|glob| {
                let all = &glob.path[..glob.path.len() - 1];
                let Target::Module(target) = self.resolve(module, all, depth)? else { return None };
                (target != module).then(|| self.look_up(&target, name, is_last, depth.checked_sub(1)?))?
            });
            found.next()
        })
    }
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

/// Returns the module that a file is, such as `record::plan` for `src/record/plan.rs`.
fn module_of(path: &str) -> String {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { String::new() } else { path.replace('/', "::") }
}

/// A word or a mark of code, with its line number.
type Token<'t> = (&'t str, usize);

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    for (line, text) in code.lines().enumerate() {
        let mut rest = text.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let length = match rest {
                _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push((&rest[..length], line + 1));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Leaves out every item with `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn without_tests(tokens: Vec<Token<'_>>) -> Vec<Token<'_>> {
    let starts = |at: usize, words: &[&str]| {
        let rest = tokens[at..].iter().map(|(token, _)| *token);
        rest.take(words.len()).eq(words.iter().copied())
    };
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_test = [&["#", "[", "cfg", "(", "test", ")"][..], &["#", "[", "cfg", "(", "all", "(", "test"]];
        if is_test.iter().any(|words| starts(at, words)) {
            at += item_length(&tokens[at..]);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Returns the length of the item that begins here, with its attributes.
fn item_length(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0;
    for (at, (token, _)) in tokens.iter().enumerate() {
        match *token {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        match *token {
            // The end of what encloses the item.
            ")" | "]" | "}" if depth < 0 => return at,
            "}" | ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Reads the modules of a file.
struct Reader<'t, 'f> {
    tokens: Vec<Token<'t>>,
    at: usize,
    file: &'f str,
}

impl<'t, 'f> Reader<'t, 'f> {
    fn read(mut self, modules: &mut BTreeMap<String, Module<'f>>) {
        let new = || Module { file: self.file, ..Module::default() };
        let mut depth = 0;
        // The modules that enclose the place, and the depth of braces at which each ends.
        let mut enclosing = vec![(module_of(self.file), 0)];
        modules.insert(enclosing[0].0.clone(), new());
        while self.at < self.tokens.len() {
            let here = enclosing.last().map_or("", |(name, _)| name.as_str());
            let module = modules.entry(here.to_owned()).or_insert_with(new);
            match self.token(0) {
                "use" if self.token(1) != "<" => self.read_use(module),
                "mod" if self.token(2) == "{" => {
                    depth += 1;
                    enclosing.push((join(here, self.token(1)), depth));
                    self.at += 3;
                }
                "{" => (depth, self.at) = (depth + 1, self.at + 1),
                "}" => {
                    if enclosing.len() > 1 && enclosing.last().is_some_and(|(_, own)| *own == depth) {
                        enclosing.pop();
                    }
                    (depth, self.at) = (depth - 1, self.at + 1);
                }
                _ => {
                    let is_top = enclosing.last().is_some_and(|(_, own)| *own == depth);
                    self.read_word(is_top, module);
                }
            }
        }
    }

    /// Returns a token ahead, or an empty one after the end.
    fn token(&self, ahead: usize) -> &'t str {
        self.tokens.get(self.at + ahead).map_or("", |(token, _)| token)
    }

    /// Returns a token before this one.
    fn before(&self, back: usize) -> &'t str {
        self.at.checked_sub(back).and_then(|at| self.tokens.get(at)).map_or("", |(token, _)| token)
    }

    fn read_use(&mut self, module: &mut Module<'_>) {
        // `pub use` and `pub(crate) use`: nothing else with a parenthesis stands before an item.
        let is_public = ["pub", ")"].contains(&self.before(1));
        self.at += 1;
        self.read_tree(&mut Vec::new(), is_public, module);
    }

    /// Reads one tree of a `use`, such as `a::{self, b as c, d::*}`, up to the mark that ends it.
    fn read_tree(&mut self, path: &mut Vec<String>, is_public: bool, module: &mut Module<'_>) {
        let above = path.len();
        loop {
            let line = self.tokens.get(self.at).map_or(0, |(_, line)| *line);
            match self.token(0) {
                "::" => self.at += 1,
                "{" => {
                    while self.at < self.tokens.len() && self.token(0) != "}" {
                        self.at += 1;
                        self.read_tree(path, is_public, module);
                    }
                    self.at += 1;
                    break;
                }
                "," | "}" | ";" | "" => break,
                segment => {
                    path.push(segment.to_owned());
                    self.at += 1;
                    if self.token(0) == "::" {
                        continue;
                    }
                    let last = if segment == "self" { path.len().checked_sub(2) } else { Some(path.len() - 1) };
                    let mut name = last.map_or_else(String::new, |last| path[last].clone());
                    if self.token(0) == "as" {
                        name = self.token(1).to_owned();
                        self.at += 2;
                    }
                    module.imports.push(Import { path: path.clone(), name, is_public, line });
                    break;
                }
            }
        }
        path.truncate(above);
    }

    /// Reads a word with the path that it begins, or a mark. At the top of a module it may define an item.
    fn read_word(&mut self, is_top: bool, module: &mut Module<'_>) {
        let (word, line) = (self.token(0).to_owned(), self.tokens[self.at].1);
        let is_word = |token: &str| token.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        let goes_on = ["::", ".", "$"].contains(&self.before(1));
        let in_visibility = self.before(1) == "in" && self.before(2) == "(" && self.before(3) == "pub";
        self.at += 1;
        if !is_word(&word) {
            return;
        }
        let defines = ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro_rules"];
        if is_top && defines.contains(&word.as_str()) {
            let name = if self.token(0) == "!" { self.token(1) } else { self.token(0) };
            module.defined.insert(name.to_owned());
        }
        module.words.insert(word.clone());
        let mut path = vec![word];
        while self.token(0) == "::" && is_word(self.token(1)) {
            path.push(self.token(1).to_owned());
            self.at += 2;
        }
        if path.len() > 1 && !goes_on && !in_visibility {
            module.paths.push((path, line));
        }
    }
}
