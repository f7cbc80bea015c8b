for (const button of document.querySelectorAll("button[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
}
const form = document.getElementById("try");
if (form) {
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const shown = document.getElementById("answer");
    const inputs = [...form.querySelectorAll("[data-feature]")];
    /* A choice has the JSON of its text; an empty field is a missing value. */
    const row = inputs.map((input) =>
      input.tagName === "SELECT" ? JSON.parse(input.value) : input.value === "" ? null : Number(input.value));
    const body = { ...JSON.parse(form.dataset.names), rows: [row] };
    body.feature_names = inputs.map((input) => input.dataset.feature);
    const headers = { "Content-Type": "application/json" };
    const token = form.querySelector("input[type=password]");
    if (token) headers.Authorization = "Bearer " + token.value;
    try {
      const reply = await fetch(form.action, { method: "POST", headers, body: JSON.stringify(body) });
      shown.className = reply.ok ? "" : "failed";
      shown.textContent = JSON.stringify(await reply.json(), null, 2);
    } catch (error) {
      shown.className = "failed";
      shown.textContent = String(error);
    }
  });
}
