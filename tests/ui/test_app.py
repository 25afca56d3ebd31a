"""The whole app over the fake: what it is made of, and what its tabs show at an address."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pytest
from gradio.context import get_blocks_context
from markupsafe import escape

from backend.api.chat import CANCELLED, ChatDelta, Sampling, Setup
from studio.errors import StudioError
from tests import fake_content
from tests.fake_facade import FakeFacade
from tests.fake_runs import FakeRun
from ui import acts, steps
from ui import chat as moves
from ui.app import TABS, create_app
from ui.chat import Chat
from ui.tabs import home, playground, runs, system, train
from ui.tabs.chat_panel import Speaking
from ui.wizard import STEPS, Wizard, to_query
from ui.words import Words

COMPONENTS = 131  # a bare app of 200 is what the first click is measured against
CONFIG_BYTES = 155_000


@pytest.fixture
def app(facade):
    return create_app(facade)


def html(updates, component):
    return str(updates[component])


def test_the_page_is_light(app):
    assert len(app.blocks) <= COMPONENTS
    assert len(json.dumps(app.get_config_file(), default=str)) <= CONFIG_BYTES


def test_no_handler_is_public_and_none_waits_for_another_page(app):
    for fn in (f for f in app.fns.values() if f.fn is not None):  # without one: it only cancels
        assert fn.api_visibility == "private"
        assert fn.concurrency_limit is None


def test_a_page_that_opens_asks_once(app):
    """Gradio loses the answer to a question that is asked just as it ends the stream of the answers before.
    A tab's own `select` comes unasked for the first one; that of all tabs comes with a click."""
    selecting = {id for fn in app.fns.values() for id, event in fn.targets if event == "select"}
    assert [app.blocks[id].elem_id for id in selecting] == ["tabs"]
    assert [event for fn in app.fns.values() for _, event in fn.targets].count("load") == 1


def test_a_tab_that_is_opened_is_drawn_from_its_address(app):
    opening = next(fn for fn in app.fns.values() if [event for _, event in fn.targets] == ["select"])
    said = opening.fn("?tab=models", Chat(), Speaking())
    assert "models-held" in {component.elem_id for component in said}
    assert "step-goal" not in {component.elem_id for component in said}


def test_what_is_wrong_is_named_as_the_form_names_it(app):
    """On the command line the key is what is typed."""
    opening = next(fn for fn in app.fns.values() if [event for _, event in fn.targets] == ["select"])
    wrong = replace(train.FIRST, settings={"lr": "abc", "method.rank": "0"})
    said = opening.fn("?" + to_query(wrong, tab="train"), Chat(), Speaking())
    side = str(next(drawn for component, drawn in said.items() if component.elem_id == "train-side"))
    assert escape("'Learning rate' cannot be 'abc'.") in side
    assert escape("'Rank' cannot be 0.") in side
    problem = {"code": "setting_not_number", "key": "lr", "facts": {"value": "abc"}}
    assert Words("en").problem(problem)[0] == "'lr' cannot be 'abc'."


def test_the_tabs_that_exist_are_the_tabs_that_show():
    tabs = ["home", "train", "runs", "playground", "merge", "models", "system"]
    assert [module.NAME for module in TABS] == tabs


def test_first_paint_has_the_three_goals_before_the_page_asks_for_anything(app):
    values = [b["props"].get("value") for b in app.get_config_file()["components"]]
    first = next(v for v in values if isinstance(v, str) and 'data-goal="style"' in v)
    assert first.count("data-goal=") == 3


STARTED = Wizard(goal="style", model="starter", dataset="pirate", run="pirate-1")


@pytest.mark.parametrize("step", range(len(STEPS) - 1))
def test_a_refresh_comes_back_to_the_same_step(page, step):
    tab = home.build()
    home.wire(tab, page)
    wizard = STARTED.to(step)
    updates = home.opened(tab, page, "?" + to_query(wizard))
    assert updates[tab.state] == wizard
    assert html(updates, tab.views[STEPS[step]])
    assert f'data-address-now="{to_query(wizard)}"' in html(updates, tab.address).replace("&amp;", "&")


def test_the_address_of_a_deleted_run_goes_back_to_its_settings(page):
    tab = home.build()
    updates = home.opened(tab, page, "?" + to_query(replace(STARTED.to(4), run="gone-1")))
    assert (updates[tab.state].name, updates[tab.state].run) == ("how", None)


