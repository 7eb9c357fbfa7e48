// Who sees what. The server refuses by itself what a role may not do; here it is only not shown.
let role = "";

export function setRole(given) {
  role = given;
}

/** Whether one of these roles is signed in; an admin may do everything. */
export const may = (...roles) => role === "admin" || roles.includes(role);
