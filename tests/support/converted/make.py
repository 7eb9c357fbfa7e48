"""Makes the model files of this folder anew: a logistic regression and boosted trees, as their converters write them.

Not run by the tests, since training and converting need libraries that nextbest does without:
``pip install scikit-learn lightgbm skl2onnx onnxmltools``, then ``python tests/support/converted/make.py``.
"""

import json
from pathlib import Path

import numpy as np
from lightgbm import LGBMClassifier
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType as TreesInput
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression

HERE = Path(__file__).parent
COLUMNS = 6
"""age, tenure, reason=renewal, reason=complaint, offer_id=gold, offer_id=silver"""


def main() -> None:
    """Write ``logistic.onnx``, ``trees.onnx`` and ``expected.json``: rows, and what each library says of them."""
    rng = np.random.default_rng(7)
    reason, offer = rng.integers(0, 2, 4000), rng.integers(0, 2, 4000)
    rows = np.column_stack(
        (
            rng.integers(18, 99, 4000),
            rng.integers(0, 20, 4000),
            reason == 0,
            reason == 1,
            offer == 0,
            offer == 1,
        )
    ).astype(np.float32)
    log_odds = -2.0 + 0.02 * (rows[:, 0] - 50) + 0.1 * rows[:, 1] * rows[:, 4] - rows[:, 3]
    # Whole numbers: the converter of LightGBM takes no truth values for classes.
    accepted = (rng.random(4000) < 1.0 / (1.0 + np.exp(-log_odds))).astype(int)
    logistic = LogisticRegression(max_iter=1000).fit(rows, accepted)
    trees = LGBMClassifier(n_estimators=20, num_leaves=7, verbose=-1).fit(rows, accepted)
    file = to_onnx(
        logistic, initial_types=[("X", FloatTensorType([None, COLUMNS]))], options={"zipmap": False}
    )
    (HERE / "logistic.onnx").write_bytes(file.SerializeToString())
    file = convert_lightgbm(trees, initial_types=[("X", TreesInput([None, COLUMNS]))], zipmap=False)
    (HERE / "trees.onnx").write_bytes(file.SerializeToString())
    tried = rows[:40]
    expected = {
        "rows": tried.tolist(),
        "logistic": logistic.predict_proba(tried)[:, 1].tolist(),
        "trees": trees.predict_proba(tried)[:, 1].tolist(),
    }
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
