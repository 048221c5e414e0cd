// The search form of the list: words and sort order. Further filters of the address are shown as links that remove them.

import { h } from "../core/dom.js";
import { texts } from "../words/texts.js";
import { icon } from "./icon.js";

const SORTS = [
  ["newest", texts.list.newestFirst],
  ["price", texts.list.lowestPrice],
  ["-price", texts.list.highestPrice],
];

/** Filters without a field in the form, with their texts. */
const OTHER_FILTERS = {
  minPrice: texts.list.priceFrom,
  maxPrice: texts.list.priceUpTo,
  seller: () => texts.list.oneSeller,
};

const NAMES = ["q", "sort", ...Object.keys(OTHER_FILTERS)];

/** Returns the filters and the sort order of an address, without default values. */
export function filtersOf(query) {
  const filters = new URLSearchParams();
  for (const name of NAMES) {
    const value = query.get(name)?.trim();
    if (value && !(name === "sort" && value === "newest")) filters.set(name, value);
  }
  return filters;
}

/** Returns the address of the list with these filters. */
export function addressOf(filters) {
  const query = filters.toString();
  return query === "" ? "/" : `/?${query}`;
}

/** Returns the names of the filters that the server refused because of their values. */
export function refusedFilters({ code, errors }, filters) {
  if (code !== "validation_failed") return [];
  return NAMES.filter((name) => filters.has(name) && errors.some(({ field }) => field === name));
}

/** Returns the filters without some of them. */
export function without(filters, names) {
  const others = new URLSearchParams(filters);
  for (const name of names) others.delete(name);
  return others;
}

export function searchForm(filters, navigate) {
  const words = h("input", {
    class: "input search-input",
    type: "search",
    name: "q",
    id: "q",
    value: filters.get("q"),
    placeholder: texts.list.searchExample,
    autocomplete: "off",
    enterkeyhint: "search",
  });
  const sort = h(
    "select",
    { class: "input search-order", name: "sort", id: "sort", autocomplete: "off" },
    SORTS.map(([value, label]) =>
      h("option", { value, selected: (filters.get("sort") ?? "newest") === value }, label),
    ),
  );
  const form = h(
    "form",
    { class: "search", role: "search" },
    h("label", { class: "visually-hidden", for: "q" }, texts.list.search),
    h("span", { class: "search-words" }, icon("search"), words),
    h("label", { class: "visually-hidden", for: "sort" }, texts.list.sortBy),
    sort,
    h("button", { type: "submit", class: "button button-primary" }, texts.list.searchButton),
  );
  const go = (event) => {
    event?.preventDefault();
    const query = new URLSearchParams(filters);
    query.set("q", words.value);
    query.set("sort", sort.value);
    navigate(addressOf(filtersOf(query)));
  };
  form.addEventListener("submit", go);
  sort.addEventListener("change", () => go());
  return form;
}

/** Returns the active filters without a field, each as a link to the list without it, or null. */
export function filterLinks(filters) {
  const active = Object.keys(OTHER_FILTERS).filter((name) => filters.has(name));
  if (active.length === 0) return null;
  return h(
    "ul",
    { class: "filters", "aria-label": texts.list.filters },
    active.map((name) => {
      const label = OTHER_FILTERS[name](filters.get(name));
      return h(
        "li",
        {},
        h(
          "a",
          {
            class: "filter",
            href: addressOf(without(filters, [name])),
            "aria-label": texts.list.removeFilter(label),
          },
          label,
          h("span", { class: "filter-remove", "aria-hidden": "true" }, "×"),
        ),
      );
    }),
  );
}
