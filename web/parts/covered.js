// The height of the window that the header covers, as the custom property `--covered-top`, so that a focused element is
// scrolled to a position below the header. The height depends on the text size and on the message about the connection.

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
