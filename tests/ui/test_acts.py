import pytest

from studio.errors import StudioError
from ui import acts
from ui.wizard import Wizard, to_query

READY = Wizard(step=3, goal="style", model="starter", dataset="pirate")


def test_from_the_goal_to_a_started_run(facade):
    wizard = Wizard()
    for sent in (
        {"act": "goal", "goal": "style"},
        {"act": "model", "name": "starter"},
        {"act": "step", "step": "2"},
        {"act": "dataset", "name": "pirate"},
        {"act": "step", "step": "3"},
        {"act": "set", "key": "lr", "value": "0.001"},
        {"act": "start"},
    ):
        wizard = acts.apply(facade, wizard, sent)
    assert wizard.name == "watch"
    assert facade.run(wizard.run).plan["settings"]["lr"] == 0.001


def test_a_plan_that_is_refused_leaves_the_wizard_where_it_was(facade):
    wrong = acts.apply(facade, READY, {"act": "set", "key": "batch", "value": "0"})
    before = [r.run for r in facade.runs()]
    with pytest.raises(StudioError, match="plan_invalid"):
        acts.apply(facade, wrong, {"act": "start"})
    assert [r.run for r in facade.runs()] == before


def test_five_typed_rows_are_enough_and_empty_ones_are_left_out(facade):
    rows = [{"prompt": f"q{i}", "answer": f"a{i}"} for i in range(5)] + [{"prompt": "", "answer": " "}]
    wizard = acts.apply(facade, READY, {"act": "rows-save", "rows": rows})
    assert facade.check(wizard.dataset).rows == 5
    assert [r["prompt"] for r in wizard.typed] == ["q0", "q1", "q2", "q3", "q4"]


def test_a_row_without_an_answer_is_named_and_not_dropped(facade):
    rows = [{"prompt": "q", "answer": "a"}, {"prompt": "", "answer": ""}, {"prompt": "half", "answer": " "}]
    with pytest.raises(StudioError) as caught:
        acts.apply(facade, READY, {"act": "rows-save", "rows": rows})
    assert caught.value.as_dict() == {"code": "row_incomplete", "facts": {"row": 3, "column": "answer"}}


def test_a_refresh_fills_the_table_from_the_rows_that_were_kept(facade):
    rows = [{"prompt": f"q{i}", "answer": f"a{i}"} for i in range(3)]
    wizard = acts.apply(facade, READY, {"act": "rows-save", "rows": rows})
    assert acts.reopen(facade, to_query(wizard)).typed == tuple(rows)
    assert acts.reopen(facade, to_query(READY)).typed == ()


def test_half_typed_rows_outlive_a_look_at_the_samples(facade):
    rows = [{"prompt": "half", "answer": ""}, {"prompt": "", "answer": ""}]
    wizard = acts.apply(facade, READY, {"act": "source", "source": "samples", "rows": rows})
    assert wizard.typed == ({"prompt": "half", "answer": ""},)
    assert wizard.dataset == "pirate"


def test_an_unknown_model_is_refused_and_the_chosen_one_stays(facade):
    with pytest.raises(StudioError, match="model_missing"):
        acts.apply(facade, READY, {"act": "model-own", "value": "/no/such"})
    with pytest.raises(StudioError, match="model_name_empty"):
        acts.apply(facade, READY, {"act": "model-own", "value": "  "})


def test_an_own_model_gets_its_full_name(facade):
    got = acts.apply(facade, READY, {"act": "model-own", "value": "someone/some-model"})
    assert got.model == "hub:someone/some-model"


def test_stop_and_resume_reach_the_run(facade):
    run = facade.start("starter", "pirate")
    wizard = Wizard(step=4, goal="style", model="starter", dataset="pirate", run=run)
    assert acts.apply(facade, wizard, {"act": "stop", "run": run}) == wizard
    assert facade.run(run).summary.state == "stopped"
    acts.apply(facade, wizard, {"act": "resume", "run": run})
    assert facade.run(run).summary.state == "running"


def test_deleting_the_wizards_run_goes_back_to_its_settings(facade):
    wizard = Wizard(step=4, goal="style", model="starter", dataset="pirate", run="pirate-2")
    after = acts.apply(facade, wizard, {"act": "delete", "run": "pirate-2", "knowing": ""})
    assert (after.name, after.run, after.model) == ("how", None, "starter")


def test_an_upload_becomes_the_dataset_and_leaves_no_copy_behind(facade):
    sent = facade.home / acts.UPLOADS / "abc" / "rows.jsonl"
    sent.parent.mkdir(parents=True)
    sent.write_text("{}")
    wizard = acts.apply(facade, READY, {"act": "upload", "path": str(sent), "name": "rows.jsonl"})
    assert wizard.dataset.endswith("rows.jsonl")
    assert wizard.source == "file"
    assert not sent.exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "uploads/../token"])
def test_only_what_was_uploaded_can_be_read_as_an_upload(facade, path):
    (facade.home / "token").write_text("secret")
    with pytest.raises(StudioError, match="upload_failed"):
        acts.apply(facade, READY, {"act": "upload", "path": str(facade.home / path), "name": "x"})
    assert (facade.home / "token").exists()
