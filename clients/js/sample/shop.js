// A shop's page. Address and key are in its own address: index.html?url=http://127.0.0.1:8000&key=nb_pub_...
// So may be the placement (&placement=home). A real page has them in its source, and asks its back end for the
// customer's token.
import { Nextbest } from "../src/index.js";

const settings = new URLSearchParams(location.search);
const home = settings.get("placement") ?? "home";
const nextbest = new Nextbest({
  url: settings.get("url") ?? "http://127.0.0.1:8000",
  key: settings.get("key") ?? "",
  customerToken: () => settings.get("token"),
  defaults: { [home]: [{ offer_id: "ours", treatment: { title: "Our offers of the week", message: "", button: null } }] },
});
globalThis.nextbest = nextbest; // for a look from the console

const place = document.querySelector("#offers");
const state = document.querySelector("#state");

try {
  const decision = await nextbest.decide(home, { context: { page: "home" }, limit: 2 });
  for (const offer of decision.offers) place.append(show(decision, offer));
  state.textContent = decision.local ? "These are the shop's own offers." : "";
} catch (error) {
  // A page without offers is still a page.
  console.warn(error);
}
document.body.dataset.ready = "yes";

function show(decision, offer) {
  const card = document.createElement("article");
  card.className = "offer";
  card.dataset.offer = offer.offer_id;
  const title = document.createElement("h2");
  title.textContent = offer.treatment?.title ?? offer.offer_id;
  const text = document.createElement("p");
  text.textContent = offer.treatment?.message ?? "";
  const more = document.createElement("button");
  more.textContent = offer.treatment?.button ?? "More";
  const no = document.createElement("button");
  no.textContent = "Not for me";
  no.addEventListener("click", (event) => {
    event.stopPropagation(); // not a click on the offer
    nextbest.tell(decision, offer, "rejected");
    card.remove();
  });
  card.append(title, text, more, no);
  nextbest.watch(card, decision, offer);
  return card;
}
