// What stands around every page: navigation by role, language, light or dark, and the way out.
import { html, useState } from "./lib/ui.js";
import { remove } from "./lib/api.js";
import { language, t } from "./lib/i18n.js";
import { may } from "./lib/roles.js";
import { isDark, switchTheme } from "./lib/theme.js";
import { GROUPS, PAGES } from "./pages.js";

export const icon = new URL("./icon.svg", import.meta.url).pathname;

function Navigation({ current }) {
  return html`<nav aria-label=${t("navigation")}>
    ${GROUPS.map((group) => {
      const pages = PAGES.filter((page) => page.group === group && may(...page.roles));
      if (pages.length === 0) return null;
      return html`<div class="group" aria-hidden="true">${t(`group.${group}`)}</div>
        ${pages.map(
          (page) =>
            html`<a href=${page.at} aria-current=${page.key === current ? "page" : undefined}>${t(`page.${page.key}`)}</a>`,
        )}`;
    })}
  </nav>`;
}

export function Switches({ onLanguage }) {
  const [, redraw] = useState(0);
  const other = language === "en" ? "es" : "en";
  return html`<div class="row">
    <button class="small" lang=${other} onClick=${() => onLanguage(other)}>${other === "es" ? "Español" : "English"}</button>
    <button
      class="small"
      onClick=${() => {
        switchTheme();
        redraw((n) => n + 1);
      }}
    >${isDark() ? t("light") : t("dark")}</button>
  </div>`;
}

export function Shell({ session, current, onLeave, onLanguage, children }) {
  const [open, setOpen] = useState(false);
  const leave = async () => {
    let told = null;
    try {
      told = await remove("/console/session");
    } catch (error) {
      // Another tab has signed in: this one goes on with that session, and says so.
      if (error.status === 403) return;
    }
    // Who came from a provider leaves it, too: the next person at this browser would be let in unasked.
    if (told?.leave) location.assign(told.leave);
    else onLeave({ signed_in: false, provider: told?.provider });
  };
  const folded = open ? "" : "folded";
  return html`<a class="skip" href="#main">${t("skip")}</a>
    <div class="shell">
      <header class="side">
        <div class="bar-top">
          <div class="brand"><img src=${icon} alt="" />nextbest</div>
          <button class="menu-button" aria-expanded=${open} onClick=${() => setOpen(!open)}>${t("menu")}</button>
        </div>
        <div class=${folded} onClick=${() => setOpen(false)}><${Navigation} current=${current} /></div>
        <div class=${`who ${folded}`}>
          <div><strong>${session.name}</strong> <span class="muted">${t(`role.${session.role}`)}</span></div>
          <${Switches} onLanguage=${onLanguage} />
          <button class="small" onClick=${leave}>${t("signOut")}</button>
        </div>
      </header>
      <main id="main" tabindex="-1">${children}</main>
    </div>`;
}
