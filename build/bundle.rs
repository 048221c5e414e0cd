//! Joins ES modules that import each other statically into one script.
//!
//! Each module becomes a function that is called once, in the order of imports. The function
//! returns the module's exports. Comments, indentation and blank lines are removed. The supported
//! forms are the ones that the pages use:
//!
//! - `import { a, b as c } from "./x.js"`, `import * as x from "./x.js"`, `import "./x.js"`
//! - `export function`, `export async function`, `export class`, `export const NAME = …`, `export
//!   const { a, b: c } = …`
//! - `export { a, b as c }`, also with `from "./x.js"`
//!
//! Every other form is an error with file and line. So are a circular import, a missing file, and
//! an imported name that is not exported. The result must run as a module: in strict mode, in a
//! scope of its own, after the document is parsed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    lexer::{Kind, LexError, Token, tokens},
    paths::{resolve, variable_of},
};

/// Files by their path.
pub type Sources = BTreeMap<String, String>;

/// One script, and the modules that it contains.
#[derive(Debug, PartialEq, Eq)]
pub struct Bundle {
    pub script: String,
    pub modules: BTreeSet<String>,
}

/// An error of bundling, with its file and line.
#[derive(Debug, PartialEq, Eq)]
pub struct BundleError {
    pub path: String,
    pub line: usize,
    pub message: String,
}

impl fmt::Display for BundleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Bundles `entry` and all its imports.
///
/// # Errors
/// The first unsupported form or mismatch.
pub fn bundle(sources: &Sources, entry: &str) -> Result<Bundle, BundleError> {
    let mut bundler =
        Bundler { sources, done: BTreeMap::new(), path: Vec::new(), script: String::new() };
    bundler.module(entry, entry, 1)?;
    Ok(Bundle { script: bundler.script, modules: bundler.done.into_keys().collect() })
}

struct Bundler<'a> {
    sources: &'a Sources,
    /// The exports of each module in the script.
    done: BTreeMap<String, BTreeSet<String>>,
    /// The modules whose imports are being resolved.
    path: Vec<String>,
    script: String,
}

impl Bundler<'_> {
    /// Adds a module after all its imports. `importer` and `line` are the place of the import.
    fn module(&mut self, path: &str, importer: &str, line: usize) -> Result<(), BundleError> {
        if self.done.contains_key(path) {
            return Ok(());
        }
        let error = |message: String| BundleError { path: importer.to_owned(), line, message };
        if let Some(first) = self.path.iter().position(|open| open == path) {
            return Err(error(format!(
                "circular import: {} -> {path}",
                self.path[first..].join(" -> ")
            )));
        }
        let source =
            self.sources.get(path).ok_or_else(|| error(format!("there is no file {path}")))?;
        let parsed = Module::parse(path, source)?;
        self.path.push(path.to_owned());
        for import in &parsed.imports {
            self.module(&import.from, path, import.line)?;
            self.check_names(path, import)?;
        }
        self.path.pop();
        self.script.push_str(&parsed.rendered());
        self.done.insert(path.to_owned(), parsed.exports.into_keys().collect());
        Ok(())
    }

    fn check_names(&self, path: &str, import: &Import) -> Result<(), BundleError> {
        let exported = &self.done[&import.from];
        match import.names.iter().find(|(name, _)| !exported.contains(name)) {
            None => Ok(()),
            Some((name, _)) => {
                let message = format!("{} does not export {name}", import.from);
                Err(BundleError { path: path.to_owned(), line: import.line, message })
            }
        }
    }
}

#[derive(Debug)]
struct Import {
    from: String,
    line: usize,
    /// Pairs of the name that the other module exports, and the local name.
    names: Vec<(String, String)>,
    /// The name of the whole module, with `* as`.
    namespace: Option<String>,
}

struct Module<'a> {
    path: &'a str,
    source: &'a str,
    imports: Vec<Import>,
    /// Exported names, each with the exported expression.
    exports: BTreeMap<String, String>,
    /// The tokens that are kept.
    body: Vec<Token<'a>>,
}

impl<'a> Module<'a> {
    fn parse(path: &'a str, source: &'a str) -> Result<Self, BundleError> {
        let at = |LexError { line, message }| BundleError { path: path.to_owned(), line, message };
        let tokens = tokens(source).map_err(at)?;
        let mut parser = Parser { path, tokens: &tokens, at: 0 };
        let mut module =
            Self { path, source, imports: Vec::new(), exports: BTreeMap::new(), body: Vec::new() };
        while let Some(token) = parser.peek() {
            if token.kind != Kind::Word || parser.is_property() {
                module.body.push(parser.next()?);
                continue;
            }
            match (token.text, token.depth) {
                ("import", 0) => module.imports.push(parser.import()?),
                ("export", 0) => module.export(&mut parser)?,
                ("import", _) => return Err(parser.error("only static imports are supported")),
                ("await", _) if !token.in_braces => {
                    return Err(parser.error("await is supported inside of braces only"));
                }
                _ => module.body.push(parser.next()?),
            }
        }
        module.check_exported_names(&parser)?;
        Ok(module)
    }

