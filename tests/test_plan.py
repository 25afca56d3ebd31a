"""Plans: addresses of settings, all problems together, and the saved form."""

import json
from dataclasses import dataclass

import pytest

from studio.errors import PlanError, StudioError
from studio.params import param
from studio.plan import Plan, addresses, methods, parse_request


@dataclass(frozen=True)
class ClashParams:
    """Shares `momentum` with the optimizer sgd, and `seed` with the common settings."""

    momentum: float = param(0.5, "Of the method.", low=0, high=1)
    seed: int = param(1, "Of the method.", low=0)
    width: int = param(2, "Only here.", low=1)


@dataclass(frozen=True)
class Clash:
    id: str = "clash"
    title: str = "Clash"
    summary: str = "Shares names."
    params: type = ClashParams


@pytest.fixture
def clash():
    with methods.added(Clash()) as method:
        yield method


def problems(**request):
    with pytest.raises(PlanError) as caught:
        parse_request("starter", "pirate", **request)
    return [(p["code"], p["key"]) for p in caught.value]


def test_settings_go_where_they_belong():
    plan = parse_request("starter", "pirate", set={"batch": "4", "rank": "16", "beta1": 0.8, "plan.seed": 3})
    assert (plan.settings.batch, plan.settings.seed) == (4, 3)
    assert plan.method_params.rank == 16
    assert plan.optimizer_params.beta1 == 0.8
    assert plan.settings.lr is None


def test_long_address_names_the_same_setting():
    assert parse_request("m", "d", set={"method.rank": 4}) == parse_request("m", "d", set={"rank": 4})


def test_optimizer_of_the_request_decides_which_settings_there_are():
    plan = parse_request("m", "d", set={"optimizer": "sgd", "momentum": 0.3})
    assert plan.optimizer_params.momentum == 0.3
    assert parse_request("m", "d", set={"plan.optimizer": "sgd", "momentum": 0.3}) == plan
    assert problems(set={"momentum": 0.3}) == [("unknown_setting", "momentum")]
    assert parse_request("m", "d", set={"optimizer": "sgd"}).settings.optimizer == "sgd"


def test_all_problems_of_all_parts_come_together():
    found = problems(set={"batch": 0, "rank": "x", "beta1": 2, "rnk": 1, "steps": 5, "epochs": 2})
    assert sorted(found) == [
        ("setting_not_int", "method.rank"),
        ("setting_out_of_range", "batch"),
        ("setting_out_of_range", "optimizer.beta1"),
        ("steps_and_epochs", "steps"),
        ("unknown_setting", "rnk"),
    ]


@pytest.mark.usefixtures("clash")
def test_shared_name_needs_its_part_unless_it_is_a_common_setting():
    both = {"optimizer": "sgd", "momentum": 0.1}
    assert problems(method="clash", set=both) == [("setting_ambiguous", "momentum")]
    apart = {"optimizer": "sgd", "optimizer.momentum": 0.1, "method.momentum": 0.2}
    plan = parse_request("m", "d", "clash", set=apart)
    assert (plan.optimizer_params.momentum, plan.method_params.momentum) == (0.1, 0.2)
    plan = parse_request("m", "d", "clash", set={"seed": 9, "method.seed": 8})
    assert (plan.settings.seed, plan.method_params.seed) == (9, 8)


@pytest.mark.usefixtures("clash")
def test_listed_addresses_are_those_that_are_taken():
    listed = addresses("clash", optimizer="sgd")
    assert {"batch", "seed", "width", "method.momentum", "optimizer.momentum", "method.seed"} <= set(listed)
    assert "momentum" not in listed
    values = {address: info.default for address, info in listed.items() if info.default is not None}
    values["optimizer"] = "sgd"
    assert parse_request("m", "d", "clash", set=values).method_params == ClashParams()


def test_same_setting_twice_is_a_problem():
    assert problems(set={"batch": 4, "plan.batch": 8}) == [("setting_twice", "plan.batch")]
    assert problems(set={"rank": 4, "method.rank": 8}) == [("setting_twice", "method.rank")]


@pytest.mark.parametrize("address", ["method.batch", "plan.rank", "optimizer.", ".batch", "x.y.z", ""])
def test_wrong_address(address):
    assert problems(set={address: 1}) == [("unknown_setting", address)]


def test_unknown_method_objective_optimizer():
    for request in ({"method": "x"}, {"objective": "x"}, {"set": {"optimizer": "x"}}):
        with pytest.raises(StudioError) as caught:
            parse_request("m", "d", **request)
        assert caught.value.code == "unknown_extension"


def test_open_optimizer_is_the_usual_one():
    assert parse_request("m", "d", set={"optimizer": None}) == parse_request("m", "d")


def test_saved_plan_reads_back_to_the_same():
    plan = parse_request("starter", "pirate", set={"rank": 4, "targets": "q_proj,v_proj", "steps": 7})
    saved = json.loads(json.dumps(plan.as_dict()))
    assert Plan.from_dict(saved) == plan


def test_saved_plan_with_an_unknown_setting_is_refused():
    saved = parse_request("starter", "pirate").as_dict()
    saved["settings"]["colour"] = "red"
    saved["method_params"]["rank"] = 0
    with pytest.raises(PlanError) as caught:
        Plan.from_dict(saved)
    assert sorted(p["key"] for p in caught.value) == ["colour", "method.rank"]
