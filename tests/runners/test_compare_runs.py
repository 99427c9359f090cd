"""Two experiments side by side: text, page, missing and damaged parts, and the page in a real browser."""

import html.parser
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command import run_command
from example_run import PREDICTED, write_checkpoint, write_run
from PIL import Image

from runners import compare_runs
from runners.compare.arrays import PICTURES
from runners.compare.report import COLOUR_A, COLOUR_B, Picture, Table, as_html, as_text

ROOT = Path(__file__).resolve().parents[2]
FLAGS = {
    "task": "spring_color",
    "model": "PhysicsNet",
    "epochs": "20",
    "batch_size": "100",
    "save_dir": "<script>alert(1)</script>",
    "base_lr": "6e-4",
    "color": "true",
}
WEIGHTS = {
    "base_lr": np.float32(6e-4),
    "net/encoder/conv2d/kernel": np.ones((3, 3, 3, 8), np.float32),
    "net/encoder/conv2d_2/kernel": np.ones((3, 3, 8, 8), np.float32),
    "net/encoder/conv2d_10/kernel": np.ones((3, 3, 8, 8), np.float32),
    "net/encoder/conv2d/kernel/RMSProp": np.ones((3, 3, 3, 8), np.float32),
    "net/encoder/conv2d/kernel/RMSProp_1": np.zeros((3, 3, 3, 8), np.float32),
    "net/spring_ode_cell/log_k": np.float32(1.386),
}
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The original's run, and a faster one of this port with other flags and another order of sequences."""
    folder = tmp_path_factory.mktemp("runs")
    first = write_run(folder / "original", FLAGS, doubled=True)
    changed = {"save_dir": "b", "base_lr": "0.0006", "batch_size": "50", "optimizer": "adam"}
    second = write_run(folder / "ours", {**FLAGS, **changed}, 6.0, 4.3, 0.2, [5, 4, 2, 0, 1], numpy2=True)
    write_checkpoint(first, WEIGHTS, tf1=True)
    others = {**WEIGHTS, "net/spring_ode_cell/log_k": np.float32(1.459)}
    others["net/encoder/conv2d_10/kernel"] = 1.5 * WEIGHTS["net/encoder/conv2d_10/kernel"]
    others["net/encoder/conv2d_2/kernel"] = np.ones((1, 1), np.float32)
    del others["net/encoder/conv2d/kernel/RMSProp_1"]
    write_checkpoint(second, others, tf1=False)
    return first, second


@pytest.fixture(scope="module")
def report(folders):
    return compare_runs.compare_runs(*folders)


@pytest.fixture(scope="module")
def text(report):
    return as_text(report)


@pytest.fixture(scope="module")
def page(report):
    return as_html(report)


def rows_of(report, section: str, header: str) -> "dict[str, list[str]]":
    """Rows, by their first cell, of the table whose first column is called `header`."""
    blocks = next(s.blocks for s in report.sections if s.title == section)
    table = next(b for b in blocks if isinstance(b, Table) and b.header[0] == header)
    return {row[0]: row[1:] for row in table.rows}


def test_flags(report, text):
    assert rows_of(report, "Flags", "flag") == {
        "batch_size": ["100", "50"],
        "optimizer": ["rmsprop (default)", "adam"],
        "save_dir": ["<script>alert(1)</script>", "b"],
    }
    assert "A's log: 2 command(s), 100 train line(s), 0 of them not finite, 11 validation(s), 2 test(s)." in text


def test_losses(report):
    last = rows_of(report, "Losses", "evaluation")
    pred = 3.0 + 700.0 * np.exp(-8)
    a, b, apart, ratio = map(float, last["test file, eval_pred_loss"])
    assert (a, b) == (pytest.approx(pred, rel=1e-5), pytest.approx(pred * 4.3 / 4, rel=1e-5))
    assert (apart, ratio) == (pytest.approx(pred * 0.3 / 4, rel=1e-3), pytest.approx(4.3 / 4))
    assert len(last) == 9
    epochs = rows_of(report, "Losses", "epoch")
    assert list(epochs) == ["0", "2", "4", "6", "8", "12", "14", "16", "18", "20"]
    assert epochs["0"][2:4] == ["703", "755.725"]  # eval_pred_loss
    assert epochs["20"][6:8] == ["4", "4.3"]  # k
    assert float(epochs["12"][6]) == pytest.approx(4**0.6, rel=1e-5)


