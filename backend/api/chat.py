"""What the facade promises about talking to models: who answers, what came of it, what is kept of it.

Plain frozen dataclasses, JSON in and out, as in `backend.api`. A conversation is a tree of turns: a question
with the answers of all panes is a turn, and asking again beside it (edited, or with another seed) makes a
sibling with the same parent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

MAX_PANES = 4
Steps = tuple[int, int] | None
"""Of a run that trains meanwhile: whose weights made the first and the last token of an answer."""
TIE, BAD = "tie", "bad"  # a vote is one of these, or the number of the pane that was best
CANCELLED = "cancelled"


@dataclass(frozen=True)
class Proof:
    """What answered, by content (sha256, hex): as the engine that computed the answer says it.

    `base`: config and weights; `adapter`: the files on top of it, None for the base alone; `template`: the
    text that made the prompt out of the messages. Of a run that still trains `adapter` is a hash of its state
    at the answer's first token, or of run and step where the state is too large to be read between two steps.
    """

    base: str
    adapter: str | None
    template: str


@dataclass(frozen=True)
class Sampling:
    """The same for all panes, so that what differs is the model. `temperature` 0 is greedy."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Pane:
    """One who answers: a model by its name (DESIGN 3), and the messages ({role, content}) put to it."""

    model: str
    messages: Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class ChatRequest:
    """A question to all panes at once.

    `run:ID` answers with its adapter; a base beside a run of its own uses the template of the first such run.
    """

    panes: tuple[Pane, ...]
    sampling: Sampling = Sampling()


@dataclass(frozen=True)
class ChatDelta:
    """A piece of the answer of the pane with this number. The last one of a pane carries the facts, or the
    `error` ({code, facts}) that ended this pane and no other."""

    pane: int
    text: str
    done: bool = False
    finish_reason: str | None = None  # stop | length
    tokens: int | None = None
    tokens_per_second: float | None = None
    seconds_to_first: float | None = None
    proof: Proof | None = None
    steps: Steps = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ChatModel:
    """Something that can answer: its name, and the name of the base in whose engine it does so. What can be
    mixed says more: `in_4_bit`, it learned over that base in 4 bit; `copied`, it trained the base's own
    weights, so that it is mixed with nothing but its base, in a second copy of this many bytes (in the number
    format as stored, and in 32 bit)."""

    name: str
    base: str
    in_4_bit: bool = False
    copied: tuple[int, int] | None = None


@dataclass(frozen=True)
class Setup:
    """How a question is put: who answers, under which system prompt, how the next word is drawn.

    `blind`: who is who is hidden until the vote; `order` then has the panes as they stand from left to right.
    """

    panes: tuple[str, ...]
    system: str = ""
    sampling: Sampling = Sampling()
    blind: bool = False
    order: tuple[int, ...] = ()

    @property
    def shown(self) -> tuple[int, ...]:
        """The panes from left to right."""
        return self.order or tuple(range(len(self.panes)))


@dataclass(frozen=True)
class Answer:
    """One pane's answer so far; the facts come with its end. `kept`: it is among the training rows; `error`
    ({code, facts}): why this pane has none, or not all of it."""

    text: str = ""
    done: bool = False
    finish_reason: str | None = None  # stop | length | cancelled
    tokens: int | None = None
    tokens_per_second: float | None = None
    seconds_to_first: float | None = None
    proof: Proof | None = None
    steps: Steps = None
    kept: bool = False
    error: Mapping[str, Any] | None = None

    def plus(self, delta: ChatDelta) -> Answer:
        """With one more piece."""
        longer = replace(self, text=self.text + delta.text, steps=delta.steps or self.steps)
        if not delta.done:
            return longer
        return replace(
            longer,
            done=True,
            finish_reason=delta.finish_reason,
            tokens=delta.tokens,
            tokens_per_second=delta.tokens_per_second,
            seconds_to_first=delta.seconds_to_first,
            proof=delta.proof,
            error=delta.error,
        )

    def ended(self) -> Answer:
        """No more pieces will come: what is there is the answer."""
        return self if self.done else replace(self, done=True, finish_reason=CANCELLED)


