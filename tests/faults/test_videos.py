"""What a user's recording shows is what is trained on: pixels, shape, time, all of it; files by their content."""

from __future__ import annotations

import logging
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from names import EVERYTHING, NAMES
from PIL import Image

from data_gen import sources
from data_gen.errors import DataError
from data_gen.iterators import DataIterator, get_iterators
from data_gen.video import load_video, natural_key
from physics_models.library import predict
from physics_models.physics_net import PhysicsNet
from physics_models.tasks import TASKS


@pytest.fixture
def recording() -> np.ndarray:
    """A white square that moves to the right over black, uint8 [12, 16, 16, 3]."""
    frames = np.zeros((12, 16, 16, 3), np.uint8)
    for t in range(12):
        frames[t, 4:8, t : t + 4] = 255
    return frames


@pytest.fixture(scope="module")
def net() -> PhysicsNet:
    return PhysicsNet(replace(TASKS["spring_color"], img_size=8))


def refused(path: Path, **arguments: object) -> str:
    """The one line with which `path` is refused."""
    with pytest.raises(DataError) as error:
        load_video(path, **arguments)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


# Pixels


def alpha(frames: np.ndarray, hidden: np.ndarray) -> list[Image.Image]:
    """RGBA pictures of `frames` whose black parts are transparent, with `hidden` colours there."""
    seen = frames.any(axis=-1, keepdims=True)
    pixels = np.concatenate([np.where(seen, frames, hidden), 255 * seen], -1).astype(np.uint8)
    return [Image.fromarray(frame) for frame in pixels]


def test_what_transparent_pixels_hide_is_not_seen(tmp_path, recording):
    """RGBA, grey with alpha, a palette with transparency, a transparent GIF."""
    noise = np.random.RandomState(0).randint(0, 256, recording.shape)
    red = (recording // [1, 2, 2]).astype(np.uint8)
    for name, hidden in (("noise", noise), ("black", 0 * noise)):
        (tmp_path / name).mkdir()
        for t, picture in enumerate(alpha(red, hidden)):
            picture.save(tmp_path / name / f"{t}.png")
    expected = np.where(red.any(axis=-1, keepdims=True), red, 255)
    np.testing.assert_array_equal(load_video(tmp_path / "noise")[0], expected)
    np.testing.assert_array_equal(load_video(tmp_path / "black")[0], expected)
    grey = Image.fromarray(np.stack([np.arange(256), np.full(256, 255)], -1).astype(np.uint8).reshape(16, 16, 2), "LA")
    palette = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).convert("P")
    (tmp_path / "modes").mkdir()
    grey.save(tmp_path / "modes" / "0.png")
    palette.save(tmp_path / "modes" / "1.png", transparency=7)
    palette.save(tmp_path / "one.gif", transparency=7)
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, -1)
    np.testing.assert_array_equal(load_video(tmp_path / "modes")[0], [ramp, np.where(ramp == 7, 255, ramp)])
    np.testing.assert_array_equal(load_video(tmp_path / "one.gif")[0, 0], np.where(ramp == 7, 255, ramp))


def test_a_gif_whose_frames_hold_only_what_changes(tmp_path, recording):
    """With transparency where nothing does, as encoders save space."""
    images = [Image.fromarray(frame).convert("P") for frame in recording]
    images[0].save(tmp_path / "x.gif", save_all=True, append_images=images[1:], duration=40, optimize=True, disposal=1)
    np.testing.assert_array_equal(load_video(tmp_path / "x.gif")[0], recording)


def test_depths_and_colours(tmp_path, recording):
    """16 and 1 bits; CMYK and float pictures as a background."""
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    (tmp_path / "deep").mkdir()
    Image.fromarray(ramp * 257).save(tmp_path / "deep" / "0.png")
    Image.fromarray(ramp >= 128).save(tmp_path / "deep" / "1.png")
    loaded = load_video(tmp_path / "deep")[0]
    np.testing.assert_array_equal(loaded, np.repeat([ramp, 255 * (ramp >= 128)], 3).reshape(2, 16, 16, 3))
    Image.fromarray(np.full((40, 40, 3), 200, np.uint8)).convert("CMYK").save(tmp_path / "x.jpg")
    assert np.abs(sources.load_pictures(tmp_path / "x.jpg").astype(int) - 200).max() <= 3
    Image.fromarray(np.ones((40, 40), np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match="x.tif.*8 or 16 bits"):
        sources.load_pictures(tmp_path / "x.tif")


def test_orientation(tmp_path):
    """As a camera notes it beside the pixels."""
    frame = np.arange(16 * 8 * 3, dtype=np.uint8).reshape(16, 8, 3)
    picture = Image.fromarray(np.rot90(frame))  # to be turned clockwise
    exif = picture.getexif()
    exif[0x0112] = 6
    (tmp_path / "x").mkdir()
    picture.save(tmp_path / "x" / "0.png", exif=exif)
    np.testing.assert_array_equal(load_video(tmp_path / "x")[0, 0], frame)


# Time


def save_gif(path: Path, frames: np.ndarray, durations: list[int]) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=durations)


