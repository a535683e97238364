"""Bytes from the shapes: what a model will take, from its header and its load options, before anything loads.

Every formula names the function of llama.cpp (as of 0c1e57098) that it follows. What cannot be predicted is
said, with the reason, and never guessed.
"""

from pytest_llm.models.footprint.cache import Layer, UnpredictedError, layers_of, row_bytes
from pytest_llm.models.footprint.logged import logged
from pytest_llm.models.footprint.placement import asked_for, beside, shortfall
from pytest_llm.models.footprint.predicting import Predicted, of_file, predict
from pytest_llm.models.footprint.weights import Placed

__all__ = [
    "Layer",
    "Placed",
    "Predicted",
    "UnpredictedError",
    "asked_for",
    "beside",
    "layers_of",
    "logged",
    "of_file",
    "predict",
    "row_bytes",
    "shortfall",
]
