
const find = id => document.getElementById(id);
const bytesOf = id => Uint8Array.from(atob(find(id).textContent), character => character.charCodeAt(0));
const facts = JSON.parse(find("facts").textContent);
const { side, channels } = facts;
const SHOWN = 10;
// Some browsers have no larger canvas than 16 million pixels.
const MOST_SIDE = 4096;

function complain(text) {
  find("problem").textContent = text;
}
addEventListener("unhandledrejection", event => complain(`Something went wrong here: ${event.reason}`));
addEventListener("error", event => complain(`Something went wrong here: ${event.message}`));

// The runtime: C, compiled to WebAssembly, with a memory of its own.
const { instance } = await WebAssembly.instantiate(bytesOf("runtime")).catch(() => {
  throw new Error("this browser is too old for this page; it needs WebAssembly with SIMD, as browsers have since 2023");
});
const { room, start, run, memory } = instance.exports;
const [picturePlace, logitsPlace] = [room(side * side * channels), room(4 * facts.classes.length)];
{
  const block = bytesOf("model"), place = room(block.length);
  if (!picturePlace || !logitsPlace || !place) throw new Error("memory is short");
  new Uint8Array(memory.buffer).set(block, place);
  if (!start(place)) throw new Error("memory is short");
}

// Whether integer logits are those of any of the classes. No sum is 2^52 or more, so that numbers are exact.
function isKnown(logits) {
  if (!facts.none) return true;
  const { weights, biases, least } = facts.none;
  if (Math.min(...logits) < least) return false;
  if (!weights.length) return Math.max(...logits) + biases[0] >= 0;
  return weights.some((row, i) => row.reduce((sum, weight, k) => sum + weight * logits[k], biases[i]) >= 0);
}

// Probabilities of all classes for pixels, bytes [side][side][channels]; whether they show any of them; and how long it took.
function classify(pixels) {
  new Uint8Array(memory.buffer).set(pixels, picturePlace);
  const begin = performance.now();
  run(picturePlace, logitsPlace);
  const milliseconds = performance.now() - begin;
  const integers = Array.from(new Int32Array(memory.buffer, logitsPlace, facts.classes.length));
  const logits = integers.map(logit => logit / facts.unit);
  const most = Math.max(...logits), powers = logits.map(logit => Math.exp(logit - most));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return { probabilities: powers.map(power => power / total), known: isKnown(integers), milliseconds };
}

// Weights of an antialiased bilinear filter, for each of `side` outputs: where they begin, and in units of 2^-22.
function filters(length) {
  const scale = length / side, reach = Math.max(scale, 1);
  return Array.from({ length: side }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0), last = Math.min(Math.trunc(centre + reach + 0.5), length);
    const weights = Array.from({ length: last - first }, (_, i) => Math.max(1 - Math.abs((i + first - centre + 0.5) / reach), 0));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return { first, weights: weights.map(weight => Math.trunc(0.5 + (weight / total) * 2 ** 22)) };
  });
}

// Lines of `length` pixels, resized to `side`: `at` says where a pixel of a line lies, `to` where one of the result goes.
function resizedLines(values, lines, length, at, to) {
  const result = new Uint8Array(lines * side * channels);
  filters(length).forEach(({ first, weights }, place) => {
    for (let line = 0; line < lines; line++)
      for (let channel = 0; channel < channels; channel++) {
        let sum = 2 ** 21;
        for (let i = 0; i < weights.length; i++) sum += values[at(line, first + i) * channels + channel] * weights[i];
        result[to(line, place) * channels + channel] = Math.min(Math.max(sum >> 22, 0), 255);
      }
  });
  return result;
}

// The largest centred square, laid on white, in the network's size and channels, as squeezekit's own reader makes it.
function pixelsOf(image, width, height) {
  const whole = Math.min(width, height), length = Math.min(whole, MOST_SIDE);
  const canvas = new OffscreenCanvas(length, length), context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, length, length);
  const [left, top] = [Math.floor((width - whole) / 2), Math.floor((height - whole) / 2)];
  context.drawImage(image, left, top, whole, whole, 0, 0, length, length);
  const rgba = context.getImageData(0, 0, length, length).data;
  const values = new Uint8Array(length * length * channels);
  for (let i = 0, j = 0; i < rgba.length; i += 4)
    if (channels === 3) for (let k = 0; k < 3; k++) values[j++] = rgba[i + k];
    else values[j++] = (19595 * rgba[i] + 38470 * rgba[i + 1] + 7471 * rgba[i + 2] + 0x8000) >> 16;
  if (length === side) return values;
  const narrow = resizedLines(values, length, length, (y, x) => y * length + x, (y, x) => y * side + x);
  return resizedLines(narrow, side, length, (x, y) => y * side + x, (x, y) => y * side + x);
}

