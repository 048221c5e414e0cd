// Values that this tab keeps for the signed-in user: drafts, and the keys of requests whose outcome is unknown.
//
// The values are in memory. During the session they are also copied to sessionStorage, so that they survive a reload. The end
// of the session removes the copies. The values in memory remain until the user signs out or another user signs in, so that a
// user with an expired session finds them after signing in again. Secrets are never copied.
//
// sessionStorage may be missing, forbidden or full. Then nothing fails, but a reload loses the values.

/** Name in sessionStorage of the id of the user who owns the copies. */
const OWNER = "owner";
/** Prefixes of the names of all copies. */
const PREFIXES = ["draft:", "intent:"];

const values = new Map(); // name -> { value, secret }
let owner = null; // id of the user who owns the values
let copying = false; // whether that user is signed in

/** Sets the signed-in user (a user id, or null). Removes values and copies of any other user. */
export function keepFor(userId) {
  if (userId !== null && userId !== owner) {
    values.clear();
    owner = userId;
    if (read(OWNER) === userId)
      for (const name of copies()) values.set(name, { value: read(name), secret: false });
  }
  copying = userId !== null;
  removeCopies();
  if (!copying) return;
  write(OWNER, owner);
  for (const [name, { value, secret }] of values) if (!secret) write(name, value);
}

/** Removes all values and copies, at sign-out. */
export function forgetAll() {
  values.clear();
  removeCopies();
}

/** Returns the value with this name, or null. */
export function kept(name) {
  return values.get(name)?.value ?? null;
}

/**
 * Keeps a string under a name that begins with one of `PREFIXES`.
 * @param {object} [how]
 * @param {boolean} [how.secret] true if the value, or the source of its name, must not be in sessionStorage
 */
export function keep(name, value, { secret = false } = {}) {
  values.set(name, { value, secret });
  if (copying && !secret) write(name, value);
}

export function forget(name) {
  values.delete(name);
  remove(name);
}

/** Returns whether a value with a name of this prefix is kept. */
export function keepsAny(prefix) {
  return [...values.keys()].some((name) => name.startsWith(prefix));
}

function copies() {
  return names().filter((name) => PREFIXES.some((prefix) => name.startsWith(prefix)));
}

function removeCopies() {
  for (const name of [...copies(), OWNER]) remove(name);
}

// The property `sessionStorage` itself throws where web storage is forbidden.

function names() {
  try {
    return Array.from({ length: sessionStorage.length }, (_, at) => sessionStorage.key(at) ?? "");
  } catch {
    return [];
  }
}

function read(name) {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

function write(name, value) {
  try {
    sessionStorage.setItem(name, value);
  } catch {
    // The value is in memory.
  }
}

function remove(name) {
  try {
    sessionStorage.removeItem(name);
  } catch {
    // No copy exists.
  }
}
