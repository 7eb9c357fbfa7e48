// Writing rules: completion from the vocabulary, building by field and comparator, and how many customers match.
import { html, useEffect, useRef, useSettled, useState } from "./ui.js";
import { get, post } from "./api.js";
import { number, share } from "./format.js";
import { t } from "./i18n.js";

const BUILT_IN = [
  ["customer.customer_id", "string"],
  ["customer.known", "bool"],
  ["customer.holdings", "list"],
  ["context.channel", "string"],
  ["context.placement", "string"],
  ["now", "timestamp"],
];
const COMPARATORS = {
  string: ["==", "!=", "in"],
  number: ["<", "<=", "==", ">=", ">"],
  int: ["<", "<=", "==", ">=", ">"],
  bool: ["=="],
  list: ["has"],
};
const SAMPLE = 2000;
const SUGGESTIONS = 8;

/** All names that rules may use: { path, type, description, values }. */
export async function loadVocabulary() {
  const [attributes, segments] = await Promise.all([get("/v1/attributes"), get("/v1/segments")]);
  return [
    ...attributes.map((a) => ({ path: a.id, type: a.type, description: a.description, values: a.values ?? [] })),
    ...BUILT_IN.map(([path, type]) => ({ path, type, description: "", values: [] })),
    ...segments.map((s) => ({ path: `segment.${s.id}`, type: "bool", description: s.description, values: [] })),
  ];
}

/** The unfinished name before the caret. */
const wordAt = (text, caret) => /[\w.]*$/.exec(text.slice(0, caret))[0];

/** A condition, with names completed as they are typed: arrows choose, Enter or Tab takes. */
export function CelInput({ value, onValue, vocabulary, ...rest }) {
  const area = useRef(null);
  const [offered, setOffered] = useState([]);
  const [chosen, setChosen] = useState(0);
  const list = `${rest.id}-names`;
  const look = () => {
    const word = wordAt(area.current.value, area.current.selectionStart);
    const found = word.length < 2 ? [] : vocabulary.filter((n) => n.path.includes(word) && n.path !== word);
    setOffered(found.slice(0, SUGGESTIONS));
    setChosen(0);
  };
  const take = (name) => {
    const { value: text, selectionStart: caret } = area.current;
    const start = caret - wordAt(text, caret).length;
    onValue(text.slice(0, start) + name.path + text.slice(caret));
    setOffered([]);
    requestAnimationFrame(() => {
      area.current.focus();
      area.current.setSelectionRange(start + name.path.length, start + name.path.length);
    });
  };
  const press = (event) => {
    if (offered.length === 0) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const step = event.key === "ArrowDown" ? 1 : offered.length - 1;
      setChosen((chosen + step) % offered.length);
    } else if (event.key === "Enter" || event.key === "Tab") take(offered[chosen]);
    else if (event.key === "Escape") setOffered([]);
    else return;
    event.preventDefault();
  };
  return html`<div>
    <textarea
      ref=${area}
      class="code"
      rows="2"
      spellcheck="false"
      role="combobox"
      aria-autocomplete="list"
      aria-expanded=${offered.length > 0}
      aria-controls=${list}
      aria-activedescendant=${offered.length > 0 ? `${list}-${chosen}` : undefined}
      value=${value}
      onInput=${(e) => {
        onValue(e.currentTarget.value);
        look();
      }}
      onKeyDown=${press}
      onBlur=${() => setTimeout(() => setOffered([]), 150)}
      ...${rest}
    ></textarea>
    <ul class="plain small" id=${list} role="listbox" aria-label=${t("names")} hidden=${offered.length === 0}>
      ${offered.map(
        (name, i) =>
          html`<li role="option" id=${`${list}-${i}`} aria-selected=${i === chosen} class=${i === chosen ? "badge accent" : ""} onMouseDown=${() => take(name)}>
            <code>${name.path}</code> <span class="muted">${name.type} ${name.description}</span>
          </li>`,
      )}
    </ul>
  </div>`;
}

