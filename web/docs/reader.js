// Shows the OpenAPI document in Swagger UI, in the last section of the page. Swagger UI is large: it is loaded when the section
// comes near the window, or when an address requests an operation (`#/tag/operation`, as in the index).

const reader = part("reader");
const line = part("reader-status");
/** Distance from the window at which the section is loaded: the height of one window. */
const LOAD_MARGIN = "100%";

/** The started instance of Swagger UI. @type {any} */
let ui = null;
/** Whether the load of Swagger UI has begun. */
let isLoadStarted = false;
/** The operation to scroll to when it is in the document. @type {{ tag: string, id: string } | null} */
let wanted = null;

/**
 * Writes the last opened operation into the address. The option `deepLinking` of Swagger UI does the same, but adds two history
 * entries for each operation, and reads the address only at its start.
 */
const AddressPlugin = {
  statePlugins: {
    layout: {
      wrapActions: {
        show: (original) => (thing, isShown) => {
          const [kind, tag, id] = thing;
          if (kind === "operations" && isShown)
            history.replaceState(history.state, "", `#/${tag}/${id}`);
          return original(thing, isShown);
        },
      },
    },
  },
};

/**
 * Removes parts of Swagger UI without a function here (the page has its own title, one server, and a session cookie), and links
 * inside buttons, which keyboards and screen readers cannot use reliably.
 */
const LayoutPlugin = ({ React }) => {
  const nothing = () => () => null;
  return {
    wrapComponents: {
      DeepLink:
        () =>
        ({ text }) =>
          React.createElement("span", null, text),
      InfoContainer: nothing,
      ServersContainer: nothing,
      authorizeBtn: nothing,
      authorizeOperationBtn: nothing,
    },
  };
};

/** Attributes that keyboards and screen readers need and Swagger UI lacks: selector, attribute, value. */
const ADDED_ATTRIBUTES = [
  [".copy-to-clipboard button", "aria-label", "Copy"],
  ["textarea.body-param__text", "aria-label", "Request body"],
  ["pre.microlight", "tabindex", "0"],
  ["table[role=region]", "role", "table"],
];

/** Adds the attributes to all current and future elements of Swagger UI, and scrolls to the wanted operation. */
function addAttributes(root) {
  const apply = () => {
    for (const [selector, attribute, value] of ADDED_ATTRIBUTES)
      for (const element of root.querySelectorAll(selector)) element.setAttribute(attribute, value);
    scrollToWanted();
  };
  new MutationObserver(apply).observe(root, { childList: true, subtree: true });
  apply();
}

/** Returns an element that the page always has. */
function part(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** Adds an element that loads a file. Resolves when the file is loaded. */
function loaded(element) {
  return new Promise((done, failed) => {
    element.onload = done;
    element.onerror = () => failed(new Error("a file could not be loaded"));
    document.head.append(element);
  });
}

function stylesheet(href) {
  return loaded(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
}

function script(src) {
  return loaded(Object.assign(document.createElement("script"), { src }));
}

/** Applies the dark theme of Swagger UI, which is a class of the root element. */
function followColorScheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", apply);
  apply();
}

/** Loads Swagger UI, once. */
async function load() {
  if (isLoadStarted) return;
  isLoadStarted = true;
  observer.disconnect();
  line.textContent = "Loading the operations…";
  try {
    followColorScheme();
    await Promise.all([stylesheet(reader.dataset.style), script(reader.dataset.script)]);
    addAttributes(part("swagger-ui"));
    ui = globalThis.SwaggerUIBundle({
      url: "/api/openapi.json",
      dom_id: "#swagger-ui",
      plugins: [LayoutPlugin, AddressPlugin],
      displayRequestDuration: true,
      syntaxHighlight: { theme: "obsidian" }, // the default theme has too little contrast
      defaultModelsExpandDepth: 0,
      validatorUrl: null,
      onComplete: () => {
        line.textContent = "";
      },
    });
    openWanted();
  } catch (error) {
    line.textContent = `The operations could not be shown (${error}). Reload the page to try again.`;
  }
}

/** Opens the operation that an address requests, and scrolls to it. */
function follow(address) {
  const [, tag, id] = /^#\/([^/]+)\/([^/]+)$/.exec(address) ?? [];
  if (!id) return;
  wanted = { tag, id };
  if (!ui) reader.scrollIntoView(); // shows the loading message
  load();
  openWanted();
}

function openWanted() {
  if (!ui || !wanted) return;
  const { tag, id } = wanted;
  ui.layoutActions.show(["operations-tag", tag], true);
  ui.layoutActions.show(["operations", tag, id], true);
  scrollToWanted();
}

function scrollToWanted() {
  const operation = wanted && document.getElementById(`operations-${wanted.tag}-${wanted.id}`);
  if (!operation) return;
  wanted = null;
  operation.scrollIntoView();
  const control = /** @type {HTMLElement | null} */ (
    operation.querySelector(".opblock-summary-control")
  );
  control?.focus({ preventScroll: true });
}

const observer = new IntersectionObserver(
  (entries) => {
    if (entries.some(({ isIntersecting }) => isIntersecting)) load();
  },
  { rootMargin: `${LOAD_MARGIN} 0px` },
);
observer.observe(reader);
addEventListener("hashchange", () => follow(location.hash));
// A click on a link to the current address does not change it, but the operation may be out of view or closed.
part("rest").addEventListener("click", ({ target }) => {
  const link = /** @type {Element} */ (target).closest("a");
  if (link?.hash === location.hash) follow(link.hash);
});
follow(location.hash);
