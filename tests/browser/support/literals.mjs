// The string literals of a JavaScript source, for tests that look for texts.

const COMMENT = /\/\*[\s\S]*?\*\/|\/\/.*/;
const IMPORT = /^\s*(?:import|export)\b[^;]*? from .*/;
/** A regular expression. A slash begins one only where a value may be. */
const PATTERN = /(?<=[(,=:[!&|?{};]\s*)\/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/\w*/;
/** Calls whose texts only developers read. */
const FOR_DEVELOPERS = /(?:new Error|console\.\w+)\(\s*(?=["`])/;
const STRING = /"(?:\\.|[^"\\\n])*"/;
const TOKEN = [COMMENT, IMPORT, PATTERN, FOR_DEVELOPERS, STRING, /`/]
  .map(({ source }) => `(${source})`)
  .join("|");

/** Returns the values of all strings and of the fixed parts of all templates, without comments, imports and error messages. */
export function literalsOf(source) {
  const found = [];
  readCode(source, 0, found, false);
  return found;
}

/** Reads code from `start`, in a template up to the brace that ends its expression. Returns the end position. */
function readCode(source, start, found, inTemplate) {
  const token = new RegExp(TOKEN, "my");
  let position = start;
  let depth = 0;
  while (position < source.length) {
    token.lastIndex = position;
    const [match, , , , forDevelopers, string] = token.exec(source) ?? [];
    if (match === "`") position = readTemplate(source, position + 1, found);
    else if (forDevelopers) position = readText(source, position + match.length, []);
    else if (match) {
      if (string) found.push(string.slice(1, -1));
      position += match.length;
    } else {
      if (inTemplate && source[position] === "}" && depth === 0) return position + 1;
      depth += { "{": 1, "}": -1 }[source[position]] ?? 0;
      position += 1;
    }
  }
  return position;
}

/** Reads one string or template. */
function readText(source, start, found) {
  if (source[start] === "`") return readTemplate(source, start + 1, found);
  const string = new RegExp(STRING, "y");
  string.lastIndex = start;
  found.push(string.exec(source)[0].slice(1, -1));
  return string.lastIndex;
}

function readTemplate(source, start, found) {
  let position = start;
  let text = "";
  while (source[position] !== "`") {
    if (source.startsWith("${", position)) {
      found.push(text);
      text = "";
      position = readCode(source, position + 2, found, true);
    } else {
      text += source[position];
      position += source[position] === "\\" ? 2 : 1;
    }
  }
  found.push(text);
  return position + 1;
}
