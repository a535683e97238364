"""A model that is large enough to be told in bytes, and what llama.cpp would write of it."""

from __future__ import annotations

import struct

USING = "llama_model_load_from_file_impl: using device CUDA0 (Pretended) (0) - 80000 MiB free"


def written(model: float, device: float, kv: float = 0.0, device_kv: float = 0.0) -> str:
    """What llama.cpp writes of buffers with so many MiB on the host and on the device."""
    lines = [USING, "load_tensors: offloaded 3/3 layers to GPU"]
    for name, size in (("CPU_Mapped", model), ("CUDA0", device)):
        lines += [f"load_tensors: {name} model buffer size = {size:8.2f} MiB"] if size else []
    for name, size in (("CPU", kv), ("CUDA0", device_kv)):
        lines += [f"llama_kv_cache: {name} KV buffer size = {size:8.2f} MiB"] if size else []
    return "\n".join(lines)


def small_gguf() -> bytes:
    """Two layers of 1 MiB, embeddings and an output of 512 KiB each; 512 tokens take 0.5 MiB of cache."""
    keys = {"block_count": 2, "embedding_length": 512, "attention.head_count": 8}
    keys |= {"attention.head_count_kv": 2, "context_length": 512}
    metadata = [_text("general.architecture") + struct.pack("<I", 8) + _text("llama")]
    metadata += [_text(f"llama.{name}") + struct.pack("<II", 4, value) for name, value in keys.items()]
    tensors = {"token_embd": 256, "blk.0.attn_q": 512, "blk.1.attn_q": 512, "output": 256}
    entries, offset = [], 0
    for name, rows in tensors.items():
        entries.append(_text(f"{name}.weight") + struct.pack("<IQQIQ", 2, 512, rows, 0, offset))
        offset += 4 * 512 * rows
    head = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(metadata)) + b"".join(metadata + entries)
    return head + bytes(-len(head) % 32) + bytes(offset)


def _text(content: str) -> bytes:
    return struct.pack("<Q", len(content)) + content.encode()
