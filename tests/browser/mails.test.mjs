// Links in mails: confirmation of an email address, a forgotten password, and a change of the address.

import assert from "node:assert/strict";
import { test } from "node:test";
import { newEmail, PASSWORD } from "./support/account.mjs";
import { PHONE, refusal, says, signUp, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});
const NEW_PASSWORD = "another horse battery";
/** Maximum time until a mail was written and its page has reacted. */
const MAIL_MS = 5_000;

test("banner asks to confirm the address until its link is opened", async (t) => {
  const page = await env.openPage(t, { size: PHONE });
  const email = await signUp(page, newEmail("unverified"));
  const banner = page.locator("#verify-banner");
  await says(banner, email);
  await banner.getByRole("button", { name: "Send the mail again" }).click();
  await says(banner, "A new mail is on its way", MAIL_MS);
  await page.goto(await env.server.mailedLink(email, "verify", 2));
  await says(page.locator(".notice-good"), `${email} is confirmed`, MAIL_MS);
  assert.equal(new URL(page.url()).hash, "", "the token is not in the address bar");
  await page.getByRole("link", { name: "See tickets for sale" }).click();
  await page.getByRole("heading", { name: "Tickets for sale", exact: true }).waitFor();
  assert.equal(await banner.textContent(), "");
});

test("link that was replaced by a newer one is refused with a way to a new mail", async (t) => {
  const page = await env.openPage(t, { expected: [refusal(400)] });
  const email = await signUp(page, newEmail("replaced"));
  const first = await env.server.mailedLink(email, "verify");
  await page.locator("#verify-banner").getByRole("button").click();
  await env.server.mailedLink(email, "verify", 2);
  await page.goto(first);
  await says(page.locator(".notice-bad"), "This link is no longer valid", MAIL_MS);
  await page.locator(".page").getByRole("button", { name: "Send the mail again" }).click();
  await says(page.locator(".page .notice-good"), "A new mail is on its way", MAIL_MS);
});

test("confirmation without an answer can be tried again, and the token stays out of the address", async (t) => {
  const page = await env.openPage(t, { expected: [/net::ERR_FAILED/] });
  const email = await signUp(page, newEmail("offline"));
  await page.route("**/api/users/verify", (route) => route.abort());
  await page.goto(await env.server.mailedLink(email, "verify"));
  await says(page.locator(".notice-bad"), "GitTix did not answer", MAIL_MS);
  await page.unroute("**/api/users/verify");
  await page.getByRole("button", { name: "Try again" }).click();
  await says(page.locator(".notice-good"), `${email} is confirmed`, MAIL_MS);
  assert.equal(new URL(page.url()).hash, "");
});

test("forgotten password is replaced with the keyboard alone", async (t) => {
  const page = await env.openPage(t, { signedIn: false });
  const email = await signUp(page, newEmail("forgetful"));
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.goto("/signin");
  await page.getByRole("link", { name: "Forgot your password?" }).press("Enter");
  await page.getByRole("heading", { name: "Forgot your password?" }).waitFor();
  await page.getByLabel("Email").focus();
  await page.keyboard.type(email);
  await page.keyboard.press("Enter");
  await says(page.locator(".notice-good"), email, MAIL_MS);
  await page.goto(await env.server.mailedLink(email, "reset"));
  assert.equal(new URL(page.url()).hash, "", "the token is not in the address bar");
  await page.getByLabel("New password", { exact: true }).focus();
  await page.keyboard.type(NEW_PASSWORD);
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "My orders" }).waitFor();
  // The link has confirmed the address.
  assert.equal(await page.locator("#verify-banner").textContent(), "");
});

test("reset link is refused after its use, with a way to a new one", async (t) => {
  const page = await env.openPage(t, { expected: [refusal(400)] });
  const email = await signUp(page, newEmail("twice"));
  await page.goto("/forgot");
  await page.getByLabel("Email").fill(email);
  await page.getByRole("button", { name: "Send the mail" }).click();
  const link = await env.server.mailedLink(email, "reset");
  for (const expected of ["My orders", "Request a new mail"]) {
    await page.goto("about:blank");
    await page.goto(link);
    await page.getByLabel("New password", { exact: true }).fill(NEW_PASSWORD);
    await page.getByRole("button", { name: "Set password and sign in" }).click();
    await page.getByRole("link", { name: expected }).first().waitFor();
  }
});

test("new address is used once its link is opened", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
  const email = newEmail("renamed");
  await page.goto("/account");
  const form = page
    .locator("form")
    .filter({ has: page.getByRole("button", { name: "Change email address" }) });
  await form.getByLabel("Email").fill(email);
  await form.getByLabel("Current password", { exact: true }).fill(PASSWORD);
  await form.getByRole("button", { name: "Change email address" }).click();
  await says(form.locator(".notice"), `Open the link in the mail to ${email}`, MAIL_MS);
  await page.goto(await env.server.mailedLink(email, "verify"));
  await says(page.locator(".notice-good"), `${email} is confirmed`, MAIL_MS);
  await says(page.locator("#account"), email, MAIL_MS);
});

test("password managers find the page where a password is changed", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
  await page.goto("/.well-known/change-password");
  assert.equal(new URL(page.url()).pathname, "/account");
});
