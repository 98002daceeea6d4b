"""The page: what it holds, that it needs nothing from elsewhere, and, where there is a browser, that it works in it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from analysis.load import load
from analysis.names import ACTION_WORDS
from analysis.report.__main__ import check_report, write_report
from analysis.report.html import compared, headlines
from benchmarks.film import main as film
from benchmarks.planning.trials import LABEL_ENDS
from benchmarks.records.films import Film
from tests.analysis.synthetic import Folder, comparison, make_record

HEAD = ",".join(Film.model_fields) + "\n"
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
  const wide = document.querySelector("#main + .wide"), table = wide.querySelector("table"), COLUMN = 4;
  const button = table.tHead.rows[0].cells[COLUMN].querySelector("button");
  said.before = column(table);
  button.click();
  said.up = column(table);
  button.click();
  said.down = column(table);
  said.more = wide.hasAttribute("data-more");
  said.scrolls = wide.scrollWidth > wide.clientWidth + 1;
  for (const details of document.querySelectorAll("details")) details.open = true;
  const panels = [...document.querySelector(".panels").children].map((panel) => panel.getBoundingClientRect());
  said.stacked = panels.every((panel, i) => !i || panel.top >= panels[i - 1].bottom);
  said.legible = Math.min(...panels.map((panel) => panel.width));
  const edge = document.documentElement.clientWidth + 1;
  const inside = (element) => element.closest(".wide") || element.tagName === "PRE";
  said.cut = [...document.body.querySelectorAll("*")]
    .filter((element) => element.getBoundingClientRect().right > edge && !inside(element))
    .map((element) => element.outerHTML.slice(0, 80));
  said.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  said.width = innerWidth;
  const sentences = `<td class="words">${"the interval includes both outcomes ".repeat(6)}</td>`.repeat(6);
  document.body.insertAdjacentHTML("beforeend", `<div class="wide"><table><tr>${sentences}</tr></table></div>`);
  said.tallest = document.body.lastElementChild.getBoundingClientRect().height;
  parent.postMessage(JSON.stringify(said), "*");
});
</script>"""

FRAME = """<!doctype html><title></title>
<script>addEventListener("message", (event) => document.title = event.data);</script>
<iframe src="page.html" style="width: WIDTHpx; height: 900px; border: 0"></iframe>"""


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
    assert len(images) >= 20 and {*page.sources} - {*images} == {"#figures", "#tables", "#failed", "#provenance"}
    assert not {"link", "iframe", "object", "form"} & set(page.tags) and not page.open
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", content)
    assert "default-src 'none'" in content and 'name="viewport"' in content
    assert "ValueError: 50 % of a_b & <c>\nsecond line" in words  # the whole message of the failed trial
    assert "torch 2.13.0" in words and "1234abc" in words and "bc on PegInsertion-v0: 000000000000" in words
    assert (
        "started 3 times, 1 resumed from a checkpoint, 1 from the beginning (it forgets)" in words
        and "none (18 records)" in words
    )


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
    assert "1 trial, 0 of which failed; 1 planned trial has no record yet." in words
    assert words.index("Figure 1b") < words.index("Figure 2e")


def test_folded_figures_are_the_files_beside_the_page(tmp_path: Path) -> None:
    """Of several experiments; each of them shows its first figure within the page."""
    folder = Folder()
    for experiment in ("fig1b", "odd name?"):
        for seed in range(2):
            folder.add("bc", make_record("bc", seed=seed, points=3), experiment)
    directory = folder.write(tmp_path)
    write_report(directory)
    page = Page((directory / "report.html").read_text())
    files = [source for source in page.sources if source.startswith("figures/")]
    assert len(files) >= 4 and all((directory / unquote(source)).is_file() for source in files)
    assert any("odd" in source for source in files) and len(set(files)) == len(files)
    whole = {path.stem for path in (directory / "figures").glob("*.png")}
    assert len(whole) - len(files) == 2 and any(source.startswith("data:image/png") for source in page.sources)


