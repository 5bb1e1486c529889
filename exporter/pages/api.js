// The exporter's REST API; what goes wrong is a Problem in words.

const PATIENCE = 20_000; // milliseconds

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

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (response.ok) return await response.json();
  } catch (error) {
    throw new Problem(0, unreached(error));
  }
  throw new Problem(response.status, await told(response));
}

function unreached(error) {
  if (error.name === "TimeoutError") return "The exporter did not answer within 20 s.";
  if (error instanceof SyntaxError) return "The answer was not the exporter’s: is there a proxy in between?";
  return "The exporter cannot be reached.";
}

async function told(response) {
  try {
    const { title, detail } = await response.json();
    if (title) return detail ? `${title}: ${detail}` : title;
  } catch {
    // Not a problem document: a proxy's page, say.
  }
  return `The exporter answered ${response.status} ${response.statusText}`.trim();
}