    fn export(&mut self, parser: &mut Parser<'_, 'a>) -> Result<(), BundleError> {
        let line = parser.next()?.line;
        let declared = parser.peek().map_or("", |token| token.text);
        match declared {
            "{" => {
                let names = parser.names()?;
                if !parser.take("from") {
                    parser.take(";");
                    names
                        .into_iter()
                        .try_for_each(|(local, name)| self.add_export(parser, name, local))
                } else {
                    let from = parser.target()?;
                    let variable = variable_of(&from);
                    for (theirs, name) in &names {
                        self.add_export(parser, name.clone(), format!("{variable}.{theirs}"))?;
                    }
                    let names =
                        names.into_iter().map(|(theirs, _)| (theirs, String::new())).collect();
                    self.imports.push(Import { from, line, names, namespace: None });
                    Ok(())
                }
            }
            "function" | "async" | "class" | "const" => {
                let mut ahead =
                    Parser { path: parser.path, tokens: parser.tokens, at: parser.at + 1 };
                if declared == "async" && !ahead.take("function") {
                    return Err(parser.error("after export async a function must follow"));
                }
                ahead.take("*");
                let names = ahead.declared()?;
                if declared == "const" {
                    ahead.one_declaration()?;
                }
                names.into_iter().try_for_each(|name| self.add_export(parser, name.clone(), name))
            }
            _ => {
                Err(parser
                    .error("this form of export is not supported (export let, var, default, *)"))
            }
        }
    }

    fn add_export(
        &mut self,
        parser: &Parser<'_, '_>,
        name: String,
        value: String,
    ) -> Result<(), BundleError> {
        match self.exports.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(parser.error("a name is exported twice")),
        }
    }

    /// Checks that each name in `export { … }` is declared or imported in this module.
    fn check_exported_names(&self, parser: &Parser<'_, '_>) -> Result<(), BundleError> {
        let imported: BTreeSet<&str> = self
            .imports
            .iter()
            .flat_map(|import| import.names.iter().map(|(_, name)| name).chain(&import.namespace))
            .map(String::as_str)
            .collect();
        let is_declared = |name: &str| {
            imported.contains(name)
                || self.body.windows(2).any(|pair| {
                    let declares = ["const", "let", "var", "function", "class", "*", ",", "{", ":"]
                        .contains(&pair[0].text);
                    declares
                        && pair[1].text == name
                        && (pair[1].depth == 0 || ["{", ",", ":"].contains(&pair[0].text))
                })
        };
        match self.exports.values().find(|value| !value.contains('.') && !is_declared(value)) {
            None => Ok(()),
            Some(name) => Err(BundleError {
                path: parser.path.to_owned(),
                line: 1,
                message: format!("{name} is exported but not declared"),
            }),
        }
    }

    fn rendered(&self) -> String {
        let mut script =
            format!("// {}\nconst {} = (() => {{\n", self.path, variable_of(self.path));
        for Import { from, names, namespace, .. } in &self.imports {
            let variable = variable_of(from);
            let names: Vec<String> = names
                .iter()
                .filter(|(_, here)| !here.is_empty())
                .map(
                    |(name, here)| {
                        if name == here { name.clone() } else { format!("{name}: {here}") }
                    },
                )
                .collect();
            if !names.is_empty() {
                script.push_str(&format!("const {{ {} }} = {variable};\n", names.join(", ")));
            }
            if let Some(namespace) = namespace {
                script.push_str(&format!("const {namespace} = {variable};\n"));
            }
        }
        self.render_body(&mut script);
        let exports: Vec<String> = self
            .exports
            .iter()
            .map(
                |(name, value)| {
                    if name == value { name.clone() } else { format!("{name}: {value}") }
                },
            )
            .collect();
        script
            .push_str(&format!("\nreturn Object.freeze({{ {} }});\n}})();\n", exports.join(", ")));
        script
    }

    /// Returns the tokens as in the source. White space and comments between tokens become one
    /// space or one line break.
    fn render_body(&self, script: &mut String) {
        let mut end = None;
        for token in &self.body {
            let between = end.map_or("", |end: usize| &self.source[end..token.start]);
            match between {
                "" => {}
                _ if between.contains('\n') => script.push('\n'),
                _ => script.push(' '),
            }
            script.push_str(token.text);
            end = Some(token.start + token.text.len());
        }
    }
}

