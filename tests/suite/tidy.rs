//! Conventions that the compiler does not check: dependencies between layers, the length of files,
//! their header.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Maximum number of lines in a file. The target is 400; a longer file usually has two subjects.
const LINES_MAX: usize = 450;

/// For each module of the program, the modules that it may name. A module that is not in the table
/// may be used by `app` only. The layers below are crates, which the compiler checks.
///
/// The test below enforces this table over the tokens of each source. ARCHITECTURE.md has it too.
const LAYERS: [(&str, &[&str]); 10] = [
    ("mail", &["domain", "store", "clock", "metrics", "data_folder", "settings"]),
    ("config", &["domain", "mail", "payments", "settings"]),
    ("logging", &["config", "metrics"]),
    ("catalog", &["domain", "store"]),
    ("wire", &["domain"]),
    ("actors", &["domain", "store", "payments", "mail", "catalog", "clock", "metrics", "tasks"]),
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

/// Returns the names of the modules that contain the items of a file in `src/`: `ws`, `table` for
/// `src/ws/table.rs`, and `ws` for `src/ws/mod.rs`.
fn modules_of(path: &Path) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let inner = path.strip_prefix(root).expect("a source file").with_extension("");
    let names = inner.components().map(|name| name.as_os_str().to_string_lossy().into_owned());
    names.filter(|name| name != "mod").collect()
}

/// Returns the modules below the crate's root that a source names, by `crate::` or by `super::`.
/// Unit tests are left out: they may use any module. `depth` is the number of modules that contain
/// the source.
fn named_modules(code: TokenStream, depth: usize) -> Vec<String> {
    let tokens: Vec<TokenTree> = code.into_iter().collect();
    let mut named = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            // The item ends with its block or with a semicolon.
            at += tokens[at..].iter().take_while(|token| !ends_item(token)).count() + 1;
            continue;
        }
        let (supers, next) = leading_supers(&tokens, at);
        if is_ident(&tokens[at], "crate") {
            named.extend(first_names(&tokens[at + 1..]));
        } else if supers >= depth.max(1) {
            named.extend(first_names(&tokens[next..]));
        }
        if let TokenTree::Group(group) = &tokens[at] {
            named.extend(named_modules(group.stream(), depth));
        }
        at = next.max(at + 1);
    }
    named
}

fn is_ident(token: &TokenTree, name: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == name)
}

/// Returns whether the tokens begin with `#[cfg(test)]`.
fn is_test_attribute(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Punct(hash), TokenTree::Group(attribute), ..] = tokens else { return false };
    hash.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

fn ends_item(token: &TokenTree) -> bool {
    match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    }
}

/// Returns the number of `super` in the path at `at`, and the position after the last of them.
fn leading_supers(tokens: &[TokenTree], at: usize) -> (usize, usize) {
    let (mut supers, mut next) = (0, at);
    while tokens.get(next).is_some_and(|token| is_ident(token, "super")) {
        supers += 1;
        let is_followed = tokens.get(next + 3).is_some_and(|token| is_ident(token, "super"));
        next += if is_followed { 3 } else { 1 };
    }
    (supers, next)
}

/// Returns the names that follow `crate` or `super`: one for `::x`, several for `::{x, y::z}`.
fn first_names(tokens: &[TokenTree]) -> Vec<String> {
    let [TokenTree::Punct(first), TokenTree::Punct(second), name, ..] = tokens else {
        return Vec::new();
    };
    if first.as_char() != ':' || second.as_char() != ':' {
        return Vec::new();
    }
    let TokenTree::Group(group) = name else { return vec![name.to_string()] };
    let names: Vec<TokenTree> = group.stream().into_iter().collect();
    let items =
        names.split(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','));
    items.filter_map(|item| item.first().map(ToString::to_string)).collect()
}

#[test]
fn each_layer_names_only_the_layers_below_it() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let modules = modules_of(&path);
        let module = modules[0].as_str();
        let is_test = modules.iter().any(|name| name.contains("tests"));
        if is_test || ["lib", "main", "app"].contains(&module) {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == module) else {
            wrong.push(format!("{}: the layer {module} is not in the table", path.display()));
            continue;
        };
        let code = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for named in named_modules(code, modules.len()) {
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

/// Returns the modules that a source in `src/ws/table.rs` names.
fn named_in(text: &str) -> Vec<String> {
    named_modules(text.parse().expect("tokens of Rust"), 2)
}

#[test]
fn modules_are_found_in_every_form_of_a_path() {
    let code = "use crate::{domain::{A, B}, store::Store, clock};\nfn f() { crate::http::x() }";
    assert_eq!(named_in(code), ["domain", "store", "clock", "http"]);
    assert_eq!(
        named_in("use super::super::actors::A; fn f() { super::super::http::x() }"),
        ["actors", "http"]
    );
    assert_eq!(named_in("use super::watch::Watch;"), [""; 0], "a file of the same folder");
    assert_eq!(
        named_in("tracing::warn!(\"{}\", crate::http::X); type T = Vec<crate::ws::W>;"),
        ["http", "ws"]
    );
    assert_eq!(
        named_in("// crate::http\n/// [`crate::http`]\nstruct A; const B: &str = \"crate::http\";"),
        [""; 0]
    );
}

#[test]
fn only_unit_tests_are_left_out() {
    let code = "#[cfg(test)]\nmod tests;\nuse crate::http::x;";
    assert_eq!(named_in(code), ["http"]);
    let code =
        "use crate::actors::x;\n#[cfg(test)]\nmod tests { use crate::ws::y; }\nuse crate::app::z;";
    assert_eq!(named_in(code), ["actors", "app"]);
    let code =
        "#[cfg(test)]\nimpl A for B { fn f() { crate::http::x() } } fn g() { crate::ws::y() }";
    assert_eq!(named_in(code), ["ws"]);
}
