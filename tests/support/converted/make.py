"""Makes the model files of this folder anew: a logistic regression and boosted trees, as their converters write them.

Each is converted as it was trained, and as MLflow gives it back that has kept it. Not run by the tests, since training,
keeping and converting need libraries that nextbest does without: ``pip install scikit-learn lightgbm skl2onnx``
``onnxmltools mlflow-skinny skops pandas``, then ``python tests/support/converted/make.py``.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import mlflow.lightgbm
import mlflow.sklearn
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
    """Write the models and ``expected.json``: rows, and what each library says of them."""
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
    convert("", logistic, trees)
    # As a registry does: written in MLflow's own form, and read from it.
    with tempfile.TemporaryDirectory() as kept:
        mlflow.sklearn.save_model(logistic, f"{kept}/logistic")
        mlflow.lightgbm.save_model(trees, f"{kept}/trees")
        convert(
            "-mlflow",
            mlflow.sklearn.load_model(f"{kept}/logistic"),
            mlflow.lightgbm.load_model(f"{kept}/trees"),
        )
    tried = rows[:40]
    expected = {
        "rows": tried.tolist(),
        "logistic": logistic.predict_proba(tried)[:, 1].tolist(),
        "trees": trees.predict_proba(tried)[:, 1].tolist(),
    }
    (HERE / "expected.json").write_text(json.dumps(expected) + "\n")


def convert(suffix: str, logistic: Any, trees: Any) -> None:
    """Write both models as ONNX files, with names that end in ``suffix``."""
    file = to_onnx(
        logistic, initial_types=[("X", FloatTensorType([None, COLUMNS]))], options={"zipmap": False}
    )
    (HERE / f"logistic{suffix}.onnx").write_bytes(file.SerializeToString())
    # Without a name each file has one of its own, made up.
    file = convert_lightgbm(
        trees, name="trees", initial_types=[("X", TreesInput([None, COLUMNS]))], zipmap=False
    )
    (HERE / f"trees{suffix}.onnx").write_bytes(file.SerializeToString())


if __name__ == "__main__":
    main()
