"""``linear_thompson``: Thompson sampling on a Bayesian linear regression.

Agrawal and Goyal, *Thompson sampling for contextual bandits with linear payoffs*, ICML 2013.
"""

from bandits.regression.design import LINKS, Link
from bandits.regression.regression_policy import ThompsonRegressionPolicy


class LinearThompsonPolicy(ThompsonRegressionPolicy):
    r"""Models rewards as linear in the features, with a normal posterior for each offer's parameters.

    The paper draws one parameter vector for all offers from :math:`N(\hat\theta, v^2 S)` with a constant ``v``. Here
    each offer has its own, and the variance of the noise is estimated from the sums that arms keep anyway
    (``bandits.regression.design.LinearLink.noise``): with acceptances of 1 % rewards vary little, and less exploration
    is needed to tell offers apart. ``exploration`` multiplies the standard deviation that follows.

    Parameters: those of ``ThompsonRegressionPolicy`` and ``RegressionPolicy``.
    """

    algorithm = "linear_thompson"

    def choose_link(self) -> Link:
        """Return the linear link."""
        return LINKS["linear"]