def test_curves(report):
    """The plots show every line of the logs, not only the epochs in the table."""
    blocks = next(s.blocks for s in report.sections if s.title == "Losses")
    (panels,) = next(b for b in blocks if isinstance(b, Picture)).render.args
    curves = {panel.title: panel.curves for panel in panels}
    assert list(map(len, curves["train_loss"].values())) == [100, 100]
    assert curves["train_loss"]["A"][0] == (0, 2803.0)
    assert [len(curves["eval_pred_loss"][letter]) for letter in "AB"] == [11, 11]
    assert curves["k = exp(log_k)"]["B"][-1] == (20, pytest.approx(4.3))


def test_parameters(report):
    rows = rows_of(report, "Parameters", "parameter")
    assert [float(cell) for cell in rows["k = exp(log_k)"][:4]] == pytest.approx([4.0, 4.3, 0.3, 1.075])
    assert rows["l = exp(log_l)"][:2] == ["6", "6"]


def test_speed(report):
    rows = rows_of(report, "Speed", "speed")
    a, b, apart, ratio = map(float, rows["training steps per second"])
    assert (a, b) == (pytest.approx(1.5, rel=1e-3), pytest.approx(6.0, rel=1e-3))
    assert (apart, ratio) == (pytest.approx(4.5, rel=1e-3), pytest.approx(4.0, rel=1e-3))


def test_checkpoints(report, text):
    rows = rows_of(report, "Checkpoints", "name")
    assert list(rows) == ["net/encoder/conv2d_2/kernel", "net/encoder/conv2d_10/kernel", "net/spring_ode_cell/log_k"]
    assert rows["net/encoder/conv2d_2/kernel"] == ["[3, 3, 8, 8]", "[1, 1]", "–", "–"]
    assert rows["net/encoder/conv2d_10/kernel"] == ["[3, 3, 8, 8]", "[3, 3, 8, 8]", "0.5", "0.5"]
    assert float(rows["net/spring_ode_cell/log_k"][2]) == pytest.approx(0.073, rel=1e-3)
    assert "A: model.ckpt, the original's format, 7 arrays" in text
    assert "B: model.ckpt-1000, this port's format, epoch 20, iteration 1000, 6 arrays" in text
    assert "2 of 5 variables equal bit for bit" in text
    assert "1 of 2 optimizer slots equal bit for bit, 1 missing in one or of another shape" in text


def test_objects(text):
    assert "2 of 3 learned arrays equal bit for bit, largest difference" in text


def test_outputs(report, folders, text):
    assert "\nOutputs      5 sequences in common; " in text
    assert "A: 6 sequences of 12 frames [16, 16, 3], the last 8 predicted; 1 not in the other run" in text
    assert "B: 5 sequences of 12 frames [16, 16, 3], the last 8 predicted; 0 not in the other run" in text
    rows = rows_of(report, "Outputs", "frame")
    assert list(rows) == ["4", "5", "6", "7", "8", "9", "10", "11", "mean"]
    a, b = (np.load(folder / "outputs.npz") for folder in folders)
    guess_a, guess_b = a["output"][[5, 4, 2, 0, 1]].astype(float), b["output"].astype(float)
    truth = b["input"][:, -PREDICTED:]
    expected = [
        ((x - y) ** 2).sum((2, 3, 4)).mean(0) for x, y in ((guess_a, truth), (guess_b, truth), (guess_a, guess_b))
    ]
    found = np.array([[float(cell) for cell in rows[str(frame)]] for frame in range(4, 12)]).T
    np.testing.assert_allclose(found[:3], expected, rtol=1e-4)
    np.testing.assert_allclose(found[3], abs(guess_a - guess_b).max((0, 2, 3, 4)), rtol=1e-4)


