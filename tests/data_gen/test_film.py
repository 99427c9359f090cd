"""Films as they are read for `run_video.py`: every frame once, at its time, where it lies in the video."""

from __future__ import annotations

import subprocess

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from data_gen.errors import DataError
from data_gen.film import FilmSettings, read_films

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


def pictures() -> np.ndarray:
    """A white square of 8 pixels that moves to the right over grey, uint8 [30, 48, 64, 3]."""
    frames = np.full((30, 48, 64, 3), 100, np.uint8)
    for t in range(30):
        frames[t, 20:28, t : t + 8] = 255
    return frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A.mp4 at 30 frames per second, and what ffmpeg makes of it."""
    folder = tmp_path_factory.mktemp("films")
    writer = imageio_ffmpeg.write_frames(str(folder / "a.mp4"), (64, 48), fps=30, quality=10, macro_block_size=2)
    writer.send(None)
    for frame in pictures():
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    for name, options in {
        "a.mov": "-c copy", "a.mkv": "-c copy", "a.webm": "-c:v libvpx -b:v 2M", "a.avi": "-c:v mpeg4 -q:v 2",
        "turned.mp4": "-vf transpose=1 -q:v 2", "slow.mp4": "-vf setpts=4*PTS -r 7.5",
    }.items():  # fmt: skip
        convert(folder / "a.mp4", folder / name, *options.split())
    # every third frame is missing from frame 10 on
    convert(folder / "a.mp4", folder / "uneven.mp4", "-vf", "select='lt(n,10)+mod(n,3)'", "-fps_mode", "passthrough")
    return folder


def convert(source, target, *options: str) -> None:
    subprocess.run([FFMPEG, "-v", "error", "-y", "-i", source, *options, target], check=True)


def read(path, **settings):
    return read_films(path, FilmSettings(**{"img_size": 32, **settings}))[0]


def centers(film) -> np.ndarray:
    """Where the square is, in the video's own pixels, [T, 2]."""
    bright = np.clip(film.frames.astype(float).mean(-1) - 140, 0, None)
    middles = np.arange(film.frames.shape[1]) + 0.5
    total = bright.sum((1, 2))
    return film.in_video(np.stack([bright.sum(1) @ middles / total, bright.sum(2) @ middles / total], 1))


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm", "a.avi"])
def test_every_format(folder, name):
    film = read(folder / name)
    assert film.frames.shape == (30, 32, 32, 3) and film.pixel == 2.0 and film.corner == (0, -8)
    assert film.picture == (0, 4, 32, 28)
    np.testing.assert_allclose(film.seconds, np.arange(30) / 30, atol=2e-3)  # Matroska rounds to milliseconds
    np.testing.assert_allclose(centers(film), np.stack([np.arange(30) + 4, np.full(30, 24)], 1), atol=0.4)


@pytest.mark.parametrize("name", ["a.mov", "a.webm", "a.avi"])
def test_the_content_of_a_file_tells_its_format(folder, tmp_path, name):
    (tmp_path / "clip").write_bytes((folder / name).read_bytes())
    assert len(read(tmp_path / "clip").frames) == 30


def test_frames_that_are_missing_are_not_invented(folder):
    film, number = read(folder / "uneven.mp4"), np.array([n for n in range(30) if n < 10 or n % 3])
    np.testing.assert_allclose(film.seconds, number / 30, atol=2e-3)
    np.testing.assert_allclose(centers(film)[:, 0], number + 4, atol=0.4)


def test_times(folder):
    assert read(folder / "slow.mp4").seconds[-1] == pytest.approx(29 * 4 / 30, abs=0.05)
    assert read(folder / "slow.mp4", speed=4.0).seconds[-1] == pytest.approx(29 / 30, abs=0.02)
    np.testing.assert_allclose(read(folder / "a.mp4", fps=240.0).seconds, np.arange(30) / 240)
    part = read(folder / "a.mp4", start=0.2, stop=0.7)
    assert part.seconds[0] == pytest.approx(0.2) and part.seconds[-1] == pytest.approx(0.7)
    np.testing.assert_allclose(read(folder / "a.mp4", every=2).seconds, np.arange(15) / 15, atol=1e-4)


def test_where_the_picture_lies(folder):
    turned = read(folder / "turned.mp4")
    np.testing.assert_allclose(centers(turned)[:, 1], np.arange(30) + 4, atol=0.5)
    film = read(folder / "a.mp4", crop=(0, 16, 48, 16))
    assert film.pixel == 1.5 and film.corner == (0, 0) and film.picture == pytest.approx((0, 32 / 3, 32, 64 / 3))
    np.testing.assert_allclose(centers(film), np.stack([np.arange(30) + 4, np.full(30, 24)], 1), atol=0.6)
    hidden = read(folder / "a.mp4", mask_out=((0, 16, 20, 16),))
    assert hidden.frames[0].max() < 140 < hidden.frames[-1].max()


def test_other_recordings(tmp_path):
    images = [Image.fromarray(frame) for frame in pictures()]
    durations = [50] * 29 + [100]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=durations)
    np.testing.assert_allclose(read(tmp_path / "a.gif").seconds, np.arange(30) * 0.05, atol=1e-6)
    np.savez(tmp_path / "a.npz", frames=pictures())
    film = read(tmp_path / "a.npz")
    assert film.seconds is None and len(film.frames) == 30
    np.testing.assert_allclose(read(tmp_path / "a.npz", fps=10.0).seconds, np.arange(30) / 10)


