// How long one picture takes in an exported page, in Node: node page_speed.mjs PAGE SECONDS
// Prints one JSON line: `ms`, the median of single calls.

import { opened } from "./page_in_node.mjs";

const page = await opened(process.argv[2]), seconds = Number(process.argv[3]);
page.show(Uint8Array.from({ length: page.size }, () => Math.floor(256 * Math.random())));

// Engines compile anew what runs often: several calls, and a tenth of the time, are not counted.
const begin = performance.now(), times = [];
for (let calls = 0; calls < 5 || performance.now() < begin + 100 * seconds; calls++) page.run();
while (times.length < 3 || performance.now() < begin + 1000 * seconds) {
  const before = performance.now();
  page.run();
  times.push(performance.now() - before);
}
times.sort((a, b) => a - b);
console.log(JSON.stringify({ ms: times[Math.floor(times.length / 2)] }));
