"""Forms made from declarations: each setting of `facade.settings()` and `facade.methods()` becomes a field.

No setting is named here. A field shows the value that the plan will use, the reason where the studio chose
it, and its problem where the person's value doesn't fit. Only what differs from automatic is bold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from markupsafe import Markup

from backend.api import Draft, Facade
from ui.fragments.format import setting_text
from ui.fragments.html import classes, h
from ui.fragments.text import Text
from ui.words import Words


@dataclass(frozen=True)
class Field:
    """One setting: its address, its declaration, what the plan uses, what the person gave."""

    address: str
    space: str  # "plan" or "method"
    info: Mapping[str, Any]
    value: Any
    given: Any
    reason: str | None
    problem: str | None
    offers: tuple[str, ...] = ()  # names of the chosen model that it can take

    @property
    def expert(self) -> bool:
        return bool(self.info["expert"])


def labels(facade: Facade) -> dict[str, str]:
    """What the forms call each setting, by every key that a problem may name it by."""
    out = {}
    for extension in (*facade.exports(), *facade.merges(), *facade.methods()):
        for info in extension["params"]:
            out |= {info["name"]: info["title"], f"method.{info['name']}": info["title"]}
    for info in facade.settings():
        out |= {info["name"]: info["title"], f"plan.{info['name']}": info["title"]}
    return out


def fields(
    words: Words,
    settings: Sequence[Mapping[str, Any]],
    method: Mapping[str, Any],
    draft: Draft,
    given: Mapping[str, Any],
) -> list[Field]:
    """All fields of a plan: the method's own first, then the common ones."""
    common = {info["name"] for info in settings}
    out = []
    for space, infos, values in (
        ("method", method["params"], draft.plan["method_params"]),
        ("plan", settings, draft.plan["settings"]),
    ):
        for info in infos:
            name = info["name"]
            address = f"method.{name}" if space == "method" and name in common else name
            reason = draft.reasons.get(address)
            problem = next(
                (p for p in draft.problems if p["key"] in (address, f"{space}.{name}", name)), None
            )
            out.append(
                Field(
                    address,
                    space,
                    info,
                    values.get(name),
                    given.get(address),
                    words.reason(reason) if reason else None,
                    " ".join(words.problem(problem)) if problem else None,
                    draft.offers.get(address, ()),
                )
            )
    return out


def of_params(
    infos: Sequence[Mapping[str, Any]],
    given: Mapping[str, Any],
    problems: Mapping[str, str] = MappingProxyType({}),
) -> list[Field]:
    """The fields of params alone, at their defaults where nothing was given. `problems`: in words."""
    return [
        Field(name, "method", info, info["default"], given.get(name), None, problems.get(name))
        for info in infos
        for name in (info["name"],)
    ]


def render(text: Text, field: Field) -> Markup:
    """Label, control, and one line below: the problem, else the reason, else what the setting is."""
    changed = field.given not in (None, "")
    line = field.problem or field.reason or field.info["help"]
    if field.offers and not field.problem:
        line = f"{line} {text('form.offers', names=field.offers)}"
    name = f"set-{field.address.replace('.', '-')}"
    return h(
        "div",
        h(
            "div",
            h("label", field.info["title"], for_=name),
            h(
                "button",
                text("form.reset"),
                type="button",
                class_="link",
                data_act="set",
                data_key=field.address,
                data_value="",
                aria_label=text("form.reset.label", title=field.info["title"]),
            )
            if changed
            else None,
            class_="label",
        ),
        _control(field, name),
        h("p", line, id=f"{name}-line", class_=classes("help", field.problem and "problem")),
        class_=classes("field", changed and "changed"),
    )


def _control(field: Field, name: str) -> Markup:
    shared = {
        "id": name,
        "data_act": "set",
        "data_key": field.address,
        "aria_describedby": f"{name}-line",
        "aria_invalid": "true" if field.problem else None,
    }
    current = field.given if field.given not in (None, "") else field.value
    limits = field.info["range"]
    if field.info["type"] == "bool" or (field.info["type"] == "str" and limits):
        choices = ["true", "false"] if field.info["type"] == "bool" else list(limits)
        shown = setting_text(current)
        return h(
            "span",
            h("select", [h("option", c, value=c, selected=c == shown) for c in choices], **shared),
            class_="select",
        )
    return h(
        "input",
        type="text",
        inputmode="decimal" if field.info["type"] in ("int", "float") else None,
        value=setting_text(current),
        autocomplete="off",
        spellcheck="false",
        **shared,
    )


def grid(text: Text, shown: Sequence[Field]) -> Markup:
    return h("div", [render(text, f) for f in shown], class_="form-grid")
