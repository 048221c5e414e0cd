//! Tests of the bundler of the pages' modules (`build/`), which runs when the program is built.

#[path = "../../build/bundle.rs"]
mod bundle;
#[path = "../../build/lexer.rs"]
mod lexer;
#[path = "../../build/paths.rs"]
mod paths;
#[path = "../../build/styles.rs"]
mod styles;

use std::{collections::BTreeSet, process::Command};

use bundle::{Sources, bundle};
use lexer::{Kind, tokens};

fn sources(files: &[(&str, &str)]) -> Sources {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

/// Returns the output of a bundle, or the reason of its failure.
fn run(files: &[(&str, &str)]) -> Result<String, String> {
    let bundle = bundle(&sources(files), "app.js").map_err(|error| error.to_string())?;
    let output = Command::new("node")
        .args(["--input-type=module", "--eval", &bundle.script])
        .output()
        .expect("Node runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

fn refused(files: &[(&str, &str)]) -> String {
    run(files).expect_err("the bundle is refused")
}

#[test]
fn modules_run_in_the_order_of_their_imports() {
    let printed = run(&[
        (
            "app.js",
            "import { a } from \"./core/a.js\";\nimport \"./b.js\";\nconsole.log(`app ${a}`);",
        ),
        (
            "core/a.js",
            "import { b as other } from \"../b.js\";\nconsole.log(\"a\");\nexport const a = other + 1;",
        ),
        ("b.js", "console.log(\"b\");\nexport const b = 1;"),
    ]);
    assert_eq!(printed.as_deref(), Ok("b\na\napp 2\n"));
}

#[test]
fn every_supported_form_of_import_and_export_works() {
    let printed = run(&[
        (
            "app.js",
            "import * as all from \"./all.js\";\nimport { f, C as Class, g } from './all.js'\n\
             g().then((three) => console.log(f().next().value, new Class().x, three, all.renamed, all.far, all.last(6, 7), all.x, all.z));\n\
             console.log(Object.keys(all).join());",
        ),
        (
            "all.js",
            "export function* f() { yield 1; }\nexport async function g() { return await 3; }\nexport class C { x = 2; }\n\
             const local = 4;\nexport { local as renamed, };\nexport { far } from \"./far.js\";\nexport const last = (a, b) => [a, b];\n\
             export const { x, y: z } = { x: 8, y: 9 };",
        ),
        ("far.js", "export const far = 5;"),
    ]);
    assert_eq!(printed.as_deref(), Ok("C,f,far,g,last,renamed,x,z\n1 2 3 4 5 [ 6, 7 ] 8 9\n"));
}

#[test]
fn names_of_one_module_are_not_visible_in_another() {
    let printed = run(&[
        (
            "app.js",
            "import { a } from \"./a.js\";\nconst hidden = \"app\";\nconsole.log(a(), hidden);",
        ),
        ("a.js", "const hidden = \"a\";\nexport function a() { return hidden; }"),
    ]);
    assert_eq!(printed.as_deref(), Ok("a app\n"));
}

#[test]
fn only_comments_are_removed() {
    let source = r##"// import { x } from "./nowhere.js";
/* export default 1
*/
const text = "// no comment /* none */ 'x'"; /* a */ const other = 'it\'s // here';
const template = `  // kept
  ${[1, 2].map((n) => `<${n /* left out */}>`).join("/*")} }`;
const pattern = /[/"'`]\/\/ /.test("`// ");
const quotient = (8 / 2) / 2;
const value = { import: 1, export: 2 }.import + value_of()
function value_of() {
  return /* a comment
  with a line break ends the statement */ 5;
}
console.log(text, other, template, pattern, quotient, value);
class A { #x = 1; get x() { return this.#x } }
console.log(new A().x, 1e-3, 0x1f, 1_000 .toString());
"##;
    let original = Command::new("node")
        .args(["--input-type=module", "--eval", source])
        .output()
        .expect("Node runs");
    assert!(original.status.success(), "{original:?}");
    let bundled = run(&[("app.js", source)]).expect("the bundle runs");
    assert_eq!(bundled.as_bytes(), original.stdout);
    let script =
        bundle(&sources(&[("app.js", source)]), "app.js").expect("the source is bundled").script;
    assert!(!script.contains("left out") && !script.contains("nowhere"), "{script}");
}

#[test]
fn forms_that_are_not_supported_are_refused_with_file_and_line() {
    for (statement, reason) in [
        (
            "import x from \"./a.js\";",
            "this form of import is not supported (import(), import.meta, a default import)",
        ),
        (
            "import(\"./a.js\");",
            "this form of import is not supported (import(), import.meta, a default import)",
        ),
        (
            "const u = import.meta.url;",
            "this form of import is not supported (import(), import.meta, a default import)",
        ),
        ("function f() { return import(\"./a.js\"); }", "only static imports are supported"),
        ("import { default as x } from \"./a.js\";", "a default import or export is not supported"),
        (
            "import { a } from \"./a.js\" with { type: \"json\" };",
            "this form is not supported: expected a semicolon",
        ),
        ("import { a } from \"a\";", "the path of a module must begin with ./ or ../"),
        ("import { a } from \"../../a.js\";", "the path of a module must begin with ./ or ../"),
        ("export default 1;", "this form of export is not supported (export let, var, default, *)"),
        ("export let x = 1;", "this form of export is not supported (export let, var, default, *)"),
        (
            "export * from \"./a.js\";",
            "this form of export is not supported (export let, var, default, *)",
        ),
        ("export const { x = 1 } = {};", "this form is not supported: expected }"),
        ("export const [x] = [1];", "this form is not supported: expected a name"),
        (
            "export const x = 1, y = 2;",
            "export const must have one declaration, and end with a semicolon",
        ),
        ("const x = 1; export { x }; export { x };", "a name is exported twice"),
        ("f(await 1);", "await is supported inside of braces only"),
        ("import { nothing } from \"./a.js\";", "a.js does not export nothing"),
        ("import { a } from \"./missing.js\";", "there is no file missing.js"),
        ("const text = \"no end", "a string does not end in its line"),
        ("const f = (a] => a;", "a closing bracket does not match the one that is open"),
        ("const t = `no end", "a template does not end"),
        ("/* no end", "a comment does not end"),
    ] {
        let source = format!("const first = 1;\n{statement}");
        assert_eq!(
            refused(&[("app.js", &source), ("a.js", "export const a = 1;")]),
            format!("app.js:2: {reason}"),
            "{statement}"
        );
    }
    assert_eq!(
        refused(&[("app.js", "export { ghost };")]),
        "app.js:1: ghost is exported but not declared"
    );
}

#[test]
fn circular_import_is_refused() {
    let error = refused(&[
        ("app.js", "import { a } from \"./a.js\";"),
        ("a.js", "import { b } from \"./b.js\";\nexport const a = 1;"),
        ("b.js", "\nimport { a } from \"./a.js\";\nexport const b = 1;"),
    ]);
    assert_eq!(error, "b.js:2: circular import: a.js -> b.js -> a.js");
}

#[test]
fn slash_is_distinguished_as_division_or_regular_expression() {
    let kinds = |source| {
        let tokens =
            tokens(source).expect("tokens").into_iter().filter(|token| token.text.contains('/'));
        tokens.map(|token| token.kind).collect::<Vec<_>>()
    };
    for source in ["a / b", "f() / 2", "x[0] / 2", "1 / 2", "this / 1"] {
        assert_eq!(kinds(source), [Kind::Punctuator], "{source}");
    }
    for source in ["x = /a/g", "f(/a/)", "return /a/", "[/a/]", "`${/a/}`", "!/[/]/", "=> /\\//"] {
        assert_eq!(kinds(source), [Kind::Regex], "{source}");
    }
}

#[test]
fn style_sheets_are_joined_in_the_order_of_their_imports() {
    let files = sources(&[
        ("app.css", "/* all */\n@import \"./styles/a.css\";\n@import \"./styles/b.css\";\n"),
        ("styles/a.css", "a {}\n"),
        ("styles/b.css", "b {}\n"),
    ]);
    let mut used = BTreeSet::new();
    assert_eq!(
        styles::join(&files, "app.css", &mut used).as_deref(),
        Ok("/* all */\na {}\nb {}\n")
    );
    assert_eq!(used, ["styles/a.css", "styles/b.css"].map(str::to_owned).into());
    for (sheet, error) in [
        ("@import \"./none.css\";", "web/none.css: there is no such file"),
        ("@import url(a.css);", "web/app.css:1: expected @import \"./NAME.css\";"),
        ("@import \"./a.css\";\n@import \"./a.css\";", "web/app.css:2: a.css is imported twice"),
    ] {
        let files = sources(&[("app.css", sheet), ("a.css", "a {}")]);
        assert_eq!(styles::join(&files, "app.css", &mut BTreeSet::new()), Err(error.to_owned()));
    }
}
