// Layout by geometry: no page overlaps, cuts off content or scrolls sideways, at any width, with WCAG's text spacing, with
// enlarged text, and in print.

import assert from "node:assert/strict";
import { test } from "node:test";
import { refusal, testEnvironment } from "./support/environment.mjs";
import { faults, targets } from "./support/geometry.mjs";
import { TITLE_64, TITLE_200, tour, tourWorld } from "./support/tour.mjs";

const env = testEnvironment({});
const REFUSALS = [refusal(400, 402, 404), /WebSocket/];

/** Higher than any page, so that fixed elements cover nothing. */
const HEIGHT = 3_500;

/** 640 equals 1280 at a zoom of 200 %, and 320 equals 1280 at 400 %. */
const WIDTHS = [320, 390, 640, 1280, 2560];

/** WCAG 1.4.12, with the values of its test bookmarklet. */
const TEXT_SPACING = `* { line-height: 1.5 !important; letter-spacing: 0.12em !important; word-spacing: 0.16em !important; }
  p { margin-bottom: 2em !important; }`;
/** WCAG 1.4.4: text of twice the size in an unchanged window. */
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

/** Results of one tour, shared by several tests. */
let found = null;

/** Visits every scene. Measures it in each layout, and its controls on the smallest phone. */
async function measure(t) {
  const page = await env.openPage(t, { expected: REFUSALS });
  const results = { scenes: 0, faults: [], targets: [] };
  await tour(page, await tourWorld(env.account), async (scene) => {
    results.scenes += 1;
    for (const { name, width, css } of LAYOUTS) {
      await inLayout(page, { width, css }, async () => {
        for (const fault of await page.evaluate(faults))
          results.faults.push(`${scene}, ${name}: ${fault}`);
        if (name !== LAYOUTS[0].name) return;
        for (const target of await page.evaluate(targets))
          results.targets.push(`${scene}: ${target}`);
      });
    }
  });
  return results;
}

test("no page overlaps, cuts off or scrolls sideways at any width, text spacing or text size", async (t) => {
  found ??= await measure(t);
  assert.ok(found.scenes >= 29, `${found.scenes} scenes`);
  assert.deepEqual(found.faults, []);
});

test("every control on every page is at least 24 by 24 pixels", async (t) => {
  found ??= await measure(t);
  assert.deepEqual(found.targets, []);
});

for (const size of [
  { width: 320, height: 480 },
  { width: 390, height: 700 },
  { width: 1280, height: 700 },
]) {
  test(`message about a lost connection covers no control, ${size.width} px wide`, async (t) => {
    const seller = await env.account("seller");
    const ticket = await seller.list("Unplugged Show", 20);
    const page = await env.openPage(t, { signedIn: true, size, expected: REFUSALS });
    await page.routeWebSocket("**/ws*", (socket) => socket.close());
    await page.goto(`/tickets/${ticket.id}`);
    await page.locator(".buy .button-primary").click();
    await page.locator(".hold-figures").waitFor();
    await page.getByRole("radio").first().waitFor();
    await page.locator("#connection").waitFor({ state: "visible" });
    const controls = page.locator("main :is(a, button, label.card)");
    assert.ok((await controls.count()) > 6);
    const covered = await controls.evaluateAll((all) => {
      const line = document.getElementById("connection").getBoundingClientRect();
      return all
        .filter((control) => control.checkVisibility())
        .filter((control) => {
          const box = control.getBoundingClientRect();
          return box.top < line.bottom && box.bottom > line.top;
        })
        .map((control) => control.textContent);
    });
    assert.deepEqual(covered, []);
    // Every control can be clicked after scrolling to it.
    for (const control of await controls.all()) {
      if (!(await control.isVisible())) continue;
      await control.scrollIntoViewIfNeeded();
      await control.click({ trial: true });
    }
  });
}

