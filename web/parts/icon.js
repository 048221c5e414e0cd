// The icons of the pages, as inline SVG without styles. An icon is always beside a text with the same meaning. On a phone the
// header hides some of these texts; they stay the accessible names of the links.

const NAMESPACE = "http://www.w3.org/2000/svg";

const PATHS = {
  search: "M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13Zm5 11.5L20 20",
  lock: "M7 11V8a5 5 0 0 1 10 0v3M5.5 11h13v9h-13Z",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 4a8 8 0 1 1 0 16 8 8 0 0 1 0-16Zm0 4v4.5l3 2",
  account: "M12 4.5a3.75 3.75 0 1 1 0 7.5 3.75 3.75 0 0 1 0-7.5ZM5 20a7 7 0 0 1 14 0",
  leave: "M10.5 4.5h-5v15h5M15 8l4 4-4 4M19 12H9.5",
  up: "M12 19V6m-6 6 6-6 6 6",
  card: "M3.5 6.5h17v11h-17Zm0 3.5h17M7 14.5h4",
};

export function icon(name) {
  const svg = document.createElementNS(NAMESPACE, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("focusable", "false");
  const path = document.createElementNS(NAMESPACE, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}
