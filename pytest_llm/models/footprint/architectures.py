"""Kind of memory of each architecture whose cache is predicted.

From ``llama_model::create_memory`` and each architecture's ``load_arch_hparams``. Architectures with other
kinds (latent attention, indexers, shared layers) are not covered.
"""

from __future__ import annotations

from typing import NamedTuple

# One KV cache with the heads and lengths of the header in every layer.
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
    """Sliding-window layers beside layers with full attention.

    By default, the last of ``pattern`` layers has full attention. ``window`` is the default in tokens; 0 if
    the header must have it, or no layer slides.
    """

    pattern: int
    window: int = 0


SLIDING = {
    "gemma2": Sliding(2, 4096),
    "gemma3": Sliding(6),
    "gpt-oss": Sliding(2),
    "cohere2": Sliding(4),
}

# A state of fixed size per sequence and no KV cache: of a convolution and a state space, or of shifted tokens
# and heads.
STATE_SPACE = frozenset({"mamba", "mamba2"})
RWKV = frozenset({"rwkv6", "rwkv7"})
HYBRID = frozenset({"jamba", "granitehybrid"})  # layers without KV heads are recurrent
BOTH = frozenset({"falcon-h1"})  # every layer has a KV cache and a recurrent state

KNOWN = PLAIN | SLIDING.keys() | STATE_SPACE | RWKV | HYBRID | BOTH
