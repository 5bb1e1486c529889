// The exporter's REST API; errors are a Problem with a message.

const TIMEOUT_MS = 20_000;

export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export async function readTargets() {
  return (await ask("api/v1/targets")).targets;
}

// The last readings and the last failures that the exporter remembers, oldest first.
export function readHistory(target) {
  return ask(`api/v1/targets/${encodeURIComponent(target)}/probes`);
}

// The state that the server reports after the change.
export async function writeTransforms(target, enabled, token) {
  const answer = await ask(`api/v1/targets/${encodeURIComponent(target)}/transforms`, {
    method: "PUT",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
    body: JSON.stringify({ enabled }),
  });
  return answer.enabled;
}

// The exporter's own metrics in the text format.
export async function readOwnMetrics() {
  const response = await fetch("metrics?collect[]=exporter", { cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Problem(response.status, "no metrics");
  return response.text();
}

// JSON whose integers beyond 2^53 are BigInts: as numbers they would be rounded.
export function parse(text) {
  const marked = text.replace(/"(?:[^"\\]|\\.)*"|(?<![\d.eE+-])-?\d{16,}(?![\d.eE])/g, (token) => (token[0] === '"' ? token : `{"bigint":"${token}"}`));
  return JSON.parse(marked, (key, value) => (value?.bigint && Object.keys(value).length === 1 ? exact(value.bigint) : value));
}

function exact(digits) {
  const integer = BigInt(digits);
  return Number.isSafeInteger(Number(integer)) ? Number(integer) : integer;
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.ok) return parse(await response.text());
  } catch (error) {
    throw new Problem(0, unreached(error));
  }
  throw new Problem(response.status, await describe(response));
}

function unreached(error) {
  if (error.name === "TimeoutError") return "The exporter did not answer within 20 s.";
  if (error instanceof SyntaxError) return "The answer was not the exporter’s: is there a proxy in between?";
  return "The exporter cannot be reached.";
}

async function describe(response) {
  try {
    const { title, detail } = await response.json();
    if (title) return detail ? `${title}: ${detail}` : title;
  } catch {
    // Not a problem document: a proxy's page, say.
  }
  return `The exporter answered ${response.status} ${response.statusText}`.trim();
}