def test_a_rest_that_the_encoder_has_joined(tmp_path, recording):
    """A GIF of a square that rests for ten frames, as Pillow writes it; the same as an animated PNG."""
    rests = recording[[0, 1, 2, 3, *[4] * 10, 5, 6]]
    save_gif(tmp_path / "x.gif", rests, [40] * len(rests))
    with Image.open(tmp_path / "x.gif") as picture:
        assert picture.n_frames == 7
    np.testing.assert_array_equal(load_video(tmp_path / "x.gif")[0], rests)
    images = [Image.fromarray(frame) for frame in rests]
    images[0].save(tmp_path / "x.png", save_all=True, append_images=images[1:], duration=40)
    np.testing.assert_array_equal(load_video(tmp_path / "x.png")[0], rests)


@pytest.mark.parametrize(
    ("durations", "repeats"),
    [
        ([20, 200, 20, 200], [1, 10, 1, 10]),
        ([30, 30, 40, 30], [1, 1, 1, 1]),  # 30 frames a second, rounded to hundredths
        ([30, 40, 30, 330], [1, 1, 1, 10]),
        ([10, 20, 20, 10], [1, 1, 1, 1]),
        ([100, 100, 150, 100], None),
        ([20, 50, 20, 20], None),
    ],
)
def test_unequal_times(tmp_path, recording, durations, repeats):
    """Frames come once for each step of time, or one line says that there is no such step."""
    save_gif(tmp_path / "x.gif", recording[:4], durations)
    if repeats is None:
        assert "ms" in refused(tmp_path / "x.gif")
    else:
        np.testing.assert_array_equal(load_video(tmp_path / "x.gif")[0], np.repeat(recording[:4], repeats, axis=0))


# From end to end


