"""run_video.py: what it writes, its exit codes, and (slow) what it measures on filmed pendulums."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import imageio_ffmpeg
import made_films
import numpy as np
import pytest
from command import run_command
from eager import eagerly

from data_gen.film import Film
from physics_models.library import load_network
from physics_models.supervision import Verdict
from runners import run_video
from runners.run_video import main  # noqa: F401, the console command

FILMS = Path(__file__).parents[1] / "films"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A made film of an anchored spring, without time stamps, and its truth."""
    path = tmp_path_factory.mktemp("film") / "made.npz"
    random = np.random.RandomState([0, sorted(made_films._MADE).index("anchored_spring")])  # as make_film
    acceleration, start, speed, fps, _, truth = made_films._MADE["anchored_spring"](random)
    places = made_films.integrate(acceleration, np.array(start), np.array(speed), fps, 70)
    np.savez(path, frames=made_films.draw(places, random))
    return path, truth


@pytest.fixture(autouse=True)
def without_a_graph_of_the_training(monkeypatch, request):
    """Two steps are quicker without; a slow test trains as users do. The fit needs its graph."""
    train = run_video.train

    def trained(*arguments):
        with eagerly():
            return train(*arguments)

    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(run_video, "train", trained)


@pytest.fixture
def found(monkeypatch, without_a_graph_of_the_training):
    """A network of two steps counts as having found the object; the decoder's refinement puts it in its place."""
    train = run_video.train

    def trained(*arguments):
        training = train(*arguments)
        training.verdict = Verdict(0.9, np.array([1.0]))
        return training

    monkeypatch.setattr(run_video, "train", trained)
    monkeypatch.setattr(run_video, "encode_all", lambda net, frames: frames)
    monkeypatch.setattr(run_video, "refine_positions", lambda net, frames, *_: centers(frames))


def centers(frames: np.ndarray) -> np.ndarray:
    """Of the red disc, [T, 2]."""
    red = np.clip(frames[..., 0].astype(float) - frames[..., 2] - 60, 0, None)
    middles = np.arange(frames.shape[1]) + 0.5
    total = red.sum((1, 2))
    return np.stack([red.sum(1) @ middles / total, red.sum(2) @ middles / total], 1)


