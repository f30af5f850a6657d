"use strict";
const SPAN_MS = 20000, COLUMNS = 500, MOST_EVENTS = 60;
const $ = id => document.getElementById(id);
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};
const put = (parent, ...children) => { parent.append(...children); return parent; };
const short = value => value === null || value === undefined ? "–"
  : Math.abs(value) >= 100 ? value.toFixed(0) : Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);
let scene = null, samples = null, before = null, cameras = {}, sounds = {}, outputs = {}, ports = {}, dirty = false;
let missing = new Map(), states = {}, notes = {};

function withUnit(node, value, unit) {
  node.replaceChildren(value, make("small", "", unit));
}

function link(state, text) {
  $("dot").className = `dot ${state}`;
  $("link").textContent = text;
}

function event(text, bad) {
  const line = make("li", bad ? "bad" : "");
  put(line, make("time", "", new Date().toLocaleTimeString([], {hour12: false})), make("span", "", text));
  $("events").prepend(line);
  while ($("events").children.length > MOST_EVENTS) $("events").lastChild.remove();
}

function begin(found) {
  const again = scene !== null;
  scene = found;
  samples = {t_ms: [], outputs: {}, ages: {}, degraded: []};
  before = null; cameras = {}; sounds = {}; outputs = {}; ports = {}; missing = new Map(); states = {}; notes = {};
  document.title = `${found.name} – mmedge`;
  $("name").textContent = found.name;
  for (const id of ["senses", "decisions", "keys", "ports", "stages", "totals"]) $(id).replaceChildren();
  for (const [name, place] of Object.entries(found.cameras)) addCamera(name, place);
  for (const [name, sound] of Object.entries(found.sounds)) addSound(name, sound);
  for (const [name, output] of Object.entries(found.outputs)) addOutput(name, output);
  for (const [name, modality] of Object.entries(found.ports)) addPort(name, modality);
  remember(found.history);
  numbers(found.metrics);
  $("foot").textContent = `${found.live ? "Live" : "A recording, as fast as it is read"}. Decides at ${found.tick}. ` +
    "Metrics for machines: /metrics (Prometheus) and /metrics.json.";
  event(again ? "the page is connected again" : "the page is connected");
  dirty = true;
}

function addCamera(name, place) {
  const box = make("div", "sense"), picture = make("img"), plaque = make("div", "plaque");
  const wait = make("div", "none", "no picture yet");
  picture.alt = `picture of ${name}`; picture.hidden = true;
  put(plaque, make("b", "", name), notes[name] = make("span"));
  put($("senses"), put(box, wait, picture, plaque));
  const camera = cameras[place] = {picture, shown: 0, newest: 0, loading: false};
  picture.onload = () => { camera.loading = false; picture.hidden = false; wait.remove(); fetchPicture(place); };
  picture.onerror = () => { camera.loading = false; };
}

function fetchPicture(place) {
  const camera = cameras[place];
  if (camera.loading || camera.newest <= camera.shown) return;
  camera.loading = true;
  camera.shown = camera.newest;
  camera.picture.src = `/picture/${place}?${camera.newest}`;
}

function addSound(name, sound) {
  const box = make("div", "sense"), canvas = make("canvas"), plaque = make("div", "plaque");
  canvas.width = COLUMNS; canvas.height = sound.bands;
  put(plaque, make("b", "", name), notes[name] = make("span"));
  const hertz = value => value >= 1000 ? `${(value / 1000).toFixed(1)} kHz` : `${value} Hz`;
  put($("senses"), put(box, canvas, plaque, make("span", "pitch high", hertz(sound.edges_hz[sound.bands])),
    make("span", "pitch low", hertz(sound.edges_hz[0]))));
  const paper = canvas.getContext("2d", {willReadFrequently: true});
  paper.fillStyle = "rgb(5,8,14)"; paper.fillRect(0, 0, COLUMNS, sound.bands);
  sounds[name] = {paper, bands: sound.bands};
}

