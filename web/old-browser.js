// Says which browsers are too old, in a script that they can run (ECMAScript 5, no module): the modules of these pages may not
// even parse there. `Object.hasOwn` came to all browsers with the versions that web/README.md names as the oldest ones.

(() => {
  if (typeof Object.hasOwn === "function") return;
  var line = document.createElement("p");
  line.className = "old-browser";
  line.setAttribute("role", "alert");
  line.appendChild(
    document.createTextNode(
      "This browser is too old for GitTix. Please update it, or use another one: Chrome or Edge 93, Firefox 92, Safari 15.4, or newer.",
    ),
  );
  document.body.insertBefore(line, document.getElementById("main"));
})();
