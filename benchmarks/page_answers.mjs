// What an exported page answers, in Node: node page_answers.mjs PAGE PICTURES
// PICTURES holds the pixels of one picture after the other. Prints the logits of each as a JSON line.

import { readFileSync } from "node:fs";
import { opened } from "./page_in_node.mjs";

const page = await opened(process.argv[2]), pixels = readFileSync(process.argv[3]);
for (let at = 0; at < pixels.length; at += page.size) {
  page.show(pixels.subarray(at, at + page.size));
  page.run();
  console.log(JSON.stringify(page.answer()));
}