def test_a_gif_that_is_cut_off(tmp_path, recording):
    """Anywhere, also between two frames, where Pillow stops without a word."""
    save_gif(tmp_path / "whole.gif", recording, [40] * 12)
    data = (tmp_path / "whole.gif").read_bytes()
    for size in range(len(data) // 3, len(data), 3):
        (tmp_path / "cut.gif").write_bytes(data[:size])
        refused(tmp_path / "cut.gif")
    (tmp_path / "more.gif").write_bytes(data + bytes(9))  # as some writers leave it
    np.testing.assert_array_equal(load_video(tmp_path / "more.gif")[0], recording)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    """A function that writes an MP4 of 50 frames, 32 × 24, with more arguments for ffmpeg; returns its path."""
    program = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    folder = tmp_path_factory.mktemp("mp4")

    def write(name: str, *arguments: str) -> Path:
        source = "-y -v error -f lavfi -i testsrc=size=32x24:rate=25:duration=2 -pix_fmt yuv420p".split()
        subprocess.run([program, *source, *arguments, "-f", "mp4", f"file:{folder / name}"], check=True)
        return folder / name

    return write


def test_an_mp4_that_is_cut_off_or_damaged(mp4):
    """With its index at the beginning and at the end."""
    for name, arguments in (("end", ()), ("begin", ("-movflags", "+faststart"))):
        path = mp4(f"{name}.mp4", *arguments)
        assert load_video(path).shape == (1, 50, 24, 32, 3)
        data = path.read_bytes()
        for share in (0.1, 0.7, 0.95):
            path.write_bytes(data[: int(share * len(data))])
            assert "end to end" in refused(path)
    middle = np.frombuffer(data, np.uint8).copy()
    middle[len(data) // 2 :] = np.random.RandomState(0).randint(0, 256, len(data) - len(data) // 2)
    path.write_bytes(middle.tobytes())
    refused(path)


def test_pixels_of_an_mp4_that_are_not_square(mp4):
    assert load_video(mp4("wide.mp4", "-vf", "setsar=2")).shape == (1, 50, 24, 64, 3)
    assert load_video(mp4("square.mp4", "-vf", "setsar=1")).shape == (1, 50, 24, 32, 3)


def test_an_mp4_of_any_name(mp4, monkeypatch):
    """Relative, where ffmpeg takes what stands before a colon for a protocol, and a dash for a flag."""
    path = mp4("x.mp4")
    monkeypatch.chdir(path.parent)
    for name in ("2024-05-01T10:30:00.mp4", "%03d.mp4", "no ending", *NAMES, EVERYTHING):
        path = path.rename(name)
        assert load_video(Path(name)).shape == (1, 50, 24, 32, 3), name


# Folders


def test_files_that_are_left_out_are_named(tmp_path, recording, caplog):
    """Other pictures, videos and animations are not: they may belong to the recording."""
    for t, frame in enumerate(recording[:4]):
        Image.fromarray(frame).save(tmp_path / f"{t}.PNG")
    (tmp_path / "notes.txt").write_text("mine")
    logging.getLogger("tf").addHandler(caplog.handler)
    try:
        assert load_video(tmp_path).shape == (1, 4, 16, 16, 3)
    finally:
        logging.getLogger("tf").removeHandler(caplog.handler)
    assert "notes.txt" in caplog.text
    for name in ("4.jpg", "4.webp", "x.avi", "x.npz"):
        (tmp_path / name).write_bytes(b"")
        assert name in refused(tmp_path)
        (tmp_path / name).unlink()
    images = [Image.fromarray(frame) for frame in recording]
    images[0].save(tmp_path / "4.png", save_all=True, append_images=images[1:])
    with pytest.raises(DataError, match="4.png.*animation"):
        load_video(tmp_path)


def test_a_folder_of_npz_recordings(tmp_path, recording):
    for name in ("b2.npz", "b10.NPZ"):
        np.savez(tmp_path / "x.npz", recording + len(name))
        (tmp_path / "x.npz").rename(tmp_path / name)
    assert load_video(tmp_path)[:, 0, 0, 0, 0].tolist() == [6, 7]


def test_other_scripts_digits_are_letters():
    """² is a digit to Python that is no number; ٣ (3) is a number to it, too."""
    names = ["1.png", "1²0.png", "1٣.png", "2.png", "10.png", "²", "٣"]
    assert [path.name for path in sorted(map(Path, reversed(names)), key=natural_key)] == names


# Data files


def test_a_file_is_what_it_holds(tmp_path, recording):
    """Data files, videos and pictures under other endings, or in capitals."""
    np.savez(tmp_path / "x.npz", train_x=recording[None], valid_x=recording[None], test_x=recording[None])
    np.savez(tmp_path / "v.npz", recording)
    save_gif(tmp_path / "x.gif", recording, [40] * 12)
    for old, new in (("x.npz", "SPLITS.NPZ"), ("v.npz", "film"), ("x.gif", "MOVIE.GIF")):
        (tmp_path / old).rename(tmp_path / new)
    (tmp_path / "MOVIE.GIF").rename(tmp_path / "x.mp4")
    splits = get_iterators(tmp_path / "SPLITS.NPZ")
    assert [splits[name].X.shape[0] for name in splits] == [1, 1, 1]
    for flags in ({"img_size": 8}, {"seq_len": 4}, {"img_size": 0}):
        with pytest.raises(DataError, match="--img_size and --seq_len"):
            get_iterators(tmp_path / "SPLITS.NPZ", **flags)
    for name in ("film", "x.mp4"):
        np.testing.assert_array_equal(load_video(tmp_path / name)[0], recording)
    np.savez(tmp_path / "digits", digits=np.zeros((2, 28, 28), np.uint8))
    assert sources.load_digits((tmp_path / "digits.npz").rename(tmp_path / "DIGITS")).shape == (2, 28, 28)


@pytest.mark.parametrize("order", ["Fortran", "strided", "read-only"])
def test_memory_order_does_not_matter(tmp_path, order):
    x = np.random.RandomState(0).randint(0, 256, (6, 5, 8, 8, 3)).astype(np.uint8)
    y = {"Fortran": np.asfortranarray(x), "strided": np.repeat(x, 2, axis=2)[:, :, ::2], "read-only": x.copy()}[order]
    y.flags.writeable = False
    np.savez(tmp_path / "x.npz", train_x=y, valid_x=y, test_x=y)
    read = get_iterators(tmp_path / "x.npz", seed=1)["train"]
    assert read.checksum == DataIterator(x, seed=1).checksum == DataIterator(y, seed=1).checksum
    np.testing.assert_array_equal(np.concatenate(list(read.epoch(1, 2))), x[read.order(1)])
    np.savez(tmp_path / "v.npz", np.moveaxis(np.ascontiguousarray(np.moveaxis(y, 4, 0)), 0, 4))
    np.testing.assert_array_equal(load_video(tmp_path / "v.npz"), x)


@pytest.mark.parametrize(
    "array", [np.zeros((6, 5, 3, 8, 8), np.uint8), np.zeros((6, 5, 8, 8, 3)), np.zeros((6, 5, 8, 9, 3), np.uint8)],
    ids=["channels first", "floats", "not square"],
)  # fmt: skip
def test_which_axis_is_expected_where(tmp_path, array):
    np.savez(tmp_path / "x.npz", train_x=array, valid_x=array, test_x=array)
    with pytest.raises(DataError, match=r"x.npz.*\[sequences, T, H, H, C\].*last axis"):
        get_iterators(tmp_path / "x.npz")
    np.savez(tmp_path / "v.npz", array)
    with pytest.raises(DataError, match=r"v.npz.*uint8.*last axis"):
        get_iterators(tmp_path / "v.npz", img_size=8 if array.shape[2] == 3 else None)


@pytest.mark.parametrize("order", [">f4", ">f8", "longdouble", "Fortran", "strided"])
def test_a_prediction_from_arrays_of_any_kind(net, order, without_graphs):
    """library.predict, on videos in memory."""
    x = np.random.RandomState(0).rand(2, 6, 8, 8, 3).astype(np.float32)
    y = {"Fortran": np.asfortranarray(x), "strided": np.repeat(x, 2, 1)[:, ::2]}.get(order)
    y = x.astype(order) if y is None else y
    np.testing.assert_array_equal(predict(net, y, 2), predict(net, x, 2))
