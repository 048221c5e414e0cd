// Addresses: every page can be opened, reloaded and left with the back button. Addresses of other sites are not followed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { newEmail, PASSWORD } from "./support/account.mjs";
import { refusal, row, says, signIn, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});

test("every page opens at its address and after a reload", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
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

test("private page redirects to sign-in, and sign-out leaves it", async (t) => {
  const page = await env.openPage(t);
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

test("going back from a ticket restores the scroll position in a long list", async (t) => {
  const seller = await env.account("seller");
  await seller.listMany(
    140,
    (index) => `Marathon Show ${index}`,
    () => 20,
  );
  const page = await env.openPage(t);
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

test("unknown address shows the not-found page", async (t) => {
  const page = await env.openPage(t, { expected: [refusal(404)] });
  for (const path of [
    "/nowhere",
    "/tickets/none",
    "/tickets/00000000-0000-7000-8000-000000000000",
  ]) {
    await page.goto(path);
    await says(page.locator("h1"), "Page not found", 5_000);
  }
});

test("sign-in never redirects to another site", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
  for (const next of ["https://example.com/", "//example.com/", "/\\example.com/"]) {
    await page.goto(`/signin?next=${encodeURIComponent(next)}`);
    await page.getByRole("heading", { name: "Tickets for sale", exact: true }).waitFor();
    assert.equal(new URL(page.url()).origin, env.server.origin);
  }
});

/** Values of `next` that are not a page of this site. */
const BAD_NEXT = [
  "//",
  "/.//x",
  "//[",
  "/\\",
  "\\\\evil.example",
  "/\\evil.example",
  "//evil.example/%2f..",
  "https://evil.example",
  "https:evil.example",
  "javascript:alert(1)",
  "data:text/html,x",
  "/\t/evil.example",
  "/\n//evil.example",
  "\u0000/",
  " //evil.example",
  "evil.example",
  "",
];

test("sign-in form is shown for every value of next, and an invalid value leads to the list", async (t) => {
  const buyer = await env.account("buyer");
  const page = await env.openPage(t);
  for (const next of BAD_NEXT) {
    await page.goto(`/signin?next=${encodeURIComponent(next)}`);
    await page.getByRole("heading", { name: "Sign In" }).waitFor();
  }
  await page.goto("/signin?next=/.//x");
  await signIn(page, buyer.email);
  await page.getByRole("heading", { name: "Tickets for sale", exact: true }).waitFor();
  for (const next of BAD_NEXT) {
    await page.goto(`/signin?next=${encodeURIComponent(next)}`);
    await page.getByRole("heading", { name: "Tickets for sale", exact: true }).waitFor();
    assert.equal(page.url(), `${env.server.origin}/`, JSON.stringify(next));
  }
});

test("filter in the address is shown, kept by a search, and removable", async (t) => {
  const seller = await env.account("seller");
  const other = await env.account("other");
  for (const [title, price] of [
    ["Filtered cheap", 90],
    ["Filtered middle", 150],
    ["Filtered dear", 400],
  ])
    await seller.list(title, price);
  await other.list("Filtered other", 160);
  const page = await env.openPage(t);
  const titles = () => page.locator(".row-title").allTextContents();
  const filter = (name) => page.getByRole("link", { name: `Remove filter: ${name}` });
  await page.goto(`/?minPrice=100&maxPrice=200.50&seller=${seller.id}`);
  await row(page, "Filtered middle").waitFor();
  assert.deepEqual(await titles(), ["Filtered middle"]);
  for (const name of ["Price from 100", "Price up to 200.50", "Tickets from one seller"])
    assert.equal(await filter(name).isVisible(), true, name);
  await page.getByLabel("Search tickets").fill("filtered");
  await page.getByRole("button", { name: "Search" }).click();
  await page.waitForURL(/[?&]q=filtered/);
  await row(page, "Filtered middle").waitFor();
  assert.deepEqual(await titles(), ["Filtered middle"], "the search keeps the filters");
  await filter("Price from 100").click();
  await row(page, "Filtered cheap").waitFor();
  await filter("Price up to 200.50").click();
  await row(page, "Filtered dear").waitFor();
  await filter("Tickets from one seller").click();
  await row(page, "Filtered other").waitFor();
  assert.equal(new URL(page.url()).search, "?q=filtered");
  assert.equal(await page.locator(".filter").count(), 0);
});

test("filter with an unknown value is removed from the address, and the list is shown", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Corrected Show", 20);
  const page = await env.openPage(t, { expected: [refusal(400)] });
  for (const [address, corrected] of [
    ["/?sort=bogus", "/"],
    ["/?minPrice=cheap&maxPrice=-1&q=corrected", "/?q=corrected"],
    ["/?seller=not-an-id", "/"],
    ["/?minPrice=0&sort=price", "/?sort=price"],
    ["/?minPrice=1e999", "/"],
  ]) {
    await page.goto(address);
    await row(page, "Corrected Show").waitFor();
    await says(page.locator(".notice"), "This address had a filter with a value that is not valid");
    assert.equal(page.url(), env.server.origin + corrected);
    assert.equal(await page.locator(".skeleton").count(), 0);
  }
  await page.goto("/?sort=price");
  await row(page, "Corrected Show").waitFor();
  assert.equal(await page.locator(".notice").count(), 0);
  assert.equal(await page.getByLabel("Sort by").inputValue(), "price");
});

test("search with too many words shows an error in place of the list", async (t) => {
  const page = await env.openPage(t, { expected: [refusal(400)] });
  await page.goto("/?q=a+b+c+d+e+f+g+h+i");
  await says(page.locator(".notice"), "Use at most 8 words and 200 characters", 5_000);
  assert.equal(await page.locator(".skeleton").count(), 0);
  await page.getByRole("link", { name: "Clear search" }).click();
  await page.locator(".row, .empty").first().waitFor();
  assert.equal(page.url(), `${env.server.origin}/`);
});

test("list that cannot be loaded shows no skeleton", async (t) => {
  const page = await env.openPage(t, { expected: [/net::ERR_FAILED/] });
  await page.route("**/api/tickets?*", (route) => route.abort());
  await page.goto("/");
  await says(page.locator(".notice"), "GitTix did not answer", 5_000);
  assert.equal(await page.locator(".skeleton").count(), 0);
});
