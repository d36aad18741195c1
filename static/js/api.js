// Talking to the server. Every failure becomes an Error whose message is one sentence for a person.

export async function call(method, path, body) {
  const request = { method, headers: {} };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  const response = await reach(path, request);
  if (response.status === 401) toSignIn();
  if (response.status === 204) return null;
  const type = response.headers.get("Content-Type") || "";
  const answer = type.includes("json") ? await response.json() : { error: response.statusText };
  if (!response.ok) throw new Error(answer.error || `The server answered ${response.status}.`);
  return answer;
}

// Read a page of the server and return it as a document (scripts in it never run).
export async function page(path, request) {
  const response = await reach(path, request);
  if (response.status === 401 || new URL(response.url).pathname === "/sign-in") toSignIn();
  return { status: response.status, path: new URL(response.url).pathname, dom: new DOMParser().parseFromString(await response.text(), "text/html") };
}

export function toSignIn() {
  location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
}

async function reach(path, request) {
  try {
    return await fetch(path, { ...request, credentials: "same-origin", cache: "no-store" });
  } catch {
    throw new Error("The server cannot be reached. Is it running?");
  }
}