test("printed ticket and order are one light page without navigation, and a printed list has all rows", async (t) => {
  const seller = await env.account("seller");
  await seller.listMany(
    45,
    (index) => `Printed ${index} ${TITLE_64}`,
    () => 20,
  );
  const long = await seller.list(TITLE_200, 20);
  const page = await env.openPage(t, { signedIn: true, scheme: "dark" });

  await page.goto(`/tickets/${long.id}`);
  await page.locator(".buy").waitFor();
  assert.equal(await pagesPrinted(page), 1);
  await page.locator(".buy .button-primary").click();
  await page.locator(".hold-figures").waitFor();
  await page.getByRole("radio").first().waitFor();
  assert.equal(await pagesPrinted(page), 1);
  await page.locator(".pay-dock .button-primary").click();
  await page.locator(".outcome .notice-good").waitFor();
  assert.equal(await pagesPrinted(page), 1);
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  for (const shown of [".pass h1", ".outcome .notice p", ".attempts li"])
    assert.equal(await page.locator(shown).first().isVisible(), true, shown);
  for (const hidden of [".header", ".footer", ".crumb", ".notice-actions"])
    assert.equal(await page.locator(hidden).first().isVisible(), false, hidden);
  assert.deepEqual(
    await page.evaluate(() => [
      getComputedStyle(document.documentElement).backgroundColor,
      getComputedStyle(document.querySelector(".outcome .notice p")).color,
    ]),
    ["rgb(255, 255, 255)", "rgb(23, 19, 31)"],
  );

  await page.emulateMedia({ media: null, colorScheme: "dark" });
  await page.goto("/?q=printed");
  await page.locator(".row").first().waitFor();
  await page.evaluate(() => {
    const count = () => document.querySelectorAll(".row").length;
    globalThis.rowsBefore = count();
    addEventListener("beforeprint", () => {
      globalThis.rowsPrinted = count();
    });
  });
  assert.ok((await pagesPrinted(page)) <= 4);
  const [before, printed] = await page.evaluate(() => [
    globalThis.rowsBefore,
    globalThis.rowsPrinted,
  ]);
  assert.ok(before < 45, "the window contains only a part of the list");
  assert.equal(printed, 45);

  await page.setViewportSize({ width: 700, height: 1_000 });
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  await page.emulateMedia({ media: "print", colorScheme: "dark" });
  assert.deepEqual(await page.evaluate(faults), []);
});

test("forced colours replace meaningful backgrounds and shadows with borders", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Contrast Show", 20);
  const page = await env.openPage(t, { signedIn: true });
  await page.emulateMedia({ forcedColors: "active" });
  const border = (selector, side = "Bottom") =>
    page
      .locator(selector)
      .first()
      .evaluate(
        (element, name) => Number.parseFloat(getComputedStyle(element)[`border${name}Width`]),
        side,
      );
  await page.goto("/tickets/new");
  await page.locator(".tab[aria-current]").waitFor();
  assert.ok((await border(".tab[aria-current]")) >= 2, "the tab of the current page has a border");
  assert.ok(
    (await border(".nav-link[aria-current]")) >= 2,
    "the link of the current page has a border",
  );
  await page.goto(`/tickets/${ticket.id}`);
  await page.locator(".buy .button-primary").click();
  await page.locator(".hold-figures").waitFor();
  assert.ok((await border(".hold")) >= 1, "the box of the remaining time has a border");
  assert.ok((await border(".pass")) >= 1, "the ticket card has a border");
  const [bar, canvas] = await page.evaluate(() => [
    getComputedStyle(document.querySelector(".hold-bar-left")).backgroundColor,
    getComputedStyle(document.documentElement).backgroundColor,
  ]);
  assert.notEqual(bar, canvas, "the bar of the remaining time is visible");
});

test("reduced motion stops animations and transitions", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Still Show", 20);
  const page = await env.openPage(t, { signedIn: true, expected: REFUSALS });
  await page.emulateMedia({ reducedMotion: "reduce" });
  await page.goto(`/tickets/${ticket.id}`);
  await page.locator(".buy .button-primary").click();
  await page.locator(".hold-figures").waitFor();
  const longest = await page.evaluate(() =>
    Math.max(
      ...[...document.querySelectorAll("*")].map((element) => {
        const { transitionDuration, animationDuration } = getComputedStyle(element);
        return Math.max(
          Number.parseFloat(transitionDuration),
          Number.parseFloat(animationDuration),
        );
      }),
    ),
  );
  assert.ok(longest <= 0.001, `${longest} s`);
});

/** Returns the number of printed pages. */
async function pagesPrinted(page) {
  const pdf = (await page.pdf({ format: "A4" })).toString("latin1");
  return pdf.match(/\/Type\s*\/Page\b(?!s)/g).length;
}

async function inLayout(page, { width, css = "" }, check) {
  const before = page.viewportSize();
  await page.setViewportSize({ width, height: HEIGHT });
  // A constructed style sheet, because the policy of the pages allows no other.
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

/** Waits for two frames, after which size observers have run. */
function nextFrames(page) {
  return page.evaluate(
    () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done()))),
  );
}
