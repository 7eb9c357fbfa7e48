// Calls of the API. The browser sends the session's cookie by itself; writes carry its token.
let token = "";

/** An answer that is no success: `errors` names fields and reasons, as problem details do. */
export class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail ?? `HTTP ${status}`);
    this.status = status;
    this.errors = problem.errors ?? [];
  }
}

export function setToken(given) {
  token = given;
}

async function send(method, path, body, headers, { asText = false, signal } = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers }, credentials: "same-origin", signal };
  if (method !== "GET") options.headers["X-CSRF-Token"] = token;
  if (body !== undefined) {
    options.body = typeof body === "string" ? body : JSON.stringify(body);
    options.headers["Content-Type"] ??= "application/json";
  }
  let response, isJson, answer;
  try {
    response = await fetch(path, options);
    isJson = (response.headers.get("Content-Type") ?? "").includes("json");
    const isRead = isJson && !(asText && response.ok);
    answer = response.status === 204 ? null : isRead ? await response.json() : await response.text();
  } catch {
    // Also if only the beginning of the answer came.
    throw new ApiError(0, { detail: "the service cannot be reached" });
  }
  if (!response.ok) {
    const error = new ApiError(response.status, isJson ? answer : {});
    if (error.status === 401 && path.startsWith("/v1/")) dispatchEvent(new Event("signed-out"));
    if (error.status === 403 && error.errors.some(({ field }) => field === "X-CSRF-Token")) {
      // The cookie is of another session than the token, as after another tab has signed in.
      dispatchEvent(new CustomEvent("signed-in-anew", { detail: token }));
      throw new ApiError(403, { detail: "this was sent for a session that has ended" });
    }
    throw error;
  }
  return { answer, etag: response.headers.get("ETag") };
}

export const get = async (path) => (await send("GET", path)).answer;
export const getText = async (path) => (await send("GET", path, undefined, undefined, { asText: true })).answer;
export const getTagged = (path) => send("GET", path);
/** `signal`: aborts it, as if the service could not be reached. */
export const post = async (path, body, headers, signal) => (await send("POST", path, body, headers, { signal })).answer;
export const put = async (path, body, headers) => (await send("PUT", path, body, headers)).answer;
export const patch = async (path, body, headers) => (await send("PATCH", path, body, headers)).answer;
export const remove = async (path, headers) => (await send("DELETE", path, undefined, headers)).answer;

/** Builds a path with parameters; those that are empty are left out, and lists are repeated. */
export function withQuery(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item !== undefined && item !== null && item !== "") query.append(name, item);
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export const part = encodeURIComponent;

/** An id that is just being made, as part of a path. A slash would end the part there, and points lead elsewhere: the server is to refuse both. */
export const idPart = (id) => (/^\.+$/.test(id) ? part(part(id).replaceAll(".", "%2E")) : part(id).replaceAll("%2F", "%252F"));
