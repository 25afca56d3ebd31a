// What the page does by itself. Every view of the studio is HTML from the server; what a person does in it goes
// back as one event with the data-* attributes of the element it happened on (see ui/view.py).
(() => {
  "use strict";
  const root = document.documentElement;
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // -- light and dark: the person's choice, else the system's -------------------------------------------------
  const system = matchMedia("(prefers-color-scheme: dark)");
  function paint() {
    const mode = localStorage.getItem("studio-theme") || (system.matches ? "dark" : "light");
    if (root.dataset.theme !== mode) root.dataset.theme = mode;
    if (document.body && document.body.classList.contains("dark") !== (mode === "dark"))
      document.body.classList.toggle("dark", mode === "dark");
  }
  paint();
  system.addEventListener("change", paint);
  function flipTheme() {
    localStorage.setItem("studio-theme", root.dataset.theme === "dark" ? "light" : "dark");
    paint();
  }

  // -- events ---------------------------------------------------------------------------------------------------
  function fieldValue(field) {
    return field.type === "checkbox" ? field.checked : field.value;
  }
  function rowsOf(table) {
    return all("tbody tr", table).map((line) => ({
      prompt: one("[data-cell=prompt]", line).value,
      answer: one("[data-cell=answer]", line).value,
    }));
  }
  function shownRows() { // rows may be half typed when Back or Next, in another view than theirs, is pressed
    const table = all("[data-rows]").find((t) => t.checkVisibility());
    return table ? { rows: rowsOf(table) } : {};
  }
  const sends = { // acts that carry more than their own data-* attributes
    "model-own": (element) => ({ value: one("[data-model-name]", element).value }),
    "export": (element) => ({
      upload: one("[data-upload]", element).value, public: one("[data-public]", element).checked,
    }),
    "send": (element) => {
      const box = one("[data-prompt]", element);
      const value = box.value;
      box.value = "";
      fit(box);
      return { value };
    },
  };

  function goOn() { // what the last message said is over once the person goes on
    const old = one(".notice");
    if (old) old.remove();
  }
  function bind(element, dispatch, upload) {
    const trigger = (name, data, over) => studioInTurn(() => dispatch(name, data), over); // see answers.js
    const act = (target, extra = {}, over = undefined) => {
      if (target.dataset.act !== "dismiss") goOn();
      const data = { ...target.dataset, ...shownRows(), ...extra };
      if (target.dataset.busy !== undefined) target.setAttribute("aria-busy", "true");
      trigger(target.dataset.event || "act", data, over);
    };
    element.addEventListener("click", (event) => {
      const target = event.target.closest("[data-act],[data-go],[data-copy],[data-pane],[data-row],[data-do]");
      if (!target || !element.contains(target) || target.disabled || target.matches("input,select,textarea")) return;
      if (target.ariaBusy === "true") return; // a second click on Start is not a second run
      if (target.matches("a")) event.preventDefault();
      if (target.dataset.confirm) return ask(target, () => act(target));
      if (target.dataset.copy !== undefined) return copy(target);
      if (target.dataset.row) return editRows(target, element);
      if (target.dataset.pane) return showPane(target, element);
      if (target.dataset.do === "theme") return flipTheme();
      if (target.dataset.do === "pick") return one("input[type=file]", element).click();
      if (target.dataset.go) return go(target);
      act(target, (sends[target.dataset.act] || (() => ({})))(element));
    });
    element.addEventListener("change", (event) => {
      const field = event.target;
      if (field.type === "file") return send(field.files[0]);
      if (field.dataset.keepWithin !== undefined) keepWithin(field);
      if (field.dataset.act) act(field, { value: fieldValue(field) }, sent(field));
    });
    element.addEventListener("focusout", (event) => left(event.target));
    element.addEventListener("input", (event) => {
      const field = event.target;
      if (field.dataset.prompt !== undefined) fit(field);
      if (field.dataset.act && field.matches("input")) hold(field).typing = true;
      if (field.dataset.cell) countRows(element);
      if (field.type === "range" && field.dataset.shows) one(`#${field.dataset.shows}`).textContent = field.value;
    });
    element.addEventListener("keydown", (event) => {
      const field = event.target;
      if (field.dataset.prompt !== undefined && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        const button = one("[data-act=send]", element);
        if (!button.disabled && field.value.trim()) button.click();
      }
      if (event.key === "Enter" && field.dataset.enter) {
        event.preventDefault();
        one(`[data-act=${field.dataset.enter}]`, element).click();
      }
    });
    element.addEventListener("paste", (event) => pasteRows(event, element));
    for (const kind of ["dragover", "dragleave", "drop"])
      element.addEventListener(kind, (event) => {
        const zone = event.target.closest("[data-drop]");
        if (!zone) return;
        event.preventDefault();
        zone.classList.toggle("over", kind === "dragover");
        if (kind === "drop" && event.dataTransfer.files[0]) send(event.dataTransfer.files[0]);
      });
    async function send(file) {
      if (!file) return;
      goOn();
      const zone = one("[data-drop]", element);
      zone.setAttribute("aria-busy", "true");
      try {
        const kept = await upload(file);
        trigger("act", { act: "upload", path: kept.path, name: file.name });
      } catch (error) {
        trigger("act", { act: "upload-failed", name: file.name, detail: String(error) });
      } finally {
        zone.removeAttribute("aria-busy");
      }
    }
  }

  // -- what a person has typed or chosen stays: the answer to an older change is drawn over a newer one ------------
  // Once nothing waits, what was drawn holds: of a field that a person changed, the browser itself no longer heeds
  // the attributes that a new drawing sets.
  const held = new Map(); // field -> its value, changes that wait for their answer, what was drawn meanwhile
  const drawnValue = (field) => {
    if (field.matches("select")) return (one("option[selected]", field) || field.options[0])?.value;
    return field.type === "checkbox" ? field.hasAttribute("checked") : field.getAttribute("value");
  };
  function show(field, value) {
    field[field.type === "checkbox" ? "checked" : "value"] = value;
  }
  function hold(field) {
    const kept = held.get(field) || { waits: 0 };
    held.set(field, kept);
    kept.value = fieldValue(field);
    return kept;
  }
  function sent(field) { // gives what is to be done once the change has its answer
    const kept = Object.assign(hold(field), { typing: false, drawn: undefined });
    kept.waits += 1;
    return () => { kept.waits -= 1; letGo(field, kept); };
  }
  function letGo(field, kept) {
    if (kept.waits || kept.typing) return;
    held.delete(field);
    if (kept.drawn !== undefined) show(field, kept.drawn);
  }
  function left(field) {
    const kept = held.get(field);
    if (!kept || !kept.typing) return;
    // The browser no longer knows that a person changed what was drawn over and set again.
    if (kept.drawn !== undefined) return field.dispatchEvent(new Event("change", { bubbles: true }));
    kept.typing = false;
    letGo(field, kept);
  }
  new MutationObserver((changes) => {
    for (const { target } of changes) {
      const field = target.closest("input,textarea,select");
      const kept = held.get(field);
      if (kept) {
        kept.drawn = drawnValue(field);
        show(field, kept.value);
      } else if (field && field.matches("select,[type=checkbox]")) show(field, drawnValue(field));
    }
  }).observe(root, { subtree: true, attributes: true, attributeFilter: ["value", "checked", "selected"] });

  // -- small behaviours -------------------------------------------------------------------------------------------
  function keepWithin(field) { // what is shown is what holds: a number outside its range goes to its end
    const value = field.value === "" ? Number(field.defaultValue) : field.valueAsNumber;
    field.value = Math.min(Number(field.max), Math.max(Number(field.min), value));
  }
  function fit(box) {
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
  }
  async function copy(target) {
    await navigator.clipboard.writeText(one(`#${target.dataset.copy}`).innerText);
    target.classList.add("copied");
    setTimeout(() => target.classList.remove("copied"), 1500);
  }
  function showPane(target, element) {
    const group = target.closest("[data-panes]");
    group.dataset.panes = target.dataset.pane;
    all("[data-pane]", target.parentElement).forEach((b) => b.setAttribute("aria-selected", b === target));
  }
  function newRow(table) {
    const body = one("tbody", table);
    const line = body.lastElementChild.cloneNode(true);
    all("textarea", line).forEach((cell) => { cell.value = ""; cell.textContent = ""; });
    body.append(line);
    return line;
  }
  function countRows(element) {
    const filled = rowsOf(one("[data-rows]", element)).filter((r) => r.prompt.trim() && r.answer.trim()).length;
    const place = one("[data-count]", element);
    if (place) place.textContent = filled;
    all("[data-act=rows-save]", element).forEach((b) => { b.disabled = filled === 0; });
  }
  function editRows(target, element) {
    const table = one("[data-rows]", element);
    if (target.dataset.row === "add") one("textarea", newRow(table)).focus();
    else if (all("tbody tr", table).length > 1) target.closest("tr").remove();
    countRows(element);
  }
  function pasteRows(event, element) {
    const cell = event.target.closest && event.target.closest("[data-cell]");
    const text = event.clipboardData.getData("text/plain");
    if (!cell || !text.includes("\t")) return; // one cell: the browser's own paste
    event.preventDefault();
    const table = cell.closest("table");
    let line = cell.closest("tr");
    for (const [index, row] of text.replace(/\r/g, "").split("\n").filter((l) => l.trim()).entries()) {
      if (index) line = line.nextElementSibling || newRow(table);
      const [prompt, ...answer] = row.split("\t");
      one("[data-cell=prompt]", line).value = prompt;
      one("[data-cell=answer]", line).value = answer.join(" ");
    }
    countRows(element);
  }
  function ask(target, then) {
    const box = document.createElement("dialog");
    box.className = "ask";
    const words = document.createElement("p");
    words.textContent = target.dataset.confirm;
    const buttons = document.createElement("div");
    buttons.className = "buttons";
    for (const [label, kind, value] of [[target.dataset.keep, "quiet", "no"], [target.dataset.yes, "danger", "yes"]]) {
      const button = document.createElement("button");
      button.className = `button ${kind}`;
      button.textContent = label;
      button.addEventListener("click", () => box.close(value));
      buttons.append(button);
    }
    box.append(words, buttons);
    box.addEventListener("close", () => { box.remove(); if (box.returnValue === "yes") then(); });
    document.body.append(box);
    box.showModal();
  }

  // -- tabs and the address ---------------------------------------------------------------------------------------
  // At an address with a place in it, nothing is shown until that place is drawn: no flash of Home.
  if (location.search) root.classList.add("arriving");
  setTimeout(() => root.classList.remove("arriving"), 4000);
  // The tab that the address names is open until the person goes to another one. The page opens it, as a click
  // would: the server's word on it would be lost where it comes before Gradio's tabs are there to hear it.
  let arriveAt = new URLSearchParams(location.search).get("tab");
  function arrive() {
    const button = arriveAt && one(`#tab-${CSS.escape(arriveAt)}-button`);
    if (button && !isOpen(button)) open(button);
  }
  function isOpen(button) {
    return button.getAttribute("aria-selected") === "true";
  }
  function open(button) {
    const panel = document.getElementById(button.getAttribute("aria-controls"));
    studioOpens(() => { shown.delete(panel); settle(); }); // see answers.js: its place may be as it was
    button.click();
  }
  function setAddress(text) {
    history.replaceState(null, "", text ? `?${text}` : location.pathname);
  }
  function go(target) { // data-go names the tab; data-address what its address shall be
    arriveAt = null;
    const button = one(`#tab-${target.dataset.go}-button`);
    if (!isOpen(button)) { // it is drawn from its address
      setAddress(target.dataset.address || `tab=${target.dataset.go}`);
      open(button);
    }
    scrollTo(0, 0);
  }
  function markTab() {
    const open = one('#tabs > .tab-wrapper [role=tab][aria-selected="true"]');
    if (!open) return;
    const name = open.id.slice(4, -7);
    all(".rail [data-go]").forEach((b) =>
      b.dataset.go === name ? b.setAttribute("aria-current", "page") : b.removeAttribute("aria-current"));
    root.dataset.tab = name;
  }

  // -- is the studio still there? ---------------------------------------------------------------------------------
  let missed = 0;
  async function alive() {
    if (document.hidden) return;
    let answer = null;
    try {
      answer = await fetch("studio/alive", { cache: "no-store" });
    } catch { /* not there */ }
    if (answer && answer.ok) {
      if (missed > 1) location.reload();
      missed = 0;
    } else missed += 1;
    root.classList.toggle("lost", missed > 1);
  }

  function free(within) {
    all("[aria-busy=true]", within).forEach((b) => b.removeAttribute("aria-busy"));
  }
  let told = null; // the last message: what was asked for was refused, and may be asked for again
  function freeBusy() {
    const notice = one(".notice");
    if (notice && notice.dataset.number !== told) free(root);
    told = notice ? notice.dataset.number : told;
  }

  let due = false;
  function settle() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; paint(); arrive(); markTab(); watchAddress(); freeBusy(); });
  }
  new MutationObserver(settle).observe(root, {
    subtree: true, childList: true, attributes: true, attributeFilter: ["class", "aria-selected", "data-address-now"],
  });
  const shown = new Map();
  function watchAddress() { // one place per tab; only the open tab's speaks for the address bar
    for (const place of all("[data-address-now]")) {
      const now = place.dataset.addressNow;
      const panel = place.closest("[role=tabpanel]") || document;
      if (shown.get(panel) === now) continue;
      shown.set(panel, now);
      free(panel); // what was asked for is there; a button that is drawn as before is not drawn anew
      root.classList.remove("arriving");
      const onward = place.dataset.thenGo;
      delete place.dataset.thenGo; // once
      if (onward) go({ dataset: { go: onward, address: now } });
      else if (now.startsWith(`tab=${root.dataset.tab || "home"}`)) setAddress(now);
    }
  }
  function closeDrawers(event) { // a click beside them, or Escape
    if (event.type === "keydown" && event.key !== "Escape") return;
    all(".drawer[open]").forEach((drawer) => {
      if (event.type === "keydown" || !drawer.contains(event.target)) drawer.open = false;
    });
  }
  addEventListener("click", closeDrawers);
  addEventListener("keydown", closeDrawers);
  addEventListener("DOMContentLoaded", () => {
    paint();
    setInterval(alive, 2500);
  });
  if (document.readyState !== "loading") setInterval(alive, 2500);

  window.studio = { bind };
  (window.studioWaiting || []).forEach((args) => bind(...args));
  window.studioWaiting = { push: (args) => bind(...args) };
})();
