// Who sees what. The server refuses by itself what a role may not do; here it is only not shown.
let role = "";
let approvals = "off";

export function setRole(given, required = "off") {
  role = given;
  approvals = required;
}

/** Whether one of these roles is signed in; an admin may do everything. */
export const may = (...roles) => role === "admin" || roles.includes(role);

/** Whether the catalogue may be changed here at once, without another person's approval. */
export const mayChange = () => role === "admin" || (may("ops") && approvals === "off");
