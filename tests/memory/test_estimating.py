"""`from studio import estimate`: one call, no torch, the same answer as the plan's."""

import pytest

from studio import estimate
from studio.errors import StudioError
from tests.test_imports import HEAVY, loaded_after

QWEN = "hub:Qwen/Qwen2.5-0.5B-Instruct"


def test_a_need_by_part():
    need = estimate(QWEN, batch=4, seq=512, device="cuda:0")
    assert need.parts["weights"] == 2 * 494_032_768
    assert need.allocated == sum(size for name, size in need.parts.items() if name != "context")
    assert estimate(QWEN, batch=8, seq=512, device="cuda:0").allocated > need.allocated
    assert estimate(QWEN, "qst", batch=4, seq=512, device="cuda:0").allocated < need.allocated


def test_other_purposes_than_training():
    assert estimate(QWEN, purpose="chat", seq=1000, device="cuda:0").parts["cache"] == 2 * 24 * 1000 * 128 * 2
    assert estimate(QWEN, "lora", purpose="chat", device="cuda:0", rank=8).parts["adapter"] > 0
    merged = estimate(QWEN, purpose="merge", rank=8)
    assert merged.disk == 2 * 494_032_768
    assert merged.parts["weights"] == 4 * 151_936 * 896  # the head, compared in 32 bit


def test_what_cannot_be_read_is_refused():
    with pytest.raises(StudioError) as caught:
        estimate("starter", rank="many")
    assert caught.value.code == "plan_invalid"
    with pytest.raises(StudioError) as caught:
        estimate("/no/such/model")
    assert caught.value.code == "model_missing"


def test_it_needs_no_torch():
    assert not loaded_after("from studio import estimate; estimate('starter')") & HEAVY
