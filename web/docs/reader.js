// Reads the server's own OpenAPI and AsyncAPI documents and lays them out. Everything is set as text, never as markup.

const METHODS = ["get", "post", "put", "delete"];

/** An element with attributes and children; strings become text. */
function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** Text in which `code` is marked by backticks. */
function prose(text = "") {
  return text.split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

function table(head, rows) {
  const cells = (tag, row) => el("tr", {}, ...row.map((cell) => el(tag, {}, ...[cell].flat())));
  return el(
    "table",
    {},
    el("thead", {}, cells("th", head)),
    el("tbody", {}, ...rows.map((row) => cells("td", row))),
  );
}

/** Follows a reference within its document. */
function resolve(root, value) {
  if (!value?.$ref) return value;
  const path = value.$ref
    .slice(2)
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return path.reduce((node, key) => node?.[key], root);
}

/** A schema as one short line. */
function shape(schema = {}) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  const several = schema.oneOf ?? schema.anyOf;
  if (several) return several.map(shape).join(" or ");
  if (schema.allOf) return schema.allOf.map(shape).join(" and ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.type === "array") return `list of ${shape(schema.items)}`;
  const type = [schema.type ?? "anything"].flat().join(" or ");
  const bounds = [
    schema.format,
    schema.minimum !== undefined && `from ${schema.minimum}`,
    schema.maximum !== undefined && `to ${schema.maximum}`,
    schema.minLength !== undefined && `at least ${schema.minLength} characters`,
    schema.maxLength !== undefined && `at most ${schema.maxLength} characters`,
  ].filter(Boolean);
  return bounds.length ? `${type} (${bounds.join(", ")})` : type;
}

/** The members of an object's schema, its parts put together. */
function members(root, schema) {
  const whole = resolve(root, schema) ?? {};
  const parts = (whole.allOf ?? []).map((part) => members(root, part));
  const own = Object.entries(whole.properties ?? {}).map(([name, value]) => ({
    name,
    value,
    required: whole.required?.includes(name),
  }));
  return [...parts.flat(), ...own];
}

function memberTable(root, schema) {
  const rows = members(root, schema).map(({ name, value, required }) => [
    el("code", {}, required ? name : `${name}?`),
    shape(value),
    prose(value.description ?? resolve(root, value)?.description),
  ]);
  return rows.length ? table(["Member", "Type", ""], rows) : "";
}

function operation(root, path, method, it) {
  const summary = el(
    "summary",
    {},
    el("span", { class: "method" }, method),
    el("code", {}, path),
    ` ${it.summary ?? ""}`,
  );
  const box = el(
    "details",
    { id: it.operationId },
    summary,
    el("p", {}, ...prose(it.description ?? "")),
  );
  if (it.parameters?.length) {
    const rows = it.parameters.map((one) => [
      el("code", {}, one.name),
      one.in,
      shape(one.schema),
      prose(one.description),
    ]);
    box.append(table(["Parameter", "In", "Type", ""], rows));
  }
  const body = it.requestBody?.content?.["application/json"]?.schema;
  if (body) box.append(el("h4", {}, "Body"), memberTable(root, body) || shape(body));
  const answers = Object.entries(it.responses).map(([status, answer]) => {
    const schemas = Object.values(answer.content ?? {}).map((content) => shape(content.schema));
    return [
      status,
      prose(answer.description),
      schemas.join(", "),
      Object.keys(answer.headers ?? {}).join(", "),
    ];
  });
  box.append(el("h4", {}, "Answers"), table(["Status", "Meaning", "Body", "Headers"], answers));
  return box;
}

function rest(section, root) {
  section.append(el("p", {}, ...prose(root.info.description)));
  for (const tag of root.tags) {
    section.append(el("h3", {}, tag.name), el("p", {}, ...prose(tag.description)));
    for (const [path, item] of Object.entries(root.paths))
      for (const method of METHODS.filter((method) => item[method]?.tags?.includes(tag.name)))
        section.append(operation(root, path, method, item[method]));
  }
  section.append(el("h3", {}, "Shapes"));
  for (const [name, schema] of Object.entries(root.components.schemas))
    section.append(
      el(
        "details",
        { id: `shape-${name}` },
        el("summary", {}, el("code", {}, name)),
        el("p", {}, ...prose(schema.description)),
        memberTable(root, schema) || shape(schema),
      ),
    );
}

function socket(section, root) {
  section.append(el("p", {}, ...prose(root.info.description)));
  for (const [name, message] of Object.entries(root.components?.messages ?? {})) {
    const payload = resolve(root, message.payload);
    section.append(
      el(
        "details",
        { id: `message-${name}` },
        el("summary", {}, el("code", {}, name), ` ${message.summary ?? message.title ?? ""}`),
        el("p", {}, ...prose(message.description ?? payload?.description)),
        memberTable(root, payload),
        el("pre", {}, JSON.stringify(payload, null, 2)),
      ),
    );
  }
}

function problems(section, root) {
  section.append(
    el("p", {}, "Every refusal has a stable code; its ", el("code", {}, "type"), " links here."),
  );
  const seen = new Set();
  const rows = root["x-problems"].map(({ code, status, title }) => {
    const id = seen.has(code) ? {} : { id: code };
    seen.add(code);
    return [el("code", id, code), String(status), title];
  });
  section.append(table(["Code", "Status", "Meaning"], rows));
}

async function load(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return answer.json();
}

/** Opens and shows what the address names, now that it is there. */
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) target.open = true;
  target?.scrollIntoView();
}

const line = document.getElementById("status");
try {
  const [openapi, asyncapi] = await Promise.all([
    load("/api/openapi.json"),
    load("/api/asyncapi.json"),
  ]);
  rest(document.getElementById("rest"), openapi);
  socket(document.getElementById("socket"), asyncapi);
  problems(document.getElementById("problems"), openapi);
  line?.remove();
  addEventListener("hashchange", reveal);
  reveal();
} catch (error) {
  if (line) line.textContent = `The documents could not be loaded: ${error}`;
}