@dataclass(frozen=True)
class Turn:
    """A question with an answer per pane. `error` ({code, facts}): why nobody answered, or not to the end."""

    id: int
    conversation: int
    parent: int | None
    prompt: str
    setup: Setup
    answers: tuple[Answer, ...]
    vote: str | None = None  # the number of a pane, `tie` or `bad`
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ConversationInfo:
    """A row of the list of conversations. `prompts`: how many a prompt set has; 0 for a chat."""

    id: int
    title: str
    models: tuple[str, ...]
    turns: int
    prompts: int
    updated: float


@dataclass(frozen=True)
class Conversation:
    """All that was said. A prompt set has its prompts here, and one turn without a parent for each that was
    asked."""

    id: int
    title: str
    turns: tuple[Turn, ...]  # oldest first
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairVotes:
    """How often the left model was preferred to the right one. `low`, `high`: Wilson's 95 % interval of
    `share`, the part of the left one in the votes that decided; None where none did."""

    left: str
    right: str
    left_hash: str  # of the adapter that answered, or of the base
    right_hash: str
    left_wins: int
    right_wins: int
    ties: int
    both_bad: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Export:
    """A file made of a conversation."""

    name: str
    media: str
    text: str


class ChatFacade(Protocol):
    """The part of the facade that talks."""

    def chat_models(self) -> list[ChatModel]:
        """What can answer: every run with an adapter (`run:ID`, then `@best` and `@STEP` of its checkpoints,
        newest first), then the models on disk."""
        ...

    def base_of(self, model: str) -> str | None:
        """The base of what a run learned; None for a model that stands by itself. Raises `run_missing`."""
        ...

    def warm_chat(self, model: str) -> None:
        """Start the engine that will be asked, and return at once; what can't answer is left for `chat` to
        say. Nothing happens while a run is alive: it may need the memory."""
        ...

    def chat(self, request: ChatRequest) -> Iterator[ChatDelta]:
        """Stream the answers. Starts the chat engines of these bases where none runs (seconds). A pane that
        can't answer ends with its error, and the others answer."""
        ...

    def ask(self, conversation: int | None, parent: int | None, prompt: str, setup: Setup) -> Turn:
        """Keep a question after the turn `parent`, in a new conversation if it is the first one. Raises
        `conversation_gone`."""
        ...

    def answer(self, turn: int) -> Iterator[ChatDelta]:
        """Stream the answers to a question that was kept, each pane in the light of its own earlier answers,
        and keep them as they come. Closing the iterator stops, and keeps what came."""
        ...

    def stop_answer(self, turn: int) -> None:
        """End the answers to this question, from any thread: the iterator of `answer` soon gives no more. An
        answer that has ended stays as it is."""
        ...

    def begin_set(self, file: str) -> Conversation:
        """A conversation for the prompts of a file, none of them asked yet: `ask` them one by one."""
        ...

    def conversations(self, search: str = "", limit: int = 100) -> list[ConversationInfo]:
        """Those in whose title, questions or answers every word of `search` stands; the last used first."""
        ...

    def conversation(self, id: int) -> Conversation:
        """Raises `conversation_gone`."""
        ...

    def rename_conversation(self, id: int, title: str) -> None: ...
    def delete_conversation(self, id: int) -> None:
        """With its votes."""
        ...

    def vote(self, turn: int, choice: str | None) -> None:
        """Keep which pane answered best (its number), `tie` or `bad`; None takes the vote back."""
        ...

    def pair_votes(self) -> list[PairVotes]:
        """All votes by pair of models, the pair with most votes first."""
        ...

    def keep_answer(self, turn: int, pane: int, keep: bool = True) -> str:
        """Put an answer, with what led to it, among the training rows made in chats, or take it away; gives
        the name of that dataset."""
        ...

    def chat_rows(self) -> tuple[str, int]:
        """The name of that dataset, and its number of rows."""
        ...

    def export_conversation(self, id: int, form: str) -> Export:
        """`markdown`; `rows-N`: a training row (`messages`) per branch with the answers of pane N; `csv` and
        `jsonl`: a table with a prompt a row and an answer a column. Raises `export_unknown`."""
        ...
