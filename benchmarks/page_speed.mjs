// How long one picture takes in an exported page, in Node: node page_speed.mjs PAGE SECONDS
// Takes WebAssembly and network out of the page, as its own script does in a browser, and prints one JSON line: `ms`, the median
// of single calls.

import { readFileSync } from "node:fs";

const [page, seconds] = [readFileSync(process.argv[2], "utf8"), Number(process.argv[3])];
const textOf = id => page.match(new RegExp(`id="${id}">([^<]*)<`))[1];
const facts = JSON.parse(textOf("facts"));
const { instance } = await WebAssembly.instantiate(Buffer.from(textOf("runtime"), "base64"));
const { room, start, run, memory } = instance.exports;
const size = facts.side * facts.side * facts.channels;
const block = Buffer.from(textOf("model"), "base64");
const [picture, logits, place] = [room(size), room(4 * facts.classes.length), room(block.length)];
new Uint8Array(memory.buffer).set(block, place);
if (!start(place)) throw new Error("memory is short");
new Uint8Array(memory.buffer).set(Uint8Array.from({ length: size }, () => Math.floor(256 * Math.random())), picture);

const times = [], begin = performance.now();
const warm = begin + 100 * seconds, end = begin + 1000 * seconds;
while (performance.now() < end) {
  const before = performance.now();
  run(picture, logits);
  if (before > warm) times.push(performance.now() - before);
}
times.sort((a, b) => a - b);
console.log(JSON.stringify({ ms: times[Math.floor(times.length / 2)] }));
