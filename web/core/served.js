// The API response that the server embedded in the document, so that the page needs no request for its first content.

/** Prefix of the paths that the server can embed. */
const PREFIX = "/api/tickets";

/**
 * Returns the embedded response for `path` in the form of `request` (net/api.js), or null.
 *
 * Only the first request below `PREFIX` can get the response: for a later request it may be outdated.
 */
export function takeServedResponse(path) {
  if (!path.startsWith(PREFIX)) return null;
  const element = globalThis.document?.getElementById("served");
  if (!element) return null;
  element.remove();
  if (element.dataset.path !== path) return null;
  return {
    status: 200,
    data: JSON.parse(element.textContent),
    next: element.dataset.next ?? null,
  };
}
