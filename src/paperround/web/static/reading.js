// What JavaScript adds to pages that are complete without it: formulas set as formulas, keys,
// progress that moves by itself, a button that copies.
"use strict";

const katexAddress = document.currentScript.dataset.katex;

// Formulas: the server wrote plain words, KaTeX puts MathML in their place. An invalid formula
// keeps its words.
let katexLoading = null;

function loadKatex() {
  katexLoading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = katexAddress;
    script.onload = resolve;
    script.onerror = reject;
    document.head.append(script);
  });
  return katexLoading;
}

async function setFormulas(root) {
  const formulas = root.querySelectorAll(".math[data-tex]:not([data-set])");
  if (!formulas.length) return;
  await loadKatex();
  for (const formula of formulas) {
    formula.dataset.set = "";
    const source = formula.dataset.tex;
    if (source.length > 2000) continue;
    const words = formula.textContent;
    try {
      katex.render(source, formula, {
        output: "mathml", trust: false, maxExpand: 200, maxSize: 20, throwOnError: true, strict: "ignore",
        errorColor: "currentcolor",
      });
    } catch {
      formula.textContent = words;
    }
  }
}

// Keys: "/" searches, "j" and "k" go through the papers of a list, "?" explains.
function entries() {
  return [...document.querySelectorAll("[data-entry] :is(h1, h2, h3) a")];
}

function step(by) {
  const all = entries();
  if (!all.length) return;
  const here = all.indexOf(document.activeElement?.closest("[data-entry]")?.querySelector(":is(h1, h2, h3) a"));
  const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(Math.max(here + by, 0), all.length - 1);
  all[next].focus();
  all[next].scrollIntoView({ block: "center" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const actions = {
    "/": () => document.getElementById("search").select(),
    j: () => step(1),
    k: () => step(-1),
    "?": () => { location.href = "/help"; },
  };
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

// A run's progress: the server sends the part of the page that changed, and says when it has ended.
function followRun() {
  const live = document.querySelector("[data-events]");
  if (!live) return;
  const announce = document.getElementById("announce");
  const events = new EventSource(live.dataset.events);
  // Puts a part of the page in place; what was opened and focused stays so.
  const put = (part, html) => {
    const opened = [...part.querySelectorAll("details")].map((details) => details.open);
    const focused = part.contains(document.activeElement) && document.activeElement.matches("button");
    const log = part.querySelector(".log pre");
    const atEnd = !log || log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    part.innerHTML = html;
    part.querySelectorAll("details").forEach((details, i) => { details.open = opened[i] ?? details.open; });
    if (focused) part.querySelector("button")?.focus();
    const newLog = part.querySelector(".log pre");
    if (newLog) newLog.scrollTop = atEnd ? newLog.scrollHeight : log.scrollTop;
  };
  events.addEventListener("progress", (event) => {
    put(live, event.data);
    // The region would read out every number that moves; only a new sentence is announced.
    const says = live.querySelector("[data-announce]")?.dataset.announce ?? "";
    if (announce.textContent !== says) announce.textContent = says;
  });
  events.addEventListener("shown", (event) => put(document.getElementById("so-far"), event.data));
  events.addEventListener("end", () => {
    events.close();
    location.reload();
  });
}

// Copying: the button shows only where the browser lets a page copy.
function offerCopying() {
  if (!navigator.clipboard) return;
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).innerText);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    });
  }
}

document.addEventListener("htmx:after:swap", () => setFormulas(document.body));
setFormulas(document.body);
followRun();
offerCopying();