def test_a_run_is_watched_without_planning_it_anew_and_only_a_form_warms_a_worker(page, facade, monkeypatch):
    tab = home.build()
    for step in range(len(STEPS) - 1):
        home.opened(tab, page, "?" + to_query(STARTED.to(step)))
        assert facade.warmed == ["pirate"] * (step >= STEPS.index("how"))
    train.opened(train.build(), page, "")
    assert facade.warmed == ["pirate"] * 2
    monkeypatch.setattr(facade, "draft", None)
    drawn, _ = steps.moving(page, STARTED.to(STEPS.index("watch")))
    assert "pirate-1" in drawn


def test_the_chat_of_the_wizard_compares_its_run(page):
    tab = home.build()
    updates = home.opened(tab, page, "?" + to_query(STARTED.to(5)))
    assert updates[tab.chat.state].panes == ("starter", "run:pirate-1")


def test_the_runs_tab_shows_the_run_of_the_address_and_all_in_the_list(page, facade):
    tab = runs.build()
    updates = runs.opened(tab, page, "?tab=runs&run=json-1")
    assert updates[tab.state].run == "json-1"
    listed = re.findall(r'data-act="open" data-run="([^"]+)"', html(updates, tab.listing))
    assert listed == [r.run for r in facade.runs()]
    assert escape(page.text("run.interrupted.message")) in html(updates, tab.head)


def test_two_runs_over_each_other_show_only_what_differs(page):
    tab = runs.build()
    updates = runs.opened(tab, page, "?tab=runs&over=pirate-1,json-1")
    assert "<code>dataset</code>" in html(updates, tab.below)
    assert "<code>seed</code>" not in html(updates, tab.below)
    names = {t["name"] for t in json.loads(updates[tab.loss].plot)["data"] if t["showlegend"]}
    assert names == {
        f"{run} · {name}" for run in ("pirate-1", "json-1") for name in ("Loss", "Held-out loss")
    }


def test_no_runs_say_what_they_are_for(words, tmp_path, page):
    empty = type(page)(FakeFacade(tmp_path, runs=[]), words, page.notice, page.query)
    tab = runs.build()
    updates = runs.opened(tab, empty, "")
    assert words.text("runs.empty.title") in html(updates, tab.listing)
    assert updates[tab.board].visible is False
    talk = playground.build()
    shown = playground.opened(talk, empty, "?run=gone")
    assert shown[talk.chat.state].panes == ("starter",)


def test_every_fingerprint_that_a_run_keeps_has_its_word(words):
    for name in ("base", "dataset", "heldout", "tokenizer", "template"):
        assert words.has(f"run.hash.{name}")


def test_deleting_the_open_run_opens_the_next(page, facade):
    tab = runs.build()
    chosen = runs.opened(tab, page, "?run=pirate-1")[tab.state]
    chosen = runs.apply(page, chosen, {"act": "delete", "run": "pirate-1", "knowing": "merge-1"})
    assert runs.shown(tab, page, chosen)[tab.state].run == facade.runs()[0].run


def test_a_look_at_the_store_takes_no_choice_back(page, facade):
    """Another run may be chosen while it draws; one that is gone meanwhile is no choice."""
    tab = runs.build()
    chosen = runs.opened(tab, page, "?run=pirate-1")[tab.state]
    followed = runs.followed(tab, page, chosen, full=False)
    assert tab.listing in followed
    assert not {tab.state, tab.address} & set(followed)
    facade.delete("pirate-1", knowing=("merge-1",))
    assert runs.followed(tab, page, chosen, full=False)[tab.state].run == facade.runs()[0].run


def test_the_playground_answers_with_the_run_of_the_address(page):
    tab = playground.build()
    updates = playground.opened(tab, page, "?run=pirate-2")
    assert updates[tab.chat.state].panes == ("starter", "run:pirate-2")
    assert 'value="run:pirate-2" selected' in html(updates, tab.picker)
    several = "?pane=run:pirate-2@40&pane=starter&pane=run:gone-1&pane=run:pirate-1@best"
    chat = playground.opened(tab, page, several)[tab.chat.state]
    assert chat.panes == ("run:pirate-2@40", "starter", "run:pirate-1@best")


