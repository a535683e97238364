"""The output of a subject, and how it compares with a reference's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from pytest_llm.records.generation import Greedy
from pytest_llm.records.run import Provenance
from pytest_llm.records.schema import Count, NonEmpty, NonNegative, Positive, constraint
from pytest_llm.records.subject import Build

# At most this much of a context is filled before its last positions are captured: the cost grows with it.
MAX_FILLED_TOKENS = 4096

# The invariant that holds the snapshot in a file of baselines.
OUTPUT_SNAPSHOT = "output_snapshot"

# One position: its row, then "token:logarithm of its probability" of each likely token.
Line: TypeAlias = Annotated[str, constraint(pattern=r"^\d+( \d+:-?\d+\.\d+)+$")]


@dataclass(frozen=True)
class OutputGate:
    """The output must be the reference's.

    Attributes:
        prompts: The texts to compare on; none means the package's own.
        top_k: How many of a position's likeliest tokens have their log-probabilities compared.
        max_kl: The largest mean KL divergence in nats; None for the tolerance from benign variants.
        max_distance: The largest cosine distance of an embedding; None for the tolerance, as of max_kl.
    """

    prompts: tuple[NonEmpty, ...] = ()
    top_k: Positive = 20
    max_kl: NonNegative | None = None
    max_distance: NonNegative | None = None


@dataclass(frozen=True)
class EmbeddingVariant:
    """The largest cosine distance of the reference's embeddings from its own with a benign option changed."""

    name: NonEmpty
    distance: NonNegative


@dataclass(frozen=True)
class EmbeddingSample:
    """Embeddings of the texts of an output snapshot.

    Attributes:
        vectors: One a text: floats of 16 bits, little-endian, in base64.
        variants: How far they move under benign options; measured when they are recorded.
    """

    vectors: Annotated[tuple[NonEmpty, ...], constraint(minItems=1)]
    variants: tuple[EmbeddingVariant, ...] = ()


@dataclass(frozen=True)
class EmbeddingDistance:
    """Cosine distance of a candidate's embeddings from its reference's.

    Attributes:
        mean: Over all texts.
        largest: Of one text.
        furthest: The number of that text, from 0.
        variants: How far the reference is from itself; empty if the gate sets a limit.
    """

    mean: NonNegative
    largest: NonNegative
    furthest: Count
    variants: tuple[EmbeddingVariant, ...] = ()


@dataclass(frozen=True)
class Passage:
    """Token ids that are decoded with the logits of every position kept: teacher-forced.

    Attributes:
        sequences: Token ids of equal length; several are decoded side by side, one token of each at a time.
        start: The position of the first token.
        singly: How many tokens at the end are decoded one at a time, as generated ones are.
        before: Token ids that fill the cache from position 0 up to ``start``, without their logits; if there
            are none, the cache is empty there.
        kept: The tokens, by their place in a sequence, whose logits are kept, in order; none means all.
    """

    sequences: tuple[tuple[int, ...], ...]
    start: int = 0
    singly: int = 0
    before: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()

    def steps(self) -> tuple[int, ...]:
        """Return the places in a sequence that have logits."""
        return self.kept or tuple(range(len(self.sequences[0])))

    def positions(self) -> int:
        """Return how many positions have logits."""
        return len(self.sequences) * len(self.steps())


@dataclass(frozen=True)
class Furthest:
    """The position with the largest KL divergence.

    Attributes:
        position: Its row among all positions.
        token: The token that adds most to the divergence there.
        before: The logarithm of its probability in the reference.
        now: And in the candidate.
    """

    position: Count
    token: Count
    before: float
    now: float


@dataclass(frozen=True)
class Divergence:
    """Divergence of next-token distributions from a reference's.

    Attributes:
        positions: How many were compared.
        mean_kl: The mean of the KL divergence from the reference, in nats.
        tail_kl: Its 99th percentile over all positions; the largest over the sampled ones of a snapshot.
        max_kl: The largest.
        flips: At how many positions another token is the likeliest.
        top_change: The 99th percentile of the largest change of a log-probability among the top k.
        lead_change: The largest change of the lead of the likeliest token over the second, in nats.
        furthest: Where it is the largest.
        following_change: The mean change of the log-probability of the token that does follow; below 0, the
            candidate expects it less. None of a snapshot.
    """

    positions: Positive
    mean_kl: NonNegative
    tail_kl: NonNegative
    max_kl: NonNegative
    flips: Count
    top_change: NonNegative
    lead_change: NonNegative
    furthest: Furthest
    following_change: float | None = None


@dataclass(frozen=True)
class VariantOutput:
    """How far the output of a variant is from the first one's.

    Attributes:
        divergence: None if they are the same, or cannot be compared.
        problem: Why they cannot be; "" if they can.
    """

    divergence: Divergence | None = None
    problem: str = ""

    def __str__(self) -> str:
        if self.problem:
            return self.problem
        if self.divergence is None:
            return "the same to the last bit"
        found = self.divergence
        return f"KL {found.mean_kl:.2g}, {found.flips} of {found.positions} other tokens"


