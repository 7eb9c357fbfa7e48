// One of the four goals: declared by what is demanded of its offers, or with nothing yet.
import { html } from "../lib/ui.js";
import { Family } from "./family.js";

export default ({ id }) => html`<${Family} kind="goal" id=${id} />`;