def test_a_run_that_has_only_begun_stays_chosen_and_the_page_says_when_it_answers(words, tmp_path, page):
    begun, failed = (
        FakeRun("new-1", "starter", "pirate", "queued"),
        FakeRun("bad-1", "starter", "json", "failed"),
    )
    early = replace(page, facade=FakeFacade(tmp_path, runs=[begun, failed]))
    tab = playground.build()
    for address in (
        "?run=new-1",
        "?pane=starter&pane=run:new-1",
    ):  # the second is the first one after a reload
        updates = playground.opened(tab, early, address)
        assert updates[tab.chat.state].panes == ("starter", "run:new-1")
        assert words.text("chat.early.message", run="new-1") in html(updates, page.notice)
    for run, said in (("bad-1", "chat.never.message"), ("gone", "error.run_missing.message")):
        updates = playground.opened(tab, early, f"?run={run}")
        assert updates[tab.chat.state].panes == ("starter",)
        assert escape(words.text(said, run=run)) in html(updates, page.notice)


def test_the_engine_starts_while_the_person_thinks_of_a_question(page, facade):
    playground.opened(playground.build(), page, "?run=pirate-2")
    home.opened(home.build(), page, "?" + to_query(STARTED.to(5)))
    assert facade.warmed == ["run:pirate-2", "run:pirate-1"]


def talked(facade, prompt="Hi", panes=("starter", "run:pirate-2")):
    """A conversation that was kept, as the page that had it knows it."""
    turn = facade.ask(None, None, prompt, Setup(panes))
    list(facade.answer(turn.id))
    return moves.opened(Chat(panes), facade.conversation(turn.conversation))


def test_a_conversation_goes_on_when_its_tab_is_opened_again(page, facade):
    tab = playground.build()
    talk = talked(facade)
    for address in ("?tab=playground", "?tab=playground&run=pirate-2", f"?chat={talk.conversation}"):
        again = playground.opened(tab, page, address, talk, Speaking())
        assert again.keys() == {tab.bar, tab.picker, tab.address}  # an answer may end before this is drawn
        assert f"chat={talk.conversation}" in html(again, tab.address)
    begun = playground.opened(tab, page, "?run=pirate-1", talk)[tab.chat.state]
    assert (begun.turns, begun.conversation, begun.panes) == ((), None, ("starter", "run:pirate-1"))


def test_another_conversation_in_the_address_ends_the_answer_that_still_comes(page, facade):
    talk = talked(facade)
    speaking = Speaking(talk.at)
    playground.opened(playground.build(), page, "?run=pirate-2", talk, speaking)
    assert not speaking.stopped
    playground.opened(playground.build(), page, "?run=pirate-1", talk, speaking)
    assert speaking.stopped


def test_a_reload_brings_back_the_answers_and_the_votes(page, facade):
    tab = playground.build()
    talk = talked(facade)
    facade.vote(talk.at, "1")
    again = playground.opened(tab, page, f"?tab=playground&chat={talk.conversation}")
    assert again[tab.chat.state] == moves.voted(talk, talk.at, "1")
    assert talk.turns[0].answers[1].text in html(again, tab.chat.talk)
    assert f"chat={talk.conversation}" in html(again, tab.address)
    facade.delete_conversation(talk.conversation)
    gone = playground.opened(tab, page, f"?tab=playground&chat={talk.conversation}")
    assert page.words.error(StudioError("conversation_gone", id=0))[0] in html(gone, page.notice)
    assert gone[tab.chat.state].conversation is None


def handler(component, event):
    """What is attached to this event of a component."""
    fns = get_blocks_context().fns.values()
    return next(fn for fn in fns if fn.targets == [(component._id, event)]).fn


def test_a_new_conversation_keeps_who_answers_and_the_sampling(page, facade):
    tab = playground.build()
    playground.wire(tab, page)
    talk = replace(talked(facade), sampling=Sampling(seed=7), system="Be brief.")
    updates = handler(tab.bar, "halt")(talk, Speaking(), gr.EventData(None, {"act": "new"}))
    assert updates[tab.chat.state] == Chat(talk.panes, "Be brief.", Sampling(seed=7))


def last(updates, component):
    return list(updates)[-1][component]


