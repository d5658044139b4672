// What an exported page computes with, in Node: WebAssembly and network taken out of it, as its own script does in a browser.

import { readFileSync } from "node:fs";

export async function opened(file) {
  const page = readFileSync(file, "utf8");
  const textOf = id => page.match(new RegExp(`id="${id}">([^<]*)<`))[1];
  const facts = JSON.parse(textOf("facts"));
  const { instance } = await WebAssembly.instantiate(Buffer.from(textOf("runtime"), "base64"));
  const { room, start, run, memory } = instance.exports;
  const size = facts.side * facts.side * facts.channels, classes = facts.classes.length;
  const block = Buffer.from(textOf("model"), "base64");
  const [picture, logits, place] = [room(size), room(4 * classes), room(block.length)];
  if (!picture || !logits || !place) throw new Error("memory is short");
  new Uint8Array(memory.buffer).set(block, place);
  if (!start(place)) throw new Error("memory is short");
  return {
    size,
    show: pixels => new Uint8Array(memory.buffer).set(pixels, picture),
    run: () => run(picture, logits),
    answer: () => [...new Int32Array(memory.buffer, logits, classes)],
  };
}
