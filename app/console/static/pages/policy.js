// A version of a policy: its specification, its arms as intervals, and how it spreads its selections, now and over time.
import { html, useLoad } from "../lib/ui.js";
import { get, part, withQuery } from "../lib/api.js";
import { number, share } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Bar, Card, Failure, Interval, Loaded, Page, Status, Table } from "../lib/widgets.js";
import { SelectionShares } from "./selection_shares.js";

export default function Policy({ name, version }) {
  const loaded = useLoad(() => get(`/v1/policies/${part(name)}`), [name]);
  return html`<${Page} title=${`${name}@${version}`}>
    <${Loaded} of=${loaded}>
      ${(versions) => {
        const found = versions.find((v) => String(v.version) === version);
        if (!found) return html`<${Failure} error=${{ message: t("noSuchPage") }} />`;
        return html`<div class="two">
          <${Arms} name=${name} version=${version} />
          <${Specification} of=${found} versions=${versions} />
        </div>
        <${SelectionShares} key=${version} name=${name} version=${version} />`;
      }}
    <//>
  <//>`;
}

function Specification({ of, versions }) {
  return html`<${Card} title=${t("specification")}>
    <div class="row"><${Status} of=${of.state} /><span class="muted small">${of.author}</span></div>
    ${of.error && html`<div class="note bad">${of.error}</div>`}
    ${of.unusable && html`<div class="note bad">${of.unusable}</div>`}
    ${of.warnings.map((warning) => html`<div class="note warn">${warning}</div>`)}
    <pre class="code scroll" tabindex="0">${JSON.stringify(of.spec, null, 2)}</pre>
    ${of.state === "folding" && html`<p>${t("warmUp", { folded: number(of.folded), total: number(of.total) })}</p><${Bar} of=${of.total ? of.folded / of.total : 0} />`}
    <h3>${t("versions")}</h3>
    <ul class="plain">${versions.map((v) => html`<li><a href=${`/console/policies/${part(v.name)}/${v.version}`}>${v.policy}</a> <${Status} of=${v.state} /></li>`)}</ul>
  <//>`;
}

function Arms({ name, version }) {
  const loaded = useLoad(() => get(withQuery(`/v1/policies/${part(name)}/arms`, { version })), [name, version]);
  return html`<${Card} title=${t("arms")}>
    <${Loaded} of=${loaded}>
      ${(found) => {
        const rows = found.arms.map((arm) => ({ ...arm, key: arm.offer_id }));
        const most = Math.max(0.01, ...rows.map((arm) => (arm.posterior_mean === null ? arm.high : arm.posterior_high)));
        const interval = (arm) =>
          arm.posterior_mean === null
            ? html`<${Interval} rate=${arm.mean} low=${arm.low} high=${arm.high} most=${most} />`
            : html`<${Interval} rate=${arm.posterior_mean} low=${arm.posterior_low} high=${arm.posterior_high} most=${most} />`;
        const columns = [
          { label: t("offer"), cell: (arm) => html`<a href=${`/console/offers/${part(arm.offer_id)}`}>${arm.name ?? arm.offer_id}</a>` },
          { label: t("believed"), cell: interval },
          { label: "", number: true, cell: (arm) => share(arm.posterior_mean ?? arm.mean) },
          { label: t("observations"), number: true, cell: (arm) => number(arm.observations) },
          { label: t("selectionShare", { hours: found.hours }), cell: (arm) => html`<div><${Bar} of=${arm.share} /><span class="muted small">${share(arm.share)} · ${number(arm.selected)}</span></div>` },
        ];
        return html`${found.warning && html`<div class="note warn" role="alert">${found.warning}</div>`}
          <p class="muted small">${found.entropy === null ? "" : t("entropy", { entropy: number(found.entropy, 2) })}</p>
          <${Table} label=${t("arms")} columns=${columns} rows=${rows} />`;
      }}
    <//>
  <//>`;
}