def test_claims_and_films_are_on_the_page_where_there_are_any(tmp_path: Path) -> None:
    folder = comparison(tasks=("ClipInsertion-v0",), seeds=2, points=0)
    folder.add("GPRIL, states only", make_record("gpril", "ClipInsertion-v0"), "fig1d", variant="gpril/states")
    directory = folder.write(tmp_path)
    made = folder.records[-1]
    trial, code = made.trial.id, made.provenance.code_digest
    (directory / "videos").mkdir()
    (directory / "videos/films.csv").write_text(
        f"{HEAD}"
        f"there.webp,ClipInsertion-v0,gpril,10,best,5,3,0.9,{trial},{code},sampled,20,False,timeout,50.0,5\n"
        f"gone.webp,ClipInsertion-v0,gpril,10,median,5,1,0.8,{trial},{code},sampled,20,True,success,4.5,1\n"
        f"unplanned.webp,ClipInsertion-v0,gpril,10,median,5,1,0.8,{16 * '0'},{code},sampled,20,True,success,4.5,1\n"
        f"older.webp,ClipInsertion-v0,gpril,10,median,5,1,0.8,{trial},c,sampled,20,True,success,4.5,1\n"
    )
    for name in ("there", "unplanned", "older", "unlisted"):
        Image.new("RGB", (8, 6)).save(directory / f"videos/{name}.webp")
    write_report(directory)
    page = Page((directory / "report.html").read_text())
    words = " ".join(page.words)
    assert "#claims" in page.sources and "#films" in page.sources and "no records yet" in words
    assert [source for source in page.sources if source.endswith(".webp")] == ["videos/there.webp"]
    assert (
        "best of 5 seeds (90 %), 10 demonstrations, seed 3: ends (timeout) after 50 s, played at 5 times real speed"
        in words
    )
    gone = [directory / f"videos/{name}.webp" for name in ("older", "unlisted", "unplanned")]
    assert check_report(directory) == [
        f"{path} shows no trial of the records: python -m benchmarks.film {directory} --prune" for path in gone
    ]
    done = CliRunner().invoke(film, [str(directory), "--prune"])
    assert done.exit_code == 0 and done.stdout.splitlines() == [f"{path}: removed" for path in gone]
    assert check_report(directory) == []
    assert [one.name for one in (directory / "videos").glob("*.webp")] == ["there.webp"]


def test_a_damaged_list_of_films_is_named_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = comparison(tasks=("ClipInsertion-v0",), seeds=1, points=0).write(tmp_path)
    (directory / "videos").mkdir()
    for content in ("file,task\n", "", f"{HEAD}there.webp,a,b,-1,best,5,3,0.9,0,0,sampled,1,False,end,50.0,5\n"):
        (directory / "videos/films.csv").write_text(content)
        write_report(directory)
        assert "is not a list of films" in capsys.readouterr().err
        assert "#films" not in (directory / "report.html").read_text()


def test_the_page_opens_with_what_was_compared_and_who_won(reported: Path) -> None:
    words = " ".join(" ".join(Page((reported / "report.html").read_text()).words).split())
    first = words.index(
        "GPRIL, GAIL and BC on Clip insertion and Peg insertion, from 10 demonstrations, with 3 to 4 seeds"
    )
    assert "1 of which failed; 1 planned trial has no record yet." in words
    won = re.search(r"Clip insertion \(experiment comparison\): (GPRIL|no clear winner)", words)
    assert won and first < won.start() < words.index("Figures") < words.index("Success of the methods")


@pytest.mark.parametrize(
    ("tasks", "title"),
    [
        (("ClipInsertion-v0", "PegInsertion-v0"), "insertion tasks"),
        (("/a/pin.py:Pin-v0",), "Pin-v0"),
        (("PegInsertion-v0", "/a/pin.py:Pin-v0"), "Peg insertion and Pin-v0"),
        (("A-v0", "B-v0", "C-v0", "D-v0"), "4 tasks"),
    ],
)
def test_the_title_says_what_the_tasks_are(tasks: tuple[str, ...], title: str, tmp_path: Path) -> None:
    folder = Folder(profile="mine")
    for task in tasks:
        folder.add("BC", make_record("bc", task))
    write_report(folder.write(tmp_path))
    assert f"<h1>Imitation learning on {title}: profile mine</h1>" in (tmp_path / "report.html").read_text()


