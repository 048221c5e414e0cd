// What this tab keeps for the user who is signed in: drafts, and the keys of requests whose outcome is unknown.
//
// Values are held in memory. While the session lasts they are also copied to sessionStorage, so that they survive a reload.
// The copies are removed when the session ends. The values in memory remain until the user signs out or another user signs
// in: a user whose session expired signs in again and finds what they typed. Secrets are never copied.
//
// sessionStorage may be missing, forbidden or full. Nothing fails then; only a reload loses the values.

/** Names the user in sessionStorage to whom the copies belong. */
const OWNER = "owner";
/** Beginnings of the names of all copies. */
const PREFIXES = ["draft:", "intent:"];

const values = new Map(); // name -> { value, secret }
let owner = null; // id of the user to whom the values belong
let copying = false; // whether that user is signed in

/** Follows who is signed in: a user id, or null. Values and copies of another user are removed. */
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

/** Removes all values and copies: the user signed out. */
export function forgetAll() {
  values.clear();
  removeCopies();
}

/** The value of a name, or null. */
export function kept(name) {
  return values.get(name)?.value ?? null;
}

/**
 * Keeps a string under a name that begins with one of the prefixes above.
 * @param {object} [how]
 * @param {boolean} [how.secret] the value, or what its name was made of, must not be in sessionStorage
 */
export function keep(name, value, { secret = false } = {}) {
  values.set(name, { value, secret });
  if (copying && !secret) write(name, value);
}

export function forget(name) {
  values.delete(name);
  remove(name);
}

/** Whether a value is kept whose name begins so. */
export function keepsAny(prefix) {
  return [...values.keys()].some((name) => name.startsWith(prefix));
}

function copies() {
  return names().filter((name) => PREFIXES.some((prefix) => name.startsWith(prefix)));
}

function removeCopies() {
  for (const name of [...copies(), OWNER]) remove(name);
}

// Reading `sessionStorage` itself throws where it is forbidden.

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
    // The value in memory is what counts.
  }
}

function remove(name) {
  try {
    sessionStorage.removeItem(name);
  } catch {
    // There is no copy.
  }
}
