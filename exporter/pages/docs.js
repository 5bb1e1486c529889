// Sends the requests of the API description's forms, and shows the responses.

const token = document.getElementById("token");

document.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.target.dataset.path) send(event.target);
});

async function send(form) {
  const output = form.querySelector("output");
  output.textContent = "…";
  const { method } = form.dataset;
  const body = form.querySelector("textarea")?.value;
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (token.value) headers.Authorization = `Bearer ${token.value}`;
  try {
    const response = await fetch(address(form), { method, headers, body, cache: "no-store" });
    output.textContent = `${response.status} ${response.statusText}\n\n${readable(await response.text())}`;
  } catch (error) {
    output.textContent = `The exporter cannot be reached: ${error.message}`;
  }
}

// Relative to the page, which may be below a prefix.
function address(form) {
  const query = new URLSearchParams();
  let path = form.dataset.path;
  for (const { name, value, dataset } of form.querySelectorAll("input")) {
    if (dataset.in === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (value) query.append(name, value);
  }
  return `.${path}${query.size ? `?${query}` : ""}`;
}

function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
