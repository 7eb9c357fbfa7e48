"""An agent's desk in a terminal: what to offer, what to say, and what the customer answered.

Run it with ``python -m examples.desk URL KEY CUSTOMER``.
"""

import sys
from collections.abc import Callable

from nextbest_client import Client, Decision, Offer, Outcome

ANSWERS: dict[str, Outcome] = {"y": "accepted", "n": "rejected"}
PLACEMENT = "desk"


def script_of(offer: Offer) -> list[str]:
    """List what the agent says, step by step; the title if there is no script."""
    treatment = offer.treatment
    if treatment is None or treatment.script is None:
        return [treatment.title if treatment else offer.offer_id]
    return [step["text"] for step in treatment.script["steps"]]


def talk(client: Client, customer_id: str, reason: str, ask: Callable[[str], str]) -> Decision:
    """Go through the offers of one contact until one is accepted.

    An agent has to know that an answer is safe, so outcomes are told at once, not in the background. A decision of the
    desk's own defaults (``local``) takes no feedback.
    """
    decision = client.decide(customer_id, PLACEMENT, {"reason": reason}, limit=3)
    for offer in decision.offers:
        for line in script_of(offer):
            print(f"  {line}")
        answer = ANSWERS.get(
            ask(f"{offer.offer_id}: y accepted, n rejected, anything else: not read out ").strip()
        )
        if decision.local or answer is None:
            continue
        client.feedback(decision, offer, "presented")
        client.feedback(decision, offer, answer)
        if answer == "accepted":
            break
    return decision


def main(url: str, key: str, customer_id: str) -> None:
    """Talk to one customer."""
    with Client(url, key, defaults={PLACEMENT: []}) as client:
        talk(client, customer_id, input("Why does the customer call? "), input)


if __name__ == "__main__":
    main(*sys.argv[1:4])
