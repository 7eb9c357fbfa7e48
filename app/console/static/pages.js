// All pages: their addresses, who sees them, where they stand in the navigation, and the module that shows them.
const OPS = ["ops"];
const READERS = ["ops", "scientist"];
const AGENTS = ["frontend"];

export const PAGES = [
  { at: "/console", key: "home", group: "watch", roles: READERS, load: () => import("./pages/home.js") },
  { at: "/console/offers", key: "offers", group: "steer", roles: READERS, load: () => import("./pages/offers.js") },
  { at: "/console/offers/:id", parent: "offers", roles: READERS, load: () => import("./pages/offer.js") },
  { at: "/console/desk", key: "desk", group: "people", roles: AGENTS, load: () => import("./pages/desk.js") },
];

export const GROUPS = ["watch", "steer", "people", "learn"];
