// The page of an unknown address.

import { Problem } from "../net/api.js";
import { showLoadError } from "../parts/trouble.js";
import { screens } from "../words/texts.js";

export const notFound = {
  name: "not-found",
  title: screens.notFound,
  mount: ({ root, ready }) => {
    showLoadError(root, new Problem({ status: 404, code: "not_found" }));
    ready();
  },
};
