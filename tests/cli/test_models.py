"""`models` by command, over the facade in memory."""

from tests.fake_library import HOLDINGS


def test_the_list_is_the_library(command):
    document = command("models", "--json").document
    assert [item["name"] for item in document["holdings"]] == [item.name for item in HOLDINGS]
    assert document["disk"]["hub_bytes"] == 272 * 2**20
    text = command("models", "list").out
    assert "272 MB  hub:HuggingFaceTB/SmolLM2-135M-Instruct  used by pirate-1, merge-1" in text
    assert "The studio takes 400 MB" in text


def test_deleting_what_others_need_wants_to_be_meant(command, facade):
    name = HOLDINGS[1].name
    refused = command("models", "delete", name, "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "library_has_dependents")
    assert refused.document["error"]["facts"]["runs"] == ["pirate-1", "merge-1"]
    assert command("models", "delete", name, "--anyway", "--json").document["frees_bytes"] == 272 * 2**20
    assert command("models", "delete", "pirate-1@200", "--anyway").code == 0
    assert command("models", "delete", name).code == 1
    assert [item.name for item in facade.holdings if item.name in (name, "run:pirate-1@200")] == []


def test_search_download_register_quota(command, facade):
    found = command("models", "search", "smollm2", "--json").document
    assert found
    assert all("SmolLM2" in model["title"] for model in found)
    assert command("models", "search", "zebra").out.strip() == 'Nothing in the catalogue fits "zebra"'
    assert command("models", "download", "hub:ada/real", "--json").document["run"] == "pirate-1"
    assert facade.asked == ["hub:ada/real"]
    assert command("models", "register", "/models/x", "--json").document == {"name": "path:/models/x"}
    assert "more than" not in command("models", "quota", "1").out
    assert facade.quota == 2**30
    assert command("models", "quota", "0", "--json").document["disk"]["quota_bytes"] is None


def test_a_wrong_word_is_bad_usage(command):
    ran = command("models", "lst")
    assert (ran.code, "models list" in ran.err) == (2, True)
