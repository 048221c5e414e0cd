// What was typed and is not sent yet: a reload, an error or a detour over the sign-in page loses nothing. Drafts belong to
// the user who typed them (core/kept.js). Passwords are never kept.

import { forget, keep, keepsAny, kept } from "./kept.js";

const PREFIX = "draft:";

export function readDraft(name) {
  try {
    return JSON.parse(kept(PREFIX + name)) ?? {};
  } catch {
    return {};
  }
}

export function keepDraft(name, values) {
  keep(PREFIX + name, JSON.stringify(values));
}

export function dropDraft(name) {
  forget(PREFIX + name);
}

/** Whether there is a draft of any form. */
export function hasDrafts() {
  return keepsAny(PREFIX);
}
