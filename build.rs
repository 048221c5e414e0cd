//! Prepares the browser's pages for embedding: finds the files of `web/`, joins the modules that
//! the shell loads into one script and the style sheets into one, and writes the tables that
//! `src/http/pages` includes.
//!
//! No file is listed by hand. The scripts and style sheets are the ones that `web/index.html` names
//! and their imports. Of the other files, those with an extension of [`SERVED`] are served.
//! `web/docs` has a table of its own. The addresses of the pages are those of the table `ROUTES` in
//! `web/app.js`.

#[path = "build/bundle.rs"]
mod bundle;
#[path = "build/lexer.rs"]
mod lexer;
#[path = "build/paths.rs"]
mod paths;
#[path = "build/styles.rs"]
mod styles;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use bundle::Sources;

/// The extensions of files that are served unchanged.
const SERVED: [&str; 4] = ["svg", "png", "ico", "webmanifest"];
/// The prefix of a file's path in the shell.
const ADDRESS: &str = "/assets/{{version}}/";

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=web");
    match prepare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> Result<(), String> {
    let variable =
        |name: &str| env::var_os(name).map(PathBuf::from).ok_or(format!("{name} is not set"));
    let (web, out) = (variable("CARGO_MANIFEST_DIR")?.join("web"), variable("OUT_DIR")?);
    let paths = files_below(&web, &web)?;
    let texts: Sources = paths
        .iter()
        .filter(|path| {
            ["js", "css", "html"].contains(&extension(path)) && !path.starts_with("docs/")
        })
        .map(|path| Ok((path.clone(), read(&web.join(path))?)))
        .collect::<Result<_, String>>()?;
    let shell = texts.get("index.html").ok_or("web/index.html is missing")?;

    let mut used = BTreeSet::new();
    let mut table = BTreeMap::new();
    for entry in entries(shell) {
        let text = if entry.ends_with(".css") {
            styles::join(&texts, &entry, &mut used)?
        } else if is_module(shell, &entry) {
            let bundle = bundle::bundle(&texts, &entry).map_err(|error| format!("web/{error}"))?;
            used.extend(bundle.modules);
            bundle.script
        } else {
            texts.get(&entry).ok_or(format!("web/index.html: there is no file {entry}"))?.clone()
        };
        used.insert(entry.clone());
        let name = entry.replace('/', "_");
        fs::write(out.join(&name), text).map_err(|error| format!("{name}: {error}"))?;
        table.insert(entry, format!("concat!(env!(\"OUT_DIR\"), \"/{name}\")"));
    }
    if let Some(unused) =
        texts.keys().find(|path| !path.ends_with(".html") && !used.contains(*path))
    {
        return Err(format!("web/{unused} is imported by no other file"));
    }
    for path in
        paths.iter().filter(|path| SERVED.contains(&extension(path)) && !path.starts_with("docs/"))
    {
        table.insert(
            path.clone(),
            format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/web/{path}\")"),
        );
    }
    let rows: String = table
        .iter()
        .map(|(path, file)| {
            format!("    PageFile {{ path: {path:?}, body: include_bytes!({file}) }},\n")
        })
        .collect();
    let write = |name: &str, rows: String| {
        fs::write(out.join(name), format!("&[\n{rows}]\n"))
            .map_err(|error| format!("{name}: {error}"))
    };
    write("pages_files.rs", rows)?;
    write("pages_routes.rs", routes(texts.get("app.js").ok_or("web/app.js is missing")?)?)
}

/// Returns the rows of the table `ROUTES` in the script: the address of each page, and the name of
/// its module's export.
fn routes(script: &str) -> Result<String, String> {
    let table =
        script.split_once("const ROUTES = [\n").and_then(|(_, rest)| rest.split_once("\n];"));
    let (table, _) = table.ok_or("web/app.js: there is no table ROUTES")?;
    let row = |line: &str| {
        let (address, name) =
            line.trim().strip_prefix("[\"")?.strip_suffix("],")?.split_once("\", ")?;
        Some(format!("    ({address:?}, {name:?}),\n"))
    };
    table
        .lines()
        .map(|line| row(line).ok_or(format!("web/app.js: {line:?} is not a row of ROUTES")))
        .collect()
}

/// Returns the scripts and style sheets that the shell loads.
fn entries(shell: &str) -> BTreeSet<String> {
    let addresses = shell.split(ADDRESS).skip(1);
    let paths = addresses.filter_map(|rest| rest.split('"').next());
    paths.filter(|path| ["js", "css"].contains(&extension(path))).map(str::to_owned).collect()
}

/// Whether the shell loads a script as a module.
fn is_module(shell: &str, path: &str) -> bool {
    let tag = shell.split("<script").find(|rest| {
        rest.split('>').next().is_some_and(|tag| tag.contains(&format!("{ADDRESS}{path}\"")))
    });
    tag.and_then(|rest| rest.split('>').next()).is_some_and(|tag| tag.contains("type=\"module\""))
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Returns all files below a folder, relative to `root`, with `/` between the parts.
fn files_below(root: &Path, folder: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            found.extend(files_below(root, &path)?);
        } else {
            let relative = path.strip_prefix(root).map_err(|error| error.to_string())?;
            let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
            found
                .push(parts.ok_or(format!("{}: the name is not UTF-8", path.display()))?.join("/"));
        }
    }
    found.sort();
    Ok(found)
}