@dataclass(frozen=True)
class Variant:
    """Divergence of the reference from itself with one benign option changed.

    Attributes:
        name: "flash_attn=off".
    """

    name: NonEmpty
    mean_kl: NonNegative
    tail_kl: NonNegative
    lead_change: NonNegative


@dataclass(frozen=True)
class Contrast:
    """Divergence of a candidate from its reference with one type of weights, and the tolerance.

    Attributes:
        weights: "Q4_1 weights", "F32 weights".
        candidate: How far the candidate is from the reference.
        variants: How far the reference is from itself; empty if the gate sets a limit.
        resolution: A change up to this, in nats, is lost in the digits of what is compared.
    """

    weights: NonEmpty
    candidate: Divergence
    variants: tuple[Variant, ...] = ()
    resolution: NonNegative = 0.0


@dataclass(frozen=True)
class LogprobSample:
    """The likeliest tokens at some positions.

    Attributes:
        weights: See :class:`Contrast`.
        lines: One for each position, so that people can read a file of them: its row among all positions,
            then "token:logarithm of its probability" for each of the likeliest tokens, likeliest first.
        variants: How far this moves under benign options; measured when it is recorded.
    """

    weights: NonEmpty
    lines: Annotated[tuple[Line, ...], constraint(minItems=1)]
    variants: tuple[Variant, ...] = ()


@dataclass(frozen=True)
class OutputSnapshot:
    """A captured output that is small enough to be stored.

    Attributes:
        corpus: Digest of all texts and of how they are captured; outputs of another one cannot be compared.
        compiled_with: The features of the build.
        positions: At how many positions logits were computed.
        not_finite: At how many of these they hold NaN or infinity; if at any, nothing is sampled.
        prompts: Digest of the prompts' token ids.
        token_ids: For each text of the torture set, by its escaped form, the digest of its token ids.
        template: A user's message in the rendered chat template.
        greedy: The tokens generated after the first prompt.
        loops: Whether they end in a repetition.
        samples: With the model's own weights, then with F32 weights if there are any.
        no_f32: Why there are none with F32 weights; "" if there are, or none are needed.
        not_covered: Which positions of the context were not captured; "" if all were.
        embeddings: Of a workload that embeds, in the place of greedy tokens and samples; positions are texts.
    """

    corpus: NonEmpty
    compiled_with: str
    positions: Positive
    not_finite: Count
    prompts: NonEmpty
    token_ids: Mapping[str, NonEmpty]
    template: str
    greedy: Greedy
    loops: bool
    samples: tuple[LogprobSample, ...] = ()
    no_f32: str = ""
    not_covered: str = ""
    embeddings: EmbeddingSample | None = None


@dataclass(frozen=True)
class StoredSnapshot:
    """A snapshot in a file of baselines, and where it comes from."""

    snapshot: OutputSnapshot
    provenance: Provenance


@dataclass(frozen=True)
class GreedyDifference:
    """The first difference of greedily generated text.

    Attributes:
        index: From 0.
        before: The reference's token; None if its text ends there.
        now: The candidate's; None if its text ends there.
        lead: By how many nats the reference's token was likelier than the next one; None if unknown.
    """

    index: Count
    before: Count | None
    now: Count | None
    lead: float | None


@dataclass(frozen=True)
class OutputComparison:
    """A candidate's output beside its reference's, on the same texts.

    Attributes:
        positions: At how many positions the candidate's logits were computed.
        reference: The build of a reference that was captured as well; None of a stored snapshot.
        stored: Where the stored snapshot comes from; None if it is not the reference.
        missing: Why there is neither; "" if there is one.
        unrecorded: Whether there is none although snapshots of other tests of the module are stored.
        compiled_with: The features of the reference's build, if the candidate's are others.
        same: Whether all logits are equal to the last bit; a snapshot cannot tell.
        not_finite: At how many of the positions the candidate's logits hold NaN or infinity.
        reference_not_finite: The same of the reference.
        contrasts: By type of weights, if the logits are finite and not the same.
        no_f32: Why none with F32 weights could be had; "" if one could, or none is needed.
        token_ids: The texts of the torture set that the candidate tokenizes differently.
        prompts: Whether it tokenizes the prompts differently, so that no distributions can be compared.
        template: The reference's rendered chat template and the candidate's; none if they are the same.
        greedy: Where the generated text differs; None if it is the same.
        loops: Whether the candidate ends up repeating itself and the reference does not.
        not_covered: Which positions of the context were not captured; "" if all were.
        embeddings: Of a workload that embeds; positions are texts.
    """

    positions: Count
    reference: Build | None = None
    stored: Provenance | None = None
    missing: str = ""
    unrecorded: bool = False
    compiled_with: str = ""
    same: bool = False
    not_finite: Count = 0
    reference_not_finite: Count = 0
    contrasts: tuple[Contrast, ...] = ()
    no_f32: str = ""
    token_ids: tuple[NonEmpty, ...] = ()
    prompts: bool = False
    template: tuple[str, ...] = ()
    greedy: GreedyDifference | None = None
    loops: bool = False
    not_covered: str = ""
    embeddings: EmbeddingDistance | None = None
