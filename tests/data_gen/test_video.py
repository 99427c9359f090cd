"""Own recordings: .npz, folders of PNG frames, GIF and MP4."""

import os
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from data_gen.errors import DataError
from data_gen.video import load_video


@pytest.fixture
def recording():
    """A white square moving to the right over black, uint8 [20, 24, 24, 3]."""
    frames = np.zeros((20, 24, 24, 3), np.uint8)
    for t in range(20):
        frames[t, 8:16, t : t + 4] = 255
    return frames


def write_frames(folder, frames, pattern="frame{}.png"):
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / pattern.format(t))


def test_a_long_recording_is_cut(tmp_path, recording):
    write_frames(tmp_path / "video", recording)  # frame10.png sorts after frame9.png
    np.testing.assert_array_equal(load_video(tmp_path / "video"), recording[None])
    cut = load_video(str(tmp_path / "video"), seq_len=6)
    np.testing.assert_array_equal(cut, recording[:18].reshape(3, 6, 24, 24, 3))


def test_a_folder_for_each_sequence(tmp_path, recording):
    for i, start in enumerate((0, 5, 10)):
        write_frames(tmp_path / "videos" / f"sequence{i}", recording[start : start + 8])
    loaded = load_video(tmp_path / "videos")
    np.testing.assert_array_equal(loaded, np.stack([recording[:8], recording[5:13], recording[10:18]]))
    assert load_video(tmp_path / "videos", seq_len=4).shape == (6, 4, 24, 24, 3)


def test_npz_files(tmp_path, recording):
    np.savez(tmp_path / "a.npz", recording)
    np.savez(tmp_path / "b.npz", frames=recording.reshape(4, 5, 24, 24, 3), other=np.zeros(3))
    np.testing.assert_array_equal(load_video(tmp_path / "a.npz"), recording[None])
    np.testing.assert_array_equal(load_video(tmp_path / "b.npz"), recording.reshape(4, 5, 24, 24, 3))
    pairs = [part for sequence in recording.reshape(4, 5, 24, 24, 3) for part in (sequence[:2], sequence[2:4])]
    np.testing.assert_array_equal(load_video(tmp_path / "b.npz", seq_len=2), np.stack(pairs))


def test_gif(tmp_path, recording):
    images = [Image.fromarray(frame) for frame in recording]
    images[0].save(tmp_path / "video.gif", save_all=True, append_images=images[1:], duration=50)
    np.testing.assert_array_equal(load_video(tmp_path / "video.gif"), recording[None])
    assert load_video(tmp_path / "video.gif", size=12, seq_len=10).shape == (2, 10, 12, 12, 3)


def test_mp4(tmp_path):
    """Written by a lossy encoder, so compared roughly; on the way of frames in order and colours in place."""
    import imageio_ffmpeg
    frames = np.zeros((12, 64, 64, 3), np.uint8)
    for t in range(12):
        frames[t, 16:48, 4 * t : 4 * t + 16, t % 2] = 255
    writer = imageio_ffmpeg.write_frames(str(tmp_path / "video.mp4"), (64, 64), pix_fmt_in="rgb24", quality=10)
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    loaded = load_video(tmp_path / "video.mp4", seq_len=4)
    assert loaded.shape == (3, 4, 64, 64, 3) and loaded.dtype == np.uint8
    assert np.abs(loaded.reshape(frames.shape).astype(int) - frames).mean() < 8
    (tmp_path / "bad.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match="bad.mp4"):
        load_video(tmp_path / "bad.mp4")


@pytest.mark.parametrize("broken", ["frame", "resizing"])
def test_an_error_closes_the_decoder(tmp_path, monkeypatch, broken):
    """A decoder that ends within its second frame, and one that would go on for a minute."""
    decoder = tmp_path / "decoder"
    then = "printf 'P6\\n4 4\\n255\\n12345'" if broken == "frame" else "exec sleep 60"
    decoder.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/id; printf 'P6\\n4 4\\n255\\n%048d' 0; {then}\n")
    decoder.chmod(0o755)

    def fail(frame, size):
        raise DataError("no memory")

    fake = types.SimpleNamespace(get_ffmpeg_exe=lambda: str(decoder))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", fake)
    monkeypatch.setattr("data_gen.video.resize", fail)
    (tmp_path / "video.mp4").write_bytes(b"")
    with pytest.raises(DataError):
        load_video(tmp_path / "video.mp4", size=2 if broken == "resizing" else None)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "id").read_text()), 0)


