// One polite live region for what is worth hearing: what happened to the ticket or order in front of the reader, and the
// connection. Lists change silently. Of several messages in one breath only the last is read.

const BREATH_MS = 350;

let timer = null;

export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    document.getElementById("announcer").textContent = text;
  }, BREATH_MS);
}
