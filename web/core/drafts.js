// What somebody typed and has not sent yet, kept for this tab: a reload, an error or a detour over the sign-in page loses
// nothing. Passwords are never kept.

const PREFIX = "draft:";

export function readDraft(name) {
  try {
    return JSON.parse(sessionStorage.getItem(PREFIX + name)) ?? {};
  } catch {
    return {};
  }
}

export function keepDraft(name, values) {
  try {
    sessionStorage.setItem(PREFIX + name, JSON.stringify(values));
  } catch {
    // Storage is full or forbidden: the form itself still holds what was typed.
  }
}

export function dropDraft(name) {
  sessionStorage.removeItem(PREFIX + name);
}
