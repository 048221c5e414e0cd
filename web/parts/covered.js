// How much of the window the header covers, as the custom property `--covered-top`: what gets the focus is scrolled to a
// place below it, however high the header is. Its height depends on the user's text size and on the connection's line.

import { shellElement } from "../core/dom.js";

export function watchCoveredTop() {
  const header = shellElement("header");
  const measure = () => {
    const sticks = getComputedStyle(header).position === "sticky";
    const covered = sticks ? header.offsetHeight : 0;
    document.documentElement.style.setProperty("--covered-top", `${covered}px`);
  };
  new ResizeObserver(measure).observe(header);
  addEventListener("resize", measure);
}
