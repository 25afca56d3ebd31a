"""What an estimate is of: a plan, the model's sizes, and what the program does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from studio.memory.cards import Capability
from studio.memory.switches import STUDIO, Switches
from studio.methods import Method, MethodMemory
from studio.models.config import ModelFacts
from studio.models.quantisation import Quantisation
from studio.models.windows import narrowed
from studio.plan import Plan, methods


@dataclass(frozen=True)
class Workload:
    """A resolved plan on a model of these sizes. `learned`: the share of a row's tokens that carry loss;
    `switches`: what another program would do otherwise; `shards`: devices that what lasts is split over;
    `capability`: of the GPU, where it is known."""

    plan: Plan
    facts: ModelFacts
    learned: float
    switches: Switches = STUDIO
    shards: int = 1
    capability: Capability | None = None

    @cached_property
    def method(self) -> Method:
        found: Method = methods.get(self.plan.method)
        return found

    @cached_property
    def terms(self) -> MethodMemory:
        """What the method adds."""
        return self.method.memory(self.facts, self.plan.method_params, self.plan.settings)

    @cached_property
    def trains_base(self) -> bool:
        """Whether weights of the model itself train."""
        return self.method.capable("trains_base", self.plan.method_params)

    @cached_property
    def quantisation(self) -> Quantisation | None:
        """How the base's matrices are held, if in 4 bit."""
        return self.method.base_quantisation(self.plan.method_params)

    @property
    def alike(self) -> bool:
        """Whether a step does the same in each layer."""
        facts, settings = self.facts, self.plan.settings
        masked = {narrowed(facts, number, settings.seq or 0) for number in range(facts.layers)}
        return self.terms.alike(facts.layers) and (settings.attention != "sdpa" or len(masked) == 1)

    @property
    def base_itemsize(self) -> int:
        """Bytes per number of the base outside 4 bit."""
        precision = self.plan.settings.precision
        return 4 if precision == "fp32" or (precision == "mixed" and self.trains_base) else 2

    @property
    def gathers_16_bit(self) -> bool:
        """Whether layers that are split compute on copies in 16 bit, as torch's `MixedPrecisionPolicy` has
        them, in the place of those that autocast would keep."""
        return self.shards > 1 and self.plan.settings.precision == "mixed"

    @property
    def frozen_itemsize(self) -> int:
        """Bytes per number of weights that do not train, outside 4 bit."""
        return 4 if self.plan.settings.precision == "fp32" else 2

    @property
    def device(self) -> str:
        """The kind of device: cpu, cuda or mps."""
        return (self.plan.settings.device or "cpu").partition(":")[0]