function literal(type, value) {
  if (type === "number") return Number.isInteger(Number(value)) ? `${Number(value)}.0` : String(Number(value));
  if (type === "int") return String(Math.trunc(Number(value)));
  if (type === "bool") return value === "false" ? "false" : "true";
  return `'${String(value).replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

/** Writes a comparison in CEL. */
export function comparison(name, comparator, value) {
  if (comparator === "has") return `${literal("string", value)} in ${name.path}`;
  if (comparator === "in") {
    const items = value.split(",").map((item) => literal(name.type, item.trim()));
    return `${name.path} in [${items.join(", ")}]`;
  }
  if (name.type === "bool") return literal("bool", value) === "true" ? name.path : `!${name.path}`;
  return `${name.path} ${comparator} ${literal(name.type, value)}`;
}

/** Adds a comparison by field, comparator and value. */
export function Builder({ vocabulary, onAdd, id }) {
  const names = vocabulary.filter((name) => COMPARATORS[name.type]);
  const [path, setPath] = useState(names[0]?.path ?? "");
  const name = names.find((n) => n.path === path) ?? names[0];
  const comparators = COMPARATORS[name?.type] ?? [];
  const [comparator, setComparator] = useState("");
  const [value, setValue] = useState("");
  if (!name) return null;
  const used = comparators.includes(comparator) ? comparator : comparators[0];
  return html`<div class="row small">
    <select class="short" aria-label=${t("fieldName")} value=${name.path} onChange=${(e) => setPath(e.currentTarget.value)}>
      ${names.map((n) => html`<option key=${n.path} value=${n.path}>${n.path}</option>`)}
    </select>
    <select class="short" aria-label=${t("comparator")} value=${used} onChange=${(e) => setComparator(e.currentTarget.value)}>
      ${comparators.map((c) => html`<option key=${c} value=${c}>${t(`comparator.${c}`)}</option>`)}
    </select>
    <input class="short" style=${{ width: "9rem" }} aria-label=${t("compareWith")} list=${`${id}-values`} value=${value} onInput=${(e) => setValue(e.currentTarget.value)} />
    <datalist id=${`${id}-values`}>${name.values.map((v) => html`<option value=${String(v)} />`)}</datalist>
    <button type="button" onClick=${() => onAdd(comparison(name, used, value))}>${t("addCondition")}</button>
  </div>`;
}

/** How many customers a condition lets through, as it is written; or what is wrong with it, and how to say it. */
export function Matching({ expression, onSuggestion }) {
  const settled = useSettled(expression);
  const [found, setFound] = useState(null);
  useEffect(() => {
    if (!settled.trim()) return setFound(null);
    let left = false;
    post("/v1/rules/preview", { expression: settled, sample: SAMPLE }).then(
      (answer) => !left && setFound({ answer }),
      (error) => !left && setFound({ error }),
    );
    return () => {
      left = true;
    };
  }, [settled]);
  if (!found) return null;
  if (found.error) {
    const [mistake] = found.error.errors;
    const suggestion = mistake?.suggestion;
    return html`<div class="mistake" role="alert">
      ${mistake?.reason ?? found.error.message}
      ${mistake?.line ? ` ${t("lineColumn", mistake)}` : ""}
      ${suggestion && html`<div>${suggestion.startsWith("write ") ? html`<button type="button" class="small" onClick=${() => onSuggestion(suggestion.slice(6))}>${t("take")} <code>${suggestion.slice(6)}</code></button>` : suggestion}</div>`}
    </div>`;
  }
  const { answer } = found;
  return html`<div class="small" role="status" data-testid="matching">
    <strong>${t("matching", { n: number(answer.exact ? answer.matching : answer.estimate.matching), share: share(answer.share) })}</strong>
    <span class="muted"> ${answer.exact ? "" : t("fromSample", { n: number(answer.sample) })}</span>
    ${answer.warnings.map((w) => html`<div class="muted">${w.message}: ${w.way_out}</div>`)}
  </div>`;
}
