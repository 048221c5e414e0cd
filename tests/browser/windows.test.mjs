// Two windows of one browser with shared cookies: a window never acts in the name of the user of the other window.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PASSWORD } from "./support/account.mjs";
import { refusal, says, signIn, testEnvironment, watch } from "./support/environment.mjs";

const env = testEnvironment({});

/** Removes all other ways to detect a new session, except refusals. Runs in a page before its own scripts. */
function isolate() {
  delete globalThis.BroadcastChannel;
  for (const type of ["focus", "visibilitychange"])
    addEventListener(type, (event) => event.stopImmediatePropagation(), true);
}

/** Opens two windows with the sign-in form. Ann signs in in the first, which has no live connection, Bob later in the second. */
async function twoWindows(t, { isolated = false, expected = [] } = {}) {
  const [ann, bob] = [await env.account("ann"), await env.account("bob")];
  const first = await env.openPage(t, { expected });
  const second = await first.context().newPage();
  const complaints = watch(second, expected);
  t.after(() => assert.deepEqual(complaints, [], "the second window has no unexpected errors"));
  await first.routeWebSocket("**/ws*", (socket) => socket.close()); // the first window does not receive the end of a session
  if (isolated) await first.addInitScript(isolate);
  for (const window of [first, second]) await window.goto("/signin");
  await signIn(first, ann.email);
  return { ann, bob, first, second, signInBob: () => signIn(second, bob.email) };
}

function signedInAs(page, { email }) {
  return says(page.locator("#account"), `Signed in as ${email}`, 5_000);
}

function notice(page) {
  return page.locator("#session-notice");
}

test("window of Ann refuses a purchase while Bob is signed in, explains it, and then shows Bob", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Whose Money", 20);
  const { ann, bob, first, signInBob } = await twoWindows(t, {
    isolated: true,
    expected: [refusal(409)],
  });
  await first.goto(`/tickets/${ticket.id}`);
  await signedInAs(first, ann);
  let asked = 0;
  first.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/api/orders")) asked += 1;
  });
  await signInBob();
  await signedInAs(first, ann);
  await first.getByRole("button", { name: "Buy" }).click();
  await says(
    notice(first),
    `You are now signed in as ${bob.email} in this browser. Your last action was not carried out.`,
    5_000,
  );
  await signedInAs(first, bob);
  assert.equal(asked, 1, "the page retries no request");
  for (const account of [ann, bob])
    assert.deepEqual(await account.ask("GET", "/api/orders?status=all"), []);

  await first.getByRole("button", { name: "Buy" }).click();
  await first.locator(".hold-figures").waitFor();
  assert.equal(
    (await bob.ask("GET", "/api/orders")).length,
    1,
    "Bob has the one order that he placed himself",
  );
  assert.equal(await notice(first).textContent(), "", "the notice is removed after navigation");
});

test("window with Ann's order refuses a payment while Bob is signed in and hides the order", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Whose Order", 20);
  const { ann, bob, first, signInBob } = await twoWindows(t, {
    isolated: true,
    expected: [refusal(403, 409)],
  });
  const order = await ann.lock(ticket);
  await first.goto(`/orders/${order.id}`);
  await first.getByRole("button", { name: "Pay $20" }).waitFor();
  await signInBob();
  await first.getByRole("button", { name: "Pay $20" }).click();
  await says(notice(first), "Your last action was not carried out", 5_000);
  await signedInAs(first, bob);
  await says(first.locator(".empty"), "You cannot see this page", 5_000);
  assert.deepEqual(await ann.ask("GET", `/api/orders/${order.id}/charges`), []);
});

test("sign-out in a window of Ann does not sign out Bob", async (t) => {
  const { bob, first, second, signInBob } = await twoWindows(t, {
    isolated: true,
    expected: [refusal(409)],
  });
  await signInBob();
  await first.getByRole("button", { name: "Sign out" }).click();
  await says(
    notice(first),
    `You are now signed in as ${bob.email} in this browser. Your last action was not carried out.`,
    5_000,
  );
  await second.reload();
  await signedInAs(second, bob);
});

test("window of Ann shows Bob, and no draft of Ann, after Bob signs in in another window", async (t) => {
  const { ann, bob, first, signInBob } = await twoWindows(t);
  await first.goto("/tickets/new");
  await signedInAs(first, ann);
  await first.getByLabel("Title").fill("Typed by Ann");
  await signInBob();
  await says(notice(first), `You are now signed in as ${bob.email} in this browser.`, 5_000);
  await signedInAs(first, bob);
  assert.equal(await first.getByLabel("Title").inputValue(), "");
  assert.deepEqual(
    await first.evaluate(() =>
      Object.keys(sessionStorage).filter((name) => name.startsWith("draft:")),
    ),
    [],
  );
});

test("window of Ann without BroadcastChannel shows Bob when it gets the focus", async (t) => {
  const { ann, bob, first, signInBob } = await twoWindows(t, { isolated: true });
  await first.goto("/orders");
  await signedInAs(first, ann);
  await signInBob();
  await signedInAs(first, ann);
  await first.evaluate(() => {
    const focus = new Event("focus");
    focus.stopImmediatePropagation = () => {}; // exempts this event from the isolation
    dispatchEvent(focus);
  });
  await says(notice(first), `You are now signed in as ${bob.email} in this browser.`, 5_000);
  await signedInAs(first, bob);
});

test("window that missed a session renewal returns to its page after a password change in another window", async (t) => {
  const { ann, first, second } = await twoWindows(t);
  await second.goto("/account");
  await first.goto("/orders");
  await signedInAs(first, ann);
  // The end of the session reaches the first window before the new cookie is set.
  await first.route(
    "**/api/users/currentuser",
    (route) => route.fulfill({ json: { currentUser: null } }),
    { times: 1 },
  );
  await first.evaluate(() => dispatchEvent(new Event("focus")));
  await first.getByRole("heading", { name: "Sign in" }).waitFor();
  const form = second
    .locator("form")
    .filter({ has: second.getByRole("button", { name: "Change password" }) });
  await form.getByLabel("New password", { exact: true }).fill("another horse battery");
  await form.getByLabel("Current password", { exact: true }).fill(PASSWORD);
  await form.getByRole("button", { name: "Change password" }).click();
  await says(form.locator(".notice"), "Your password is changed", 5_000);
  await first.getByRole("heading", { name: "My orders" }).waitFor();
  await signedInAs(first, ann);
});

test("sign-out in one window signs out the other window", async (t) => {
  const { ann, first, second } = await twoWindows(t);
  await first.goto("/orders");
  await signedInAs(first, ann);
  await second.goto("/");
  await second.getByRole("button", { name: "Sign out" }).click();
  await first.getByRole("heading", { name: "Sign in" }).waitFor();
});
