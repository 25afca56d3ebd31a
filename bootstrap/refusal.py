"""What stops the door, and what to do about it. Its words stand here: nothing is installed yet."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """A code, a sentence with the cause, and the remedy; `facts` for programs that read the JSON form."""

    def __init__(self, code: str, message: str, remedy: str, **facts: Any) -> None:
        super().__init__(message)
        self.code, self.message, self.remedy, self.facts = code, message, remedy, facts

    def as_dict(self) -> dict[str, Any]:
        """The document that a command prints under `--json`."""
        told = {"code": self.code, "facts": self.facts, "message": self.message, "remedy": self.remedy}
        return {"error": told}
