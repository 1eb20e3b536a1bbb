//! The README shows the code and commands that are tested.

/// The code of the first Rust block of the README.
fn first_block(readme: &str) -> Option<&str> {
    let (_, block) = readme.split_once("```rust,no_run\n")?;
    block.split_once("```\n").map(|(code, _)| code)
}

/// An example without its module comments.
fn code_of(example: &str) -> String {
    let lines = example.lines().skip_while(|line| line.starts_with("//!") || line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// The command that starts the shop, without its first word.
fn run_command(text: &str) -> Option<&str> {
    text.lines().find_map(|line| Some(line.split_once("cargo run --release ")?.1))
}

#[test]
fn the_readme_and_the_shop_name_one_command() {
    let command = run_command(include_str!("../README.md")).expect("the README starts the shop");
    assert_eq!(run_command(include_str!("../examples/shopping_cart/main.rs")), Some(command));
    let words = format!("{:?}", command.split(' ').collect::<Vec<_>>());
    assert!(include_str!("browser.rs").contains(words.trim_matches(['[', ']'])), "the browser test runs {words}");
}

#[test]
fn the_readme_shows_the_counter_example_as_it_is() {
    let shown = first_block(include_str!("../README.md")).expect("the README has a block of Rust");
    assert_eq!(shown, code_of(include_str!("../examples/counter.rs")));
}
