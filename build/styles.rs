//! Joins style sheets: each `@import "./x.css";` at the beginning of a sheet is replaced by that
//! sheet.

use std::collections::BTreeSet;

use super::{bundle::Sources, paths::resolve};

/// Returns the sheet at `path` with all its imports, in order. Adds the paths of the imports to
/// `used`.
///
/// # Errors
/// A sheet that is missing, a sheet that is imported twice, or an import of another form.
pub fn join(sources: &Sources, path: &str, used: &mut BTreeSet<String>) -> Result<String, String> {
    let source = sources.get(path).ok_or(format!("web/{path}: there is no such file"))?;
    let mut joined = String::with_capacity(source.len());
    for (number, line) in source.lines().enumerate() {
        let error = |message: String| format!("web/{path}:{}: {message}", number + 1);
        if !line.trim_start().starts_with("@import") {
            joined.push_str(line);
            joined.push('\n');
            continue;
        }
        let target =
            line.trim().strip_prefix("@import \"").and_then(|rest| rest.strip_suffix("\";"));
        let target = target.and_then(|target| resolve(path, target));
        let target = target.ok_or_else(|| error("expected @import \"./NAME.css\";".to_owned()))?;
        if !used.insert(target.clone()) {
            return Err(error(format!("{target} is imported twice")));
        }
        joined.push_str(&join(sources, &target, used)?);
    }
    Ok(joined)
}
