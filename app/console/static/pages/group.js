// A group of offers, new or to be changed.
import { html } from "../lib/ui.js";
import { Family } from "./family.js";

export default ({ id }) => html`<${Family} kind="group" id=${id} />`;
