"use strict";
(() => {
const $ = id => document.getElementById(id);
const data = JSON.parse($("data").textContent);
document.querySelectorAll("[data-script]").forEach(e => { e.hidden = false; });

/* The list of patients: filters and what is done with the rows that are shown. */
const rows = [...document.querySelectorAll(".p")];
const groups = [...document.querySelectorAll(".group")].map(e => [e, [...e.querySelectorAll(".p")]]);
const day = 86400000, index = Date.parse(data.index);
const value = id => $(id) ? $(id).value : "";
const texts = new Map();
const textOf = row => {
  if (!texts.has(row)) texts.set(row, row.firstElementChild.textContent.toLowerCase());
  return texts.get(row);
};
const inTime = (when, wish) => {
  if (!wish) return true;
  if (wish === "none") return !when;
  if (!when) return false;
  return wish === "all" || (Date.parse(when) - index) / day <= Number(wish);
};
function filter() {
  const decision = value("f-decision"), criterion = value("f-criterion"), verdict = value("f-verdict");
  const eye = value("f-eye"), when = value("f-when"), text = value("f-text").trim().toLowerCase();
  let count = 0;
  for (const [section, members] of groups) {
    let some = false;
    for (const row of members) {
      const d = row.dataset;
      const keep = (!decision || d.d === decision)
        && (!criterion || d.v.split(" ").some(word => word[criterion] === verdict))
        && (!eye || (d.y || "").split(" ").includes(eye))
        && inTime(d.a, when)
        && (!text || textOf(row).includes(text));
      if (row.hidden === keep) row.hidden = !keep;
      if (keep) { some = true; count++; }
    }
    if (section.hidden === some) section.hidden = !some;
  }
  $("shown").textContent = `${count} of ${rows.length} shown`;
  document.querySelectorAll("a.tile").forEach(tile => {
    if (decision && tile.dataset.decision === decision) tile.setAttribute("aria-current", "true");
    else tile.removeAttribute("aria-current");
  });
}
const shown = () => rows.filter(row => !row.hidden);
const words = {y: "pass", n: "fail", u: "unknown", x: "not_applicable"};
const cell = text => {
  const safe = /^[=+\-@\t\r]/.test(text) ? "'" + text : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
function table() {
  const lines = [["input_row", "patient_ref", "decision", "queue", "reason", "next_appointment", "eye",
    ...data.ids.map(id => "c_" + id)]];
  for (const row of shown()) {
    const [decision, number, ref, reason] = [...row.firstElementChild.children].map(e => e.textContent);
    const eyes = (row.dataset.v || "").split(" ");
    lines.push([number, ref, decision.slice(2), row.dataset.q, reason, row.dataset.a || "", row.dataset.y || "",
      ...data.ids.map((_, i) => eyes.map(word => words[word[i]] || "not_evaluated").join(" | "))]);
  }
  return lines.map(line => line.map(cell).join(",") + "\r\n").join("");
}
function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", table()], {type: "text/csv;charset=utf-8"}));
  link.download = "shown-patients.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
if ($("shown")) {
  for (const id of ["f-decision", "f-criterion", "f-verdict", "f-eye", "f-when"]) if ($(id)) $(id).onchange = filter;
  $("f-text").oninput = filter;
  $("f-clear").onclick = () => {
    for (const id of ["f-decision", "f-criterion", "f-eye", "f-when", "f-text"]) if ($(id)) $(id).value = "";
    filter();
  };
  $("export").onclick = save;
  $("open").onclick = () => shown().forEach(row => { row.open = true; });
  $("close").onclick = () => rows.forEach(row => { row.open = false; });
  $("print").onclick = () => print();
  document.querySelectorAll("a.tile").forEach(tile => tile.addEventListener("click", event => {
    event.preventDefault();
    const pick = $("f-decision"), wish = tile.dataset.decision;
    pick.value = pick.value === wish || ![...pick.options].some(o => o.value === wish) ? "" : wish;
    filter();
    $("patients").scrollIntoView();
    $("h-patients").focus({preventScroll: true});
  }));
  filter();
}

/* Long parts are folded on the screen, and open on paper. */
if ($("criteria")) {
  $("criteria").open = false;
  addEventListener("beforeprint", () => { $("criteria").open = true; });
}

/* The funnel: two views, and what would change if some criteria were not asked. */
if (!data.masks) return;
const views = ["ordered", "independent"];
document.querySelectorAll("[data-view]").forEach(button => {
  button.onclick = () => {
    views.forEach(name => { $(name).hidden = name !== button.dataset.view; });
    document.querySelectorAll("[data-view]").forEach(b => b.setAttribute("aria-pressed", String(b === button)));
  };
});
$("independent").hidden = true;
const evaluated = data.masks.reduce((sum, mask) => sum + mask[2], 0);
const start = $("what").textContent;
const show = number => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const rowsOf = name => [...$(name).querySelectorAll("tbody tr")];
const position = row => data.ids.indexOf(row.dataset.criterion);
function draw(row, parts, total) {
  const bar = row.querySelector("svg.bar");
  if (!bar) return;
  bar.querySelectorAll("rect").forEach(e => e.remove());
  let x = 0;
  for (const [name, count] of parts) {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    rect.setAttribute("class", "f" + name);
    rect.setAttribute("x", 100 * x / total + "%");
    rect.setAttribute("width", 100 * count / total + "%");
    rect.setAttribute("height", "100%");
    if (count) bar.append(rect);
    x += count;
  }
}
const put = (row, numbers) => {
  row.querySelectorAll("td.c").forEach((e, i) => { e.textContent = numbers[i] === null ? "–" : show(numbers[i]); });
  const bar = row.querySelector("svg.bar"), heads = [...row.querySelectorAll("td.c")].map(e => e.dataset.h.toLowerCase());
  if (!bar) return;
  const said = numbers[0] === null ? "not asked" : numbers.map((n, i) => `${n} ${heads[i]}`).join(", ");
  bar.setAttribute("aria-label", `${row.querySelector("th").textContent}: ${said}`);
  bar.querySelector("title").textContent = said;
};
function whatIf() {
  const off = new Set();
  for (const row of rowsOf("ordered")) if (!row.querySelector("input").checked) off.add(position(row));
  const masks = data.masks.map(([failed, unknown, count]) =>
    [new Set(failed.filter(i => !off.has(i))), new Set(unknown.filter(i => !off.has(i))), count]);
  const before = [];
  let entering = evaluated;
  for (const row of rowsOf("ordered")) {
    const at = position(row), dropped = off.has(at);
    row.classList.toggle("drop", dropped);
    if (dropped) { put(row, [null, null, null, null]); draw(row, [], 1); continue; }
    let lost = 0, sure = 0, unsure = 0;
    for (const [failed, unknown, count] of masks) {
      if (before.some(i => failed.has(i))) continue;
      const doubted = before.some(i => unknown.has(i));
      if (failed.has(at)) lost += count;
      else if (!doubted && !unknown.has(at)) sure += count;
      else if (!doubted) unsure += count;
    }
    before.push(at);
    entering -= lost;
    put(row, [entering, sure, lost, unsure]);
    draw(row, [["y", sure], ["u", entering - sure], ["n", evaluated - entering]], evaluated);
  }
  for (const row of rowsOf("independent")) {
    const at = position(row), dropped = off.has(at);
    row.classList.toggle("drop", dropped);
    const alone = masks.reduce((sum, [failed, , count]) => sum + (failed.size === 1 && failed.has(at) ? count : 0), 0);
    row.querySelector("td.c:last-child").textContent = dropped ? "–" : show(alone);
  }
  const eligible = masks.reduce((sum, [f, u, n]) => sum + (f.size || u.size ? 0 : n), 0);
  const undecided = masks.reduce((sum, [f, u, n]) => sum + (!f.size && u.size ? n : 0), 0);
  $("what").classList.toggle("noprint", !off.size);
  $("what").textContent = off.size
    ? `Without ${off.size === 1 ? "this criterion" : `these ${off.size} criteria`}: ${show(eligible)} eligible, `
      + `${show(undecided)} undecided, ${show(evaluated - eligible - undecided)} not eligible. The list below is unchanged.`
    : start;
}
$("ordered").addEventListener("change", whatIf);
})();
