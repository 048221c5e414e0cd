//! Compares the files for operators with the program: the table of settings, the dashboard, the
//! alerts, and the grace period in Kubernetes. `scripts/lint-deploy` checks the form of these
//! files.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use gittix::{app::Running, metrics::METRICS};

use crate::app::run;

fn file(path: &str) -> String {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

/// Returns the cells of each row of the table below a heading of docs/operations.md.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = file("docs/operations.md");
    let section = text
        .split(&format!("\n## {heading}\n"))
        .nth(1)
        .unwrap_or_else(|| panic!("no section {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = |row: &str| {
        row.trim_matches('|')
            .split(" | ")
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    };
    section.lines().filter(|line| line.starts_with("| `")).map(cells).collect()
}

/// Returns every variable that `gittix serve --help` names, with its default.
fn settings() -> Vec<(String, Option<String>)> {
    let (_, help) = run(&["serve", "--help"], &[]);
    let after =
        |line: &str, tag: &str| Some(line.split_once(tag)?.1.split([']', '=']).next()?.to_owned());
    help.lines()
        .filter_map(|line| Some((after(line, "[env: ")?, after(line, "[default: "))))
        .collect()
}

#[test]
fn settings_table_has_exactly_the_variables_of_serve_with_their_defaults() {
    let (settings, rows) = (settings(), table("Settings"));
    assert!(settings.len() >= 15, "{settings:?}");
    let named = |names: Vec<&String>| names.into_iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        named(rows.iter().map(|row| &row[0]).collect()),
        named(settings.iter().map(|(name, _)| name).collect())
    );
    for (name, default) in settings {
        let row = rows.iter().find(|row| row[0] == name).expect("the names are the same");
        let documented =
            if ["unset", "none"].contains(&row[1].as_str()) { None } else { Some(row[1].clone()) };
        assert_eq!(documented, default, "{name}");
    }
}

/// Returns every metric that a text names, with the label values that its selector requires by `=`
/// or `=~`.
fn queried(text: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices("gittix_") {
        if text[..start].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_') {
            continue;
        }
        let rest = &text[start..];
        let name: String =
            rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        let selector = rest[name.len()..]
            .strip_prefix('{')
            .and_then(|inner| inner.split('}').next())
            .unwrap_or_default();
        let selector = selector.replace('\\', "");
        let matchers = selector
            .split(',')
            .filter_map(|matcher| matcher.split_once("=\"").or_else(|| matcher.split_once("=~\"")));
        let values = matchers.flat_map(|(label, values)| {
            values
                .trim_end_matches('"')
                .split('|')
                .map(|value| (label.trim().to_owned(), value.to_owned()))
                .collect::<Vec<_>>()
        });
        // The scraper adds this label; the server does not have it.
        found.push((name, values.filter(|(label, _)| label != "instance").collect()));
    }
    found
}

/// Asserts that a new server has every series that a file queries; returns the number of queries.
fn assert_series_exist(path: &str) -> usize {
    let metrics = METRICS.render();
    let queried = queried(&file(path));
    for (name, values) in &queried {
        let series: Vec<&str> =
            metrics.lines().filter(|line| line.split(['{', ' ']).next() == Some(name)).collect();
        assert!(!series.is_empty(), "{path} queries {name}, which the server does not have");
        for (label, value) in values {
            let pair = format!("{label}=\"{value}\"");
            assert!(
                series.iter().any(|line| line.contains(&pair)),
                "{path} queries {name} with {pair}: {series:#?}"
            );
        }
    }
    queried.len()
}

#[test]
fn dashboard_queries_only_series_of_a_new_server() {
    assert!(assert_series_exist("manifests/components/monitoring/dashboard.json") > 30);
}

#[test]
fn alerts_query_only_series_of_a_new_server() {
    assert!(assert_series_exist("manifests/components/monitoring/alerts.yaml") > 10);
    assert!(assert_series_exist("manifests/components/monitoring/alerts.test.yaml") > 10);
}

#[test]
fn query_is_parsed_into_its_metric_and_its_label_values() {
    let parsed = queried(r#"rate(gittix_a_total{instance=~\"$i\",what=~\"x|y\"}[5m]) + gittix_b"#);
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    assert_eq!(
        parsed,
        [
            ("gittix_a_total".to_owned(), vec![pair("what", "x"), pair("what", "y")]),
            ("gittix_b".to_owned(), vec![])
        ]
    );
}

#[test]
fn every_alert_has_a_section_in_the_handbook() {
    let (alerts, handbook) =
        (file("manifests/components/monitoring/alerts.yaml"), file("docs/operations.md"));
    let mut documented = 0;
    for name in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(
            handbook.contains(&format!("\n### {name}\n")),
            "docs/operations.md has no section {name}"
        );
        assert!(
            alerts.contains(&format!("runbook: docs/operations.md#{}\n", name.to_lowercase())),
            "{name} has no runbook link"
        );
        documented += 1;
    }
    assert_eq!(
        documented,
        handbook.matches("\n### Gittix").count(),
        "the handbook describes an alert that does not exist"
    );
}

