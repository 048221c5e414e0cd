// The token of a link in a mail. It is in the fragment of the address, which browsers do not send to the server.

/** Returns the token of the address, and removes it from the address bar and the history. Null without a token. */
export function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (location.hash) history.replaceState(history.state, "", location.pathname + location.search);
  return token;
}
