"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // Tables whose rows become cards on a narrow screen keep their table roles for screen readers.
  const ROLES = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
  const setTableRoles = (table) => {
    for (const element of [table, ...table.querySelectorAll("thead, tbody, tr, td")]) {
      element.setAttribute("role", ROLES[element.tagName]);
    }
    for (const header of table.querySelectorAll("th")) {
      header.setAttribute("role", header.scope === "col" ? "columnheader" : "rowheader");
    }
  };
  document.querySelectorAll("table.cards:not(#numbers)").forEach(setTableRoles);

  // Open all <details> around the target of a link, and all of them for printing.
  const reveal = () => {
    const target = location.hash.length > 1 && byId(decodeURIComponent(location.hash.slice(1)));
    for (let element = target || null; element; element = element.parentElement) {
      if (element.tagName === "DETAILS") { element.open = true; }
    }
    if (target) { target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);
  reveal();
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((details) => { details.open = true; });
    document.querySelectorAll("img[loading]").forEach((image) => { image.loading = "eager"; });
  });
  addEventListener("afterprint", () => { opened.forEach((details) => { details.open = false; }); });

  numbers(JSON.parse(byId("numbers-data").textContent));
  gallery();

  function numbers(data) {
    const PAGE = 100;
    const table = byId("numbers"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const columns = data.columns, indexOf = Object.fromEntries(columns.map((column, k) => [column.key, k]));
    const filter = byId("filter"), selects = [...document.querySelectorAll("#filters select")];
    const more = byId("more"), showAll = byId("every"), status = byId("shown");
    let order = data.lines.map((_, k) => k), matching = order, count = 0;

    const name = (key, line) => data.names[key][line[indexOf[key]]];
    const searchable = columns.filter((column) => column.kind === "name" && column.key !== "models");
    const texts = [];
    const textOf = (k) => {
      texts[k] = texts[k] || [
        ...searchable.map(({ key }) => `${name(key, data.lines[k]).text} ${name(key, data.lines[k]).tag || ""}`),
        indexOf.note === undefined ? "" : data.lines[k][indexOf.note],
      ].join(" ").toLowerCase();
      return texts[k];
    };

    // Percentages are scaled to shares, so that they sort correctly among probabilities.
    const value = (text, line) => {
      const number = parseFloat(String(text).replace("−", "-").replace("< ", ""));
      return number * name("score", line).scale;
    };
    const ranks = {};
    const rank = (key) => {
      if (!ranks[key]) {
        const sorted = data.names[key].map((entry, k) => [entry.text, k]);
        sorted.sort((a, b) => a[0].localeCompare(b[0]));
        ranks[key] = [];
        sorted.forEach(([, k], position) => { ranks[key][k] = position; });
      }
      return ranks[key];
    };
    const UNSCALED = ["q_value", "p_images", "p_mcnemar", "effect_size"];
    const keyOf = (column) => {
      const k = indexOf[column.key];
      if (column.kind === "name") { const rankOf = rank(column.key); return (line) => rankOf[line[k]]; }
      if (column.kind === "count") { return (line) => line[k]; }
      if (UNSCALED.includes(column.key)) { return (line) => value(line[k], line) / name("score", line).scale; }
      return (line) => value(line[k], line);
    };

    const cell = (column, line) => {
      const td = document.createElement("td"), raw = line[indexOf[column.key]];
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
      const fragment = document.createDocumentFragment();
      for (; count < Math.min(upTo, matching.length); count += 1) {
        const line = data.lines[matching[count]], row = document.createElement("tr");
        row.setAttribute("role", "row");
        if (name("method", line).faint) { row.className = "control"; }
        columns.forEach((column) => row.append(cell(column, line)));
        fragment.append(row);
      }
      body.append(fragment);
      const remaining = matching.length - count;
      more.hidden = showAll.hidden = remaining === 0;
      more.textContent = `Show ${Math.min(PAGE, remaining)} more`;
      showAll.textContent = `Show all ${matching.length.toLocaleString("en")}`;
      status.textContent = `${matching.length.toLocaleString("en")} of ${data.lines.length.toLocaleString("en")} rows`
        + (remaining ? `, the first ${count} shown` : "");
    };
    const apply = () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      const chosen = selects.filter((select) => select.value !== "")
        .map((select) => [indexOf[select.dataset.key], Number(select.value)]);
      matching = order.filter((k) => chosen.every(([column, value]) => data.lines[k][column] === value)
        && words.every((word) => textOf(k).includes(word)));
      count = 0;
      body.replaceChildren();
      draw(PAGE);
    };
    heads.forEach((head, k) => {
      const button = head.querySelector("button");
      if (!button) { return; }
      button.addEventListener("click", () => {
        const ascending = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        const keys = data.lines.map(keyOf(columns[k]));
        // Cells without a number come last in both directions.
        order = [...order].sort((a, b) => {
          if (isNaN(keys[a]) || isNaN(keys[b])) { return isNaN(keys[a]) - isNaN(keys[b]); }
          return ascending ? keys[a] - keys[b] : keys[b] - keys[a];
        });
        apply();
      });
    });
    setTableRoles(table);
    filter.addEventListener("input", apply);
    selects.forEach((select) => select.addEventListener("change", apply));
    more.addEventListener("click", () => draw(count + PAGE));
    showAll.addEventListener("click", () => draw(matching.length));
    byId("details").addEventListener("change", (event) => table.classList.toggle("full", event.target.checked));
    byId("reset").addEventListener("click", () => {
      filter.value = "";
      selects.forEach((select) => { select.value = ""; });
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
      const show = () => albums.forEach((element, k) => element.classList.toggle("off", String(k) !== album.value));
      album.addEventListener("change", show);
      show();
    }
    if (left) {
      const maps = [...document.querySelectorAll("figure[data-arm]")];
      const show = () => maps.forEach((map) => {
        const arm = map.dataset.arm;
        map.classList.toggle("off", arm !== left.value && arm !== right.value);
        map.style.order = arm === left.value ? 1 : 2;
      });
      left.addEventListener("change", show);
      right.addEventListener("change", show);
      show();
    }
  }
})();
