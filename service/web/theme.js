// Dark or light as the reader chose, before anything is painted; without a choice, as the system says.
// A classic script in the head: a module would run after the first paint.

(() => {
  const SLOT = "tessera-theme";
  const ORDER = ["system", "light", "dark"];
  const WORDS = { system: "as the system", light: "light", dark: "dark" };

  function chosen() {
    try {
      const stored = localStorage.getItem(SLOT);
      return ORDER.includes(stored) ? stored : "system";
    } catch {
      return document.documentElement.dataset.theme ?? "system"; // storage is switched off: the page remembers
    }
  }

  function show(theme) {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (!button) return;
    const next = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    button.setAttribute("aria-label", `Colours: ${WORDS[theme]}. Change to ${WORDS[next]}`);
    button.title = `Colours: ${WORDS[theme]}`;
  }

  function choose(theme) {
    try {
      localStorage.setItem(SLOT, theme);
    } catch {
      // Storage is switched off: the choice lasts as long as the page.
    }
    show(theme);
  }

  show(chosen());
  document.addEventListener("DOMContentLoaded", () => {
    show(chosen());
    document.getElementById("theme").addEventListener("click", () => {
      choose(ORDER[(ORDER.indexOf(document.documentElement.dataset.theme) + 1) % ORDER.length]);
    });
  });
})();
