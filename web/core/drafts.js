// Drafts: form values that were typed and not sent yet. They survive a reload, an error and a visit of the sign-in page, and
// belong to the user who typed them (core/kept.js). Passwords are never kept.

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

/** Returns whether any form has a draft. */
export function hasDrafts() {
  return keepsAny(PREFIX);
}
