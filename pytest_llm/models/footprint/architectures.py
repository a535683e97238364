"""Which memory each architecture has, as far as its cache is predicted.

From ``llama_model::create_memory`` and each architecture's ``load_arch_hparams``. One that is not named here
has a memory of its own kind (latent attention, indexers, shared layers), or was not read: it is not covered.
"""

from __future__ import annotations

from typing import NamedTuple

# One KV cache, in which every layer has its heads, at the lengths that the header says.
PLAIN = frozenset(
    {
        *("llama", "mistral3", "arcee", "smollm3", "internlm2", "minicpm", "xverse", "orion", "baichuan"),
        *("qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3vl", "qwen3vlmoe"),
        *("gemma", "phi2", "phi3", "phimoe", "command-r", "olmo", "olmoe", "granite", "granitemoe"),
        *("falcon", "gpt2", "gptneox", "mpt", "bloom", "stablelm", "starcoder", "starcoder2", "refact"),
        *("codeshell", "plamo", "nemotron", "exaone", "seed_oss", "openelm", "deci", "dbrx", "arctic"),
        *("chatglm", "jais", "deepseek", "ernie4_5", "apertus"),
    }
)


class Sliding(NamedTuple):
    """Layers that see a window beside layers that see everything.

    Attributes:
        pattern: Of so many layers the last one sees everything, where the header does not say.
        window: The tokens of a window, where the header does not say; 0 means that it has to, or none slides.
    """

    pattern: int
    window: int = 0


SLIDING = {
    "gemma2": Sliding(2, 4096),
    "gemma3": Sliding(6),
    "gpt-oss": Sliding(2),
    "cohere2": Sliding(4),
}

# A state of fixed size for each sequence, and no KV cache. Of the first kind, it is that of a convolution and
# of a state space; of the second, shifted tokens and heads.
STATE_SPACE = frozenset({"mamba", "mamba2"})
RWKV = frozenset({"rwkv6", "rwkv7"})
# A layer without KV heads is recurrent; the others have a KV cache.
HYBRID = frozenset({"jamba", "granitehybrid"})
# Every layer has both.
BOTH = frozenset({"falcon-h1"})

KNOWN = PLAIN | SLIDING.keys() | STATE_SPACE | RWKV | HYBRID | BOTH
