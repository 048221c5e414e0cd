// A tour of every page in every different state, with titles of the maximum length. Tests check each scene in many sizes;
// `screenshots-of-all.mjs` takes pictures of them.

import { newEmail } from "./account.mjs";
import { connected, signUp } from "./environment.mjs";

export const TITLE_64 = "Philharmonic Winter Gala: Beethoven & Brahms, Royal Hall, Box 12";
export const TITLE_200 = `${"An evening with the city's three best known string quartets ".repeat(3)}and one more tune`;
export const WORD_200 = "Donaudampfschifffahrtsgesellschaft".repeat(6).slice(0, 200);

/** Creates sellers, a rival buyer and their tickets for one tour. */
export async function tourWorld(account) {
  const [seller, rival] = [await account("seller"), await account("rival")];
  const tickets = {
    available: await seller.list("Jazz Night at the Old Harbour", 65.5),
    long: await seller.list(TITLE_200.slice(0, 200), 999_999.99),
    word: await seller.list(WORD_200, 19.99),
    medium: await seller.list(TITLE_64, 120),
    locked: await seller.list("Ice Hockey Play-off", 55),
    sold: await seller.list("Comedy Club, two seats together", 19.99),
    held: await seller.list("Tennis Final, Centre Court", 250),
    asked: await seller.list(`${TITLE_64.slice(0, 60)} A`, 80),
    paid: await seller.list("Open Air Cinema", 14.5),
    cancelled: await seller.list("Rock Concert", 100),
  };
  await rival.lock(tickets.locked);
  await rival.pay(await rival.lock(tickets.sold));
  return { seller, rival, tickets };
}

/**
 * Opens the scenes one by one in a signed-out page, and calls `visit(name)` in each.
 * @param {(name: string) => Promise<void>} visit
 */
export async function tour(page, { seller, tickets }, visit) {
  await signedOutScenes(page, tickets, visit);
  await signUp(page, newEmail("a.rather.long.address.of.a.guest"));
  await emptyScenes(page, visit);
  await buyingScenes(page, tickets, visit);
  await seller.list("Listed a moment ago", 30);
  await page.locator(".news").waitFor();
  await visit("list-new-tickets");
  await sellingScenes(page, visit);
  await brokenScenes(page, tickets, visit);
}

async function signedOutScenes(page, tickets, visit) {
  await page.goto("/");
  await page.locator(".row").first().waitFor();
  await visit("list-signed-out");
  await page.goto("/?q=nothing");
  await page.locator(".empty").waitFor();
  await visit("list-nothing-found");
  await page.goto("/signin?next=%2Forders");
  await page.locator("form").waitFor();
  await visit("sign-in");
  await page.goto("/signup");
  await page.locator("form .button-primary").click();
  await page.locator(".field-error:not(:empty)").first().waitFor();
  await visit("sign-up-refused");
  for (const [address, name] of [
    ["/forgot", "forgot"],
    ["/reset#token=abc", "reset"],
    ["/verify", "verify-refused"],
  ]) {
    await page.goto(address);
    await page.getByRole("heading", { level: 1 }).waitFor();
    await visit(name);
  }
  await page.goto("/tickets/00000000-0000-7000-8000-000000000000");
  await page.locator(".empty").waitFor();
  await visit("not-found");
  for (const name of ["available", "long", "word", "locked", "sold"]) {
    await openTicket(page, tickets[name]);
    await visit(`ticket-${name}`);
  }
}

async function emptyScenes(page, visit) {
  for (const [address, name] of [
    ["/orders", "orders-empty"],
    ["/listings", "listings-empty"],
  ]) {
    await page.goto(address);
    await page.locator(".empty").waitFor();
    await visit(name);
  }
}

async function buyingScenes(page, tickets, visit) {
  await order(page, tickets.held);
  await visit("order-held");
  await pay(page, /0002/);
  await page.locator(".notice-bad").waitFor();
  await visit("order-declined");
  await order(page, tickets.asked);
  await pay(page, /3184/);
  await page.locator(".confirm").waitFor();
  await visit("order-3d-secure");
  await order(page, tickets.cancelled);
  await page.locator(".cancel .button").first().click();
  await page.locator(".removal .button-danger").waitFor();
  await visit("order-cancel-question");
  await page.locator(".removal .button-danger").click();
  await page.locator(".outcome .notice").waitFor();
  await visit("order-cancelled");
  await order(page, tickets.paid);
  await pay(page, /4242/);
  await page.locator(".outcome .notice-good").waitFor();
  await visit("order-paid");
  await order(page, tickets.medium);
  await visit("order-long-title");
  await page.goto("/orders");
  await page.locator(".row").nth(2).waitFor();
  await visit("orders");
  await page.goto("/");
  await page.locator(".row").first().waitFor();
  await connected(page);
  await visit("list-signed-in");
}

async function sellingScenes(page, visit) {
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill(TITLE_64);
  await visit("sell");
  await page.getByLabel("Price").fill("1234.5");
  await page.locator("form .button-primary").click();
  await page.locator(".editor").waitFor();
  await visit("own-ticket");
  await page.locator(".editor .button-quiet").click();
  await page.locator(".removal .button-danger").waitFor();
  await visit("own-ticket-removal-question");
  await page.goto("/listings");
  await page.locator(".row").first().waitFor();
  await visit("listings");
  await page.goto("/account");
  await page.locator("form").first().waitFor();
  await visit("account");
}

async function brokenScenes(page, tickets, visit) {
  await page.routeWebSocket("**/ws*", (socket) => socket.close());
  await page.goto("/");
  await page.locator("#connection").waitFor({ state: "visible" });
  await page.locator(".row").first().waitFor();
  await visit("list-connection-lost");
  await order(page, tickets.available);
  await page.locator("#connection").waitFor({ state: "visible" });
  await visit("order-connection-lost");
}

async function openTicket(page, { id }) {
  await page.goto(`/tickets/${id}`);
  await page.locator(".pass h1").waitFor();
  await page.locator(".buy, .editor").waitFor();
}

async function order(page, ticket) {
  await openTicket(page, ticket);
  await page.locator(".buy .button-primary").click();
  await page.locator(".hold-figures").waitFor();
  await page.getByRole("radio").first().waitFor();
}

async function pay(page, card) {
  await page.getByLabel(card).check();
  await page.locator(".pay-dock .button-primary").click();
}
