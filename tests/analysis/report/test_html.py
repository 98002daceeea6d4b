"""The page: what it holds, that it needs nothing from elsewhere, and, where there is a browser, that it works in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from analysis.load import ResultsError
from analysis.report.__main__ import write_report
from analysis.report.films import films
from tests.analysis.synthetic import Folder, comparison, make_record

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

WATCH = """<script>
const problems = [];
addEventListener("error", (event) => problems.push(event.message));
addEventListener("securitypolicyviolation", (event) => problems.push(event.blockedURI));
</script>"""
TRY = """<script>
addEventListener("load", () => {
  const said = {problems, ready: document.documentElement.dataset.ready};
  said.blank = [...document.images].filter((image) => !image.naturalWidth).length;
  const column = (table) => [...table.tBodies[0].rows].map((row) => row.cells[COLUMN].textContent);
  const table = document.querySelector("#main + .wide table"), COLUMN = 4;
  const button = table.tHead.rows[0].cells[COLUMN].querySelector("button");
  said.before = column(table);
  button.click();
  said.up = column(table);
  button.click();
  said.down = column(table);
  const plot = document.querySelector("details .plot"), box = plot.querySelector("img").getBoundingClientRect();
  const place = JSON.parse(plot.querySelector("script").textContent)[2];
  const at = {clientX: box.left + place.x * box.width, clientY: box.top + place.y * box.height};
  plot.dispatchEvent(new PointerEvent("pointermove", at));
  said.tip = plot.querySelector(".tip").textContent;
  said.marks = plot.querySelectorAll(".mark").length;
  said.wanted = `${place.label} ${place.text}`;
  plot.dispatchEvent(new PointerEvent("pointerleave"));
  said.left = plot.querySelectorAll(".tip, .mark").length;
  said.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.title = JSON.stringify(said);
});
</script>"""


class Page(HTMLParser):
    """Collects what a page loads and shows, and whether its tags are closed."""

    VOID = {"meta", "img", "br", "link", "hr", "input"}

    def __init__(self, content: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_page_is_self_contained_and_escaped(reported: Path) -> None:
    content = (reported / "report.html").read_text()
    page = Page(content)
    words = " ".join(page.words)
    images = [source for source in page.sources if source.startswith("data:image/png;base64,")]
    assert len(images) == 5 and {*page.sources} - {*images} == {"#figures", "#tables", "#failed", "#provenance"}
    assert not {"link", "iframe", "object", "form"} & set(page.tags) and not page.open
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", content)
    assert "default-src 'none'" in content and 'name="viewport"' in content
    assert "ValueError: 50 % of a_b & <c>\nsecond line" in words  # the whole message of the failed trial
    assert "torch 2.13.0" in words and "1234abc" in words and "bc on PegInsertion-v0: 000000000000" in words
    assert "started 3 times, 1 from a snapshot, 1 anew (it forgets)" in words and "none (18 records)" in words


def test_a_trial_of_two_experiments_counts_once_and_experiments_are_in_order(tmp_path: Path) -> None:
    folder = Folder()
    shared = make_record("bc")
    folder.add("bc", shared, "fig2e")
    folder.add("bc", shared, "fig1b")
    folder.add("bc", make_record("bc", seed=1), "fig1b", missing=True)
    folder.add("bc", make_record("bc", seed=1), "fig2e", missing=True)
    directory = folder.write(tmp_path)
    write_report(directory)
    words = " ".join(Page((directory / "report.html").read_text()).words)
    assert "1 trials with a record, 0 did not end well, 1 missing." in words
    assert words.index("fig1b") < words.index("fig2e")


def test_claims_and_films_are_on_the_page_where_there_are_any(tmp_path: Path) -> None:
    folder = comparison(tasks=("ClipInsertion-v0",), seeds=2, points=0)
    folder.add("gpril, states alone", make_record("gpril", "ClipInsertion-v0"), "fig1d")
    directory = folder.write(tmp_path)
    (directory / "videos").mkdir()
    (directory / "videos/films.csv").write_text(
        "file,task,label,demonstrations,policy,seeds,seed,share,trial,success,end,seconds,speed\n"
        "there.webp,ClipInsertion-v0,gpril,10,best,5,3,0.9,0123456789012345,False,timeout,50.0,5\n"
        "gone.webp,ClipInsertion-v0,gpril,10,median,5,1,0.8,0000000000000000,True,success,4.5,1\n"
    )
    Image.new("RGB", (8, 6)).save(directory / "videos/there.webp")
    write_report(directory)
    page = Page((directory / "report.html").read_text())
    words = " ".join(page.words)
    assert "#claims" in page.sources and "#films" in page.sources and "no records yet" in words
    assert sum(source.startswith("data:image/webp;base64,") for source in page.sources) == 1
    assert (
        "best of 5 seeds (90 %), 10 demonstrations, seed 3: ends (timeout) after 50 s, shown 5 times as fast" in words
    )


def test_a_damaged_list_of_films_is_named(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    for content in ("file,task\n", ""):
        (tmp_path / "videos/films.csv").write_text(content)
        with pytest.raises(ResultsError, match="is no list of films"):
            films(tmp_path)


@pytest.mark.skipif(not BROWSER, reason="no browser is installed")
@pytest.mark.parametrize("width", [1200, 500])  # Chromium makes no narrower windows
def test_it_works_in_a_browser(reported: Path, tmp_path: Path, width: int) -> None:
    """No error, no blank picture, nothing beyond the screen's edge; tables are sorted, and values shown and hidden."""
    page = (reported / "report.html").read_text().replace("<title>", f"{WATCH}<title>", 1)
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{TRY}</body>"))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    command = [BROWSER or "", *flags, f"--window-size={width},900", (tmp_path / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout, re.S)
    assert title, done.stderr[-2000:]
    said = json.loads(title[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert (said["problems"], said["ready"], said["blank"], said["wide"]) == ([], "yes", 0, 0)
    numbers = [float(cell.split()[0]) for cell in said["before"]]
    assert sorted(numbers) != numbers
    assert [float(cell.split()[0]) for cell in said["up"]] == sorted(numbers)
    assert [float(cell.split()[0]) for cell in said["down"]] == sorted(numbers, reverse=True)
    assert said["wanted"] in said["tip"] and said["marks"] >= 2 and said["left"] == 0
