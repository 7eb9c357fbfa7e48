"""Thompson sampling on regression models.

``linear_thompson``: Agrawal and Goyal, *Thompson sampling for contextual bandits with linear payoffs*, ICML 2013.
``logistic_thompson``: Chapelle and Li, *An empirical evaluation of Thompson sampling*, NIPS 2011, algorithm 3, with
sums that commute.
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


class LogisticThompsonPolicy(ThompsonRegressionPolicy):
    r"""Models log odds as linear in the features, with a normal posterior for each offer's parameters.

    Chapelle and Li update a diagonal posterior with the Laplace approximation after each batch. Here each
    observation is approximated by itself, where it was decided (``bandits.regression.design.LogisticLink`` says how,
    and why that is safe), and covariances are kept whole. The log odds of a candidate are then normal; ``draws`` joint
    draws

    .. math::  s_k = z'\hat\theta_o + \mathrm{exploration} \cdot \sqrt{z' S_o z}\; \epsilon_{ok}

    go through the logistic function and are multiplied with the weights, and the frequencies of winning, mixed with a
    floor, *are* the distribution. With ``exploration`` below 1 less is explored than the posterior asks for: the
    same paper finds that this pays (section 3), and so do our streams.

    Parameters: those of ``ThompsonRegressionPolicy`` and ``RegressionPolicy``.
    """

    algorithm = "logistic_thompson"

    def choose_link(self) -> Link:
        """Return the logistic link."""
        return LINKS["logistic"]
