//! The paths of modules, and the variables that are named after them.

/// Resolves a relative import of the module at `importer`.
pub fn resolve(importer: &str, target: &str) -> Option<String> {
    if !target.starts_with("./") && !target.starts_with("../") {
        return None;
    }
    let mut parts: Vec<&str> = importer.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Returns the variable that holds the exports of a module.
pub fn variable_of(path: &str) -> String {
    let stem = path.strip_suffix(".js").unwrap_or(path);
    format!("__{}", stem.replace(|c: char| !c.is_ascii_alphanumeric(), "_"))
}