const percent = share => `${(100 * share).toFixed(1)} %`;

function show(pixels, { probabilities, known, milliseconds }) {
  const order = probabilities.map((_, i) => i).sort((a, b) => probabilities[b] - probabilities[a]);
  const best = probabilities[order[0]], unsure = best < facts.threshold;
  find("answer").hidden = false;
  const remark = !known ? "None of these; nearest " : unsure ? "Unsure, perhaps " : "";
  find("verdict").textContent = `${remark}${facts.classes[order[0]]}, ${percent(best)}`;
  find("bars").replaceChildren(...order.slice(0, SHOWN).map(i => {
    const [row, name, track, bar, share] = ["li", "span", "span", "div", "span"].map(kind => document.createElement(kind));
    name.textContent = facts.classes[i];
    share.textContent = percent(probabilities[i]);
    track.className = "track";
    track.setAttribute("aria-hidden", true);
    bar.className = "bar";
    bar.style.width = `${100 * probabilities[i]}%`;
    track.append(bar);
    row.append(name, track, share);
    return row;
  }));
  find("time").textContent = `${milliseconds.toFixed(1)} ms for ${(facts.macs / 1e6).toFixed(1)} million multiply-adds`;
  const seen = find("seen"), image = new ImageData(side, side);
  seen.width = seen.height = side;
  for (let i = 0; i < side * side; i++)
    for (let k = 0; k < 4; k++) image.data[4 * i + k] = k === 3 ? 255 : pixels[i * channels + (channels === 3 ? k : 0)];
  seen.getContext("2d").putImageData(image, 0, 0);
}

function answer(image, width, height) {
  const pixels = pixelsOf(image, width, height);
  show(pixels, classify(pixels));
}

async function open(file) {
  complain("");
  if (!file) return;
  let image;
  try {
    image = await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    return complain("That is not a picture that this browser can read; try a JPEG or a PNG file.");
  }
  answer(image, image.width, image.height);
  image.close();
}

const pictureIn = items => [...items].find(item => item.kind === "file" && item.type.startsWith("image/"))?.getAsFile();

find("file").addEventListener("change", event => open(event.target.files[0]).then(() => (event.target.value = "")));
for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(kind, event => {
    event.preventDefault();
    find("drop").classList.toggle("over", kind === "dragenter" || kind === "dragover");
    if (kind === "drop") open(event.dataTransfer.files[0]);
  });
document.addEventListener("paste", event => open(pictureIn(event.clipboardData.items)));

find("paste").addEventListener("click", async () => {
  try {
    const items = await navigator.clipboard.read();
    const item = items.find(item => item.types.some(type => type.startsWith("image/")));
    if (item) await open(await item.getType(item.types.find(type => type.startsWith("image/"))));
    else complain("There is no picture to paste; copy one first.");
  } catch {
    complain("This browser lets nothing be pasted by a button here; press Ctrl+V or ⌘V.");
  }
});

const video = find("video"), button = find("camera");

function close() {
  video.srcObject?.getTracks().forEach(track => track.stop());
  video.srcObject = null;
  const focused = find("viewfinder").contains(document.activeElement);
  find("viewfinder").hidden = true;
  button.setAttribute("aria-expanded", false);
  if (focused) button.focus();
}

button.addEventListener("click", async () => {
  complain("");
  if (video.srcObject) return close();
  // While the browser asks whether it may, the button waits.
  button.disabled = true;
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    await video.play();
    find("viewfinder").hidden = false;
    button.setAttribute("aria-expanded", true);
    find("shoot").focus();
  } catch {
    close();
    complain("No camera can be used here; choose a file, which on a phone can be a new photograph.");
  } finally {
    button.disabled = false;
  }
});
find("shoot").addEventListener("click", () => {
  try {
    answer(video, video.videoWidth, video.videoHeight);
  } finally {
    close();
  }
});

find("title").textContent = `What is it? ${facts.classes.length} classes`;
find("about").textContent = `${facts.name}: ${facts.classes.slice(0, 20).join(", ")}${facts.classes.length > 20 ? " …" : ""}`;
document.title = `${facts.name}: what is it?`;
