// Draws the figures of a page from the JSON the page holds: on first sight, in the colours of the theme, without network.
(() => {
  "use strict";
  const root = document.documentElement;
  let printing = false;

  const isDark = () => {
    if (printing) return false;
    const theme = root.dataset.theme;
    if (theme === "dark" || theme === "light") return theme === "dark";
    return matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const palette = () =>
    isDark()
      ? { text: "#ced6dd", grid: "#3b4048", line: "#7d8690", card: "#222832" }
      : { text: "#222832", grid: "#e1e4e8", line: "#8a929b", card: "#ffffff" };

  const isObject = (v) => v !== null && typeof v === "object" && !Array.isArray(v) && !ArrayBuffer.isView(v);
  // values of the author win over values of the theme
  const merge = (theme, own) => {
    if (!isObject(theme) || !isObject(own)) return own === undefined ? theme : own;
    const out = { ...theme };
    for (const key of Object.keys(own)) out[key] = merge(theme[key], own[key]);
    return out;
  };

  const themed = (layout) => {
    const c = palette();
    const axis = { gridcolor: c.grid, zerolinecolor: c.line, linecolor: c.line, tickcolor: c.line, automargin: true };
    const out = {
      autosize: true,
      height: 450,
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: c.text, family: getComputedStyle(document.body).fontFamily },
      hoverlabel: { bgcolor: c.card, bordercolor: c.line, font: { color: c.text } },
      title: { x: 0, xref: "paper", xanchor: "left" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: c.line, activecolor: c.text },
    };
    for (const key of ["xaxis", "yaxis", ...Object.keys(layout)]) {
      if (/^[xy]axis\d*$/.test(key)) out[key] = axis;
      if (/^scene\d*$/.test(key)) {
        const side = { ...axis, backgroundcolor: "rgba(0,0,0,0)" };
        delete side.automargin;
        out[key] = { xaxis: side, yaxis: side, zaxis: side };
      }
      if (/^polar\d*$/.test(key)) {
        out[key] = { bgcolor: "rgba(0,0,0,0)", radialaxis: { gridcolor: c.grid }, angularaxis: { gridcolor: c.grid } };
      }
    }
    return merge(out, layout);
  };

  // the small pictures of the landing page: nothing to point at
  const still = (el) => "static" in el.dataset;

  // arrays that several figures of a page hold are stored once, at its end (see page_weight.py)
  let pool;
  const shared = (index) => {
    pool ??= JSON.parse(document.getElementById("fig-arrays").textContent);
    return structuredClone(pool[index]);
  };
  const read = (text) =>
    JSON.parse(text, (key, v) => (isObject(v) && "shared-array" in v ? shared(v["shared-array"]) : v));

  const draw = (el) => {
    if (!window.Plotly) return;
    el.spec ??= read(el.querySelector("script[type='application/json']").textContent);
    let plot = el.querySelector(".fig-plot");
    if (!plot) {
      plot = document.createElement("div");
      plot.className = "fig-plot";
      el.appendChild(plot);
      resizes.observe(el);
    }
    // a theme change must not undo what the reader zoomed or hid, hence uirevision
    const layout = { uirevision: "keep", ...structuredClone(el.spec.layout) };
    // no button may send a reader's data to a server
    const config = {
      staticPlot: still(el),
      responsive: false,
      displaylogo: false,
      plotlyServerURL: "",
      modeBarButtonsToRemove: ["sendChartToCloud", "sendDataToCloud", "lasso2d", "select2d", "autoScale2d"],
    };
    Promise.resolve(Plotly.react(plot, structuredClone(el.spec.data), themed(layout), config)).then(
      () => {
        el.dataset.drawn = "1";
        // an "img" may hold no buttons, a "figure" may; the label speaks for the drawing in both
        if (!still(el)) el.setAttribute("role", "figure");
        for (const svg of plot.querySelectorAll(".main-svg")) svg.setAttribute("aria-hidden", "true");
      },
      (error) => { el.dataset.failed = String(error); },
    );
  };

  const resizes = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const plot = target.querySelector(".fig-plot");
      if (!target.dataset.drawn || !plot || contentRect.width < 1 || target.width === contentRect.width) continue;
      target.width = contentRect.width;
      Plotly.Plots.resize(plot);
    }
  });

  // ?open=all unfolds and draws everything at once: for printing with solutions, and for the browser check
  const openAll = (all) => {
    for (const d of document.querySelectorAll("details")) d.open = true;
    for (const b of document.querySelectorAll("button.toggle-button")) {
      if (document.getElementById(b.dataset.target)?.classList.contains("toggle-hidden")) b.click();
    }
    all.forEach(draw);
  };

  const start = () => {
    const all = [...document.querySelectorAll(".fig-plotly")];
    const drawn = () => all.filter((el) => el.dataset.drawn);
    const sight = new IntersectionObserver(
      (entries) => {
        for (const e of entries) {
          if (!e.isIntersecting) continue;
          sight.unobserve(e.target);
          draw(e.target);
        }
      },
      { rootMargin: "600px" },
    );
    all.forEach((el) => sight.observe(el));
    new MutationObserver(() => drawn().forEach(draw)).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn().forEach(draw));
    addEventListener("beforeprint", () => { printing = true; all.forEach(draw); });
    addEventListener("afterprint", () => { printing = false; drawn().forEach(draw); });
    if (new URLSearchParams(location.search).get("open") === "all") {
      const open = () => setTimeout(openAll, 50, all);
      document.readyState === "complete" ? open() : addEventListener("load", open);
    }
  };
  document.readyState === "loading" ? document.addEventListener("DOMContentLoaded", start) : start();
})();