// Black through violet and orange to a pale yellow: even steps of lightness, also for colour-blind eyes.
const HEAT = (() => {
  const stops = [[5, 8, 14], [44, 18, 84], [122, 32, 112], [200, 62, 78], [246, 130, 42], [252, 204, 92], [252, 252, 214]];
  return Array.from({length: 256}, (_, i) => {
    const at = i / 255 * (stops.length - 1), low = Math.min(stops.length - 2, Math.floor(at)), part = at - low;
    return stops[low].map((value, k) => Math.round(value + part * (stops[low + 1][k] - value)));
  });
})();

function hear(name, text) {
  const sound = sounds[name];
  if (!sound) return;
  const {paper, bands} = sound, bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const count = Math.min(COLUMNS, bytes.length / bands), skipped = bytes.length / bands - count;
  if (!count) return;
  paper.drawImage(paper.canvas, -count, 0);
  const strip = paper.createImageData(count, bands);
  for (let x = 0; x < count; x++) for (let y = 0; y < bands; y++) {
    const [r, g, b] = HEAT[bytes[(skipped + x) * bands + y]], at = 4 * ((bands - 1 - y) * count + x);
    strip.data[at] = r; strip.data[at + 1] = g; strip.data[at + 2] = b; strip.data[at + 3] = 255;
  }
  paper.putImageData(strip, COLUMNS - count, 0);
}

const color = i => css(`--label-${i % 8}`);

function addOutput(name, output) {
  const box = make("div", "output"), verdict = make("p", "verdict", "–");
  if (Object.keys(scene.outputs).length > 1) box.append(make("p", "outname", name));
  box.append(verdict);
  const shown = outputs[name] = {verdict, rows: [], labels: output.labels, unit: output.unit, task: output.task};
  output.labels.slice(0, 24).forEach((label, i) => {
    const row = make("div", "prob"), track = make("div", "track"), fill = make("div", "fill");
    fill.style.background = color(i);
    put(row, make("span", "label", label), put(track, fill), make("span", "value"));
    shown.rows.push({row, fill, value: row.lastChild});
    box.append(row);
    if (i < 8) { const key = make("i"); key.style.background = color(i); put($("keys"), put(make("li"), key, label)); }
  });
  $("decisions").append(box);
}

function decide(name, values, now) {
  const shown = outputs[name], label = now.labels[name];
  const won = label === undefined ? null : Array.isArray(label) ? label.join(", ") || "none" : label;
  if (now.abstained) {
    shown.text = null;
    shown.verdict.replaceChildren("no answer");
    shown.verdict.className = "verdict unsure";
    return;
  }
  const text = won === null ? values.slice(0, 3).map(short).join("  ") + (values.length > 3 ? " …" : "") : won;
  if (shown.text !== text) {
    shown.verdict.replaceChildren(text);
    if (won === null && shown.unit) shown.verdict.append(make("small", "", shown.unit));
    shown.text = text;
  }
  shown.verdict.className = now.degraded.length ? "verdict unsure" : "verdict";
  shown.rows.forEach(({row, fill, value}, i) => {
    const is = values[i] ?? 0;
    fill.style.transform = `scaleX(${Math.max(0, Math.min(1, is))})`;
    value.textContent = is.toFixed(2);
    row.classList.toggle("won", Array.isArray(label) ? label.includes(shown.labels[i]) : shown.labels[i] === label);
  });
}

function addPort(name, modality) {
  const box = make("div", "port"), who = make("div", "who"), dot = make("span", "dot"), age = make("div", "age", "–");
  const canvas = make("canvas"), detail = make("div", "detail"), state = make("small", "", "no data yet");
  put(box, put(who, dot, name, state), age, canvas, detail);
  $("ports").append(box);
  ports[name] = {modality, dot, state, age, canvas, detail};
}

