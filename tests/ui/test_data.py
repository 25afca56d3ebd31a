"""What the data step says of a file with something wrong in it."""

from backend.api import CheckReport
from studio.errors import Reason
from ui.fragments import data
from ui.words import Words


def told(counts, *problems):
    reason = Reason("format_alpaca", {"columns": "instruction, output"})
    report = CheckReport("rows.jsonl", "alpaca", reason, 100, None, problems, counts, None)
    return str(data.problems(Words("en"), report))


def problem(code, row, skipped, **facts):
    return {"code": code, "row": row, "column": "output" if row else None, "skipped": skipped, "facts": facts}


def test_rows_are_counted_all_and_the_file_is_none():
    cut = problem("rows_truncated", None, False, count=7, max_length=64, longest=90)
    empty = [problem("answer_empty", row, True, place=1) for row in range(1, 51)]
    shown = told({"answer_empty": 500, "rows_truncated": 1}, cut, *empty)
    assert "500 rows need a look" in shown
    assert "500 rows are left out; the others are used." in shown
    assert "and 493 more" in shown
    assert "the whole file" in shown


def test_a_file_whose_rows_are_all_used_says_so():
    shown = told(
        {"rows_truncated": 1}, problem("rows_truncated", None, False, count=7, max_length=64, longest=90)
    )
    assert "The file needs a look" in shown
    assert "All rows are used." in shown
    assert "left out" not in shown
