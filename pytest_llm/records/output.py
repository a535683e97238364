"""How what two subjects say compares: what is asked, and the numbers that answer."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llm.records.subject import Build

# So many tokens of context are filled before the last ones are looked at: what that costs grows with them.
MAX_FILLED_TOKENS = 4096


@dataclass(frozen=True)
class OutputGate:
    """The output must be what it was.

    Attributes:
        prompts: The texts that it is compared on; none means the package's own.
        top_k: How many of the likeliest tokens of a position have their log-probabilities compared.
        max_kl: The largest mean KL divergence in nats; None for what the reference's own variants reach.
    """

    prompts: tuple[str, ...] = ()
    top_k: int = 20
    max_kl: float | None = None


@dataclass(frozen=True)
class Passage:
    """Token ids that are decoded while the logits of every position are kept: teacher-forced.

    Attributes:
        sequences: Token ids of equal length; several are decoded side by side, one token of each at a time.
        start: The position of the first token.
        singly: How many tokens at the end are decoded one at a time, as generated ones are.
        before: Token ids that fill the cache from position 0 up to ``start``, and whose logits nobody keeps;
            without any, the cache is empty there.
    """

    sequences: tuple[tuple[int, ...], ...]
    start: int = 0
    singly: int = 0
    before: tuple[int, ...] = ()

    def positions(self) -> int:
        """Return how many positions have logits."""
        return sum(len(each) for each in self.sequences)


@dataclass(frozen=True)
class Divergence:
    """How far one subject's distributions of the next token are from another's, over many positions.

    Attributes:
        positions: How many.
        mean_kl: The mean of the KL divergence of the other's from the one's, in nats.
        p99_kl: Its 99th percentile.
        max_kl: The largest.
        flips: At how many positions the likeliest token is another.
        top_change: The 99th percentile of the largest change of a log-probability among the top k.
        following_change: The mean change of the log-probability of the token that does follow; below 0, the
            other expects it less.
    """

    positions: int
    mean_kl: float
    p99_kl: float
    max_kl: float
    flips: int
    top_change: float
    following_change: float


@dataclass(frozen=True)
class Variant:
    """How far the reference is from itself with one benign option changed: "flash_attn=off"."""

    name: str
    divergence: Divergence


@dataclass(frozen=True)
class Contrast:
    """The candidate and the reference's own variants, all against the reference.

    Attributes:
        weights: Of which type the weights were: "Q4_1", "F32".
        candidate: How far the candidate is from the reference.
        variants: How far the reference is from itself; empty where that was not asked.
    """

    weights: str
    candidate: Divergence
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True)
class OutputComparison:
    """What a candidate says beside a reference, on the same tokens.

    Attributes:
        candidate: The build that is judged.
        reference: The build that it is compared with.
        positions: At how many positions the next token's distributions were compared.
        same: Whether all logits are equal to the last bit.
        not_finite: At how many of the positions the candidate's logits hold NaN or infinity.
        reference_not_finite: The same of the reference.
        contrasts: By kind of weights, where the logits are finite and not the same.
        no_f32: Why there is none with an F32 copy of the model; "" if there is, or none is needed.
        token_ids: The texts of the torture set that the candidate makes other tokens of.
        template: Whether the chat template is rendered otherwise.
        greedy: The first greedily generated token, from 0, that is another; None where all are the same.
        loops: Whether the candidate ends up repeating itself where the reference does not.
        not_covered: Which positions of the context were not looked at; "" where all were.
    """

    candidate: Build
    reference: Build
    positions: int
    same: bool
    not_finite: int = 0
    reference_not_finite: int = 0
    contrasts: tuple[Contrast, ...] = ()
    no_f32: str = ""
    token_ids: tuple[str, ...] = ()
    template: bool = False
    greedy: int | None = None
    loops: bool = False
    not_covered: str = ""
