"""The registry: extensions are found by walking the package, and none twice."""

import subprocess
import sys
from dataclasses import dataclass

import pytest

from studio.errors import StudioError
from studio.exports import exports
from studio.merges import merges
from studio.params import describe
from studio.plan import methods, objectives, optimizers
from studio.registry import Registry, load_part


@dataclass(frozen=True)
class NoParams:
    pass


@dataclass(frozen=True)
class Toy:
    id: str
    title: str = "Toy"
    summary: str = "A toy."
    params: type = NoParams


def test_every_file_of_a_kind_is_found():
    assert set(methods.all()) >= {"lora"}
    assert set(objectives.all()) >= {"sft"}
    assert set(optimizers.all()) >= {"adafactor", "adamw", "lion", "sgd"}
    assert set(merges.all()) == {
        "breadcrumbs",
        "cat",
        "dare_linear",
        "dare_ties",
        "linear",
        "magnitude_prune",
        "svd",
        "ties",
    }
    assert list(optimizers.all()) == sorted(optimizers.all())


@pytest.mark.parametrize("registry", [methods, objectives, optimizers, merges, exports], ids=lambda r: r.kind)
def test_every_extension_is_complete(registry):
    for extension in registry.all().values():
        assert extension.title
        assert extension.summary.endswith(".")
        assert ":" in extension.torch
        for info in describe(extension.params):
            assert info.help.endswith("."), (extension.id, info.name)
        assert extension.params() == extension.params()


def test_unknown_id_names_the_known_ones():
    with pytest.raises(StudioError) as caught:
        methods.get("lroa")
    assert caught.value.code == "unknown_extension"
    assert "lora" in caught.value.facts["known"]


def test_added_extension_is_there_for_the_block_only():
    registry = Registry("methods")
    with registry.added(Toy("toy")) as toy:
        assert registry.get("toy") is toy
    assert "toy" not in registry.all()


def test_second_extension_of_the_same_name_is_refused():
    registry = Registry("methods")
    with pytest.raises(StudioError) as caught, registry.added(Toy("lora")):
        pass
    assert caught.value.code == "extension_twice"
    assert registry.get("lora").title == "LoRA"


def test_part_is_loaded_by_its_name():
    assert load_part("studio.registry:Registry") is Registry


def test_listing_imports_no_torch():
    code = (
        "import sys; from studio.plan import methods, objectives, optimizers;"
        "from studio.merges import merges; from studio.exports import exports;"
        "[r.all() for r in (methods, objectives, optimizers, merges, exports)];"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
