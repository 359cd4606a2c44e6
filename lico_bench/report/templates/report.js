"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // A table whose rows become cards on a narrow screen stays a table for who listens to it.
  const ROLES = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
  const giveRoles = (table) => {
    for (const one of [table, ...table.querySelectorAll("thead, tbody, tr, td")]) {
      one.setAttribute("role", ROLES[one.tagName]);
    }
    for (const one of table.querySelectorAll("th")) {
      one.setAttribute("role", one.scope === "col" ? "columnheader" : "rowheader");
    }
  };
  document.querySelectorAll("table.cards:not(#numbers)").forEach(giveRoles);

  // What a link leads to is shown, and so is everything in print.
  const reveal = () => {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    for (let one = target || null; one; one = one.parentElement) {
      if (one.tagName === "DETAILS") { one.open = true; }
    }
    if (target) { target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);
  reveal();
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((one) => { one.open = true; });
    document.querySelectorAll("img[loading]").forEach((one) => { one.loading = "eager"; });
  });
  addEventListener("afterprint", () => { opened.forEach((one) => { one.open = false; }); });

  numbers(JSON.parse(byId("numbers-data").textContent));
  gallery();

  function numbers(data) {
    const PAGE = 100;
    const table = byId("numbers"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const columns = data.columns, at = Object.fromEntries(columns.map((one, k) => [one.key, k]));
    const filter = byId("filter"), selects = [...document.querySelectorAll("#filters select")];
    const more = byId("more"), every = byId("every"), shown = byId("shown");
    let order = data.lines.map((_, k) => k), fitting = order, count = 0;

    const name = (key, line) => data.names[key][line[at[key]]];
    const worded = columns.filter((one) => one.kind === "name" && one.key !== "models");
    const texts = [];
    const textOf = (k) => {
      texts[k] = texts[k] || [
        ...worded.map((one) => `${name(one.key, data.lines[k]).text} ${name(one.key, data.lines[k]).tag || ""}`),
        at.note === undefined ? "" : data.lines[k][at.note],
      ].join(" ").toLowerCase();
      return texts[k];
    };

    // Shares are told in percent; beside probabilities they sort as what they are.
    const value = (text, line) => {
      const found = parseFloat(String(text).replace("−", "-").replace("< ", ""));
      return found * name("score", line).scale;
    };
    const ranks = {};
    const rank = (key) => {
      if (!ranks[key]) {
        const sorted = data.names[key].map((one, k) => [one.text, k]);
        sorted.sort((a, b) => a[0].localeCompare(b[0]));
        ranks[key] = [];
        sorted.forEach(([, k], place) => { ranks[key][k] = place; });
      }
      return ranks[key];
    };
    const UNSCALED = ["p_holm", "p_images", "p_mcnemar", "effect_size"];
    const keyOf = (column) => {
      const k = at[column.key];
      if (column.kind === "name") { const of = rank(column.key); return (line) => of[line[k]]; }
      if (column.kind === "count") { return (line) => line[k]; }
      if (UNSCALED.includes(column.key)) { return (line) => value(line[k], line) / name("score", line).scale; }
      return (line) => value(line[k], line);
    };

    const cell = (column, line) => {
      const td = document.createElement("td"), raw = line[at[column.key]];
      td.setAttribute("role", "cell");
      td.dataset.label = column.title;
      td.dataset.key = column.key;
      td.classList.toggle("num", column.kind === "number" || column.kind === "count");
      td.classList.toggle("detail", column.is_detail);
      if (column.kind !== "name") { td.textContent = raw; return td; }
      const entry = name(column.key, line);
      if (entry.tag) {
        const tag = td.appendChild(document.createElement("span"));
        tag.className = "tag";
        tag.textContent = entry.tag;
        td.append(" ");
      }
      const inner = td.appendChild(document.createElement(entry.href ? "a" : "span"));
      inner.textContent = entry.text;
      if (entry.href) { inner.href = entry.href; }
      if (entry.class) { inner.className = entry.class; }
      if (entry.unit) {
        const unit = document.createElement("span");
        unit.className = "unit";
        unit.textContent = entry.unit;
        td.append(" ", unit);
      }
      return td;
    };
    const draw = (upTo) => {
      const part = document.createDocumentFragment();
      for (; count < Math.min(upTo, fitting.length); count += 1) {
        const line = data.lines[fitting[count]], row = document.createElement("tr");
        row.setAttribute("role", "row");
        if (name("method", line).faint) { row.className = "control"; }
        columns.forEach((column) => row.append(cell(column, line)));
        part.append(row);
      }
      body.append(part);
      const left = fitting.length - count;
      more.hidden = every.hidden = left === 0;
      more.textContent = `Show ${Math.min(PAGE, left)} more`;
      every.textContent = `Show all ${fitting.length.toLocaleString("en")}`;
      shown.textContent = `${fitting.length.toLocaleString("en")} of ${data.lines.length.toLocaleString("en")} rows`
        + (left ? `, the first ${count} shown` : "");
    };
    const apply = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = selects.filter((one) => one.value !== "").map((one) => [at[one.dataset.key], Number(one.value)]);
      fitting = order.filter((k) => chosen.every(([column, wanted]) => data.lines[k][column] === wanted)
        && words.every((word) => textOf(k).includes(word)));
      count = 0;
      body.replaceChildren();
      draw(PAGE);
    };
    heads.forEach((head, k) => {
      const button = head.querySelector("button");
      if (!button) { return; }
      button.addEventListener("click", () => {
        const rising = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", rising ? "ascending" : "descending");
        const read = keyOf(columns[k]);
        const keys = data.lines.map((line) => read(line));
        // Cells without a number come last both ways.
        order = [...order].sort((a, b) => {
          if (isNaN(keys[a]) || isNaN(keys[b])) { return isNaN(keys[a]) - isNaN(keys[b]); }
          return rising ? keys[a] - keys[b] : keys[b] - keys[a];
        });
        apply();
      });
    });
    giveRoles(table);
    filter.addEventListener("input", apply);
    selects.forEach((one) => one.addEventListener("change", apply));
    more.addEventListener("click", () => draw(count + PAGE));
    every.addEventListener("click", () => draw(fitting.length));
    byId("details").addEventListener("change", (event) => table.classList.toggle("full", event.target.checked));
    byId("reset").addEventListener("click", () => {
      filter.value = "";
      selects.forEach((one) => { one.value = ""; });
      apply();
    });
    apply();
  }

  function gallery() {
    const slider = byId("opacity");
    if (!slider) { return; }
    const fade = () => {
      document.documentElement.style.setProperty("--heat", slider.value / 100);
      byId("opacity-shown").textContent = `${slider.value} %`;
    };
    slider.addEventListener("input", fade);
    fade();
    byId("gallery-choice").hidden = false;
    const album = byId("album"), left = byId("left-arm"), right = byId("right-arm");
    if (album) {
      const albums = [...document.querySelectorAll(".album")];
      const show = () => albums.forEach((one, k) => one.classList.toggle("off", String(k) !== album.value));
      album.addEventListener("change", show);
      show();
    }
    if (left) {
      const maps = [...document.querySelectorAll("figure[data-arm]")];
      const show = () => maps.forEach((one) => {
        const arm = one.dataset.arm;
        one.classList.toggle("off", arm !== left.value && arm !== right.value);
        one.style.order = arm === left.value ? 1 : 2;
      });
      left.addEventListener("change", show);
      right.addEventListener("change", show);
      show();
    }
  }
})();
