"use strict";
// Narrows the examples to what is typed and chosen; without scripts all of them are there.
(() => {
  const box = document.getElementById("find");
  if (!box) return;
  const choice = document.getElementById("filter");
  const found = document.getElementById("found");
  const groups = [...document.querySelectorAll("#examples details.reason")].map((group) => ({
    group,
    name: group.querySelector("summary").textContent.toLowerCase(),
    examples: [...group.querySelectorAll("article")].map((example) => ({
      example,
      text: example.textContent.toLowerCase(),
    })),
  }));
  const total = groups.reduce((sum, { examples }) => sum + examples.length, 0);

  const narrow = () => {
    const wanted = box.value.trim().toLowerCase();
    let shown = 0;
    for (const { group, name, examples } of groups) {
      const chosen = !choice.value || group.dataset.filter === choice.value;
      let here = 0;
      for (const { example, text } of examples) {
        const fits = chosen && (!wanted || text.includes(wanted) || name.includes(wanted));
        example.hidden = !fits;
        here += fits;
      }
      group.hidden = !here;
      if (wanted) group.open = here > 0;
      shown += here;
    }
    found.textContent = `${shown} of ${total} examples`;
  };
  box.addEventListener("input", narrow);
  choice.addEventListener("change", narrow);
  box.form.addEventListener("submit", (event) => event.preventDefault());
  narrow();
})();
