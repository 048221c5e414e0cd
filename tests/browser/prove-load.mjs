// `node prove-load.mjs [minutes]`: runs the complete load and prints its figures for each minute.

import { CHANGES_PER_SECOND, runLoad, TICKETS } from "./load.mjs";
import { Server } from "./support/server.mjs";

const minutes = Number(process.argv[2] ?? 10);
const server = new Server();
await server.start();
try {
  console.log(
    `${TICKETS} tickets on sale, ${CHANGES_PER_SECOND} changes a second, ${minutes} minutes`,
  );
  const { arrival, complaints } = await runLoad(server, minutes, {
    onMinute: (report) => console.log(JSON.stringify(report)),
  });
  console.log(`first visit: ${JSON.stringify(arrival)}`);
  console.log(complaints.length === 0 ? "the page stayed quiet" : complaints.join("\n"));
  process.exitCode = complaints.length === 0 ? 0 : 1;
} finally {
  await server.stop();
}
