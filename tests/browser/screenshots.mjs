// `node screenshots.mjs <folder>`: takes the pictures of the README: phone, desktop, and two browsers side by side. Also makes
// web/preview.png, the picture of link previews.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Account, PASSWORD } from "./support/account.mjs";
import { connected, DESKTOP, launch, PHONE, row } from "./support/environment.mjs";
import { Server } from "./support/server.mjs";

const [folder] = process.argv.slice(2);
const OFFERS = [
  ["Opera: The Magic Flute, balcony", 120],
  ["Tennis Final, Centre Court", 250],
  ["Comedy Club, two seats together", 19.99],
  ["Football Game", 40],
  ["Jazz Night at the Old Harbour", 65.5],
  ["Musical Matinee, row 4", 85],
  ["Ice Hockey Play-off", 55],
  ["Rock Concert", 100],
  ["Classical Concert", 100],
  ["Basketball Game", 20],
];

const server = new Server();
await server.start();
const browser = await launch();
try {
  const seller = await Account.signUp(server.origin, "seller");
  const rival = await Account.signUp(server.origin, "rival");
  const tickets = {};
  for (const [title, price] of OFFERS) tickets[title] = await seller.list(title, price);
  await rival.lock(tickets["Ice Hockey Play-off"]);
  await phone(tickets);
  await desktop(tickets);
  await sideBySide(tickets);
  await preview();
} finally {
  await browser.close();
  await server.stop();
}

async function preview() {
  const page = await browser.newPage({ viewport: { width: 1200, height: 630 } });
  await page.goto(new URL("support/preview.html", import.meta.url).href);
  await page.screenshot({ path: fileURLToPath(new URL("../../web/preview.png", import.meta.url)) });
}

async function phone(tickets) {
  const page = await openPage(PHONE, "light");
  const shot = (name) => page.screenshot({ path: join(folder, `phone-${name}.png`) });
  await list(page);
  await shot("list");
  await page.goto("/signup");
  await page.getByRole("button", { name: "Create account" }).waitFor();
  await shot("sign-up");
  await signUp(page, "ada@example.com");
  await page.goto(`/tickets/${tickets["Comedy Club, two seats together"].id}`);
  await page.getByRole("button", { name: "Buy" }).waitFor();
  await connected(page);
  await shot("ticket");
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  await shot("order");
  await page.getByRole("button", { name: /^Pay/ }).click();
  await page.locator(".notice-good").waitFor();
  await shot("paid");
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("Open Air Cinema, any seat");
  await page.getByLabel("Price").fill("14.50");
  await shot("create");
  await page.context().close();
}

async function desktop(tickets) {
  const page = await openPage(DESKTOP, "dark");
  const shot = (name) => page.screenshot({ path: join(folder, `desktop-${name}.png`) });
  await signUp(page, "grace@example.com");
  await list(page);
  await shot("list");
  await page.goto(`/tickets/${tickets["Tennis Final, Centre Court"].id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  await shot("order");
  await page.goto("/orders");
  await row(page, "Tennis Final").waitFor();
  await shot("orders");
  await page.context().close();
}

/** Takes a picture of two windows: the buyer's and another user's. */
async function sideBySide(tickets) {
  const size = { width: 620, height: 720 };
  const [buyer, otherUser] = [await openPage(size, "light"), await openPage(size, "light")];
  await signUp(buyer, "linus@example.com");
  await list(otherUser);
  await buyer.goto(`/tickets/${tickets["Rock Concert"].id}`);
  await buyer.getByRole("button", { name: "Buy" }).click();
  await buyer.locator(".hold-figures").waitFor();
  await row(otherUser, "Rock Concert").filter({ hasText: "Locked" }).waitFor();
  const [left, right] = await Promise.all([buyer.screenshot(), otherUser.screenshot()]);
  const frame = await browser.newPage({ viewport: { width: 1312, height: 800 } });
  const markup = await readFile(new URL("support/side-by-side.html", import.meta.url), "utf8");
  await frame.setContent(
    markup
      .replace("{{left}}", left.toString("base64"))
      .replace("{{right}}", right.toString("base64")),
  );
  await frame.waitForFunction(() =>
    [...document.images].every((image) => image.complete && image.naturalWidth > 0),
  );
  await frame.screenshot({ path: join(folder, "two-browsers.png") });
  await frame.close();
}

async function openPage(size, scheme) {
  const touch = size === PHONE;
  const context = await browser.newContext({
    baseURL: server.origin,
    viewport: size,
    colorScheme: scheme,
    locale: "en-US",
    isMobile: touch,
    hasTouch: touch,
  });
  return context.newPage();
}

async function list(page) {
  await page.goto("/");
  await connected(page);
  await row(page, "Football Game").waitFor();
}

async function signUp(page, email) {
  await page.goto("/signup");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("link", { name: "My orders" }).waitFor();
}
