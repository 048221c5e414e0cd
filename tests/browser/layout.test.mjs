// Layout by geometry: on every page nothing overlaps, is cut off or scrolls sideways, in any width, with WCAG's text spacing,
// with enlarged text, and on paper.

import assert from "node:assert/strict";
import { test } from "node:test";
import { faults, targets } from "./stage/geometry.mjs";
import { PHONE, connected, refusal, says, stage } from "./stage/stage.mjs";
import { TITLE_200, TITLE_64, WORD_200, tour, tourWorld } from "./stage/tour.mjs";

const on = stage({});
const REFUSALS = [refusal(400, 402, 404), /WebSocket/];

/** Higher than any page, so that nothing is covered by what stays in place while the page scrolls. */
const HEIGHT = 3_500;

/** 640 wide is also 1280 at a zoom of 200 %, 320 is 1280 at 400 %. */
const WIDTHS = [320, 390, 640, 1280, 2560];

/** WCAG 1.4.12, as its own test bookmarklet sets it. */
const TEXT_SPACING = `* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important; }
  p { margin-bottom: 2em !important; }`;

/** WCAG 1.4.4: text of twice the size, in a window that stays as it is. */
const TEXT_200 = ":root { font-size: 200% !important; }";

const LAYOUTS = [
  ...WIDTHS.map((width) => ({ name: `${width} px`, width })),
  ...[320, 640, 1280].map((width) => ({
    name: `${width} px, text spacing`,
    width,
    css: TEXT_SPACING,
  })),
  ...[640, 1280].map((width) => ({ name: `${width} px, text of 200 %`, width, css: TEXT_200 })),
];

test("every page in every width, text spacing and text size has nothing that overlaps, is cut off or scrolls sideways", async (t) => {
  const page = await on.person(t, { expected: REFUSALS });
  const scenes = [];
  await tour(page, await tourWorld(on.account), async (scene) => {
    scenes.push(scene);
    for (const { name, width, css } of LAYOUTS) {
      await inLayout(page, { width, css }, async () => {
        assert.deepEqual(await page.evaluate(faults), [], `${scene}, ${name}`);
      });
    }
  });
  assert.ok(scenes.length >= 28, `${scenes.length} scenes`);
});

test("every control on every page is at least 24 by 24 pixels", async (t) => {
  const page = await on.person(t, { size: { width: 320, height: 700 }, expected: REFUSALS });
  await tour(page, await tourWorld(on.account), async (scene) => {
    assert.deepEqual(await page.evaluate(targets), [], scene);
  });
});

async function inLayout(page, { width, css = "" }, check) {
  const before = page.viewportSize();
  await page.setViewportSize({ width, height: HEIGHT });
  // A sheet of the document itself: the policy of the pages allows no other.
  await page.evaluate((text) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(text);
    document.adoptedStyleSheets = [sheet];
  }, css);
  await nextFrames(page);
  await check();
  await page.evaluate(() => {
    document.adoptedStyleSheets = [];
  });
  await page.setViewportSize(before);
  await nextFrames(page);
}

/** Observers of sizes have run after the second frame. */
function nextFrames(page) {
  return page.evaluate(
    () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done()))),
  );
}
