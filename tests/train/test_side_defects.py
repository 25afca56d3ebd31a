"""The defects of the published code of quantised side-tuning, each excluded by a test of its name.

Two more have their tests elsewhere: a start that is not the backbone in
`test_side.test_starts_as_the_backbone_bit_for_bit`, a cache that beams do not reorder in
`test_side.test_beams_and_sampling_equal_those_without_a_cache`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.methods.lst import LstParams
from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.models.quantisation import Quantisation
from studio.train.loss import token_losses
from studio.train.side.shape import side_shape
from studio.train.side.tuner import SideTuner, ladder
from studio.train.tuner import TunerContext
from tests.toys.folders import tiny_model, tiny_plan, write_model


def _prepared(model: Any, **params: Any) -> SideTuner:
    tuner = SideTuner(LstParams(**params))
    generator = torch.Generator().manual_seed(5)
    context = TunerContext(
        tiny_plan("lst"), Anatomy(model), generator, lambda _: iter(()), lambda _: torch.zeros(())
    )
    tuner.prepare(model.requires_grad_(False), context)
    return tuner


def _batch(vocabulary: int = 260, rows: int = 2, length: int = 12) -> dict[str, Tensor]:
    ids = torch.randint(4, vocabulary, (rows, length), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}


def _moved(network: nn.Module) -> None:
    """Away from its start, so that every part counts."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)


def _loss(model: Any, tuner: SideTuner, batch: dict[str, Tensor]) -> Tensor:
    anatomy = Anatomy(model)
    return token_losses(anatomy, tuner.hidden(anatomy, batch), batch).tokens.mean()


def test_the_output_weight_is_a_parameter_that_trains_wherever_it_is_moved() -> None:
    model = tiny_model("llama")
    tuner = _prepared(model)
    model.to(torch.bfloat16)
    alpha = ladder(model).network.alpha
    assert dict(model.named_parameters())["side.alpha"] is alpha
    assert alpha.is_leaf
    optimizer = torch.optim.SGD([alpha], 0.1)
    _loss(model, tuner, _batch()).backward()
    optimizer.step()
    assert alpha.item() != 1.0


def test_gradient_checkpointing_computes_the_same() -> None:
    """The published path fed every layer the embeddings and left out the ladder."""
    losses, gradients = [], []
    for checkpointed in (False, True):
        model: Any = tiny_model("llama")
        tuner = _prepared(model)
        _moved(ladder(model).network)
        if checkpointed:
            model.activation_checkpointing_enable()
        model.train()
        loss = _loss(model, tuner, _batch())
        loss.backward()
        losses.append(loss.item())
        gradients.append([p.grad for p in ladder(model).network.parameters()])
    assert losses[0] == losses[1]
    for plain, again in zip(*gradients, strict=True):
        assert torch.equal(plain, again)


def test_training_mode_drops_nothing() -> None:
    """The backbone's own dropout included: it is only read."""
    model: Any = tiny_model("gpt2", resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5)
    tuner = _prepared(model)
    _moved(ladder(model).network)
    model.eval()
    calm = _loss(model, tuner, _batch()).item()
    model.train()
    assert _loss(model, tuner, _batch()).item() == calm


@pytest.mark.parametrize("vocabulary", [64, 261])
def test_the_loss_asks_nothing_of_the_vocabulary(vocabulary: int) -> None:
    model: Any = tiny_model("llama", vocab_size=vocabulary)
    tuner = _prepared(model)
    _moved(ladder(model).network)
    batch = _batch(vocabulary)
    logits = model(batch["input_ids"]).logits
    wanted = F.cross_entropy(logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten())
    torch.testing.assert_close(_loss(model, tuner, batch), wanted, rtol=1e-5, atol=1e-6)


def test_no_dtype_of_the_backbone_changes(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    base = load_model(
        tmp_path / "model", dtype=torch.bfloat16, device="cpu", quantisation=Quantisation("nf4", True)
    )
    before = {name: tensor.dtype for name, tensor in base.state_dict().items()}
    _prepared(base)
    after = base.state_dict()
    assert {after[name].dtype for name in before if "norm" in name} == {torch.bfloat16}
    assert {name: after[name].dtype for name in before} == before


@pytest.mark.parametrize(("hidden", "reduction"), [(896, 16), (1000, 16), (2880, 16), (640, 7), (100, 3)])
def test_heads_are_even_and_no_width_is_cut_off(hidden: int, reduction: int) -> None:
    shape = side_shape(hidden, 4, LstParams(reduction=reduction))
    assert shape.width >= hidden / reduction
    assert shape.heads * shape.head_dim == shape.width
    assert shape.head_dim % 2 == 0
    assert shape.head_dim >= 8


def test_the_side_does_not_inherit_an_explicit_head_size() -> None:
    model: Any = tiny_model("qwen3", head_dim=48)
    tuner = _prepared(model)
    _moved(ladder(model).network)
    assert torch.isfinite(_loss(model, tuner, _batch()))


def test_what_is_kept_grows_with_the_tokens_and_not_with_their_square() -> None:
    def kept(length: int) -> int:
        model: Any = tiny_model("llama", max_position_embeddings=1024)
        tuner = _prepared(model)
        sizes: dict[int, int] = {}
        weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            states = tuner.hidden(Anatomy(model), _batch(length=length)).states
        assert states.requires_grad
        return sum(sizes.values())

    assert kept(512) == pytest.approx(4 * kept(128), rel=0.01)


def test_the_embeddings_have_a_downsampler_of_their_own() -> None:
    model: Any = tiny_model("llama")
    _prepared(model)
    network = ladder(model).network
    own = {id(p) for p in network.embedding_down.parameters()}
    assert own
    assert len(network.downs) == len(model.model.layers)
    assert not own & {id(p) for down in network.downs for p in down.parameters()}


def test_attentions_can_be_asked_for() -> None:
    model: Any = tiny_model("llama", attn_implementation="eager")
    tuner = _prepared(model)
    _moved(ladder(model).network)
    ids = _batch()["input_ids"]
    plain, asked = model(ids), model(ids, output_attentions=True)
    assert torch.equal(plain.logits, asked.logits)
    with tuner.disabled(model):
        bare = model(ids, output_attentions=True)
    for mine, theirs in zip(asked.attentions, bare.attentions, strict=True):
        assert torch.equal(mine, theirs)
