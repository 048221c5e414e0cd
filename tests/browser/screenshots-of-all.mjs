// `node screenshots-of-all.mjs <folder>`: takes pictures of every page in every state, at four widths, light and dark.

import { join } from "node:path";
import { Account } from "./support/account.mjs";
import { DESKTOP, launch, PHONE, SMALLEST } from "./support/environment.mjs";
import { Server } from "./support/server.mjs";
import { tour, tourWorld } from "./support/tour.mjs";

const [folder] = process.argv.slice(2);
const SIZES = [SMALLEST, PHONE, { width: 820, height: 1_100 }, DESKTOP];

const server = new Server();
await server.start();
const browser = await launch();
try {
  const world = await tourWorld((name) => Account.signUp(server.origin, name));
  const context = await browser.newContext({
    baseURL: server.origin,
    locale: "en-US",
    reducedMotion: "reduce", // no picture shows a half-finished transition
  });
  const page = await context.newPage();
  await tour(page, world, (scene) => shoot(page, scene));
} finally {
  await browser.close();
  await server.stop();
}

async function shoot(page, scene) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const size of SIZES) {
      await page.setViewportSize(size);
      await page.screenshot({ path: join(folder, `${scene}.${colorScheme}.${size.width}.png`) });
    }
  }
  await page.setViewportSize(DESKTOP);
}
