"use strict";
// Brings what changes between bars, and reads the charts. The page is whole without it; every choice is an address.
(() => {
  const EVERY_MS = 5 * 60 * 1000; // live prices cost the server calls to its upstream
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
  const shown = (price) =>
    price < 1e-5 ? price.toExponential(4).replace(/-(\d)$/, "-0$1") : (price >= 10000 ? whole : digits).format(price);
  let lookedAt = 0, swaps = 0;

  // The titles are for browsers without a script: here they stand below the chart, and at once.
  const takeTitles = () => {
    for (const title of all(".hit > title")) {
      title.parentNode.dataset.text = title.textContent;
      title.remove();
    }
    for (const output of all("output")) output.dataset.rest = output.textContent;
  };

  const read = (hit) => {
    const svg = hit.ownerSVGElement, cursor = svg.querySelector(".cursor");
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, hit.dataset.x);
    cursor.setAttribute("visibility", "visible");
    svg.closest("figure").querySelector("output").textContent = hit.dataset.text;
    for (const other of all(".hit[data-on]", svg)) delete other.dataset.on;
    hit.dataset.on = "";
  };

  const leave = (svg) => {
    svg.querySelector(".cursor").setAttribute("visibility", "hidden");
    const output = svg.closest("figure").querySelector("output");
    output.textContent = output.dataset.rest;
  };

  document.addEventListener("pointerover", (event) => {
    const hit = event.target.closest?.(".hit");
    if (hit) read(hit);
  });
  document.addEventListener("pointerout", (event) => {
    const svg = event.target.closest?.("figure svg");
    if (svg && !svg.contains(event.relatedTarget)) leave(svg);
  });
  document.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key], svg = event.target.closest?.("figure svg");
    if (!step || !svg) return;
    const hits = all(".hit", svg), at = hits.findIndex((hit) => "on" in hit.dataset);
    read(hits[Math.min(hits.length - 1, Math.max(0, at < 0 ? hits.length - 1 : at + step))]);
    event.preventDefault();
  });

  const answer = async (address) => {
    const reply = await fetch(address, { headers: { Accept: "application/json" } });
    if (!reply.ok) throw new Error(reply.status);
    return reply.json();
  };

  const place = (svg, price) => {
    const [low, high, top, bottom, x, perBar, asOf, bar, last] = svg.dataset.scale.split(",").map(Number);
    const bars = (Date.now() - asOf) / bar, dot = svg.querySelector(".live");
    if (price < low || price > high || bars < 0 || bars > last) return;
    dot.setAttribute("cx", x + perBar * bars);
    dot.setAttribute("cy", top + ((bottom - top) * (high - price)) / (high - low));
    dot.setAttribute("visibility", "visible");
  };

  const showPrices = async () => {
    const places = all("[data-live]");
    if (!places.length) return;
    // Without ids: of the coins of the settings, as the page has them, be they more than one question may name.
    const { prices = [] } = await answer(`/prices?vs=${places[0].dataset.vs}`);
    for (const row of prices) {
      const day = row.change_24h_pct;
      const change = day === null ? "" : `, ${day < 0 ? "" : "+"}${day.toFixed(1)} % in 24 h`;
      for (const one of places) if (one.dataset.live === row.coin) one.textContent = shown(row.price);
      for (const one of all("[data-change]")) {
        if (one.dataset.change === row.coin) one.textContent = `${row.stale ? "last known price" : "live"}${change}`;
      }
      for (const svg of all("svg[data-scale]")) if (svg.dataset.coin === row.coin) place(svg, row.price);
    }
  };

  const sayHealth = (status, text) => {
    const line = document.getElementById("health");
    line.className = status;
    line.textContent = line.title = text;
  };

  const showHealth = async () => {
    const { status, components } = await answer("/health/detailed");
    const faults = components.filter((one) => one.status !== "pass");
    sayHealth(status, faults.map((one) => `${one.name.replaceAll("_", " ")}: ${one.output}`).join("; ") || "All is well");
  };

  const look = () => {
    lookedAt = Date.now();
    showPrices().catch(() => {}); // what is shown stays
    showHealth().catch(() => sayHealth("warn", "The server does not say how it is")); // gone, or the login is over
  };

  const swap = async (address, isNew) => {
    const number = ++swaps;
    const reply = await fetch(address, { headers: { Accept: "text/html" } });
    const text = await reply.text();
    if (number !== swaps) return; // another one was chosen meanwhile
    if (!reply.ok) throw new Error(reply.status);
    const next = new DOMParser().parseFromString(text, "text/html");
    document.querySelector("main").replaceWith(next.querySelector("main"));
    document.title = next.title;
    if (isNew) history.pushState(null, "", address);
    takeTitles();
    look();
  };
  const go = (address, isNew) => swap(address, isNew).catch(() => location.assign(address));

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-swap]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(link.getAttribute("href"), true);
  });
  addEventListener("popstate", () => go(location.pathname + location.search, false));
  const again = () => {
    if (!document.hidden && Date.now() - lookedAt >= EVERY_MS) swap(location.pathname + location.search, false).catch(look);
  };
  document.addEventListener("visibilitychange", again);
  setInterval(again, EVERY_MS / 5);

  takeTitles();
  look();
})();
