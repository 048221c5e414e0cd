//! Conventions that the compiler does not check: dependencies between layers, the length of files,
//! their header.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Maximum number of lines in a file. The target is 400; a longer file usually has two subjects.
const LINES_MAX: usize = 450;

/// For each module of the program, the modules that it may name. A module that is not in the table
/// may be used by `app` only. The layers below are crates, which the compiler checks.
///
/// The test below enforces this table. ARCHITECTURE.md has it too.
const LAYERS: [(&str, &[&str]); 9] = [
    ("config", &["domain", "payments", "settings"]),
    ("logging", &["config", "metrics"]),
    ("catalog", &["domain", "store"]),
    ("wire", &["domain"]),
    ("actors", &["domain", "store", "payments", "catalog", "clock", "metrics", "tasks"]),
    ("ws", &["domain", "wire", "store", "clock", "metrics"]),
    (
        "http",
        &[
            "domain", "wire", "catalog", "actors", "ws", "config", "metrics", "store", "clock",
            "payments",
        ],
    ),
    ("demo", &["http_client"]),
    ("probe", &["config"]),
];

/// The beginning of unit tests that are in the file of the code that they test.
const UNIT_TESTS: &str = "#[cfg(test)]\nmod tests {\n";

/// Folders with sources of this project.
const FOLDERS: [&str; 5] = ["src", "crates", "build", "tests", "benches"];

fn sources(folder: &str) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.insert(path, text);
            }
        }
    }
    found
}

/// Returns the first component of a path under `src/`, without `.rs`.
fn module_of(path: &Path) -> String {
    let inner = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .expect("a source file");
    let first =
        inner.components().next().expect("a path").as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Returns a source without its comments and its unit tests, which may use any module.
///
/// # Panics
/// If code follows the unit tests: it would not be checked.
fn code_of(text: &str) -> String {
    let (production, tests) = text.split_once(UNIT_TESTS).unwrap_or((text, ""));
    let after = tests.split_once("\n}\n").map_or("", |(_, after)| after);
    assert!(after.is_empty(), "unit tests are the last item of a file, but this follows: {after}");
    production
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the modules of this crate that a source names: `crate::x`, also inside `crate::{x::…,
/// y}`.
fn named_modules(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for piece in code.split("crate::").skip(1) {
        if let Some(group) = piece.strip_prefix('{') {
            let mut depth = 0;
            let mut item = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => named.push(std::mem::take(&mut item)),
                    _ => {}
                }
                if !(c == ',' && depth == 0) {
                    item.push(c);
                }
            }
            named.push(item);
        } else {
            named.push(piece.to_owned());
        }
    }
    named
        .iter()
        .map(|path| path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .filter(|name: &String| !name.is_empty())
        .collect()
}

#[test]
fn each_layer_names_only_the_layers_below_it() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let module = module_of(&path);
        let inside =
            path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("a source of this project");
        let is_test = inside.to_string_lossy().contains("tests");
        if is_test || ["lib", "main", "app"].contains(&module.as_str()) {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == module) else {
            wrong.push(format!("{}: the layer {module} is not in the table", path.display()));
            continue;
        };
        for named in named_modules(&code_of(&text)) {
            if named != module && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: {module} must not use {named}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_has_a_header_and_is_within_the_line_limit() {
    let mut wrong = Vec::new();
    for (path, text) in FOLDERS.map(sources).into_iter().flatten() {
        if !text.starts_with("//!") {
            wrong.push(format!("{} does not begin with `//!`", path.display()));
        }
        let lines = text.lines().count();
        if lines > LINES_MAX {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn sources_contain_no_postponed_work_and_no_skipped_test() {
    // The words are put together here, so that this file does not match them.
    let leftovers = [
        ["to", "do!("],
        ["unimpl", "emented!("],
        ["FIX", "ME"],
        ["#[ig", "nore"],
        ["for n", "ow,"],
        ["place", "holder"],
    ]
    .map(|halves| halves.concat());
    let mut wrong = Vec::new();
    for (path, text) in FOLDERS.map(sources).into_iter().flatten() {
        for (number, line) in text.lines().enumerate() {
            if leftovers.iter().any(|leftover| line.contains(leftover)) {
                wrong.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_module_has_a_catch_all_name() {
    for path in FOLDERS.map(sources).into_iter().flat_map(BTreeMap::into_keys) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        assert!(
            !["utils", "util", "helpers", "common", "manager", "misc"].contains(&name.as_str()),
            "{}",
            path.display()
        );
    }
}

#[test]
fn code_after_a_test_module_in_another_file_is_checked() {
    let text = "#[cfg(test)]\nmod tests;\nuse crate::http::x; // crate::ws";
    assert_eq!(named_modules(&code_of(text)), ["http"]);
    let text = format!("use crate::actors::x;\n{UNIT_TESTS}    use crate::ws::y;\n}}\n");
    assert_eq!(named_modules(&code_of(&text)), ["actors"]);
}

#[test]
fn module_names_are_found_in_a_source() {
    let code = "use crate::{domain::{A, B}, store::Store, clock};\nfn f() { crate::http::x() }";
    assert_eq!(named_modules(code), ["domain", "store", "clock", "http"]);
}