function sense(now, sensors, health) {
  const wrong = new Map(now ? now.degraded.map(reason => {
    const at = reason.indexOf(": ");
    return [reason.slice(0, at), reason.slice(at + 2)];
  }) : missing);
  for (const [name, port] of Object.entries(ports)) {
    const sensor = sensors && sensors[name], reason = wrong.get(name);
    let state = "ok", text = now || samples.t_ms.length ? "ok" : "no data yet", detail = reason || "";
    if (sensor && sensor.state !== "ok") { text = sensor.state; detail = sensor.detail || detail; state = "bad"; }
    if (sensor && ["ended", "connecting"].includes(sensor.state)) state = "";
    else if (state === "ok" && !["healthy", "waiting", undefined].includes(health[name])) {
      state = "warn";
      text = health[name];
    } else if (reason && state === "ok") { state = "warn"; text = "degraded"; }
    else if (text === "no data yet") state = "";
    port.dot.className = `dot ${state}`;
    port.state.textContent = text;
    port.detail.textContent = detail;
    if (states[name] !== undefined && states[name] !== text)
      event(`${name}: ${text}${detail ? " – " + detail : ""}`, state === "bad");
    states[name] = text;
    if (now && name in now.age_ms) {
      const age = now.age_ms[name];
      withUnit(port.age, age === null ? "not used" : age.toFixed(0), age === null ? "" : " ms");
      if (notes[name]) notes[name].textContent = age === null ? "not used" : `${age.toFixed(0)} ms old`;
    }
  }
  missing = wrong;
}

function share(attribution) {
  $("attribution").hidden = !attribution;
  if (!attribution) return;
  const names = Object.keys(attribution);
  if ($("shares").children.length !== names.length) $("shares").replaceChildren(...names.map(output => {
    const row = make("div", "share"), bar = make("div", "shares");
    for (const name of Object.keys(attribution[output])) {
      const kind = scene.ports[name];
      bar.append(make("div", `from-${["camera", "audio"].includes(kind) ? kind : "other"}`));
    }
    return put(row, make("span", "", names.length > 1 ? output : ""), bar);
  }));
  names.forEach((output, row) => {
    const parts = Object.entries(attribution[output]), bar = $("shares").children[row].lastChild;
    const total = parts.reduce((sum, [, part]) => sum + Math.abs(part), 0);
    parts.forEach(([name, part], i) => {
      const box = bar.children[i], of = total ? Math.abs(part) / total : 1 / parts.length;
      box.style.flexGrow = Math.max(.001, of);
      box.textContent = of > .15 ? `${name} ${part < 0 ? "−" : "+"}${Math.abs(part).toFixed(2)}` : "";
    });
  });
}

function remember(decisions) {
  const count = decisions.t_ms.length;
  if (!count) return;
  const last = samples.t_ms.at(-1);
  if (last !== undefined && Math.abs(decisions.t_ms[0] - last) > SPAN_MS)
    samples = {t_ms: [], outputs: {}, ages: {}, degraded: []};
  for (let i = 0; i < count; i++) {
    samples.t_ms.push(decisions.t_ms[i]);
    samples.degraded.push(decisions.degraded[i]);
    for (const key of ["outputs", "ages"]) for (const [name, values] of Object.entries(decisions[key]))
      (samples[key][name] ??= []).push(values[i]);
  }
  let old = 0;
  const end = samples.t_ms.at(-1);
  while (samples.t_ms[old] < end - SPAN_MS) old++;
  for (const list of [samples.t_ms, samples.degraded, ...Object.values(samples.outputs), ...Object.values(samples.ages)])
    list.splice(0, old);
  dirty = true;
}

function sheet(canvas) {
  const ratio = window.devicePixelRatio || 1, {clientWidth: width, clientHeight: height} = canvas;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const paper = canvas.getContext("2d");
  paper.setTransform(ratio, 0, 0, ratio, 0, 0);
  paper.clearRect(0, 0, width, height);
  return {paper, width, height};
}