def test_a_question_is_asked_changed_and_asked_again_on_branches_of_their_own(page, facade):
    tab = playground.build()
    playground.wire(tab, page)
    send = handler(tab.chat.talk, "send")

    def sent(chat, **data):
        return last(send(chat, Speaking(), gr.EventData(None, data)), tab.chat.state)

    chat = sent(Chat(("starter", "run:pirate-2")), act="suggestion", value="one")
    chat = sent(chat, act="send", value="two")
    first, second = chat.path
    chat = sent(chat, act="send", value="other two", turn=str(second.id))
    chat = sent(chat, act="again", turn=str(second.id))
    assert [(t.prompt, t.parent, t.setup.sampling.seed) for t in chat.turns] == [
        ("one", None, 0),
        ("two", first.id, 0),
        ("other two", first.id, 0),
        ("two", first.id, 1),
    ]
    assert [t.prompt for t in chat.path] == ["one", "two"]
    assert moves.opened(chat, facade.conversation(chat.conversation)) == replace(
        chat, sampling=Sampling(seed=1)
    )


def test_a_blind_vote_is_for_a_place_and_stands(page, facade):
    tab = playground.build()
    playground.wire(tab, page)
    turn = facade.ask(None, None, "Hi", Setup(("starter", "run:pirate-2"), blind=True, order=(1, 0)))
    list(facade.answer(turn.id))
    chat = moves.opened(Chat(), facade.conversation(turn.conversation))
    act = handler(tab.chat.talk, "act")
    vote = {"act": "vote", "turn": str(turn.id), "choice": "0"}
    chat = act(chat, gr.EventData(None, vote))[tab.chat.state]
    assert chat.turns[0].vote == "1"
    chat = act(chat, gr.EventData(None, {**vote, "choice": "1"}))[tab.chat.state]
    assert facade.conversation(turn.conversation).turns[0].vote == "1"
    (pair,) = facade.pair_votes()
    assert (pair.left, pair.left_wins, pair.right) == ("run:pirate-2", 1, "starter")


def test_a_prompt_set_is_put_to_all_panes_one_after_the_other(page, facade):
    tab = playground.build()
    playground.wire(tab, page)
    file = facade.home / acts.UPLOADS / "a" / "ask.txt"
    file.parent.mkdir(parents=True)
    file.write_text("one\ntwo\n")
    begun = {"act": "upload", "path": str(file), "name": "ask.txt"}
    updates = handler(tab.prompts, "act")(
        Chat(("starter", "run:pirate-2")), Speaking(), gr.EventData(None, begun)
    )
    chat = updates[tab.chat.state]
    assert chat.waiting == ("one", "two")
    go = gr.EventData(None, {"act": "set-go"})
    chat = last(handler(tab.chat.box, "send")(chat, Speaking(), go), tab.chat.state)
    assert [(t.prompt, len(t.answers), t.parent) for t in chat.turns] == [("one", 2, None), ("two", 2, None)]
    assert chat.waiting == ()
    table = facade.export_conversation(chat.conversation, "csv")
    assert table.text.splitlines()[0] == "prompt,starter,run:pirate-2,vote"
    assert len(table.text.splitlines()) == 3


@pytest.mark.parametrize(("failing", "asked"), [({1}, ["one", "two"]), ({0, 1}, ["one"])])
def test_a_prompt_set_goes_on_while_anybody_answers(page, facade, words, failing, asked):
    error = {"code": "run_has_no_adapter", "facts": {"run": "pirate-2", "state": "running"}}

    def said(request, _stopped):
        for number in range(len(request.panes)):
            failed = number in failing
            yield ChatDelta(number, "" if failed else "Aye.", done=True, error=error if failed else None)

    facade._said = said
    tab = playground.build()
    playground.wire(tab, page)
    file = facade.home / "ask.txt"
    file.write_text("one\ntwo\n")
    chat = moves.opened(Chat(("starter", "run:pirate-2")), facade.begin_set(str(file)))
    go = gr.EventData(None, {"act": "set-go"})
    updates = list(handler(tab.chat.box, "send")(chat, Speaking(), go))[-1]
    chat = updates[tab.chat.state]
    assert [turn.prompt for turn in chat.turns] == asked
    assert [pane for pane, answer in enumerate(chat.turns[-1].answers) if answer.error] == sorted(failing)
    assert not chat.busy
    cause, remedy = words.error(StudioError.from_dict(error))
    table = html(updates, tab.chat.talk)
    assert table.count(escape(cause)) == table.count(escape(remedy)) == len(failing) * len(asked)


