"""Footprint of a model, predicted from its header and load options.

Formulas name their source: a function of llama.cpp as of 0c1e57098. Bytes that cannot be predicted are None,
with a reason.
"""

from pytest_llm.models.footprint.cache import UnpredictedError, layers_of, row_bytes
from pytest_llm.models.footprint.comparison import compare_with_log, logged, requested_layers, shortfall
from pytest_llm.models.footprint.prediction import Predicted, header_of, predict, predict_file
from pytest_llm.models.footprint.weights import Placed

__all__ = [
    "Placed",
    "Predicted",
    "UnpredictedError",
    "compare_with_log",
    "header_of",
    "layers_of",
    "logged",
    "predict",
    "predict_file",
    "requested_layers",
    "row_bytes",
    "shortfall",
]
