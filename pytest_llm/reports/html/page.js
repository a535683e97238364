"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map(); // an element -> the views in it; replaced as soon as it is drawn anew

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function appearance() {
    const text = colour("--dim");
    return {
      background: "transparent",
      view: { stroke: colour("--line") },
      axis: { labelColor: text, titleColor: text, gridColor: colour("--line"), domainColor: text, tickColor: text },
      legend: { labelColor: text, titleColor: text, orient: "bottom" },
      rule: { color: text },
    };
  }

  // What stands in the page as short lists, as Vega-Lite takes it.
  const points = (side, values) => (values ?? []).map((value, at) => ({ side, session: at + 1, value }));
  const rows = {
    sessions: (figure) => [...points("candidate", figure.candidate), ...points("reference", figure.reference)],
    changes: ({ ratios, sign, interval, estimate }) => [
      ...ratios.map((ratio, at) => ({ kind: "session", session: at + 1, ratio, sign })),
      ...(interval ? [{ kind: "interval", low: interval[0], high: interval[1] }] : []),
      ...(estimate === undefined ? [] : [{ kind: "estimate", value: estimate }]),
    ],
    memory: ({ seconds, sizes, phases, device }) => [
      ...Object.entries(phases).map(([phase, [begin, end]]) => ({ phase, begin, end })),
      ...seconds.map((at, number) => ({ seconds: at, size: sizes[number] })),
      ...(device ? device[0].map((at, number) => ({ kind: "device", seconds: at, device: device[1][number] })) : []),
    ],
  };

  // A specification stands for all figures of its kind; texts in capitals are the figure's own.
  function specification(figure, byBuild) {
    const own = { VALUE: figure.value, AT: figure.at };
    const found = JSON.parse(JSON.stringify(data.specifications[figure.kind]), (key, value) =>
      key === "title" && value in own ? own[value] : value,
    );
    found.description = figure.title;
    const values = figure.values ?? rows[figure.kind](figure);
    found.data = { values };
    const kinds = new Set(values.map((each) => each.kind));
    found.layer = found.layer?.filter((each) => !each.name || kinds.has(each.name));
    if (figure.kind === "sessions" && !figure.reference) {
      found.encoding.color.legend = found.encoding.shape.legend = null;
    }
    if (byBuild && figure.kind === "trend") {
      found.encoding.x = { field: "build", type: "ordinal", title: null, sort: null };
    }
    return found;
  }

  async function draw(place) {
    const group = data[place.dataset.figures][Number(place.dataset.number)];
    const byBuild = document.querySelector("input[name=order][value=build]")?.checked;
    clear(place);
    const views = [];
    drawn.set(place, views);
    const canvases = new Map();
    for (const figure of Array.isArray(group) ? group : [group]) {
      const element = document.createElement("figure");
      const caption = document.createElement("figcaption");
      const canvas = document.createElement("div");
      caption.textContent = figure.title;
      element.append(caption, canvas);
      place.append(element);
      canvases.set(canvas, figure);
    }
    // Not before all have their place, which decides how wide they are.
    for (const [canvas, figure] of canvases) {
      const options = { actions: false, renderer: "svg", config: appearance() };
      const view = await vegaEmbed(canvas, specification(figure, byBuild), options);
      if (drawn.get(place) !== views) return view.finalize();
      views.push(view);
    }
  }

  function clear(place) {
    for (const each of drawn.get(place) ?? []) each.finalize();
    drawn.delete(place);
    place.replaceChildren();
  }

  function redraw() {
    for (const place of [...drawn.keys()]) draw(place);
  }

  for (const details of document.querySelectorAll("details")) {
    const place = details.querySelector(".figures");
    if (!place) continue;
    const show = () => (details.open ? drawn.has(place) || draw(place) : clear(place));
    details.addEventListener("toggle", show);
    show();
  }
  dark.addEventListener("change", redraw);
  for (const each of document.querySelectorAll("input[name=order]")) each.addEventListener("change", redraw);

  const form = document.querySelector(".filters");
  const tests = [...document.querySelectorAll("tbody[data-title]")];
  function filter() {
    const asked = new FormData(form);
    const words = asked.get("title").toLowerCase();
    let count = 0;
    for (const test of tests) {
      const chosen = ["model", "build", "kind"].every((name) => [test.dataset[name], ""].includes(asked.get(name)));
      test.hidden = !(chosen && test.dataset.title.toLowerCase().includes(words));
      count += test.hidden ? 0 : 1;
    }
    document.getElementById("shown").textContent = `${count} of ${tests.length} tests`;
  }
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
})();