struct Parser<'t, 'a> {
    path: &'a str,
    tokens: &'t [Token<'a>],
    at: usize,
}

impl<'a> Parser<'_, 'a> {
    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    fn next(&mut self) -> Result<Token<'a>, BundleError> {
        let token = self.peek().ok_or_else(|| self.error("the file ends too early"))?;
        self.at += 1;
        Ok(token)
    }

    fn error(&self, message: &str) -> BundleError {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.line);
        BundleError { path: self.path.to_owned(), line, message: message.to_owned() }
    }

    /// Whether the next word is the name of a property or method, even if it is a keyword.
    fn is_property(&self) -> bool {
        let before = self
            .at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map_or("", |token| token.text);
        let after = self.tokens.get(self.at + 1).map_or("", |token| token.text);
        before == "." || after == ":"
    }

    fn take(&mut self, text: &str) -> bool {
        let is_next = self.peek().is_some_and(|token| token.text == text);
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, text: &str) -> Result<(), BundleError> {
        if self.take(text) {
            Ok(())
        } else {
            Err(self.error(&format!("this form is not supported: expected {text}")))
        }
    }

    fn word(&mut self) -> Result<String, BundleError> {
        match self.peek() {
            Some(Token { kind: Kind::Word, text, .. }) => {
                self.at += 1;
                Ok(text.to_owned())
            }
            _ => Err(self.error("this form is not supported: expected a name")),
        }
    }

    fn import(&mut self) -> Result<Import, BundleError> {
        let line = self.next()?.line;
        let (mut names, mut namespace) = (Vec::new(), None);
        match self.peek().map(|token| (token.kind, token.text)) {
            Some((Kind::String, _)) => {}
            Some((_, "{")) => {
                names = self.names()?;
                self.expect("from")?;
            }
            Some((_, "*")) => {
                self.expect("*")?;
                self.expect("as")?;
                namespace = Some(self.word()?);
                self.expect("from")?;
            }
            _ => return Err(self.error(
                "this form of import is not supported (import(), import.meta, a default import)",
            )),
        }
        Ok(Import { from: self.target()?, line, names, namespace })
    }

    /// Parses `{ a, b as c }` into pairs. Both names are equal without `as`.
    fn names(&mut self) -> Result<Vec<(String, String)>, BundleError> {
        let mut names = Vec::new();
        self.expect("{")?;
        while !self.take("}") {
            let name = self.word()?;
            let renamed = if self.take("as") { self.word()? } else { name.clone() };
            if [&name, &renamed].contains(&&"default".to_owned()) {
                return Err(self.error("a default import or export is not supported"));
            }
            names.push((name, renamed));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(names)
    }

    /// Parses a declared name, or the names of `{ a, b: c }`.
    fn declared(&mut self) -> Result<Vec<String>, BundleError> {
        if !self.take("{") {
            return Ok(vec![self.word()?]);
        }
        let mut names = Vec::new();
        while !self.take("}") {
            let property = self.word()?;
            names.push(if self.take(":") { self.word()? } else { property });
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(names)
    }

    /// Parses the path of a module and the end of the statement.
    fn target(&mut self) -> Result<String, BundleError> {
        let Some(token) = self.peek().filter(|token| token.kind == Kind::String) else {
            return Err(self.error("this form is not supported: expected the path of a module"));
        };
        let target = token.text.trim_matches(['"', '\'']);
        let resolved = resolve(self.path, target)
            .ok_or_else(|| self.error("the path of a module must begin with ./ or ../"))?;
        self.at += 1;
        if !self.take(";") && self.peek().is_some_and(|next| next.line == token.line) {
            return Err(self.error("this form is not supported: expected a semicolon"));
        }
        Ok(resolved)
    }

    /// Checks that `const NAME = …;` has one declaration, whose names are before the current
    /// position.
    fn one_declaration(&self) -> Result<(), BundleError> {
        if self.peek().is_none_or(|token| token.text != "=") {
            return Err(self.error("export const must declare plain names"));
        }
        let statement = self.tokens[self.at..]
            .iter()
            .take_while(|token| !(token.depth == 0 && token.text == ";"));
        match statement.into_iter().find(|token| token.depth == 0 && token.text == ",") {
            None => Ok(()),
            Some(comma) => Err(BundleError {
                path: self.path.to_owned(),
                line: comma.line,
                message: "export const must have one declaration, and end with a semicolon"
                    .to_owned(),
            }),
        }
    }
}
