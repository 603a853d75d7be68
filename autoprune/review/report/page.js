"use strict";
(async () => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colours = () => dark.matches
    ? { "font.color": "#e8ebee", "hoverlabel.bgcolor": "#1d232a", "hoverlabel.font.color": "#e8ebee" }
    : { "font.color": "#1b1f24", "hoverlabel.bgcolor": "#ffffff", "hoverlabel.font.color": "#1b1f24" };
  try {
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), c => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  } catch {
    document.getElementById("no-pictures").hidden = false;
    return;
  }
  // Pixels of a picture below which the numbers in the cells of a heat map run into each other.
  const LEGIBLE = 420;
  const plots = [];
  for (const place of document.querySelectorAll(".plot")) {
    const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
    // A page that is read on a phone scrolls under the finger: pictures are not dragged.
    figure.layout.dragmode = false;
    if (place.clientWidth < LEGIBLE) figure.data.forEach(trace => { if (trace.type === "heatmap") trace.texttemplate = ""; });
    await Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
    await Plotly.relayout(place, colours());
    plots.push(place);
  }
  dark.addEventListener("change", () => plots.forEach(place => Plotly.relayout(place, colours())));
  document.documentElement.dataset.drawn = plots.length;
})();
