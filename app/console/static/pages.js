// All pages: their addresses, who sees them, where they stand in the navigation, and the module that shows them.
const READERS = ["ops", "scientist"];
const AGENTS = ["agent", "frontend"];

export const PAGES = [
  { at: "/console", key: "home", group: "watch", roles: READERS, load: () => import("./pages/home.js") },
  { at: "/console/reports", key: "reports", group: "watch", roles: READERS, load: () => import("./pages/reports.js") },
  { at: "/console/triggers", key: "triggers", group: "watch", roles: READERS, load: () => import("./pages/triggers.js") },
  { at: "/console/dead-letters", key: "deadLetters", group: "watch", roles: ["ops"], load: () => import("./pages/dead_letters.js") },
  { at: "/console/audit", key: "audit", group: "watch", roles: READERS, load: () => import("./pages/audit.js") },
  { at: "/console/offers", key: "offers", group: "steer", roles: READERS, load: () => import("./pages/offers.js") },
  { at: "/console/new-offer", parent: "offers", roles: ["ops"], load: () => import("./pages/new_offer.js") },
  { at: "/console/offers/:id", parent: "offers", roles: READERS, load: () => import("./pages/offer.js") },
  { at: "/console/groups", key: "groups", group: "steer", roles: READERS, load: () => import("./pages/groups.js") },
  { at: "/console/new-group", parent: "groups", roles: ["ops"], load: () => import("./pages/group.js") },
  { at: "/console/groups/:id", parent: "groups", roles: READERS, load: () => import("./pages/group.js") },
  { at: "/console/goals/:id", parent: "groups", roles: READERS, load: () => import("./pages/goal.js") },
  { at: "/console/capacity", key: "capacity", group: "steer", roles: READERS, load: () => import("./pages/capacity.js") },
  { at: "/console/changes", key: "changes", group: "steer", roles: READERS, load: () => import("./pages/changes.js") },
  { at: "/console/changes/:id", parent: "changes", roles: READERS, load: () => import("./pages/changeset.js") },
  { at: "/console/keys", key: "keys", group: "steer", roles: ["admin"], load: () => import("./pages/keys.js") },
  { at: "/console/customers", key: "customers", group: "people", roles: READERS, load: () => import("./pages/customer.js") },
  { at: "/console/customers/:id", parent: "customers", roles: READERS, load: () => import("./pages/customer.js") },
  { at: "/console/decisions/:id", parent: "customers", roles: READERS, load: () => import("./pages/decision.js") },
  { at: "/console/desk", key: "desk", group: "people", roles: AGENTS, load: () => import("./pages/desk.js") },
  { at: "/console/placements", key: "placements", group: "learn", roles: READERS, load: () => import("./pages/placements.js") },
  { at: "/console/placements/:id", parent: "placements", roles: READERS, load: () => import("./pages/placement.js") },
  { at: "/console/policies", key: "policies", group: "learn", roles: READERS, load: () => import("./pages/policies.js") },
  { at: "/console/policies/:name/:version", parent: "policies", roles: READERS, load: () => import("./pages/policy.js") },
  { at: "/console/calibration", key: "calibration", group: "learn", roles: READERS, load: () => import("./pages/calibration.js") },
  { at: "/console/evaluation", key: "evaluation", group: "learn", roles: ["scientist"], load: () => import("./pages/evaluation.js") },
  { at: "/console/evaluation/:id", parent: "evaluation", roles: ["scientist"], load: () => import("./pages/evaluation.js") },
];

export const GROUPS = ["watch", "steer", "people", "learn"];
