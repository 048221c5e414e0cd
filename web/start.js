// What must run although the page's modules may not: they may be missing, or too new for an old browser. A classic script in
// ECMAScript 2015.
//
// Without this script, the style sheet shows the line "This page could not be loaded completely" after some seconds
// (styles/served.css).
{
  /** Every browser has `Object.hasOwn` from the oldest version on that web/README.md names. */
  const isTooOld = typeof Object.hasOwn !== "function";
  const root = document.documentElement;

  if (isTooOld) {
    const line = document.createElement("p");
    line.className = "old-browser";
    line.setAttribute("role", "alert");
    line.appendChild(
      document.createTextNode(
        "This browser is too old for GitTix. Please update it, or use another one: Chrome or Edge 93, Firefox 92, Safari 15.4, or newer.",
      ),
    );
    document.body.insertBefore(line, document.getElementById("main"));
  }

  // Shows the line as soon as it is known that the page's script will not run: it could not be loaded, or it failed as it began.
  const fail = () => {
    if (!root.dataset.app) root.dataset.app = "failed";
  };
  addEventListener("error", ({ target }) => target instanceof HTMLScriptElement && fail(), true);
  addEventListener("load", fail); // the scripts have run by then, or never will
}