def test_same_folder_has_no_differences(folders):
    text = as_text(compare_runs.compare_runs(folders[0], folders[0]))
    assert "All flags are equal." in text
    assert "5 of 5 variables equal bit for bit; 2 of 2 optimizer slots equal bit for bit" in text
    assert "largest |A - B| of a pixel 0\n" in text
    assert "B / A = 1\n" in text


def test_page_says_what_the_text_says(report, page, text):
    page = html.unescape(re.sub(r"data:[^\"]*", "", page))
    for section in report.sections:
        assert section.summary in page
        for block in section.blocks:
            if isinstance(block, Table):
                for cell in [*block.header, *(cell for row in block.rows for cell in row)]:
                    assert f">{cell}<" in page
                    assert cell in text
            elif not isinstance(block, Picture):
                assert block.text in page
                assert block.text in text


class Tags(html.parser.HTMLParser):
    """Collects attributes and scripts, and checks that every element is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.tags = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_one_file_without_script(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert not {"script", "link", "iframe", "object"} & set(tags.tags)
    assert all(link.startswith(("data:image/", "#s")) for link in tags.links)
    # 2 plots, 4 sequences, 2 × (contents, templates, background), 2 × 6 pictures from the folders
    assert tags.tags.count("img") == 2 + 4 + 6 + 12
    assert "url(" not in page.split("<body>")[0]


@pytest.mark.parametrize("keep", ["log.txt", "outputs.npz", "extra_outputs.npz", "example3.jpg", "checkpoint"])
def test_missing_parts_are_said(folders, tmp_path, keep):
    for file in folders[1].iterdir():
        if file.name == keep or keep == "checkpoint" and file.name.startswith("model.ckpt"):
            shutil.copy(file, tmp_path)
    reports = [compare_runs.compare_runs(folders[0], tmp_path), compare_runs.compare_runs(tmp_path, folders[0])]
    for letter, text in zip("BA", map(as_text, reports)):
        for part in ("log.txt", "checkpoint", "outputs.npz", "extra_outputs.npz"):
            assert (f"{letter} has no {part}." in text) == (part != keep)
        for name in PICTURES:
            assert (f"{letter} has no {name}." in text) == (name != keep)
    if keep == "example3.jpg":
        as_html(reports[0])


def test_damaged_parts_are_said(folders, tmp_path):
    run = tmp_path / "damaged"
    shutil.copytree(folders[1], run)
    for file in run.iterdir():
        file.write_bytes(file.read_bytes()[:64].replace(b"2026", b"????"))
    text = as_text(compare_runs.compare_runs(folders[0], run))
    for part in ("log.txt", "model.ckpt-1000", "outputs.npz", "extra_outputs.npz", "example0.jpg"):
        assert f"B: {run}/{part}: " in text
    assert "Pictures     8 of 14 are missing or damaged" in text


def test_run_that_was_only_tested(folders, tmp_path):
    """As `--test_mode` leaves it."""
    lines = (folders[1] / "log.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "log.txt").write_text("".join(lines[: len(FLAGS) + 2] + lines[-2:]), encoding="utf-8")
    report = compare_runs.compare_runs(folders[0], tmp_path)
    text = as_text(report)
    assert "B's log: 1 command(s), 0 train line(s), 0 of them not finite, 0 validation(s), 1 test(s)." in text
    assert "Speed        steps per second: A 1.49993, B –, B / A = –" in text
    assert rows_of(report, "Parameters", "parameter")["k = exp(log_k)"][:2] == ["4", "4.3"]


def test_losses_that_are_not_finite(folders, tmp_path):
    log = (folders[1] / "log.txt").read_text(encoding="utf-8")
    log = re.sub(r"(iter=\d{3} train_loss=).*", r"\1nan", log)
    (tmp_path / "log.txt").write_text(re.sub(r"(pred_loss=)\S*", r"\1inf", log), encoding="utf-8")
    report = compare_runs.compare_runs(tmp_path, folders[0])
    text = as_text(report)
    assert "A's log: 2 command(s), 100 train line(s), 90 of them not finite" in text
    assert rows_of(report, "Losses", "evaluation")["test file, eval_pred_loss"][0] == "inf"
    next(b for s in report.sections if s.title == "Losses" for b in s.blocks if isinstance(b, Picture)).render()


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["{a}"], "RUN_B"),
        (["{a}", "{a}", "--outt=x"], "--outt"),
        (["{a}", "{t}/none"], "{t}/none"),
        (["{a}/log.txt", "{a}"], "{a}/log.txt"),
        (["{a}", "{t}"], "{t}"),
        (["{a}", "{a}", "--out={a}/log.txt"], "--out={a}/log.txt"),
        (["{a}", "{a}", "--out={a}/log.txt/x"], "--out={a}/log.txt/x"),
    ],
)
def test_mistakes_are_one_line(folders, tmp_path, capfd, arguments, named):
    names = {"a": folders[0], "t": tmp_path}
    before = {file: file.read_bytes() for file in folders[0].iterdir()}
    with pytest.raises(SystemExit) as error:
        compare_runs.main([argument.format(**names) for argument in arguments])
    out, err = capfd.readouterr()
    assert (error.value.code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("error: ") and named.format(**names) in err
    assert {file: file.read_bytes() for file in folders[0].iterdir()} == before


def test_command(folders, tmp_path, text, monkeypatch):
    """From another folder; an older report is replaced, other files stay."""
    out = tmp_path / "reports" / "one"
    out.mkdir(parents=True)
    (out / "report.html").write_text("older")
    (out / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    run = run_command("paig-compare-runs", *map(str, folders), "--out=reports/one")
    assert (run.code, run.err) == (0, "")
    assert run.out == f"{text}\nWritten: reports/one/report.html and report.txt beside it\n"
    assert sorted(file.name for file in out.iterdir()) == ["mine.txt", "report.html", "report.txt"]
    assert (out / "mine.txt").read_text() == "mine"
    assert (out / "report.txt").read_text(encoding="utf-8") == text
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


PROBE = """<script>
addEventListener("load", () => {
  const bad = [...document.images].filter(image => !image.complete || image.naturalWidth === 0);
  const loads = performance.getEntriesByType("resource").filter(entry => !entry.name.startsWith("data:"));
  const wide = document.documentElement.scrollWidth - innerWidth;
  document.title = `images=${document.images.length} bad=${bad.length} loads=${loads.length} wide=${Math.max(0, wide)}`;
});
</script></body>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser(page, tmp_path):
    """The page as a browser shows it: all pictures decode, nothing else is loaded, nothing sticks out."""
    probed = tmp_path / "probed.html"
    # The page forbids scripts; the probe's copy allows them.
    probed.write_text(page.replace("default-src 'none'", "script-src 'unsafe-inline'").replace("</body>", PROBE))
    dom = browse(tmp_path, 500, "--dump-dom", probed.as_uri())
    assert "<title>images=24 bad=0 loads=0 wide=0</title>" in dom
    assert "5 sequences in common" in dom
    (tmp_path / "page.html").write_text(page)
    browse(tmp_path, 1200, f"--screenshot={tmp_path / 'page.png'}", (tmp_path / "page.html").as_uri())
    pixels = np.asarray(Image.open(tmp_path / "page.png").convert("RGB")).astype(int)
    assert pixels.shape == (6000, 1200, 3)
    for colour in (COLOUR_A, COLOUR_B):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        # Letters alone have about 1000 such pixels; the curves bring the rest.
        assert (abs(pixels - wanted).max(-1) < 24).sum() > 2000


def browse(folder: Path, width: int, *arguments: str) -> str:
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}",
        f"--window-size={width},6000", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
