// Layout errors of a page, found by the boxes of its texts and controls. Both functions run in the page.

/** Returns texts that overlap, are cut off or leave their row, and the overflow of a page that is wider than the window. */
export function faults() {
  const TOLERANCE = 1.5;
  const found = [];
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(`the page is ${wide} px wide in a window of ${innerWidth}`);

  /** Hidden on purpose, for screen readers only. */
  const isSpoken = (element) =>
    element.closest(".visually-hidden, .skip, noscript, title, style, script, option") !== null;

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (node.data.trim() === "" || isSpoken(element)) continue;
    if (!element.checkVisibility({ visibilityProperty: true })) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const size = Number.parseFloat(getComputedStyle(element).fontSize);
    for (const { left, right, top, bottom } of range.getClientRects()) {
      if (right - left < 1 || size < 1) continue;
      // The box of a line is higher than its letters.
      const spare = Math.max(0, (bottom - top - size) / 2);
      texts.push({
        node,
        element,
        left,
        right,
        top: top + spare,
        bottom: bottom - spare,
        words: node.data.trim().slice(0, 30),
      });
    }
  }

  texts.forEach((one, index) => {
    for (const other of texts.slice(index + 1)) {
      if (one.node === other.node) continue;
      const width = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const height = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (width > TOLERANCE && height > TOLERANCE)
        found.push(`“${one.words}” overlaps “${other.words}”`);
    }
  });

  for (const { element, words, left, right, top, bottom } of texts) {
    if (left < -TOLERANCE || right > innerWidth + TOLERANCE)
      found.push(`“${words}” reaches out of the window`);
    for (let box = element; box !== document.body; box = box.parentElement) {
      const style = getComputedStyle(box);
      const holds =
        style.overflow !== "visible" ||
        style.contain.includes("paint") ||
        box.matches(".row, .button, .notice, .nav-link, .tab, .card, .hold, .header");
      if (!holds) continue;
      const edge = box.getBoundingClientRect();
      const out = [edge.left - left, right - edge.right, edge.top - top, bottom - edge.bottom];
      if (out.some((distance) => distance > TOLERANCE))
        found.push(`“${words}” reaches out of .${box.className}`);
    }
  }

  const rows = [...document.querySelectorAll(".row")].map((row) => row.getBoundingClientRect());
  rows.sort((a, b) => a.top - b.top);
  rows.forEach(({ top }, index) => {
    if (index > 0 && top < rows[index - 1].bottom - TOLERANCE) found.push("two rows overlap");
  });

  for (const control of document.querySelectorAll("select, .button")) {
    if (control.scrollWidth > control.clientWidth + TOLERANCE)
      found.push(`the text of .${control.className} is cut off`);
  }
  return [...new Set(found)];
}

/** Returns controls that are smaller than WCAG 2.5.8 requires. Links inside a sentence are exempt. */
export function targets() {
  const SMALLEST = 24;
  const found = [];
  for (const control of document.querySelectorAll(
    "a[href], button, input, select, summary, [tabindex='0']",
  )) {
    if (!control.checkVisibility({ visibilityProperty: true }) || control.matches(".skip"))
      continue;
    // The target of a link is its row; the target of a radio button is its label.
    const area = control.closest(".row, label.card") ?? control;
    const { width, height } = area.getBoundingClientRect();
    const inSentence =
      getComputedStyle(control).display === "inline" &&
      control.parentElement.textContent.trim() !== control.textContent.trim();
    if (!inSentence && (width < SMALLEST - 0.01 || height < SMALLEST - 0.01))
      found.push(`“${control.textContent}” ${control.className}: ${width} by ${height}`);
  }
  return found;
}
