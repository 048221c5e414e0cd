// The answer that the server has put into the document, so that the page need not ask for what it shows first.

/** The paths of which one may be answered. */
const PREFIX = "/api/tickets";

/**
 * The answer to a request for `path`, as `request` in net/api.js answers, or null. It is given once, and to the first such
 * request only: what a later one wants to know may have changed.
 */
export function takeServed(path) {
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