def test_repeated_frames_are_left_out_and_counted(tmp_path):
    frames = np.repeat(pictures(), 2, axis=0)
    np.savez(tmp_path / "twice.npz", frames=frames)
    film = read(tmp_path / "twice.npz", fps=60.0)
    assert film.repeated == pytest.approx(0.5)
    np.testing.assert_allclose(film.seconds, np.arange(30) / 30)
    untimed = read(tmp_path / "twice.npz", start=10, every=2).clock()
    assert untimed[0].tolist() == list(range(10, 60, 4)) and untimed[1] == "frames"


def test_a_folder_of_films(folder, tmp_path):
    for name in ("1.mp4", "2.mp4"):
        (tmp_path / name).write_bytes((folder / "a.mp4").read_bytes())
    films = read_films(tmp_path, FilmSettings())
    assert [film.name for film in films] == ["1.mp4", "2.mp4"] and len(films[1].frames) == 30


def test_mistakes(folder, tmp_path):
    for settings, word in (({"crop": (0, 0, 80, 20)}, "--crop"), ({"mask_out": ((0, 0, 5, 99),)}, "--mask_out"),
                           ({"start": 0.9}, "--start")):  # fmt: skip
        with pytest.raises(DataError, match=word):
            read(folder / "a.mp4", **settings)
    (tmp_path / "cut.mp4").write_bytes((folder / "a.mp4").read_bytes()[:-900])
    for name in ("cut.mp4", "none.mp4"):
        with pytest.raises(DataError, match=name):
            read(tmp_path / name)


def test_a_folder_with_frames_of_two_sizes(tmp_path):
    for number, frame in enumerate(pictures()[:14]):
        Image.fromarray(frame[: 48 - number // 10]).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=r"different sizes \(64×47, 64×48\); give frames of one size$"):
        read(tmp_path)


def test_an_npz_with_several_sequences_is_several_films(tmp_path):
    np.savez(tmp_path / "a.npz", frames=pictures()[:24].reshape(2, 12, 48, 64, 3))
    films = read_films(tmp_path / "a.npz", FilmSettings(fps=30.0))
    assert [film.name for film in films] == ["a.npz[0]", "a.npz[1]"]
    assert all(len(film.frames) == 12 and film.seconds[-1] == pytest.approx(11 / 30) for film in films)
    np.testing.assert_allclose(centers(films[1])[:, 0], np.arange(12) + 16, atol=0.4)


def test_exposure_that_changes_is_evened_out(tmp_path):
    gains = 1 + 0.05 * np.sin(np.arange(30))
    np.savez(tmp_path / "a.npz", frames=(pictures() * gains[:, None, None, None]).clip(0, 255).round().astype(np.uint8))
    np.savez(tmp_path / "b.npz", frames=pictures())
    film, steady = read(tmp_path / "a.npz"), read(tmp_path / "b.npz")
    corner = film.frames[:, 5:8, -4:].astype(float)  # of the background
    assert np.ptp(corner.mean((1, 2, 3))) < 1.5
    assert (steady.frames[:, 5:8, -4:] == 100).all()


def test_what_is_masked_out_tells_no_exposure_and_does_not_flicker(tmp_path):
    """Two thirds of the picture are masked; the rest is evened out all the same."""
    gains = 1 + 0.05 * np.sin(np.arange(30))
    np.savez(tmp_path / "a.npz", frames=(pictures() * gains[:, None, None, None]).clip(0, 255).round().astype(np.uint8))
    film = read(tmp_path / "a.npz", mask_out=((0, 0, 64, 18), (0, 30, 64, 18)))
    assert np.ptp(film.frames[:, 5:12], axis=0).max() == 0 and np.ptp(film.frames[:, 20:27], axis=0).max() == 0
    assert np.ptp(film.frames[:, 14:18, -4:].astype(float).mean((1, 2, 3))) < 1.5


def test_an_object_over_black_tells_no_exposure(tmp_path):
    """It rests in one place in most frames: where it is elsewhere, that place is dark, and no frame is brightened."""
    frames = np.full((30, 64, 64, 3), 10, np.uint8)
    for t in range(30):
        frames[t, 20:30, max(0, 2 * (t - 18)) + 10 :][:, :10] = 200
        frames[t, 0, 0] = 5 * (t % 2)  # no two frames are the same
    np.savez(tmp_path / "a.npz", frames=frames)
    np.testing.assert_array_equal(read(tmp_path / "a.npz", img_size=64).frames, frames)


def test_a_part_of_a_film_keeps_its_clock(folder, tmp_path):
    film = read(folder / "a.mp4", every=2).part(slice(5, 10))
    np.testing.assert_allclose(film.clock()[0], np.arange(5, 10) / 15, atol=1e-3)
    np.savez(tmp_path / "a.npz", frames=pictures())
    part = read(tmp_path / "a.npz", every=2).part(slice(5, 10))
    assert part.clock()[0].tolist() == [10, 12, 14, 16, 18] and part.clock()[1] == "frames"
