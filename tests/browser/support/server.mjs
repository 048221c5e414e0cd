// The server under test: the binary named by GITTIX_BIN, on a free port of loopback, with its own data folder.

import { spawn } from "node:child_process";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BINARY =
  process.env.GITTIX_BIN ?? fileURLToPath(new URL("../../../target/debug/gittix", import.meta.url));
const START_TIMEOUT_MS = 20_000;
const LOG_LINES_MAX = 200;

export class Server {
  #settings;
  #folder;
  #child = null;
  #log = [];
  address = "127.0.0.1:0";

  /** @param {Record<string, string>} settings environment variables, in addition to those that every test needs */
  constructor(settings = {}) {
    this.#settings = settings;
  }

  get origin() {
    return `http://${this.address}`;
  }

  /** The last lines of the server's log. */
  get log() {
    return this.#log.join("\n");
  }

  /** Starts the server, or restarts it at the same address with the same data. */
  async start() {
    this.#folder ??= await mkdtemp(join(tmpdir(), "gittix-pages-"));
    const environment = {
      PATH: process.env.PATH,
      GITTIX_ADDR: this.address,
      GITTIX_DATA_DIR: this.#folder,
      GITTIX_RATE_LIMIT: "off",
      ...this.#settings,
    };
    this.#child = spawn(BINARY, ["serve"], { env: environment, stdio: ["ignore", "pipe", "pipe"] });
    this.address = await this.#listening(this.#child);
    await this.#answering();
  }

  /** Waits for the `count`th mail to an address with a link to a page, and returns that link. */
  async mailedLink(email, page, count = 1) {
    const folder = join(this.#folder, "outbox");
    const deadline = Date.now() + START_TIMEOUT_MS;
    for (;;) {
      const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".eml"));
      const mails = await Promise.all(
        names.sort().map((name) => readFile(join(folder, name), "utf8")),
      );
      const links = mails
        .filter((mail) => mail.includes(`To: ${email}`))
        .flatMap((mail) => mail.match(new RegExp(`^http\\S+/${page}#token=\\S+`, "m")) ?? []);
      if (links.length >= count) return links[count - 1];
      if (Date.now() > deadline) throw new Error(`${email} got no mail with a link to /${page}`);
      await new Promise((resume) => setTimeout(resume, 50));
    }
  }

  /** Kills the server, as a power failure would. */
  async kill() {
    await this.#end("SIGKILL");
  }

  /** Stops the server and removes its data. */
  async stop() {
    await this.#end("SIGTERM");
    if (this.#folder) await rm(this.#folder, { recursive: true, force: true });
  }

  #listening(child) {
    return new Promise((done, failed) => {
      const timer = setTimeout(
        () => failed(new Error(`the server did not log its address:\n${this.log}`)),
        START_TIMEOUT_MS,
      );
      const read = (line) => {
        this.#log.push(line);
        if (this.#log.length > LOG_LINES_MAX) this.#log.shift();
        // biome-ignore lint/suspicious/noControlCharactersInRegex: an escape sequence begins with one
        const plain = line.replace(/\u001b\[[0-9;]*m/g, ""); // colours
        const match = /127\.0\.0\.1:([1-9]\d*)/.exec(plain);
        if (!match) return;
        clearTimeout(timer);
        done(match[0]);
      };
      for (const stream of [child.stdout, child.stderr])
        createInterface({ input: stream }).on("line", read);
      child.once("error", failed);
      child.once("exit", (code) =>
        failed(new Error(`the server exited with code ${code}:\n${this.log}`)),
      );
    });
  }

  async #answering() {
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (Date.now() < deadline) {
      const ready = await fetch(`${this.origin}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      );
      if (ready) return;
      await new Promise((resume) => setTimeout(resume, 50));
    }
    throw new Error(`the server did not become ready:\n${this.log}`);
  }

  async #end(signal) {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    await ended;
  }
}
