"""What a subject says alone, in a form that is small enough to be stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llm.records.run import Provenance


@dataclass(frozen=True)
class Rounding:
    """How far a subject is from itself with one benign option changed, at its sampled positions.

    Attributes:
        name: "flash_attn=off".
        mean_kl: The mean of the KL divergence, in nats.
        max_kl: The largest.
        lead: The largest change of how much likelier the first token is than the second, in nats.
    """

    name: str
    mean_kl: float
    max_kl: float
    lead: float


@dataclass(frozen=True)
class LogprobSample:
    """What was likely at some positions.

    Attributes:
        weights: Of which type the weights were: "Q4_1 weights".
        likely: A text for each position, so that a file of it can be read line by line: its row among all
            positions, then "token:logarithm of its probability" for each of the likeliest, likeliest first.
        rounding: How far this moves without being wrong; measured when it is recorded.
    """

    weights: str
    likely: tuple[str, ...]
    rounding: tuple[Rounding, ...] = ()


@dataclass(frozen=True)
class OutputSnapshot:
    """What a subject says on fixed texts.

    Attributes:
        corpus: Digest of all texts and of how they are captured; other ones cannot be compared.
        compiled_with: The features of the build that said it.
        positions: At how many positions logits were computed.
        not_finite: At how many of these they hold NaN or infinity; then nothing is sampled.
        prompts: Digest of the prompts' token ids.
        token_ids: Of each text of the torture set, by its escaped form, the digest of its token ids.
        template: A user's message in the rendered chat template.
        greedy: The tokens generated after the first prompt.
        leads: By how many nats each of them was likelier than the next one.
        loops: Whether they end in a repetition.
        samples: With the model's own weights, then with F32 weights if there are any.
        no_f32: Why there are none with F32 weights; "" if there are, or none is needed.
        not_covered: Which positions of the context were not looked at; "" where all were.
    """

    corpus: str
    compiled_with: str
    positions: int
    not_finite: int
    prompts: str
    token_ids: Mapping[str, str]
    template: str
    greedy: tuple[int, ...]
    leads: tuple[float, ...]
    loops: bool
    samples: tuple[LogprobSample, ...] = ()
    no_f32: str = ""
    not_covered: str = ""


@dataclass(frozen=True)
class StoredSnapshot:
    """What was said when it was recorded, and where that comes from."""

    snapshot: OutputSnapshot
    provenance: Provenance


# The fact that holds it in a file of baselines.
OUTPUT_SNAPSHOT = "output_snapshot"
