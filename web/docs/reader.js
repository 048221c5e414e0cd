// Shows the OpenAPI document in Swagger UI, which is loaded once its section comes into view: a visitor who follows a link
// to an error code or to the WebSocket does not wait for it.

const rest = part("rest");
const line = part("rest-status");

/**
 * Leaves out parts of Swagger UI that would do nothing here (the page has a title of its own, one server, and a session
 * cookie), and the links inside of buttons, which keyboards and screen readers do not get along with.
 */
const Fitted = ({ React }) => {
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

/** What Swagger UI's elements lack for keyboards and screen readers: a selector, an attribute, its value. */
const REPAIRS = [
  [".copy-to-clipboard button", "aria-label", "Copy"],
  ["textarea.body-param__text", "aria-label", "Request body"],
  ["pre.microlight", "tabindex", "0"],
  ["table[role=region]", "role", "table"],
];

/** Adds what elements lack, now and whenever Swagger UI adds others. */
function repair(root) {
  const apply = () => {
    for (const [selector, attribute, value] of REPAIRS)
      for (const element of root.querySelectorAll(selector)) element.setAttribute(attribute, value);
  };
  new MutationObserver(apply).observe(root, { childList: true, subtree: true });
  apply();
}

/** An element that the page always has. */
function part(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** Adds an element that loads a file, and waits for the file. */
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

/** Swagger UI has a dark theme under a class of the root element. */
function followColorScheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
  dark.addEventListener("change", apply);
  apply();
}

async function showRest() {
  line.textContent = "Loading the operations…";
  try {
    followColorScheme();
    await Promise.all([stylesheet(rest.dataset.style), script(rest.dataset.script)]);
    repair(part("swagger-ui"));
    globalThis.SwaggerUIBundle({
      url: "/api/openapi.json",
      dom_id: "#swagger-ui",
      plugins: [Fitted],
      deepLinking: true,
      displayRequestDuration: true,
      syntaxHighlight: { theme: "obsidian" }, // the default theme has too little contrast
      defaultModelsExpandDepth: 0,
      validatorUrl: null,
      onComplete: () => line.remove(),
    });
  } catch (error) {
    line.textContent = `The operations could not be shown (${error}). Reload the page to try again.`;
  }
}

// Before the section is looked at: else it would be in view while the browser has not scrolled to the address's anchor yet.
document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
const observer = new IntersectionObserver((entries) => {
  if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
  observer.disconnect();
  showRest();
});
observer.observe(rest);
