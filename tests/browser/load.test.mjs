// A run of 20 seconds of the load that `scripts/prove-pages` runs for ten minutes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CHANGES_PER_SECOND, runLoad } from "./load.mjs";
import { Server } from "./support/server.mjs";

/** Shared cores vary: this is far below the measured value (59) and far above a list without virtual rows. */
const FRAMES_PER_SECOND_MIN = 30;
const HEAP_MB_MAX = 24;
const ELEMENTS_MAX = 1_000;
const SECONDS = 20;
/** With fewer changes, the load itself is too slow. */
const CHANGES_MIN = CHANGES_PER_SECOND * SECONDS * 0.5;

const server = new Server();
before(() => server.start());
after(() => server.stop());

test("scrolling is smooth and memory is bounded with 10,000 tickets and 100 changes a second", async (t) => {
  const { arrival, minutes, complaints, changes } = await runLoad(server, 1, {
    secondsEach: SECONDS,
  });
  t.diagnostic(JSON.stringify({ ...arrival, ...minutes[0] }));
  assert.deepEqual(complaints, []);
  assert.ok(changes > CHANGES_MIN, `${changes} changes`);
  assert.ok(
    minutes[0].framesPerSecond > FRAMES_PER_SECOND_MIN,
    `${minutes[0].framesPerSecond} frames per second`,
  );
  assert.ok(minutes[0].heapMb < HEAP_MB_MAX, `${minutes[0].heapMb} MB`);
  assert.ok(minutes[0].elements < ELEMENTS_MAX, `${minutes[0].elements} elements`);
});