function timeline() {
  const {paper, width, height} = sheet($("timeline")), bottom = height - 18, end = samples.t_ms.at(-1) ?? 0;
  const x = t => width * (1 - (end - t) / SPAN_MS);
  paper.font = "11px system-ui, sans-serif"; paper.lineWidth = 1;
  paper.strokeStyle = css("--rule"); paper.fillStyle = css("--faint");
  for (let s = 0; s <= 20; s += 5) {
    const at = Math.min(width - .5, Math.max(.5, width * (1 - s / 20)));
    paper.beginPath(); paper.moveTo(at, 0); paper.lineTo(at, bottom); paper.stroke();
    paper.textAlign = s === 0 ? "right" : s === 20 ? "left" : "center";
    paper.fillText(s ? `−${s} s` : "now", at, height - 4);
  }
  paper.fillStyle = css("--bad"); paper.globalAlpha = .12;
  for (let i = 1; i < samples.t_ms.length; i++) if (samples.degraded[i]) {
    const left = x(samples.t_ms[i - 1]);
    paper.fillRect(left, 0, Math.min(x(samples.t_ms[i]) - left, 12) + .5, bottom);
  }
  paper.globalAlpha = 1;
  const lanes = Object.entries(outputs), gap = 12, share = (bottom - gap * (lanes.length - 1)) / Math.max(1, lanes.length);
  lanes.forEach(([name, output], lane) => {
    const title = lanes.length > 1 ? 16 : 0, top = lane * (share + gap) + title, lists = samples.outputs[name] || [];
    const count = output.labels.length ? Math.min(8, output.labels.length) : 3;
    let low = 0, high = 1;
    if (!output.labels.length) {
      const all = lists.flatMap(values => values.slice(0, count)).filter(value => value !== null);
      low = Math.min(...all); high = Math.max(...all);
      if (!(high > low)) { low -= .5; high = low + 1; }
    }
    for (let k = 0; k < count; k++) {
      paper.beginPath();
      paper.strokeStyle = output.labels.length ? color(k) : css(k ? "--faint" : "--accent");
      paper.lineWidth = 1.7; paper.lineJoin = "round";
      let down = false;
      lists.forEach((values, i) => {
        const value = values[k];
        if (value === undefined || value === null) { down = false; return; }
        const y = top + 2 + (share - title - 4) * (1 - (value - low) / (high - low));
        if (down) paper.lineTo(x(samples.t_ms[i]), y); else paper.moveTo(x(samples.t_ms[i]), y);
        down = true;
      });
      paper.stroke();
    }
    paper.fillStyle = css("--soft"); paper.textAlign = "left";
    const scale = Number.isFinite(low) ? `${short(low)} … ${short(high)} ${output.unit || ""}` : "";
    const words = lanes.length > 1 ? `${name}  ${output.labels.length ? "" : scale}` : "";
    paper.fillText(words, 4, top - 4);
  });
}

function ages() {
  const end = samples.t_ms.at(-1) ?? 0;
  for (const [name, port] of Object.entries(ports)) {
    const {paper, width, height} = sheet(port.canvas), list = samples.ages[name] || [];
    const most = Math.max(50, ...list.filter(age => age !== null));
    paper.strokeStyle = css(port.modality === "camera" ? "--camera" : port.modality === "audio" ? "--audio" : "--several");
    paper.lineWidth = 1.5; paper.lineJoin = "round"; paper.beginPath();
    let down = false;
    list.forEach((age, i) => {
      if (age === null) { down = false; return; }
      const at = width * (1 - (end - samples.t_ms[i]) / SPAN_MS), y = 2 + (height - 4) * (1 - Math.max(0, age) / most);
      if (down) paper.lineTo(at, y); else paper.moveTo(at, y);
      down = true;
    });
    paper.stroke();
    paper.fillStyle = css("--faint"); paper.font = "10px system-ui, sans-serif";
    paper.fillText(`${most.toFixed(0)} ms`, 0, 9);
  }
}

