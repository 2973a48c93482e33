"use strict";
// Reads charts under the pointer and zooms those over time. The page is whole without it, and it asks for nothing.
(() => {
  const MARGIN = 0.04, NEAR = 40, LEAST = 8; // of the reach of an axis; pixels to a mark; readings that fill a chart
  const four = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const number = (value) => (Math.abs(value) < 1000 ? four : whole).format(value).replace("-", "−");
  const date = (minutes) => new Date(minutes * 60000).toISOString().slice(0, minutes % 1440 ? 16 : 10).replace("T", " ");
  const set = (element, values) => {
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    return element;
  };
  const draw = (name, values, parent) => set(parent.appendChild(document.createElementNS(parent.namespaceURI, name)), values);

  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;
  const hide = () => { tip.hidden = true; };
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect(), fits = x + 14 + width < document.documentElement.clientWidth;
    tip.style.left = `${Math.max(4, fits ? x + 14 : x - 14 - width)}px`;
    tip.style.top = `${Math.max(4, Math.min(innerHeight - height - 4, y - height / 2))}px`;
  };
  addEventListener("scroll", hide, { passive: true });

  // The titles of marks are for browsers without a script: here the mark next to the pointer speaks at once.
  const readMarks = (svg) => {
    const marks = [...svg.querySelectorAll("title")].map((title) => [title.parentNode, title.textContent]);
    for (const title of svg.querySelectorAll("title")) title.remove();
    if (!marks.length) return;
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("pointermove", ({ clientX: x, clientY: y }) => {
      const away = marks.map(([shape]) => {
        const { left, right, top, bottom } = shape.getBoundingClientRect();
        return Math.hypot(Math.max(left - x, 0, x - right), Math.max(top - y, 0, y - bottom));
      });
      const least = Math.min(...away);
      if (least < NEAR) show(marks[away.indexOf(least)][1], x, y);
      else hide();
    });
  };

  // The marks of a drawing move into an inner picture, whose view is the part of time that is shown.
  const readTimes = (svg, { at, columns, x: [begin, end], y: [low, high], log }) => {
    const [left, top, width, height] = svg.dataset.frame.split(" ").map(Number);
    const axes = [...svg.querySelectorAll(".axis")], frame = draw("g", { transform: `translate(${left},${top})`, fill: "none" }, svg);
    const ticks = draw("g", { class: "ticks" }, frame), inner = draw("svg", { width, height, preserveAspectRatio: "none" }, frame);
    const area = draw("rect", { class: "area", height, visibility: "hidden" }, frame);
    const cursor = draw("line", { class: "cursor", y2: height, visibility: "hidden" }, frame);
    inner.append(...[...axes[0].parentNode.children].filter((one) => !axes.includes(one)));
    const points = [...inner.querySelectorAll("path[transform^=translate]")].map((one) => [one, one.getAttribute("transform")]);
    const scale = log ? Math.log : Number, x = (minutes) => (width * (minutes - begin)) / (end - begin);
    const y = (value) => (height * (scale(high) - scale(value))) / (scale(high) - scale(low));
    let from = begin, span = end - begin, drag = null, reading = null;
    const time = (share) => from + share * span, place = (minutes) => (width * (minutes - from)) / span;

    const label = (floor, ceiling, bottom, shrink) => {
      const unit = span < 4 * 1440 ? 60 : 1440, rough = (ceiling - floor) / 5, ten = 10 ** Math.floor(Math.log10(rough));
      for (const share of [0.1, 0.5, 0.9]) {
        const minutes = Math.round(time(share) / unit) * unit;
        draw("text", { x: place(minutes), y: height + 18, "text-anchor": "middle" }, ticks).textContent = date(minutes);
      }
      const step = [1, 2, 5, 10].find((one) => one * ten >= rough) * ten, even = Array.from({ length: 6 }, (_, i) => (Math.ceil(floor / step) + i) * step);
      const powers = log ? [-2, -1, 0, 1, 2, 3].flatMap((power) => [1, 2, 3, 5].map((one) => one * 10 ** power)).filter((one) => one >= floor && one <= ceiling) : [];
      for (const value of powers.length > 2 ? powers : even.filter((one) => one <= ceiling)) {
        const y1 = (y(value) - bottom) / shrink;
        draw("line", { x2: width, y1, y2: y1 }, ticks);
        draw("text", { x: -6, y: y1 + 5, "text-anchor": "end" }, ticks).textContent = number(Number(value.toPrecision(9)) + 0);
      }
    };
    const zoom = (first, last) => {
      span = Math.min(end - begin, Math.max(last - first, (LEAST * (end - begin)) / at.length));
      from = Math.min(end - span, Math.max(begin, (first + last - span) / 2));
      const isWhole = span === end - begin, lists = columns.flatMap(([, ...ends]) => ends);
      const values = lists.flatMap((list) => list.filter((value, i) => value !== null && at[i] >= from && at[i] <= from + span));
      const room = MARGIN * (Math.max(...values) - Math.min(...values));
      const [floor, ceiling] = isWhole || !room ? [low, high] : [Math.min(...values) - room, Math.max(...values) + room];
      const w = x(from + span) - x(from), h = y(floor) - y(ceiling);
      set(inner, { viewBox: `${x(from)} ${y(ceiling)} ${w} ${h}`, overflow: isWhole ? "visible" : "hidden" });
      for (const [one, transform] of points) set(one, { transform: `${transform} scale(${w / width} ${h / height})` });
      for (const axis of axes) set(axis, { visibility: isWhole ? "inherit" : "hidden" });
      ticks.replaceChildren();
      if (!isWhole) label(floor, ceiling, y(ceiling), h / height);
      leave();
    };
    const leave = () => {
      hide();
      set(cursor, { visibility: "hidden" });
      reading = null;
    };
    const read = (index, height) => {
      reading = Math.min(at.length - 1, Math.max(0, index));
      if (at[reading] < from || at[reading] > from + span) return;
      const box = svg.getBoundingClientRect(), x1 = place(at[reading]), part = (left + x1) / svg.viewBox.baseVal.width;
      set(cursor, { x1, x2: x1, visibility: "visible" });
      const lines = columns.filter(([, list]) => list[reading] !== null).map(([name, ...lists]) => `${name}: ${lists.map((list) => number(list[reading])).join(" to ")}`);
      show([date(at[reading]), ...lines].join("\n"), box.left + part * box.width, height ?? box.top + box.height / 2);
    };
    const nearest = (minutes) => at.reduce((best, one, i) => (Math.abs(one - minutes) < Math.abs(at[best] - minutes) ? i : best), 0);
    const share = ({ clientX, clientY }) => {
      const point = new DOMPoint(clientX, clientY).matrixTransform(frame.getScreenCTM().inverse());
      return Math.min(1, Math.max(0, point.x / width));
    };
    const by = (factor) => {
      const middle = reading === null ? time(0.5) : at[reading];
      zoom(middle - (factor * span) / 2, middle + (factor * span) / 2);
    };
    const all = () => zoom(begin, end);

    svg.addEventListener("pointermove", (event) => {
      read(nearest(time(share(event))), event.clientY);
      if (drag === null) return;
      const [one, other] = [drag, share(event)].sort((a, b) => a - b);
      set(area, { x: one * width, width: (other - one) * width, visibility: "visible" });
    });
    svg.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button) return;
      event.preventDefault(); // no text is selected
      svg.focus({ focusVisible: false });
      drag = share(event);
      svg.setPointerCapture(event.pointerId);
    });
    svg.addEventListener("pointerup", (event) => {
      const [one, other] = [drag ?? 0, drag === null ? 0 : share(event)].sort((a, b) => a - b);
      drag = null;
      set(area, { visibility: "hidden" });
      if ((other - one) * width > 10) zoom(time(one), time(other));
    });
    svg.addEventListener("dblclick", all);
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const last = reading ?? nearest(time(0.5));
      const act = { ArrowLeft: () => read(last - 1), ArrowRight: () => read(last + 1), "+": () => by(0.5), "-": () => by(2), 0: all, Escape: all }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
    svg.tabIndex = 0;
    all();
    return { by, all };
  };

  for (const svg of document.querySelectorAll("svg[role=img]")) readMarks(svg);
  for (const figure of document.querySelectorAll("figure[data-readings]")) {
    const data = JSON.parse(figure.dataset.readings);
    let minutes = 0;
    data.at = data.steps.map((step) => (minutes += step));
    if (data.at.length < 2) continue;
    const charts = [...figure.querySelectorAll("svg[role=img]")].map((svg) => readTimes(svg, data));
    const buttons = document.createElement("span");
    buttons.className = "zoom";
    for (const [sign, name, act] of [["+", "Zoom in", ({ by }) => by(0.5)], ["−", "Zoom out", ({ by }) => by(2)], ["all", "Show all", ({ all }) => all()]]) {
      const button = buttons.appendChild(document.createElement("button"));
      button.type = "button";
      button.textContent = sign;
      button.setAttribute("aria-label", name);
      button.title = "Or drag over the chart; double-click shows all";
      button.addEventListener("click", () => charts.forEach(act));
    }
    figure.querySelector("figcaption").prepend(buttons);
  }
})();