def test_what_methods_saw_is_said_once(tmp_path: Path) -> None:
    assert {end for end in LABEL_ENDS.values() if end} == set(ACTION_WORDS)
    folder = Folder()
    for place, label in enumerate(
        ("BC", "GPRIL", "BC, inferred actions", "Mine, inferred actions", "GAIL, states only")
    ):
        folder.add(label, make_record(f"m{place}"))
    results = load(folder.write(tmp_path / "several"))
    assert compared(results).startswith(
        "GPRIL and BC; BC and Mine with inferred actions; GAIL from states only on Peg insertion, from 10 demo"
    )
    changed = Folder()
    changed.add("Mine (l2=1)", make_record("/a/mine.py:Mine"), variant="mine (l2=1)", base="mine")
    assert compared(load(changed.write(tmp_path / "changed"))).startswith("Mine and 1 variant of them on Peg")


def winner(*bounds: float, mode: str = "sampled") -> pd.DataFrame:
    names = ("experiment", "task", "mode", "best", "best_success", "next", "next_success")
    row = dict(zip(names, ("fig1b", "ClipInsertion-v0", mode, "GPRIL", 0.8, "BC", 0.5), strict=True))
    return pd.DataFrame([row | dict(zip(("difference", "difference_low", "difference_high"), bounds, strict=True))])


def test_headlines() -> None:
    (clear,) = headlines(winner(0.3, 0.2, 0.4))
    assert clear == (
        "Clip insertion (figure 1b): GPRIL succeeds most often: 80 %, against 50 % for BC (+30 points [+20, +40])."
    )
    (close,) = headlines(winner(0.3, -0.2, 0.8, mode="mean"))
    assert "no clear winner with deterministic actions: GPRIL 80 %, BC 50 % (+30 points [-20, +80])" in close
    (one,) = headlines(winner(0.3, float("nan"), float("nan")))
    assert "no clear winner" in one and "a single seed decides nothing" in one


@pytest.mark.skipif(not BROWSER, reason="no browser is installed: apt-get install chromium")
@pytest.mark.parametrize("width", [1400, 390])
def test_it_works_in_a_browser(reported: Path, tmp_path: Path, width: int) -> None:
    """No error, no blank picture, nothing cut at the screen's edge; panels stack, tables scroll, say so and sort.

    The page is shown in a frame, since Chromium makes no windows narrower than 500 pixels.
    """
    page = (reported / "report.html").read_text().replace("<title>", f"{WATCH}<title>", 1)
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{TRY}</body>"))
    (tmp_path / "frame.html").write_text(FRAME.replace("WIDTH", str(width)))
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    flags += ["--window-size=1500,900", "--allow-file-access-from-files", "--virtual-time-budget=20000"]
    command = [BROWSER or "", *flags, (tmp_path / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    title = re.search(r"<title>(\{.*?\})</title>", done.stdout, re.S)
    assert title, done.stderr[-2000:]
    said = json.loads(unescape(title[1]))
    assert said["width"] == width
    assert (said["problems"], said["ready"], said["blank"], said["wide"], said["cut"]) == ([], "yes", 0, 0, [])
    assert said["stacked"] == (width == 390) and said["legible"] > 300
    assert said["tallest"] < 300
    assert said["more"] == said["scrolls"] and said["scrolls"] == (width == 390)
    numbers = [float(cell.split()[0]) for cell in said["before"]]
    assert sorted(numbers) != numbers
    assert [float(cell.split()[0]) for cell in said["up"]] == sorted(numbers)
    assert [float(cell.split()[0]) for cell in said["down"]] == sorted(numbers, reverse=True)
