"""`python -m demo`: the quality of the demo's propensity model and its offers' values, measured anew."""

from rich.console import Console
from rich.table import Table

from demo.journey import load_journey
from demo.names import offer_id
from demo.offers import THEMES, offer_values
from demo.propensity import fit_propensity, propensities, quality


def main() -> None:
    """Fit the model, judge it on the exposures after the cut-off, and print all figures."""
    console = Console()
    journey = load_journey()
    fitted = fit_propensity(journey)
    scores = propensities(journey, fitted)
    found = quality(journey, fitted, scores)

    weights = Table(title=f"Fitted on {found.fitted_on:,} exposures, {found.fitted_accepted} accepted")
    weights.add_column("column (standardised)")
    weights.add_column("weight", justify="right")
    for name, weight in fitted.coefficients().items():
        weights.add_row(name, f"{weight:+.3f}")
    console.print(weights)

    judged = Table(title=f"Judged on {found.judged_on:,} later exposures, {found.judged_accepted} accepted")
    judged.add_column("measure")
    judged.add_column("value", justify="right")
    judged.add_row("area under the curve", f"{found.auc:.3f}")
    for kind, area in found.auc_by_type.items():
        judged.add_row(f"  among campaigns of type {kind}", f"{area:.3f}")
    judged.add_row("log-loss", f"{found.log_loss:.4f}")
    judged.add_row("log-loss of the fitted rows' rate for all", f"{found.base_log_loss:.4f}")
    judged.add_row("mean propensity", f"{found.mean_propensity:.3f}")
    judged.add_row("accepted", f"{found.acceptance:.3f}")
    console.print(judged)

    values = Table(title="Offers: value of an acceptance in dollars, from redemptions before the cut-off")
    for heading in ("offer", "type", "theme"):
        values.add_column(heading)
    values.add_column("value", justify="right")
    for number, kind, value in zip(
        journey.campaigns.id.tolist(), journey.campaigns.type, offer_values(journey), strict=True
    ):
        values.add_row(offer_id(number), kind, THEMES[number], f"{value:.2f}")
    console.print(values)


if __name__ == "__main__":
    main()