def test_a_stop_ends_the_answer_that_comes_and_what_was_not_asked_yet(page, tmp_path):
    slow = replace(page, facade=FakeFacade(tmp_path / "slow", chat_seconds=30.0))
    tab = playground.build()
    playground.wire(tab, slow)
    file = tmp_path / "ask.txt"
    file.write_text("one\ntwo\n")
    chat = moves.opened(Chat(("starter",)), slow.facade.begin_set(str(file)))
    speaking = Speaking()
    answers = handler(tab.chat.box, "send")(chat, speaking, gr.EventData(None, {"act": "set-go"}))
    begun = next(answers)[tab.chat.state]
    assert begun.busy
    with ThreadPoolExecutor() as pool:
        halted = pool.submit(handler(tab.chat.box, "halt"), begun, speaking)
        chat = last(answers, tab.chat.state)  # no word came: without the stop this takes 30 s
        assert tab.chat.talk not in halted.result()  # the answer itself has drawn its end
    assert not chat.busy
    assert [(t.prompt, t.answers[0].finish_reason) for t in chat.turns] == [("one", CANCELLED)]
    assert slow.facade.conversation(chat.conversation).turns == chat.turns


def test_a_stop_where_nothing_answers_frees_the_page(page, facade):
    tab = playground.build()
    playground.wire(tab, page)
    talk = replace(talked(facade), busy=True)
    assert not handler(tab.chat.box, "halt")(talk, Speaking())[tab.chat.state].busy


def test_the_expert_form_keeps_what_can_not_be_read_and_says_why(page):
    tab = train.build()
    choice = train.opened(tab, page, "")[tab.state]
    choice = train.apply(page.facade, choice, {"act": "model", "value": "/no/such/folder"})
    updates = train.shown(tab, page, choice)
    assert 'value="/no/such/folder"' in html(updates, tab.form)
    cause, _ = page.words.error(StudioError("model_missing", path="/no/such/folder"))
    assert cause in html(updates, tab.side)
    assert "disabled" in html(updates, tab.side)


def test_the_expert_form_marks_what_is_wrong_and_does_not_start(page):
    tab = train.build()
    choice = train.apply(page.facade, train.FIRST, {"act": "set", "key": "batch", "value": "0"})
    side = html(train.shown(tab, page, choice), tab.side)
    assert page.text("memory.before_wrong") in side
    assert page.text("memory.before_wrong") not in html(train.shown(tab, page, train.FIRST), tab.side)
    assert 'class="problems"' in side
    assert re.search(r'data-act="start"[^>]*disabled', side)


def test_the_system_tab_says_why_there_is_no_gpu_and_keeps_a_short_history(page):
    tab = system.build()
    updates = system.opened(tab, page, "")
    assert page.text(f"hardware.{page.facade.hardware().reasons[0].code}.message") in html(updates, tab.cards)
    assert set(updates[tab.seen]) == {"cpu", "ram"}


def test_the_system_tab_has_a_card_per_gpu_and_says_why_one_can_not_be_used(words, tmp_path, page):
    facade = FakeFacade(tmp_path, hardware=fake_content.HARDWARE_GPU)
    tab = system.build()
    cards = html(system.opened(tab, type(page)(facade, words, page.notice, page.query), ""), tab.cards)
    for device in facade.hardware().devices:
        assert device.name in cards
    assert words.text("system.usable") in cards
    assert words.text("system.unusable") in cards
    assert "pid 4242" in cards


def test_what_a_person_can_mend_becomes_a_message(page):
    def refuse():
        raise StudioError("run_missing", run="x", known=["a"])

    cause, remedy = page.words.error(StudioError("run_missing", run="x", known=["a"]))
    shown = str(page.handler(refuse)()[page.notice])
    assert cause in shown
    assert remedy in shown


def test_a_bug_is_logged_and_told_without_its_insides(page, caplog):
    def broken():
        raise ZeroDivisionError("secret detail")

    shown = str(page.handler(broken)()[page.notice])
    assert "secret detail" not in shown
    assert str(page.log_path) in shown
    assert "secret detail" in caplog.text


def test_a_stream_that_breaks_ends_with_a_message(page):
    def broken():
        yield {page.query: "first"}
        raise StudioError("run_missing", run="x", known=[])

    first, last = list(page.handler(broken)())
    assert first == {page.query: "first"}
    assert page.notice in last


def test_every_key_in_the_code_has_words(words):
    folder = Path(home.__file__).parents[1]
    literal = re.compile(r'text\(\s*"([a-z_.]+)"')
    keys = {k for path in folder.rglob("*.py") for k in literal.findall(path.read_text(encoding="utf-8"))}
    assert len(keys) > 150
    assert [k for k in sorted(keys) if not words.has(k)] == []
