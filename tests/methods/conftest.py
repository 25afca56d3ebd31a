"""The toy methods and the toy objective stand in the registries while these tests run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from studio.plan import methods, objectives
from tests.toys.methods import TOYS
from tests.toys.objectives import PAIR


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with ExitStack() as stack:
        for toy in TOYS:
            stack.enter_context(methods.added(toy))
        stack.enter_context(objectives.added(PAIR))
        yield
