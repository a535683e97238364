"""Which layers go to a device, and what it means where fewer bytes are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_llm.models.footprint import Placed, compare_with_log, logged, predict, predict_file, shortfall
from pytest_llm.records import LoadOptions

from .headers import F16, Q4_0, header, weight

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_llm.models import Header
    from tests.gguf_files import SplitModel

MIB = 2**20
# Two layers of 4 MiB, an output of 2 MiB, embeddings of 1 MiB.
WEIGHTS = (
    weight("token_embd.weight", 1024, 512, F16),
    weight("blk.0.attn_q.weight", 1024, 1024),
    weight("blk.1.attn_q.weight", 1024, 1024),
    weight("output.weight", 1024, 1024, F16),
)
HEADER = header(weights=WEIGHTS, embedding_length=1024, attention__head_count=4, attention__head_count_kv=1)


def placed(found: Header = HEADER, *, on_device: bool = True, **options: Any) -> Placed:
    weights = predict(found, LoadOptions(**options), on_device=on_device).weights
    assert weights is not None
    return weights


@pytest.mark.parametrize(
    ("n_gpu_layers", "on_device"),
    [(-1, 10), (99, 10), (3, 10), (2, 6), (1, 2), (0, 0)],
)
def test_layers_go_to_the_device_from_the_last_to_the_first_and_the_output_before_them(
    n_gpu_layers: int, on_device: int
) -> None:
    assert placed(n_gpu_layers=n_gpu_layers) == ((11 - on_device) * MIB, on_device * MIB)


def test_without_a_device_everything_is_on_the_host() -> None:
    assert placed(on_device=False) == (11 * MIB, 0)


def test_embeddings_that_are_the_output_as_well_are_copied_to_the_device() -> None:
    tied = header(weights=WEIGHTS[:3], attention__head_count=4)
    assert placed(tied) == (MIB, 9 * MIB)
    assert placed(tied, n_gpu_layers=0) == (9 * MIB, 0)


def test_what_is_not_known_to_have_an_output_gets_no_copy() -> None:
    assert placed(header("bert", weights=WEIGHTS[:3])) == (MIB, 8 * MIB)


def test_layers_of_an_encoder_and_a_decoder_go_by_their_number() -> None:
    both = (weight("enc.blk.0.attn_q.weight", 1024, 1024), weight("dec.blk.1.attn_q.weight", 1024, 1024))
    assert placed(header("t5", weights=both), n_gpu_layers=2) == (4 * MIB, 4 * MIB)


def test_blocks_count_as_what_they_take() -> None:
    found = header(weights=(weight("blk.0.ffn_up.weight", 64, 10, Q4_0),), attention__head_count=4)
    assert placed(found, on_device=False) == (10 * 2 * 18, 0)


def test_the_weights_of_all_parts_of_a_split_model_are_predicted(
    split_model: SplitModel, gguf_path: Path
) -> None:
    whole, split = (
        predict_file(str(path), LoadOptions(), on_device=False) for path in (gguf_path, split_model.write())
    )
    assert split.weights is not None
    assert split.weights == whole.weights
    assert not any("one was read" in each for each in split.reasons)


def test_a_prediction_follows_a_part_that_changes(split_model: SplitModel) -> None:
    path = str(split_model.write())
    before = predict_file(path, LoadOptions(), on_device=False)
    first, later = split_model.parts()
    wider = later.but(tensors=(split_model.whole.tensor("weights", (32, 6), kind=3, data=120),))
    split_model.write([first, wider])
    after = predict_file(path, LoadOptions(), on_device=False)
    assert before.weights is not None
    assert after.weights == (before.weights.host + 60, 0)


@pytest.mark.parametrize(("offload", "there"), [(True, 2), (False, 0)])
def test_the_cache_lies_where_its_layer_does_unless_it_is_kept_on_the_host(offload: bool, there: int) -> None:
    found = predict(HEADER, LoadOptions(n_ctx=256, n_gpu_layers=3, offload_kqv=offload), on_device=True)
    layer = 256 * 256 * 2 * 2
    assert found.kv == ((2 - there) * layer, there * layer)


def test_what_llama_cpp_wrote_is_host_or_device_by_the_buffer_s_name() -> None:
    buffers = {
        "CPU_Mapped model": 10.0,
        "CPU_REPACK model": 5.0,
        "CUDA_Host model": 1.0,
        "CUDA0 model": 20.0,
        "CUDA1 model": 2.0,
        "CPU KV": 3.0,
    }
    assert logged(buffers, "model") == (16 * MIB, 22 * MIB)
    assert logged(buffers, "KV") == (3 * MIB, 0)
    assert logged(buffers, "RS") is None


# --- Layers that are not there --------------------------------------------------------------------------


def missing(buffers: dict[str, Any], **options: Any) -> str:
    chosen = LoadOptions(**{"n_ctx": 256, **options})
    return shortfall(predict(HEADER, chosen, on_device=True), buffers, chosen)


def test_all_that_was_predicted_is_there() -> None:
    assert missing({"CPU_Mapped model": 1.0, "CUDA0 model": 10.0, "CUDA0 KV": 0.5}) == ""


def test_more_than_was_predicted_is_fine() -> None:
    assert missing({"CUDA0 model": 11.0}) == ""


def test_what_is_missing_is_told_in_layers_and_bytes() -> None:
    assert missing({"CPU_Mapped model": 11.0}) == (
        "n_gpu_layers=-1 asks for all 3 layers on a device with 10.00 MiB of weights: about 0 with 0.00 MiB "
        "are there, the rest is on the CPU"
    )
    assert missing({"CPU_Mapped model": 5.0, "CUDA0 model": 2.0}, n_gpu_layers=2) == (
        "n_gpu_layers=2 asks for 2 layers on a device with 6.00 MiB of weights: about 0 with 2.00 MiB "
        "are there, the rest is on the CPU"
    )


@pytest.mark.parametrize(("there", "told"), [(8.0, False), (7.99, True)])
def test_half_a_layer_may_be_missing_and_no_more(there: float, told: bool) -> None:
    assert bool(missing({"CUDA0 model": there})) is told


def test_what_llama_cpp_ignores_is_not_missing() -> None:
    chosen = LoadOptions(n_ctx=256)
    predicted = predict(HEADER, chosen, on_device=True)
    assert shortfall(predicted, {"CUDA0 model": 6.0}, chosen) != ""
    assert shortfall(predicted, {"CUDA0 model": 6.0}, chosen, unused=4 * MIB) == ""


def test_a_cache_that_is_not_there_is_told_as_well() -> None:
    assert missing({"CUDA0 model": 10.0, "CPU KV": 0.5}) == (
        "0.50 MiB of KV cache should be on the device, 0.00 MiB are there; the rest is on the CPU"
    )
    assert missing({"CUDA0 model": 10.0, "CPU KV": 0.5}, offload_kqv=False) == ""


def test_where_nothing_was_asked_for_or_nothing_is_told_nothing_is_missing() -> None:
    assert missing({"CPU_Mapped model": 11.0}, n_gpu_layers=0) == ""
    assert missing({}) == ""


def test_predicted_and_logged_stand_beside_each_other() -> None:
    predicted = predict(HEADER, LoadOptions(n_ctx=256), on_device=False)
    assert compare_with_log(predicted, {"CPU_Mapped model": 11.0, "CPU KV": 0.5}) == {
        "weights": {
            "predicted": {"host": 11 * MIB, "device": 0},
            "logged": {"host": 11 * MIB, "device": 0},
        },
        "kv": {
            "predicted": {"host": MIB // 2, "device": 0},
            "logged": {"host": MIB // 2, "device": 0},
        },
        "reasons": [],
    }


def test_a_cache_that_is_not_predicted_is_told_with_the_reason() -> None:
    unknown = header("unknown", weights=WEIGHTS)
    found = compare_with_log(predict(unknown, LoadOptions(), on_device=False), {"CPU KV": 0.5})
    assert found["kv"] == {"predicted": None, "logged": {"host": MIB // 2, "device": 0}}
    assert found["reasons"] == ["the cache of the architecture unknown is not predicted"]


def test_types_that_are_unknown_here_leave_the_weights_unpredicted_and_no_layer_missing() -> None:
    odd = header(weights=(*WEIGHTS, weight("blk.1.odd", 1024, 8, 137)), attention__head_count=4)
    found = predict(odd, LoadOptions(), on_device=True)
    assert found.weights is None
    assert found.kv is not None
    assert found.reasons == ("the weights have type 137, whose size is unknown here",)
    assert shortfall(found, {"CPU model": 4.0}, LoadOptions()) == ""
