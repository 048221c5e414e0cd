// An address that leads nowhere.

import { Problem } from "../net/api.js";
import { showTrouble } from "../parts/trouble.js";

export const notFound = {
  name: "not-found",
  title: "Not found",
  mount: ({ root, ready }) => {
    showTrouble(root, new Problem({ status: 404, code: "not_found" }));
    ready();
  },
};