def test_a_result(film, found, tmp_path):
    path, truth = film
    out = tmp_path / "out"
    ended = run_command(
        "paig-run-video", str(path), "--system=anchored_spring", f"--save_dir={out}", "--steps=2", "--fps=30",
        "--mass=0.5", "--pixels_per_metre=96",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert ended.out.startswith("anchored_spring: ") and " ± " in ended.out and "1/s²" in ended.out
    report = json.loads((out / "report.json").read_text())
    k = report["parameters"]["k_over_m"]
    assert k["value"] == pytest.approx(truth["k_over_m"], rel=0.02) and k["unit"] == "1/s^2" and k["error"] > 0
    mass = report["parameters"]["k"]
    assert mass["value"] == pytest.approx(k["value"] / 2) and mass["unit"] == "N/m"
    rows = (out / "positions.csv").read_text().splitlines()
    assert rows[0] == "film,t_s,x_px,y_px,x_m,y_m" and len(rows) == 71
    assert max(float(row.split(",")[2]) for row in rows[1:]) > 50  # pixels of the film of 96, not of the frame of 32
    t, x, y, x_m, _ = map(float, rows[31].split(",")[1:])
    assert t == 1.0 and 0 < x < 96 and 0 < y < 96 and x_m == pytest.approx(x / 96, rel=1e-4)
    for name in ("report.md", "report.html", "prediction.gif", "figure0.png", "figure2.png", "objects.png"):
        assert (out / name).stat().st_size > 100
    learned = load_network(out).parameters()  # the network predicts with what was fitted
    assert learned["k_over_m"] * 900 == pytest.approx(k["value"], rel=1e-4)


@pytest.mark.parametrize("frozen, flags, numbers", [
    (slice(0), [], range(70)),
    (slice(0), ["--every=3"], range(0, 70, 3)),
    (slice(5, None, 4), ["--start=8"], [n for n in range(8, 70) if n % 4 != 1]),
])  # fmt: skip
def test_without_times_results_are_per_frame_of_the_file(film, found, tmp_path, frozen, flags, numbers):
    """Also where frames are left out, or repeat the one before: the stiffness of the film, and the file's numbers."""
    path, truth = film
    frames = np.load(path)["frames"]
    late = np.arange(70)[frozen]
    frames[late] = frames[late - 1]
    np.savez(tmp_path / "film.npz", frames=frames)
    arguments = ["--system=anchored_spring", f"--save_dir={tmp_path / 'out'}", "--steps=2", *flags]
    ended = run_command("paig-run-video", str(tmp_path / "film.npz"), *arguments)
    k = json.loads((tmp_path / "out" / "report.json").read_text())["parameters"]["k_over_m"]
    assert ended.code == 0 and k["unit"] == "1/frame^2"
    assert abs(k["value"] - truth["k_over_m"] / 900) < 3 * k["error"] < 0.06 * k["value"]
    rows = (tmp_path / "out" / "positions.csv").read_text().splitlines()
    assert rows[0].startswith("film,t_frames,") and [int(row.split(",")[1]) for row in rows[1:]] == list(numbers)


def test_walls_that_no_ball_meets_have_no_number(found, tmp_path):
    """A ball that flies to and fro, and slowly down: only left and right are met."""
    t = np.arange(60.0)
    path = np.stack([30 + 40 * np.abs((t / 20 + 0.5) % 2 - 1), 30 + 0.4 * t], 1)
    np.savez(tmp_path / "walls.npz", frames=made_films.draw(path[:, None, None], np.random.RandomState(0)))
    arguments = ["--system=bouncing", f"--save_dir={tmp_path / 'out'}", "--steps=2"]
    ended = run_command("paig-run-video", str(tmp_path / "walls.npz"), *arguments)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert ended.code == 0 and set(report["parameters"]) == {"left", "right"} and "top" not in ended.out
    assert "not determined, and left out: top, bottom" in report["warnings"]


@pytest.mark.slow  # the units alone are in test_fit.py
def test_without_times_and_scale_there_is_no_bare_number(film, found, tmp_path):
    out = tmp_path / "out"
    ended = run_command("paig-run-video", str(film[0]), "--system=anchored_spring", f"--save_dir={out}", "--steps=2")
    units = {q["unit"] for q in json.loads((out / "report.json").read_text())["parameters"].values()}
    assert ended.code == 0 and units == {"1/frame^2", "frame", "1/frame"} and "1/s" not in ended.out


@pytest.mark.slow
def test_an_anchored_spring_does_not_fall(film, found, tmp_path):
    ended = run_command("paig-run-video", str(film[0]), "--system=fall", f"--save_dir={tmp_path / 'out'}", "--steps=2")
    assert ended.code == 2
    assert "1/s" not in ended.out and json.loads((tmp_path / "out" / "report.json").read_text())["parameters"] == {}


def test_objects_that_are_not_found_have_no_numbers(film, tmp_path):
    out = tmp_path / "out"
    arguments = ["--system=pendulum", f"--save_dir={out}", "--steps=2", "--fps=30"]
    ended = run_command("paig-run-video", str(film[0]), *arguments)
    assert ended.code == 2 and "no result" in ended.out and ended.err.splitlines()[-1].startswith("no result: ")
    report = json.loads((out / "report.json").read_text())
    assert report["parameters"] == {} and report["warnings"] and not report["checks"]["result"]


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["none.mp4", "--system=pendulum", "--save_dir=out"], "none.mp4"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--crop=0,0,500,20"], "--crop"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--fps=0"], "--fps"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--scale=1,1,1,1,2"], "--scale"),
        (["{film}", "--system=clock", "--save_dir=out"], "--system"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--start=95"], "--start"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--img_size=2"], "--img_size"),
        (["{film}", "--system=spring", "--n_objs=1", "--save_dir=out"], "--n_objs"),
        (["{film}", "--system=pendulum"], "--save_dir"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--scale=0,0,9,0,nan"], "--scale"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--scale=0,0,9,0,inf"], "--scale"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--scale=0,0,inf,0,1"], "--scale"),
        # what would have no effect
        (["{film}", "--system=fall", "--save_dir=out", "--scale=0,0,9,0,1", "--pixels_per_metre=9"], "--pixels_per"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--fps=30", "--mass=1"], "--mass"),
        (["{film}", "--system=gravity", "--save_dir=out", "--fps=30", "--mass=1"], "--mass"),
        (["{film}", "--system=fall", "--save_dir=out", "--fps=30", "--length=1"], "--length"),
        (["{film}", "--system=incline", "--save_dir=out", "--fps=30", "--known_g=9.8"], "--known_g"),
        (["{film}", "--system=fall", "--save_dir=out", "--fps=30", "--known_g=9.8"], "--scale"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--speed=2"], "--fps"),
        (["{film}", "--system=spring", "--save_dir=out", "--mass=1"], "--fps"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--length=1"], "--fps"),
        (["{film}", "--system=pendulum", "--save_dir=out", "--known_g=9.8"], "--fps"),
    ],
)
def test_mistakes(film, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    ended = run_command("paig-run-video", *(a.format(film=film[0]) for a in arguments))
    lines = [line for line in ended.err.splitlines() if "tf.note" not in line]
    assert ended.code == 1 and len(lines) == 1 and word in lines[0], ended.err
    assert not list(tmp_path.iterdir())


def test_the_time_left_counts_from_the_first_call(monkeypatch, caplog):
    """The first training step compiles for half a minute; before, it made "22094 s left"."""
    now = iter([100.0, 103.0, 110.0, 120.0])
    monkeypatch.setattr(run_video.time, "monotonic", lambda: next(now))
    caplog.set_level("INFO", "tf.note")
    countdown = run_video.Countdown("training")
    for done in (0.001, 0.101, 0.201, 0.5):
        countdown(done)
    assert caplog.messages == ["training: 20 %, about 40 s left", "training: 50 %, about 20 s left"]


def test_a_film_that_is_fitted_in_part_says_so():
    frames, number = np.zeros((40, 4, 4, 3), np.uint8), np.arange(40)
    film = Film("a.mp4", frames, number / 20, 1.0, (0, 0), (0, 0, 4, 4), 0.0, number)
    assert run_video.shown_part(film, slice(0, 40)) == ([], [])
    assert "a.mp4: only 0.5 to 1.45 s is fitted" in run_video.shown_part(film, slice(10, 30)).warnings[0]


def real(tmp_path, film: str | Path, *arguments: str):
    """The command's exit code and report.json for a film, by its name in `tests/films` or by its path."""
    save_dir = f"--save_dir={tmp_path / 'out'}"
    ended = run_command("paig-run-video", str(FILMS / film), "--system=pendulum", save_dir, *arguments)
    return ended.code, json.loads((tmp_path / "out" / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_filmed_apple(tmp_path, seed):
    """Measured outside this project: Ω² = 9.267 ± 0.013 1/s², damping 0.0085 ± 0.0005 1/s."""
    code, report = real(tmp_path, "red_apple_pendulum.mp4", f"--seed={seed}", "--length=1.06")
    ratio, damping, g = (report["parameters"][name] for name in ("g_over_L", "damping", "g"))
    assert g["value"] == pytest.approx(1.06 * ratio["value"]) and g["unit"] == "m/s^2"
    assert code == 0 and ratio["value"] == pytest.approx(9.267, rel=0.005)
    assert abs(ratio["value"] - 9.267) < 2 * ratio["error"]
    assert 0.0085 / 1.6 < damping["value"] < 0.0085 * 1.6
    if BROWSER:
        dom = subprocess.run(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
             "--dump-dom", (tmp_path / "out" / "report.html").as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        ).stdout  # fmt: skip
        assert dom.count("<img") == 3 and "g/L = 9." in dom


def derive(folder: Path, name: str, *arguments: str) -> Path:
    """The apple's film as ffmpeg makes it with `arguments`."""
    folder.mkdir(exist_ok=True)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(FILMS / "red_apple_pendulum.mp4")]
    subprocess.run([*command, *arguments, str(folder / name)], check=True)
    return folder / name


SHARP = ("-c:v", "libx264", "-crf", "18")
LEAVE_OUT = "select='not(mod(n\\,3)*not(mod(n\\,7)))'"


@pytest.mark.slow
@pytest.mark.parametrize("name, arguments, flags", [
    ("a.mov", ("-c", "copy"), ()),
    ("a.webm", ("-c:v", "libvpx-vp9", "-b:v", "0", "-crf", "30"), ()),
    ("turned.mp4", ("-vf", "transpose=1", *SHARP), ()),
    ("uneven.mp4", ("-vf", LEAVE_OUT, "-fps_mode", "vfr", *SHARP), ()),
    ("slow.mp4", ("-vf", "setpts=8*PTS", "-fps_mode", "passthrough", *SHARP), ("--speed=8",)),
])  # fmt: skip
def test_the_apple_in_other_files(tmp_path, name, arguments, flags):
    code, report = real(tmp_path, derive(tmp_path / "films", name, *arguments), *flags)
    ratio = report["parameters"]["g_over_L"]
    assert code == 0 and ratio["value"] == pytest.approx(9.267, rel=0.005)
    assert abs(ratio["value"] - 9.267) < 2 * ratio["error"]


@pytest.mark.slow
def test_the_apple_in_two_films(tmp_path):
    derive(tmp_path / "films", "1.mp4", "-t", "8", *SHARP)
    derive(tmp_path / "films", "2.mp4", "-ss", "8", *SHARP)
    code, report = real(tmp_path, tmp_path / "films", "--known_g=9.81")
    ratio, length = (report["parameters"][name]["value"] for name in ("g_over_L", "L"))
    assert code == 0 and ratio == pytest.approx(9.267, rel=0.005)
    assert length == pytest.approx(9.81 / ratio)


@pytest.mark.slow
def test_one_second_of_the_apple_gives_no_number(tmp_path):
    code, report = real(tmp_path, derive(tmp_path / "films", "second.mp4", "-t", "1", *SHARP))
    assert code == 2 and report["parameters"] == {} and any("periods" in warning for warning in report["warnings"])


@pytest.mark.slow
def test_the_filmed_star(tmp_path):
    """Measured outside this project: Ω² = 21.7 ± 0.2 1/s². Its counterweight moves too, and there is a warning."""
    code, report = real(tmp_path, "paper_star_pendulum.mp4")
    assert code == 0 and report["parameters"]["g_over_L"]["value"] == pytest.approx(21.7, rel=0.03)
    assert any("2 objects move" in warning for warning in report["warnings"])


@pytest.mark.slow
def test_the_filmed_leaf(tmp_path):
    code, report = real(tmp_path, "leaf.mp4")
    assert code == 2 and report["parameters"] == {} and report["warnings"]