#[test]
fn grace_period_in_kubernetes_exceeds_the_longest_shutdown() {
    /// Maximum time that a commit in progress may take when its store is closed.
    const STORE_CLOSES: Duration = Duration::from_secs(6);
    let manifest = file("manifests/base/gittix.yaml");
    let seconds = |key: &str| {
        let line = manifest
            .lines()
            .find_map(|line| line.trim().strip_prefix(key))
            .unwrap_or_else(|| panic!("no {key}"));
        Duration::from_secs(line.trim().parse().expect("seconds"))
    };
    let needed = seconds("seconds:") + Running::DRAIN + STORE_CLOSES;
    let granted = seconds("terminationGracePeriodSeconds:");
    assert!(needed < granted, "{needed:?} of {granted:?}");
}

/// Returns the content of all files under `folder` with this ending, as one text.
fn sources(folder: &str, ending: &str) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).expect("a folder")
    {
        let entry = entry.expect("its entry");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("its type").is_dir() {
            text += &sources(&path, ending);
        } else if path.ends_with(ending) {
            text += &file(&path);
        }
    }
    text
}

#[test]
fn security_document_names_tests_that_exist() {
    let document = file("docs/security.md");
    let rust = ["src", "crates", "tests/suite"].map(|folder| sources(folder, ".rs")).concat();
    let pages: String =
        ["account", "addresses", "buy", "everyone", "pay", "sell", "units", "windows"]
            .map(|name| file(&format!("tests/browser/{name}.test.mjs")))
            .concat();
    let mut named = 0;
    for row in document.lines().filter(|line| line.starts_with("| ")) {
        // The last cell names the tests.
        let cell = row.strip_suffix('|').unwrap_or(row).rsplit(" | ").next().unwrap_or_default();
        let of_rust = cell
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.contains('_') && !name.contains('.'));
        for name in of_rust {
            assert!(rust.contains(&format!("fn {name}(")), "{name} is not a test");
            named += 1;
        }
        for name in cell.split('"').skip(1).step_by(2) {
            assert!(
                pages.contains(&format!("test(\"{name}\"")),
                "{name:?} is not a test of the pages"
            );
            named += 1;
        }
    }
    assert!(named >= 100, "only {named} tests are named");
}

/// Returns the Rust files below a folder, with their paths.
fn rust_files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (Vec::new(), vec![root.join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((
                    path.display().to_string(),
                    fs::read_to_string(&path).expect("the file is readable"),
                ));
            }
        }
    }
    found
}

/// Whether a source file defines `name` as a function, type or constant, or implements it.
fn defines(text: &str, name: &str) -> bool {
    ["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "impl"].iter().any(
        |keyword| {
            let ends =
                |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
            text.match_indices(&format!("{keyword} {name}"))
                .any(|(at, found)| ends(&text[at + found.len()..]))
        },
    )
}

/// Checks references such as `ws/table.rs::ConnectionTable::deliver`: the file exists and defines
/// each name.
#[test]
fn architecture_document_refers_to_code_that_exists() {
    let (document, files) =
        (file("ARCHITECTURE.md"), [rust_files("src"), rust_files("crates")].concat());
    let mut references = 0;
    for code in document.split('`').skip(1).step_by(2) {
        let Some((path, names)) = code.split_once(".rs::") else { continue };
        let path = format!("/{path}.rs");
        let texts: Vec<&String> =
            files.iter().filter(|(name, _)| name.ends_with(&path)).map(|(_, text)| text).collect();
        assert!(!texts.is_empty(), "{code}: there is no such file");
        for name in names.split("::") {
            let name = name.trim_end_matches("()");
            assert!(
                texts.iter().any(|text| defines(text, name)),
                "{code}: the file does not define {name}"
            );
        }
        references += 1;
    }
    assert!(references >= 70, "only {references} references were found");
}

#[test]
fn security_document_has_each_requirement_of_levels_1_and_2_once() {
    /// Number of requirements of levels 1 and 2 together in the Application Security Verification
    /// Standard 5.0.0.
    const REQUIREMENTS: usize = 253;
    let document = file("docs/security.md");
    let firsts = document.lines().filter_map(|line| line.strip_prefix("| V")?.split(" | ").next());
    let ids: Vec<&str> =
        firsts.flat_map(|ids| ids.split(", ")).map(|id| id.trim_start_matches('V')).collect();
    assert_eq!(
        (ids.len(), ids.iter().collect::<BTreeSet<_>>().len()),
        (REQUIREMENTS, REQUIREMENTS),
        "{ids:?}"
    );
}