const TROUBLE = /^(late|lost|drop|passed|invalid|degraded|abstained|refused|stall|losses|jumps|clock|xruns|overruns)/;

function rows(body, wanted) {
  while (body.children.length > wanted.length) body.lastChild.remove();
  wanted.forEach((cells, i) => {
    const row = body.children[i] || body.appendChild(make("tr"));
    cells.forEach(([text, name], k) => {
      const cell = row.children[k] || row.appendChild(make("td"));
      if (cell.textContent !== text) cell.textContent = text;
      cell.className = name || "";
    });
  });
}

function numbers(metrics) {
  const now = performance.now(), old = before;
  before = {now, metrics};
  withUnit($("p50"), short(metrics.latency_ms.p50), " ms");
  withUnit($("p99"), short(metrics.latency_ms.p99), " ms");
  withUnit($("degraded"), metrics.observed ? (100 * metrics.degraded / metrics.observed).toFixed(1) : "–", " %");
  const counts = [];
  for (const what of ["ticks", "late", "passed_over", "unfetched", "clock_jumps", "abstained"])
    if (metrics[what] !== undefined) counts.push([what, metrics[what]]);
  for (const [port, each] of Object.entries(metrics.ports)) for (const [what, count] of Object.entries(each.counts))
    if (count) counts.push([`${port}: ${what}`, count]);
  rows($("totals"), counts.map(([what, count]) => {
    const bad = count && TROUBLE.test(what.split(": ").at(-1));
    return [[what.replaceAll("_", " ")], [count.toLocaleString("en"), bad ? "trouble" : ""]];
  }));
  if (!old) return;
  const seconds = (now - old.now) / 1000;
  withUnit($("rate"), ((metrics.ticks - old.metrics.ticks) / seconds).toFixed(1), " /s");
  rows($("stages"), Object.entries(metrics.stages).map(([name, stage]) => {
    const runs = stage.runs - (old.metrics.stages[name]?.runs ?? 0);
    const work = stage.work_ms - (old.metrics.stages[name]?.work_ms ?? 0);
    return [[name], [(runs / seconds).toFixed(1)], [runs ? short(work / runs) : "–"],
      [`${(work / seconds / 10).toFixed(1)} %`]];
  }));
}

function hearNews(found) {
  remember(found.decisions);
  if (found.now) {
    for (const [name, lists] of Object.entries(found.decisions.outputs))
      if (outputs[name]) decide(name, lists.at(-1), found.now);
    $("why").textContent = found.now.degraded.join("; ");
    if (found.now.attribution) share(found.now.attribution);
    if (scene.model && scene.model !== found.now.model) event(`another model decides: ${found.now.model}`);
    scene.model = found.now.model;
    $("name").title = found.now.model;
  }
  sense(found.now, found.sensors, found.health);
  for (const [place, number] of Object.entries(found.pictures || {})) { cameras[place].newest = number; fetchPicture(place); }
  for (const [name, text] of Object.entries(found.sound || {})) hear(name, text);
  if (found.metrics) numbers(found.metrics);
}

function draw() {
  if (dirty && scene && !document.hidden) { dirty = false; timeline(); ages(); }
  requestAnimationFrame(draw);
}

const source = new EventSource("/events");
source.addEventListener("hello", message => { link("ok", "live"); begin(JSON.parse(message.data)); });
source.onmessage = message => { if (scene) hearNews(JSON.parse(message.data)); };
source.addEventListener("end", () => { source.close(); link("", "ended"); event("the stream has ended"); });
source.onerror = () => { link("bad", "no connection"); };
window.addEventListener("resize", () => { dirty = true; });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { dirty = true; });
requestAnimationFrame(draw);
