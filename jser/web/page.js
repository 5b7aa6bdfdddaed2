// The page: a sound goes to the server that sent this, and what it says is shown.

const $ = (id) => document.getElementById(id);
const RATE_HZ = 16000; // At which sounds are drawn, and recordings sent.
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const sound = $("sound");
let model = { labels: [], reads_text: false, limits: { body_bytes: Infinity, sound_s: 1800 } };
let asking = new AbortController(); // The sound that is being asked about.
let recorder = null;
let latest = null; // What was taken last, asked about again when the words change.

// --- The server

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let reply;
  try {
    reply = await fetch(path, { ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Error("The file cannot be read, or the server does not answer.");
  }
  const told = await reply.json();
  if (!reply.ok) throw new Error(told.error);
  return told;
}

async function take(blob, name) {
  asking.abort(); // A later sound takes the place of one that is asked about.
  asking = new AbortController();
  const { signal } = asking;
  const post = (path) => ask(path, { method: "POST", body: blob, signal });
  latest = [blob, name];
  begin(blob, name);
  try {
    const said = $("said").value.trim();
    if (model.reads_text && !said) throw new Error("This model reads words: write what is said.");
    const words = model.reads_text ? `?${new URLSearchParams({ transcript: said })}` : "";
    const most = model.limits.body_bytes;
    if (blob.size > most) throw new Error(`A file of more than ${most >> 20} MB is not taken.`);
    const [answer, samples] = await Promise.all([post(`recognize${words}`), decode(blob)]);
    if (signal.aborted) return;
    showAnswer(answer, samples);
    if (!model.reads_text) { // Nobody knows which words are of which part.
      tell("Listening to its parts …");
      const told = await post("timeline");
      if (signal.aborted) return;
      showSegments(told, answer);
    }
    tell(`${name}: ${answer.label}.`);
  } catch (error) {
    if (!signal.aborted) fail(error.message);
  }
}

// --- Sound

async function decode(blob) {
  try {
    const context = new OfflineAudioContext(1, 1, RATE_HZ);
    return (await context.decodeAudioData(await blob.arrayBuffer())).getChannelData(0);
  } catch {
    return null; // The server may know the format all the same.
  }
}

function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, s) => [...s].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  [[16, 16, 4], [20, 1, 2], [22, 1, 2], [24, RATE_HZ, 4], [28, 2 * RATE_HZ, 4], [32, 2, 2], [34, 16, 2]].forEach(
    ([at, value, size]) => (size === 4 ? view.setUint32(at, value, true) : view.setUint16(at, value, true)));
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) => view.setInt16(44 + 2 * i, 32767 * Math.max(-1, Math.min(1, x)), true));
  return new Blob([view], { type: "audio/wav" });
}

async function record() {
  if (recorder) return recorder.stop();
  const button = $("record");
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  let stream;
  button.disabled = true; // Or a second click would start a second one.
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: raw });
  } catch {
    return fail("There is no microphone, or this page may not use it.");
  } finally {
    button.disabled = false;
    button.focus();
  }
  const pieces = [];
  recorder = new MediaRecorder(stream);
  recorder.ondataavailable = ({ data }) => pieces.push(data);
  recorder.onstop = async () => {
    stream.getTracks().forEach((track) => track.stop());
    clearTimeout(end);
    recorder = null;
    button.textContent = "Record";
    button.classList.remove("on");
    const samples = await decode(new Blob(pieces));
    if (samples) take(wav(samples), "your recording");
    else fail("The recording is empty.");
  };
  const end = setTimeout(() => recorder?.stop(), 1000 * (model.limits.sound_s - 1));
  recorder.start();
  button.textContent = "Stop";
  button.classList.add("on");
  tell("Recording …");
}

// --- What is shown

