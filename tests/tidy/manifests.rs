//! Manifests in the documentation: TOML that parses, and dependencies that there are.

use std::env;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

/// The packages that this crate is built and tested with.
static PACKAGES: LazyLock<Vec<Package>> = LazyLock::new(packages);

struct Package {
    name: String,
    version: String,
    features: Vec<String>,
}

fn packages() -> Vec<Package> {
    let host = output(Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV"));
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc says what it runs on");
    // What is built for other platforms need not be downloaded.
    let metadata = output(Command::new(env!("CARGO")).current_dir(env!("CARGO_MANIFEST_DIR")).args([
        "metadata",
        "--all-features",
        "--format-version=1",
        "--filter-platform",
        host,
    ]));
    let metadata: Value = serde_json::from_str(&metadata).expect("cargo writes JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let package = |package: &Value| Package {
        name: text(&package["name"]),
        version: text(&package["version"]),
        features: package["features"].as_object().expect("a map").keys().cloned().collect(),
    };
    metadata["packages"].as_array().expect("a list").iter().map(package).collect()
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Returns whether this crate has the feature.
pub(crate) fn has_feature(feature: &str) -> bool {
    let own = |package: &&Package| package.name == env!("CARGO_PKG_NAME");
    PACKAGES.iter().find(own).is_some_and(|package| package.features.iter().any(|one| one == feature))
}

/// Returns what is wrong with a manifest.
pub(crate) fn fault(text: &str) -> Option<String> {
    let manifest: Value = match basic_toml::from_str(text) {
        Ok(manifest) => manifest,
        Err(error) => return Some(format!("this is no TOML: {error}")),
    };
    let Some(tables) = manifest.as_object().filter(|tables| !tables.is_empty()) else {
        return Some("a manifest has tables".to_owned());
    };
    tables.iter().find_map(|(name, table)| match (name.as_str(), table.as_object()) {
        ("dependencies" | "dev-dependencies", Some(table)) => {
            table.iter().find_map(|(name, value)| fault_of_dependency(name, value))
        }
        _ => Some(format!("no rule says how `{name}` is checked")),
    })
}

/// A documented requirement is the beginning of the version that this crate is tested with.
fn fault_of_dependency(name: &str, value: &Value) -> Option<String> {
    let requirement = value.as_str().or_else(|| value["version"].as_str()).unwrap_or_default();
    let meets = |package: &&Package| {
        package.name == name && format!("{}.", package.version).starts_with(&format!("{requirement}."))
    };
    let Some(package) = PACKAGES.iter().find(meets) else {
        return Some(format!("there is no {name} {requirement:?} among the packages of this crate"));
    };
    let keys = value.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
    if let Some(key) = { keys }.find(|key| !["version", "features", "default-features"].contains(key)) {
        return Some(format!("no rule says how `{key}` of {name} is checked"));
    }
    let mut features = value["features"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let unknown = features.find(|feature| !package.features.iter().any(|one| one == feature))?;
    Some(format!("{name} has no feature `{unknown}`"))
}

#[test]
fn a_manifest_parses_and_names_packages_and_features_that_there_are() {
    let good = "[dependencies]\nsession-state = { version = \"0.1\", features = [\"redis\"] }\naxum = \"0.8\"\n";
    assert_eq!(fault(good), None);
    let bad = [
        // The lines joined, as a formatter of paragraphs does.
        "[dependencies] session-state = \"0.1\" axum = \"0.8\"\n",
        "[dependencies]\ntokio = { version = \"1\", features = [\"macros\", \"net\",\n\"rt\"] } axum = \"0.8\"\n",
        "",
        "[dependencies]\nsession-state = \"0.2\"\n",
        "[dependencies]\nsession-state = { version = \"0.1\", features = [\"oracle\"] }\n",
        "[dependencies]\nsession-state = { version = \"0.1\", feature = [\"redis\"] }\n",
        "[dependencies]\naxum = { version = \"0.8\", features = [\"sockets\"] }\n",
        "[dependencies]\nsession_state = \"0.1\"\n",
        "[dependences]\nsession-state = \"0.1\"\n",
    ];
    for text in bad {
        assert!(fault(text).is_some(), "this passes:\n{text}");
    }
}
