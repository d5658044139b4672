// "Try it": chooses the classifier that the frame shows, and gives it the drawing that is clicked, as if its reader had chosen a file.
{
  const live = document.getElementById("live");
  const frame = live.querySelector("iframe"), download = live.querySelector("a[download]"), problem = live.querySelector("#live-problem");
  // Nothing where the page comes from a disk.
  const inside = () => frame.contentDocument;

  function fit() {
    const body = inside()?.body;
    if (body) new ResizeObserver(() => (frame.style.height = `${body.offsetHeight}px`)).observe(body);
  }

  function choose(name) {
    frame.src = download.href = `try-it/${name}.html`;
    offer(name);
  }

  function offer(name) {
    for (const pictures of live.querySelectorAll(".live-pictures")) pictures.hidden = pictures.dataset.model !== name;
    problem.textContent = "";
  }

  // The classifier says what it knows as soon as it can answer.
  async function ready() {
    for (let waited = 0; waited < 200; waited++) {
      if (inside()?.querySelector("#about")?.textContent) return inside();
      await new Promise(done => setTimeout(done, 50));
    }
    throw new Error("no classifier");
  }

  async function give(picture) {
    problem.textContent = "";
    try {
      const content = await (await fetch(picture.src)).blob(), page = await ready();
      const carried = new DataTransfer();
      carried.items.add(new File([content], "picture.png", { type: "image/png" }));
      const input = page.getElementById("file");
      // The answer may come below what the window shows.
      const seen = new MutationObserver(() => {
        seen.disconnect();
        page.getElementById("answer").scrollIntoView({ block: "nearest" });
      });
      seen.observe(page.getElementById("verdict"), { childList: true });
      input.files = carried.files;
      input.dispatchEvent(new Event("change"));
    } catch {
      problem.textContent = "Drawings can be clicked where the page comes from a server (python -m http.server); drag one into the field below.";
    }
  }

  frame.addEventListener("load", fit);
  if (inside()?.readyState === "complete") fit();
  for (const radio of live.querySelectorAll("input[name=model]")) radio.addEventListener("change", () => choose(radio.value));
  for (const button of live.querySelectorAll(".live-pictures button")) button.addEventListener("click", () => give(button.firstElementChild));
  // A browser keeps the choice when a page is loaded again.
  const chosen = live.querySelector("input[name=model]:checked").value;
  if (frame.getAttribute("src") === `try-it/${chosen}.html`) offer(chosen);
  else choose(chosen);
}