const tell = (text) => ($("status").textContent = text);
const percent = (p) => (p < 0.005 ? "< 1 %" : p > 0.995 ? "> 99 %" : `${Math.round(100 * p)} %`);
const colour = (label) => {
  const i = model.labels.indexOf(label);
  return i < 0 ? "none" : `c${i % 10}`;
};
const clock = (s) => `${Math.floor(s / 60)}:${String(Math.floor(s % 60)).padStart(2, "0")}`;
const tenths = (s) => `${clock(s + 0.05)}.${Math.floor((10 * (s + 0.05)) % 10)}`;

function element(tag, text = "", name = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

function fail(message) {
  tell("");
  $("error").textContent = message;
  $("error").hidden = false;
}

function begin(blob, name) {
  $("error").hidden = $("answer").hidden = $("unplayed").hidden = true;
  sound.hidden = false;
  URL.revokeObjectURL(sound.src);
  sound.src = URL.createObjectURL(blob);
  ["colours", "segments"].forEach((id) => $(id).replaceChildren());
  tell(`Listening to ${name} …`);
}

function showAnswer(answer, samples) {
  $("answer").hidden = false;
  $("label").textContent = answer.label;
  const unsure = answer.label in answer.scores ? "" : "No emotion is sure enough to be named. ";
  $("candidates").textContent =
    `${unsure}Of recordings like those it was trained on, ${percent(answer.coverage)} have their emotion among these: ${answer.candidates.join(", ")}.`;
  $("warnings").hidden = !answer.warnings.length;
  $("warnings").replaceChildren(...answer.warnings.map((w) => element("li", w)));
  $("scores").tBodies[0].replaceChildren(...Object.entries(answer.scores).map(([label, p]) => {
    const row = element("tr"), name = element("th", label), cell = element("td", "", "bar");
    const bar = element("div", "", colour(label));
    name.scope = "row";
    bar.style.width = `${100 * p}%`;
    cell.append(bar);
    row.append(name, cell, element("td", percent(p)));
    return row;
  }));
  const rated = Object.entries(answer.attributes ?? {}).map(([name, x]) => `${name} ${x.toFixed(1)}`);
  $("attributes").hidden = !rated.length;
  $("attributes").textContent = rated.join(", ");
  $("transcript").hidden = !answer.transcript;
  $("transcript").textContent = `“${answer.transcript}”`;
  $("end").textContent = (answer.duration_s < 1 ? tenths : clock)(answer.duration_s);
  $("wave").toggleAttribute("hidden", !samples);
  $("wave").firstElementChild.setAttribute("d", samples ? outline(samples) : "");
}

function outline(samples) {
  const peaks = Array.from({ length: 500 }, (_, i) => {
    let most = 0.003;
    const end = ((i + 1) * samples.length) / 500;
    for (let k = Math.floor((i * samples.length) / 500); k < end; k++) most = Math.max(most, Math.abs(samples[k]));
    return most;
  });
  const loudest = Math.max(0.1, ...peaks);
  const point = (p, i) => `${2 * i + 1} ${(p / loudest).toFixed(3)}`;
  const below = peaks.map(point), above = peaks.map((p, i) => point(-p, i)).reverse();
  return `M${[...below, ...above].join("L")}Z`;
}

function showSegments({ segments, warnings }, { duration_s, warnings: shown }) {
  $("colours").replaceChildren(...segments.map((s) => {
    const block = element("div", s.label, colour(s.label));
    block.style.left = `${(100 * s.start_s) / duration_s}%`;
    block.style.width = `${(100 * (s.end_s - s.start_s)) / duration_s}%`;
    return block;
  }));
  $("segments").replaceChildren(...segments.map((s) => {
    const who = s.speaker ? `${s.speaker}: ` : "";
    const [likely, p] = Object.entries(s.scores).reduce((a, b) => (b[1] > a[1] ? b : a));
    const perhaps = likely === s.label ? "" : `, perhaps ${likely}`;
    const text = `${tenths(s.start_s)} to ${tenths(s.end_s)} ${who}${s.label}${perhaps}, ${percent(p)}`;
    const button = element("button", text, colour(s.label)), item = element("li");
    button.type = "button";
    button.disabled = Boolean(sound.error);
    button.dataset.start = s.start_s;
    button.dataset.end = s.end_s;
    button.onclick = () => { sound.currentTime = s.start_s; sound.play(); };
    item.append(button);
    return item;
  }));
  $("segments").append(...warnings.filter((w) => !shown.includes(w)).map((w) => element("li", w)));
}

function follow() {
  const now = sound.currentTime;
  $("now").style.left = `${(100 * now) / (sound.duration || 1)}%`;
  for (const button of $("segments").querySelectorAll("button")) {
    const here = button.dataset.start <= now && now < button.dataset.end;
    if (here) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  if (!sound.paused) requestAnimationFrame(follow);
}

// --- The model's card: as much of Markdown as cards have

function showCard(text) {
  const blocks = text.replace(/^---\n[^]*?\n---\n/, "").trim().split(/\n\n+/);
  $("card").replaceChildren(...blocks.flatMap((block) => {
    const lines = block.split("\n").map((line) => line.replace(/\*\*|(?<!`)`(?!`)|\[([^\]]*)\]\([^)]*\)/g, "$1"));
    const heading = /^#+ /.exec(lines[0]);
    const rest = heading ? lines.slice(1) : lines;
    const head = heading ? [element("h3", lines[0].slice(heading[0].length))] : [];
    return rest.length ? [...head, body(rest)] : head;
  }));
}

function focusable(wide) {
  wide.tabIndex = 0; // So that keys can scroll it.
  return wide;
}

function body(lines) {
  if (lines[0].startsWith("|")) {
    const table = element("table");
    table.append(...lines.filter((line) => !/^\|[-:| ]+$/.test(line)).map((line, i) => {
      const row = element("tr");
      row.append(...line.split("|").slice(1, -1).map((cell) => element(i ? "td" : "th", cell.trim())));
      return row;
    }));
    return focusable(table);
  }
  if (lines[0].startsWith("```")) return focusable(element("pre", lines.slice(1, -1).join("\n")));
  if (lines[0].startsWith("> ")) return element("p", lines.join(" ").replace(/(^| )> /g, "$1"), "note");
  if (!/^[*-] /.test(lines[0])) return element("p", lines.join(" "));
  const list = element("ul");
  list.append(...lines.join("\n").split(/\n[*-] /).map((item) => element("li", item.replace(/^[*-] |\n/g, " "))));
  return list;
}

// --- Begin

$("file").onchange = ({ target }) => {
  if (target.files.length) take(target.files[0], target.files[0].name);
  target.value = ""; // So that the same file can be chosen again.
};
$("record").onclick = record;
$("said").onchange = () => latest && take(...latest);
sound.onerror = () => {
  sound.hidden = true;
  $("unplayed").hidden = false;
  for (const button of $("segments").querySelectorAll("button")) button.disabled = true;
};
$("course").onclick = (event) => {
  const box = $("course").getBoundingClientRect();
  sound.currentTime = ((event.clientX - box.left) / box.width) * (sound.duration || 0);
};
["play", "seeked", "timeupdate", "loadedmetadata"].forEach((event) => sound.addEventListener(event, follow));
["dragover", "dragleave", "drop"].forEach((name) => document.addEventListener(name, (event) => {
  event.preventDefault();
  $("drop").classList.toggle("over", name === "dragover");
  const file = name === "drop" && event.dataTransfer.files[0];
  if (file) take(file, file.name);
}));
if (["localhost", "127.0.0.1", "[::1]"].includes(location.hostname))
  $("kept").textContent = "The sound stays on this machine, and is forgotten once the answer is there.";
try {
  model = await ask("model");
  $("name").textContent = model.name;
  $("labels").textContent = model.labels.join(", ");
  $("words").hidden = !model.reads_text;
  showCard(model.card);
} catch (error) {
  fail(error.message);
}
