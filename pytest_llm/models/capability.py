"""What the header of a file says that a model cannot be asked for, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llm.records import Capability

if TYPE_CHECKING:
    from pytest_llm.models.gguf.header import Header

_RANK = 4  # LLAMA_POOLING_TYPE_RANK
_ENCODER = "the model reads a text as a whole and has no next token: measure it with llm_workload(embed=True)"
_ENCODER_DECODER = "the model is an encoder-decoder, whose encoder must read a source text first"
_RERANKER = "the model is a reranker (pooling_type rank), and reranking is not covered"
_ADAPTER = "the file is a LoRA adapter and no model: name the model, and the adapter as llm_model(lora=...)"
_PROJECTOR = "the file is a projector (mmproj) and no model: vision and audio are not covered"
_CONTROL_VECTOR = "the file is a control vector and no model, and control vectors are not covered"


def is_adapter(header: Header) -> bool:
    """Whether a file is a LoRA adapter."""
    return header.metadata.get("general.type") == "adapter" or "adapter.type" in header.metadata


def not_a_model(header: Header) -> str:
    """Return what a file is if it is no model that can be loaded; "" otherwise."""
    kind, keys = header.metadata.get("general.type"), header.metadata
    if is_adapter(header):
        return _ADAPTER
    if kind == "mmproj" or header.architecture == "clip" or "clip.has_vision_encoder" in keys:
        return _PROJECTOR
    if header.architecture == "controlvector":
        return _CONTROL_VECTOR
    return ""


def capability(header: Header) -> Capability:
    """Return what a header says of a model; llama.cpp knows better once it has loaded it."""
    if reason := not_a_model(header):
        return Capability(reason, reason, reason)
    sides = {each.name.partition(".")[0] for each in header.weights}
    causal = header.metadata.get(f"{header.architecture}.attention.causal", True)
    generation = embedding = ""
    if header.metadata.get(f"{header.architecture}.pooling_type") == _RANK:
        embedding = _RERANKER
    if {"enc", "dec"} <= sides:
        generation = embedding = _ENCODER_DECODER
    elif "enc" in sides or not causal:
        generation = embedding or _ENCODER
    no_text = header.metadata.get("tokenizer.ggml.model") == "none"
    return Capability(generation, embedding, "the model has no tokenizer" if no_text else "")
