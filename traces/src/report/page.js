"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const points = {
    at: new Float64Array(bytesOf(data.points.at)),
    place: new Float64Array(bytesOf(data.points.place)),
    length: new Float32Array(bytesOf(data.points.length)),
    latency: new Float32Array(bytesOf(data.points.latency)),
    kind: new Uint8Array(bytesOf(data.points.kind)),
  };
  const kinds = ["read", "write", "discard", "other"];
  const span = data.binNs * data.bins;
  let top = 1;
  for (let i = 0; i < points.place.length; i++) top = Math.max(top, points.place[i] + points.length[i]);
  // What is shown: times in ns, addresses in bytes.
  const view = { from: 0, to: span, low: 0, high: top };

  const number = (value) => {
    const units = [[1e9, "G"], [1e6, "M"], [1e3, "k"]];
    for (const [size, unit] of units) if (value >= size) return +(value / size).toPrecision(3) + unit;
    return String(+value.toPrecision(3));
  };
  const size = (value) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = 0;
    while (value >= 1024 && unit < 5) { value /= 1024; unit++; }
    return +value.toPrecision(4) + " " + units[unit];
  };
  const time = (ns) => {
    const units = [[1e9, "s"], [1e6, "ms"], [1e3, "us"]];
    for (const [length, unit] of units) if (Math.abs(ns) >= length) return +(ns / length).toPrecision(4) + " " + unit;
    return Math.round(ns) + " ns";
  };
  const seconds = (ns) => {
    const digits = Math.max(0, Math.min(9, Math.ceil(-Math.log10((view.to - view.from) / 1e9)) + 2));
    return (ns / 1e9).toFixed(digits) + " s";
  };
  // Round steps of 1, 2 and 5.
  const step = (range, count) => {
    const raw = range / count;
    const base = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 5, 10].map((it) => it * base).find((it) => it >= raw);
  };

  // The same for bytes: powers of two.
  const stepOfBytes = (range, count) => 2 ** Math.max(0, Math.ceil(Math.log2(range / count)));

  const left = 84, right = 10, above = 8, below = 22;
  const canvases = [];
  const setUp = (id, draw, hover, options = {}) => {
    const canvas = document.getElementById(id);
    if (canvas) canvases.push({ id, canvas, draw, hover, ...options });
  };

  const begin = (chart) => {
    const { canvas } = chart;
    const box = canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    const g = canvas.getContext("2d");
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue("--" + name).trim();
    g.font = "12px system-ui, sans-serif";
    return { g, colour, x0: left, x1: box.width - right, y0: above, y1: box.height - below };
  };
  const frame = (area, low, high, label, steps = step) => {
    const { g, colour, x0, x1, y0, y1 } = area;
    g.fillStyle = colour("quiet");
    g.strokeStyle = colour("line");
    g.textAlign = "right";
    g.textBaseline = "middle";
    const by = steps(high - low || 1, 5);
    for (let value = Math.ceil(low / by) * by; value <= high; value += by) {
      const y = y1 - (value - low) / (high - low || 1) * (y1 - y0);
      g.beginPath(); g.moveTo(x0, y); g.lineTo(x1, y); g.stroke();
      g.fillText(label(value), x0 - 6, y);
    }
  };
  const timeAxis = (area) => {
    const { g, colour, x0, x1, y0, y1 } = area;
    g.fillStyle = colour("quiet");
    g.strokeStyle = colour("line");
    g.textAlign = "center";
    g.textBaseline = "top";
    const by = step(view.to - view.from, Math.max(2, (x1 - x0) / 130));
    for (let at = Math.ceil(view.from / by) * by; at <= view.to; at += by) {
      const x = x0 + (at - view.from) / (view.to - view.from) * (x1 - x0);
      g.beginPath(); g.moveTo(x, y0); g.lineTo(x, y1); g.stroke();
      g.fillText(seconds(at), x, y1 + 5);
    }
    g.strokeStyle = colour("mark");
    for (const [at] of data.marks) {
      if (at < view.from || at > view.to) continue;
      const x = x0 + (at - view.from) / (view.to - view.from) * (x1 - x0);
      g.beginPath(); g.setLineDash([3, 3]); g.moveTo(x, y0); g.lineTo(x, y1); g.stroke(); g.setLineDash([]);
    }
  };
  const legend = (area, entries) => {
    const { g, colour, x1, y0 } = area;
    g.textAlign = "right"; g.textBaseline = "top";
    let x = x1 - 4;
    const wide = entries.reduce((sum, [name]) => sum + g.measureText(name).width + 14, 0);
    g.globalAlpha = 0.85;
    g.fillStyle = colour("back");
    g.fillRect(x - wide + 6, y0, wide, 17);
    g.globalAlpha = 1;
    for (const [name, tone] of [...entries].reverse()) {
      g.fillStyle = colour(tone);
      g.fillText(name, x, y0 + 2);
      x -= g.measureText(name).width + 14;
    }
  };
  const shown = () => {
    const first = Math.max(0, Math.floor(view.from / data.binNs));
    const last = Math.min(data.bins - 1, Math.ceil(view.to / data.binNs) - 1);
    return [first, Math.max(first, last)];
  };
  const clip = (area, draw) => {
    const { g, x0, x1, y0, y1 } = area;
    g.save(); g.beginPath(); g.rect(x0, y0, x1 - x0, y1 - y0); g.clip(); draw(); g.restore();
  };

  setUp("map", (chart) => {
    const area = begin(chart);
    const { g, colour, x0, x1, y0, y1 } = area;
    frame(area, view.low, view.high, size, stepOfBytes);
    timeAxis(area);
    clip(area, () => {
      const tones = kinds.map(colour);
      const sx = (x1 - x0) / (view.to - view.from), sy = (y1 - y0) / (view.high - view.low);
      const dot = points.at.length > 20000 ? 1.5 : 2.5;
      g.globalAlpha = points.at.length > 20000 ? 0.55 : 0.8;
      for (let kind = 0; kind < 4; kind++) {
        g.fillStyle = tones[kind];
        for (let i = 0; i < points.at.length; i++) {
          if (points.kind[i] !== kind) continue;
          const at = points.at[i], place = points.place[i], end = place + points.length[i];
          if (at < view.from || at > view.to || end < view.low || place > view.high) continue;
          const height = Math.max(dot, points.length[i] * sy);
          const width = Math.max(dot, points.latency[i] * sx);
          g.fillRect(x0 + (at - view.from) * sx, y1 - (end - view.low) * sy, width, height);
        }
      }
      g.globalAlpha = 1;
    });
    legend(area, kinds.map((kind) => [kind, kind]));
  }, (at, place) => {
    let best = -1, least = Infinity;
    for (let i = 0; i < points.at.length; i++) {
      const dx = (points.at[i] - at) / (view.to - view.from);
      const dy = (points.place[i] - place) / (view.high - view.low);
      const distance = dx * dx * 4 + dy * dy;
      if (distance < least) { least = distance; best = i; }
    }
    if (best < 0 || least > 0.001) return seconds(at) + "\n" + size(place);
    const latency = points.latency[best];
    return kinds[points.kind[best]] + " of " + size(points.length[best]) + "\nat " + size(points.place[best]) +
      "\n" + seconds(points.at[best]) + (latency < 0 ? "" : ", took " + time(latency));
  }, { map: true });

  const stacked = (id, columns, unit, names, steps = step) => setUp(id, (chart) => {
    const area = begin(chart);
    const { g, colour, x0, x1, y0, y1 } = area;
    const [first, last] = shown();
    let high = 0;
    for (let bin = first; bin <= last; bin++) {
      let sum = 0;
      for (const column of columns) sum += column[bin];
      high = Math.max(high, sum);
    }
    const rate = 1e9 / data.binNs;
    high = high * rate || 1;
    frame(area, 0, high, unit, steps);
    timeAxis(area);
    clip(area, () => {
      const sx = (x1 - x0) / (view.to - view.from);
      for (let bin = first; bin <= last; bin++) {
        let base = 0;
        const x = x0 + (bin * data.binNs - view.from) * sx;
        columns.forEach((column, kind) => {
          const height = column[bin] * rate / high * (y1 - y0);
          g.fillStyle = colour(kinds[kind]);
          g.fillRect(x, y1 - base - height, Math.max(1, data.binNs * sx), height);
          base += height;
        });
      }
    });
    legend(area, names.map((kind) => [kind, kind]));
  }, (at) => {
    const bin = Math.min(data.bins - 1, Math.max(0, Math.floor(at / data.binNs)));
    const lines = columns.map((column, kind) => kinds[kind] + " " + unit(column[bin] * 1e9 / data.binNs));
    return seconds(at) + "\n" + lines.join("\n");
  });
  stacked("iops", data.commands, (value) => number(value) + "/s", kinds);
  stacked("bandwidth", data.bytes.slice(0, 2), (value) => size(value) + "/s", kinds.slice(0, 2), stepOfBytes);

  const lines = (id, series, unit, log) => setUp(id, (chart) => {
    const area = begin(chart);
    const { g, colour, x0, x1, y0, y1 } = area;
    const [first, last] = shown();
    const scale = log ? Math.log10 : (value) => value;
    let low = log ? Infinity : 0, high = log ? -Infinity : 1;
    for (const [values] of series) for (let bin = first; bin <= last; bin++) {
      const value = values[bin];
      if (value === null || (log && value <= 0)) continue;
      low = Math.min(low, scale(value)); high = Math.max(high, scale(value));
    }
    if (!(high > low)) { high = (Number.isFinite(low) ? low : 0) + 1; low = high - 1; }
    frame(area, low, high, (value) => unit(log ? 10 ** value : value));
    timeAxis(area);
    clip(area, () => {
      const sx = (x1 - x0) / (view.to - view.from);
      for (const [values, , tone] of series) {
        g.strokeStyle = g.fillStyle = colour(tone);
        g.beginPath();
        let open = false;
        for (let bin = Math.max(0, first - 1); bin <= Math.min(data.bins - 1, last + 1); bin++) {
          const value = values[bin];
          if (value === null || (log && value <= 0)) { open = false; continue; }
          const x = x0 + ((bin + 0.5) * data.binNs - view.from) * sx;
          const y = y1 - (scale(value) - low) / (high - low) * (y1 - y0);
          if (open) g.lineTo(x, y); else { g.moveTo(x, y); g.fillRect(x - 1, y - 1, 2, 2); }
          open = true;
        }
        g.stroke();
      }
    });
    legend(area, series.map(([, name, tone]) => [name, tone]));
  }, (at) => {
    const bin = Math.min(data.bins - 1, Math.max(0, Math.floor(at / data.binNs)));
    const text = series.map(([values, name]) => name + " " + (values[bin] ? unit(values[bin]) : "-"));
    return seconds(at) + "\n" + text.join("\n");
  });
  lines("latency", [[data.max, "max", "other"], [data.p99, "p99", "write"], [data.p50, "p50", "read"]], time, true);
  lines("depth", [[data.depth, "in flight at most", "read"]], number, false);

  // Bars side by side: [label, counts by kind].
  const bars = (id, entries, names) => setUp(id, (chart) => {
    const area = begin(chart);
    const { g, colour, x0, x1, y0, y1 } = area;
    const high = Math.max(1, ...entries.map(([, counts]) => counts.reduce((a, b) => a + b, 0)));
    frame(area, 0, high, number);
    const width = Math.min(80, (x1 - x0) / Math.max(1, entries.length));
    const every = Math.max(1, Math.ceil(70 / width));
    g.textAlign = "center"; g.textBaseline = "top";
    entries.forEach(([label, counts], index) => {
      let base = 0;
      counts.forEach((count, kind) => {
        const height = count / high * (y1 - y0);
        g.fillStyle = colour(kinds[kind]);
        g.fillRect(x0 + index * width + 0.5, y1 - base - height, Math.max(1, width - 1), height);
        base += height;
      });
      g.fillStyle = colour("quiet");
      if (index % every === 0) g.fillText(label, x0 + (index + 0.5) * width, y1 + 5);
    });
    if (names) legend(area, names.map((kind) => [kind, kind]));
  }, (at, place, share, wide) => {
    const entry = entries[Math.floor(share * wide / Math.min(80, wide / Math.max(1, entries.length)))];
    return entry ? entry[0] + "\n" + entry[1].reduce((a, b) => a + b, 0) + " commands" : "";
  }, { fixed: true });
  const used = data.bucketNs.map((ns, bucket) => [time(ns), data.spread.map((counts) => counts[bucket])]);
  const isUsed = ([, counts]) => counts.some((count) => count > 0);
  const firstUsed = used.findIndex(isUsed), lastUsed = used.findLastIndex(isUsed);
  bars("spread", firstUsed < 0 ? [] : used.slice(firstUsed, lastUsed + 1), kinds);
  const most = [...data.sizes].sort((a, b) => b[1] - a[1]).slice(0, 24).sort((a, b) => a[0] - b[0]);
  bars("sizes", most.map(([bytes, count]) => [size(bytes), [count]]), null);

  let waiting = false;
  const redraw = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; for (const chart of canvases) chart.draw(chart); });
  };
  const show = (from, to, low = view.low, high = view.high) => {
    const width = Math.min(span, Math.max(100, to - from));
    view.from = Math.min(Math.max(0, from), span - width);
    view.to = view.from + width;
    const height = Math.min(top, Math.max(512, high - low));
    view.low = Math.min(Math.max(0, low), top - height);
    view.high = view.low + height;
    redraw();
  };
  const whole = () => show(0, span, 0, top);

  const tip = document.getElementById("tip");
  for (const chart of canvases) {
    const { canvas } = chart;
    let start = null;
    const where = (event) => {
      const box = canvas.getBoundingClientRect();
      const x = (event.clientX - box.left - left) / (box.width - left - right);
      const y = (box.height - below - (event.clientY - box.top)) / (box.height - above - below);
      const held = (value) => Math.min(1, Math.max(0, value));
      return { x: held(x), y: held(y) };
    };
    const atOf = (x) => view.from + x * (view.to - view.from);
    const placeOf = (y) => view.low + y * (view.high - view.low);
    canvas.addEventListener("pointerdown", (event) => {
      if (chart.fixed) return;
      start = where(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const now = where(event);
      const wide = canvas.getBoundingClientRect().width - left - right;
      tip.textContent = chart.hover(atOf(now.x), placeOf(now.y), now.x, wide);
      tip.style.display = tip.textContent ? "block" : "none";
      tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 4) + "px";
      tip.style.top = Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 4) + "px";
      if (!start) return;
      chart.draw(chart);
      const g = canvas.getContext("2d"), box = canvas.getBoundingClientRect();
      const x = (share) => left + share * (box.width - left - right);
      const y = (share) => box.height - below - share * (box.height - above - below);
      const [y0, y1] = chart.map ? [y(start.y), y(now.y)] : [above, box.height - below];
      g.globalAlpha = 0.2; g.fillStyle = "#888";
      g.fillRect(x(start.x), y0, x(now.x) - x(start.x), y1 - y0);
      g.globalAlpha = 1;
    });
    canvas.addEventListener("pointerup", (event) => {
      if (!start) return;
      const end = where(event), begun = start;
      start = null;
      if (Math.abs(end.x - begun.x) < 0.005 && Math.abs(end.y - begun.y) < 0.01) { redraw(); return; }
      const [x0, x1] = [Math.min(begun.x, end.x), Math.max(begun.x, end.x)];
      const [y0, y1] = [Math.min(begun.y, end.y), Math.max(begun.y, end.y)];
      if (chart.map && y1 - y0 > 0.02) show(atOf(x0), atOf(x1), placeOf(y0), placeOf(y1));
      else show(atOf(x0), atOf(x1));
    });
    canvas.addEventListener("pointerleave", () => { tip.style.display = "none"; });
    canvas.addEventListener("dblclick", whole);
  }
  document.getElementById("reset")?.addEventListener("click", whole);
  addEventListener("keydown", (event) => {
    const width = view.to - view.from, middle = (view.from + view.to) / 2;
    const moves = {
      ArrowLeft: () => show(view.from - width / 5, view.to - width / 5),
      ArrowRight: () => show(view.from + width / 5, view.to + width / 5),
      "+": () => show(middle - width / 4, middle + width / 4),
      "-": () => show(middle - width, middle + width),
      0: whole, Escape: whole,
    };
    if (!event.ctrlKey && !event.metaKey && !event.altKey && moves[event.key]) {
      moves[event.key]();
      event.preventDefault();
    }
  });
  addEventListener("resize", redraw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  redraw();
})();
