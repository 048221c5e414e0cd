// Code that runs even if the modules of the pages do not: they may be missing, or too new for an old browser. This is a classic
// script in ECMAScript 2015.
//
// If this script does not run, the style sheet shows the line "This page could not be loaded completely" after some seconds
// (styles/served.css).
{
  /** `Object.hasOwn` exists in every browser from the oldest version on that web/README.md names. */
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

  // Shows the line when the script of the page could not be loaded or failed at its start.
  const fail = () => {
    if (!root.dataset.app) root.dataset.app = "failed";
  };
  addEventListener("error", ({ target }) => target instanceof HTMLScriptElement && fail(), true);
  addEventListener("load", fail); // all scripts have run by then, or failed
}
