"""The HTML of a report, without Spark: what it says, and that nothing in it comes from outside or runs."""

from __future__ import annotations

import datetime as dt
from html.parser import HTMLParser

import pytest
from small_shop import BOLD, SCRIPT, run_row

from vsspark.config import load_config
from vsspark.errors import Reason
from vsspark.report.contents import (
    CATEGORIES_SHOWN,
    Candidate,
    CategoryCoverage,
    Contents,
    Example,
    Product,
    QuarantinedImage,
    QuarantineReason,
    Recommendation,
    Totals,
    pick_distinct,
)
from vsspark.report.render import REASONS, render_report

CONFIG = load_config(None, ["recommend.k=20", "report.neighbours=6"])
CONFIG = CONFIG.model_copy(update={"encoder": CONFIG.encoder.model_copy(update={"name": SCRIPT})})
TOTALS = Totals(
    products=3, images=5, embedded=4, quarantined=1, usable_products=2, full_lists=2, recommendations=2, backfilled=1
)


def contents(**changes):
    tee = Product(BOLD, BOLD, "Tees", 19.9, "/photos/a.jpg")
    other = Product("p2", SCRIPT, SCRIPT, None, "/photos/b.jpg")
    given = {
        "totals": TOTALS,
        "categories": (CategoryCoverage(SCRIPT, 3, 2, 5, 2, 0.5, 0.8),),
        "quarantine": (QuarantineReason("missing", 1, (QuarantinedImage(SCRIPT, f"/photos/{SCRIPT}", SCRIPT),)),),
        "without_images": (SCRIPT,),
        "best": (Example(tee, (Recommendation(other, 1, 0.876, "backfill"),)),),
        "worst": (Example(other, (Recommendation(tee, 1, 0.123, "visual"),)),),
    }
    return Contents(**(given | changes))


def rendered(run=None, thumbnails=None, **changes):
    run = run_row() | {"model_version": SCRIPT, "message": SCRIPT} | (run or {})
    return render_report(
        contents(**changes),
        run,
        CONFIG,
        thumbnails or {"/photos/a.jpg": "data:image/jpeg;base64,AAAA"},
    )


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.seen, self.text = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)


def test_html_in_names_ids_and_details_stays_text():
    page = Tags(rendered())
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in page.seen}
    text = " ".join(page.text)
    assert BOLD in text
    # Model, message, category, reason's product and detail and file, product list, names, setting.
    assert text.count(SCRIPT) >= 8


def test_nothing_is_fetched_from_anywhere():
    page = Tags(rendered())
    sources = [
        attributes[name]
        for _, attributes in page.seen
        for name in ("src", "href", "srcset", "action", "background")
        if name in attributes
    ]
    assert sources
    assert all(source.startswith("data:") for source in sources)
    style = rendered().partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert ("meta", "default-src 'none'; img-src data:; style-src 'unsafe-inline'") in [
        (tag, a.get("content")) for tag, a in page.seen
    ]


def test_figures_and_marks_are_shown():
    html = rendered()
    assert "0.88" in html
    assert "19.90" in html
    assert 'class="tag other"' in html
    assert 'class="tag fill">backfill' in html
    assert "picture not readable now" in html  # b.jpg has no thumbnail
    assert "5</b><span>pictures = 4 used + 1 set aside" in html
    assert "add up" not in html


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("published", "passed the quality gate"),
        ("refused", "nothing was published"),
        ("rolled_back", "earlier run"),
        ("staged", "not published"),
    ],
)
def test_the_verdict_is_in_words(status, words):
    assert words in rendered({"status": status})


def test_missing_facts_leave_no_hole():
    html = rendered(
        {"seconds": {}, "counts": None, "metrics": None, "message": None},
        categories=(CategoryCoverage(None, 1, 0, 1, 0, None, None),),
        best=(),
        worst=(),
    )
    assert "no category" in html
    assert "No products to show." in html
    assert "Where the time went" not in html


def test_only_the_largest_categories_are_shown_and_it_says_so():
    row = CategoryCoverage("c", 1, 1, 1, 1, 0.0, 0.5)
    html = rendered(categories=(row,) * (CATEGORIES_SHOWN + 1))
    assert f"Only the {CATEGORIES_SHOWN} largest categories are shown." in html
    assert html.count("<td>c</td>") == CATEGORIES_SHOWN


def test_almost_all_is_not_shown_as_all():
    nearly = Totals(
        products=100_000,
        images=9,
        embedded=9,
        quarantined=0,
        usable_products=100_000,
        full_lists=99_999,
        recommendations=10,
        backfilled=0,
    )
    assert "<b>99.9 %</b>" in rendered(totals=nearly)
    assert "99,999 of them have a full list" in rendered(totals=nearly)


def test_every_reason_has_words():
    assert set(REASONS) == set(Reason)


def test_the_time_is_that_of_the_whole_run():
    assert "1 min 23 s" in rendered()
    assert "59.0 s" in rendered({"finished_at": None})
    start = dt.datetime(2026, 1, 1)
    assert "2 h 05 min" in rendered({"started_at": start, "finished_at": start + dt.timedelta(hours=2, minutes=5)})


def test_twins_take_one_row_while_others_are_left():
    a, b, c = Candidate("a", "b", 0.99, "x"), Candidate("b", "a", 0.99, "x"), Candidate("c", "d", 0.5, "x")
    assert pick_distinct([a, b, c], 2) == [a, c]
    assert pick_distinct([a, b, c], 3) == [a, b, c]
    assert pick_distinct([a, b, c], 3, frozenset({"a"})) == [b, c]


def test_rules_and_the_lists_that_they_leave_short_are_said():
    rules = ["recommend.match=[gender]", "recommend.price={between_times: [0.5, 2]}"]
    run = run_row() | {"counts": {"short_lists": 1234}}
    page = render_report(contents(), run, load_config(None, rules), {})
    assert "leave 1,234 lists shorter" in page
    assert "match: gender; price: between_times 0.5, 2.0" in page
    plain = render_report(contents(), run_row(), CONFIG, {})
    assert "shorter than that" not in plain
    assert "between_times" not in plain
