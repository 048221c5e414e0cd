// Addresses: every page has one that can be opened, reloaded and left by the back button; strangers' addresses lead nowhere.

import assert from "node:assert/strict";
import { test } from "node:test";
import { newEmail, PASSWORD } from "./stage/account.mjs";
import { refusal, row, says, stage } from "./stage/stage.mjs";

const on = stage({});

test("every page opens by its address, and after a reload", async (t) => {
  const page = await on.person(t, { signedIn: true });
  for (const [path, heading] of [
    ["/", "Tickets for sale"],
    ["/tickets/new", "Create a ticket"],
    ["/listings", "My listings"],
    ["/orders", "My orders"],
    ["/account", "Account"],
  ]) {
    await page.goto(path);
    await page.getByRole("heading", { name: heading, level: 1 }).waitFor();
    await page.reload();
    await page.getByRole("heading", { name: heading, level: 1 }).waitFor();
    assert.match(await page.title(), /· GitTix$/);
  }
});

test("a private page leads over sign-in, and sign-out leads away", async (t) => {
  const page = await on.person(t);
  await page.goto("/orders");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.equal(new URL(page.url()).search, "?next=%2Forders");
  await page.getByRole("main").getByRole("link", { name: "Sign up" }).click();
  await page.getByRole("heading", { name: "Sign up" }).waitFor();
  await page.getByLabel("Email").fill(newEmail());
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("heading", { name: "My orders" }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Tickets for sale", exact: true }).waitFor();
  await page
    .getByRole("navigation", { name: "Main" })
    .getByRole("link", { name: "Sign in" })
    .waitFor();
});

test("the way back from a ticket leads to the same place in a long list", async (t) => {
  const seller = await on.account("seller");
  await seller.listMany(
    140,
    (index) => `Marathon Show ${index}`,
    () => 20,
  );
  const page = await on.person(t);
  await page.goto("/?q=marathon");
  await page.locator(".row").first().waitFor();
  for (let flicks = 0; flicks < 4; flicks += 1) {
    await page.mouse.wheel(0, 1_800);
    await page.waitForFunction(() => document.querySelectorAll(".row").length > 0);
  }
  await page.waitForFunction(() => scrollY > 5_000 && history.state?.y === scrollY);
  const [title, top] = await page.evaluate(() => {
    const seen = [...document.querySelectorAll(".row")].find(
      (one) => one.getBoundingClientRect().top > 200,
    );
    return [seen.querySelector(".row-title").textContent, seen.getBoundingClientRect().top];
  });
  await page.getByRole("link", { name: title, exact: true }).click();
  await page.locator(".pass").waitFor();
  await page.goBack();
  await page.getByRole("link", { name: title, exact: true }).waitFor();
  const after = await row(page, title)
    .filter({ has: page.getByText(title, { exact: true }) })
    .evaluate((one) => one.getBoundingClientRect().top);
  assert.equal(Math.round(after), Math.round(top));
});

test("an address of nothing says so", async (t) => {
  const page = await on.person(t, { expected: [refusal(404)] });
  for (const path of [
    "/nowhere",
    "/tickets/none",
    "/tickets/00000000-0000-7000-8000-000000000000",
  ]) {
    await page.goto(path);
    await says(page.locator("h1"), "Page not found", 5_000);
  }
});

test("sign-in sends nobody to another site", async (t) => {
  const page = await on.person(t, { signedIn: true });
  for (const next of ["https://example.com/", "//example.com/", "/\\example.com/"]) {
    await page.goto(`/signin?next=${encodeURIComponent(next)}`);
    await page.getByRole("heading", { name: "Tickets for sale", exact: true }).waitFor();
    assert.equal(new URL(page.url()).origin, on.server.origin);
  }
});
