// Shows the line "This page could not be loaded completely" as soon as it is known that the page's script will not run: it
// could not be loaded, or it failed as it began. A script of its own, of the kind that every browser runs. Without it the
// style sheet shows the line after some seconds (styles/served.css).
{
  const state = document.documentElement.dataset;
  const fail = () => {
    if (!state.app) state.app = "failed";
  };
  addEventListener("error", ({ target }) => target instanceof HTMLScriptElement && fail(), true);
  addEventListener("load", fail); // the scripts have run by then, or never will
}