def test_mp4_without_the_extra(tmp_path, monkeypatch):
    (tmp_path / "video.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(DataError, match="video.mp4.*pip install imageio-ffmpeg"):
        load_video(tmp_path / "video.mp4")


def test_mp4_where_the_extra_has_no_decoder(tmp_path, monkeypatch):
    """As on a system for which imageio-ffmpeg has no wheel with a binary."""

    def fail():
        raise RuntimeError("No ffmpeg exe could be found.\nInstall ffmpeg on your system.")

    (tmp_path / "video.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", types.SimpleNamespace(get_ffmpeg_exe=fail))
    with pytest.raises(DataError, match="video.mp4 needs ffmpeg .*No ffmpeg exe") as error:
        load_video(tmp_path / "video.mp4")
    assert "\n" not in str(error.value)


def test_resizing_takes_the_central_square(tmp_path):
    frames = np.zeros((3, 20, 40, 3), np.uint8)
    frames[:, :, 10:30] = 100
    np.savez(tmp_path / "wide.npz", frames)
    np.testing.assert_array_equal(load_video(tmp_path / "wide.npz", size=10), np.full((1, 3, 10, 10, 3), 100))
    np.testing.assert_array_equal(load_video(tmp_path / "wide.npz", size=32), np.full((1, 3, 32, 32, 3), 100))
    random = np.random.RandomState(0).randint(0, 256, (2, 12, 12, 1)).astype(np.uint8)
    np.savez(tmp_path / "grey.npz", random)
    small = load_video(tmp_path / "grey.npz", size=6)
    means = random.reshape(2, 6, 2, 6, 2, 1).mean(axis=(2, 4))
    assert small.shape == (1, 2, 6, 6, 1)
    assert np.abs(small[0] - means).max() <= 1  # Pillow rounds twice, along x and along y


def test_mistakes_are_explained(tmp_path, recording):
    def refused(path, **arguments):
        """Whether this is one line that names the path or the argument."""
        with pytest.raises(DataError) as error:
            load_video(path, **arguments)
        return "\n" not in str(error.value) and str(path if not arguments.get("size") else "size") in str(error.value)

    assert refused(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("hello")
    assert refused(tmp_path / "notes.txt")
    (tmp_path / "bad.gif").write_bytes(b"GIF89a")
    assert refused(tmp_path / "bad.gif")
    np.savez(tmp_path / "float.npz", recording / 255.0)
    assert refused(tmp_path / "float.npz")
    np.savez(tmp_path / "flat.npz", recording[0])
    assert refused(tmp_path / "flat.npz")
    np.savez(tmp_path / "video.npz", recording)
    assert refused(tmp_path / "video.npz", seq_len=21)
    assert refused(tmp_path / "video.npz", size=-1)
    with pytest.raises(DataError, match="length 0"):
        load_video(tmp_path / "video.npz", seq_len=0)
    write_frames(tmp_path / "uneven" / "a", recording[:3])
    write_frames(tmp_path / "uneven" / "b", recording[:4])
    assert refused(tmp_path / "uneven")
    write_frames(tmp_path / "sizes", [recording[0], recording[1, :20]])
    assert refused(tmp_path / "sizes")
    assert load_video(tmp_path / "sizes", size=16).shape == (1, 2, 16, 16, 3)
    write_frames(tmp_path / "mixed", recording[:2])
    write_frames(tmp_path / "mixed" / "inner", recording[:2])
    assert refused(tmp_path / "mixed")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "0.png").write_bytes(b"\x89PNG nothing")
    assert refused(tmp_path / "broken")


def test_a_video_with_unequal_times_is_reported(tmp_path, caplog):
    """Sequences have no times; frames are taken as equally far apart."""
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    writer = imageio_ffmpeg.write_frames(str(tmp_path / "even.mp4"), (64, 64), pix_fmt_in="rgb24", fps=30)
    writer.send(None)
    for level in range(0, 240, 8):
        writer.send(np.full((64, 64, 3), level, np.uint8))
    writer.close()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(tmp_path / "even.mp4"), "-vf"]
    command += ["select='lt(n,10)+mod(n,3)'", "-fps_mode", "passthrough", str(tmp_path / "uneven.mp4")]
    subprocess.run(command, check=True)
    load_video(tmp_path / "even.mp4")
    assert not caplog.messages
    load_video(tmp_path / "uneven.mp4")
    assert len(caplog.messages) == 1 and "0.0333 to 0.0667 s apart" in caplog.text
