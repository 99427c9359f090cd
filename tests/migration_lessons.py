"""The executable course: how the code blocks of MIGRATION.md and docs/migration/ are found, run and compared.

A lesson is what follows a comment `<!-- lesson: NAME -->`, up to the next one or the next heading. Its fenced
blocks say in their first line what they are for, and a visible caption above them says it to the reader:

    python given         inputs; runs before each of the others
    python tf1           TensorFlow 1; `python tf1 keras2` if it needs Keras 2 or TensorFlow 1.12
    python tf2           TensorFlow 2; `tf2 addons`, `tf2 tensorboard` if it needs that package
    python wrong         the obvious translation: other numbers, no error; runs after `python tf2`
    python error         a translation that raises an exception
    python answer        the answer to an exercise; `python answer keras2` if it needs Keras 2 or 1.12
    text output          what the answer prints; `text output keras2`, `… keras3` where that depends on Keras

`given`, `tf1`, `tf2` and `wrong` leave their answer in `result`: a number, an array, or a dict of arrays. `tf` is
`tensorflow.compat.v1` in a `tf1` block and `tensorflow` elsewhere; `np` is NumPy.

Runs on Python 3.6 too, so that TensorFlow 1.12 itself can record the answers of the TF1 blocks:
`python tests/migration_lessons.py` under TF 1.12 writes them to tests/migration_tf112.json.
"""

import collections
import contextlib
import io
import json
import logging
import os
import re
import shutil
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WITNESS = os.path.join(ROOT, "tests", "migration_tf112.json")
COURSE = "MIGRATION.md"
PAGES = (COURSE, "docs/migration/numerics.md", "docs/migration/idioms.md", "docs/migration/keras.md")
KINDS = (
    "given", "tf1", "tf1 keras2", "tf2", "tf2 addons", "tf2 tensorboard", "wrong", "error", "answer", "answer keras2",
)  # fmt: skip
OUTPUTS = ("output", "output keras2", "output keras3")
CAPTIONS = {
    "given": "**Given**", "tf1": "**TensorFlow 1**", "tf2": "**TensorFlow 2**", "wrong": "**Obvious, and wrong**",
    "error": "**Raises an error**",
}  # fmt: skip
PART = re.compile(r"(?ms)^(?:#+ ([^\n]*)|<!-- lesson: (.*?) -->)(.*?)(?=^#+ |^<!-- lesson: |\Z)")
PLAIN = ("text", "console")  # fences that hold no code

Lesson = collections.namedtuple("Lesson", "page name section blocks outputs prose")
Fence = collections.namedtuple("Fence", "line info code lesson caption")


def read_page(page: str) -> str:
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        return file.read()


def fences(text: str) -> list:
    """All code blocks of a page in order, each with its lesson (None outside of one) and the line above it."""
    found, lesson, info, start, code, above, caption = [], None, None, 0, [], "", ""
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(`{3,}|~{3,})(.*)$", line)
        if info is not None:
            if mark and not mark.group(2).strip():
                found.append(Fence(start, info, "\n".join(code) + "\n", lesson, caption))
                info = None
            else:
                code.append(line)
        elif mark:
            plain = re.match(r"```(?!`)(.*)$", line)  # any other spelling stays as it is: unknown
            info, start, code, caption = (plain.group(1) if plain else line).strip(), number, [], above
        elif line.startswith(("    ", "\t", "<pre")):
            found.append(Fence(number, line.strip(), line + "\n", lesson, ""))  # code without a fence
        elif line.startswith("#"):
            lesson = None
        elif line.startswith("<!-- lesson:"):
            lesson = line[len("<!-- lesson:"):].split("-->")[0].strip()
        above = line
    if info is not None:
        raise ValueError(f"line {start}: this block is never closed")
    return found


def unknown_fences(text: str) -> list:
    """The blocks that no test would run: no known label, no lesson around it, no caption, or a label given twice."""
    wrong, seen = [], set()
    for fence in fences(text):
        if fence.info in PLAIN:
            continue
        language, _, kind = fence.info.partition(" ")
        known = kind in {"python": KINDS, "text": OUTPUTS}.get(language, ())
        caption = CAPTIONS.get(kind.split(" ")[0]) if language == "python" else None
        captioned = caption is None or fence.caption.startswith(caption)
        if not known or not captioned or fence.lesson is None or (fence.lesson, fence.info) in seen:
            wrong.append(f"line {fence.line}: ```{fence.info}")
        seen.add((fence.lesson, fence.info))
    return wrong


def words(text: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", text)


def lessons() -> list:
    """The lessons of all pages, in order."""
    found = []
    for page in PAGES:
        text, section = read_page(page), None
        blocks, outputs = collections.defaultdict(dict), collections.defaultdict(dict)
        for fence in fences(text):
            language, _, kind = fence.info.partition(" ")
            if fence.lesson is not None and kind:
                target = blocks if language == "python" else outputs
                target[fence.lesson][kind] = (fence.line, fence.code)
        for title, name, prose in PART.findall(words(text)):
            section = title or section
            if name:
                found.append(Lesson(page, name, section, blocks[name], outputs[name], prose))
    return found


def run(lesson: Lesson, kind: str):
    """The `result` of one block as arrays, or what an `answer` prints; in a fresh namespace, TF1 in a fresh graph."""
    import tensorflow as tf

    in_graph = kind.startswith("tf1") or kind == "answer keras2"
    names = {"__name__": "lesson_" + lesson.name, "np": np, "tf": tf.compat.v1 if in_graph else tf}
    before = {"wrong": ["given", "tf2"], "answer keras2": []}.get(kind, ["given"])
    printed, root = io.StringIO(), logging.getLogger()
    handlers, level, scratch = list(root.handlers), root.level, tempfile.mkdtemp()
    tempfile.tempdir = scratch  # what a block leaves there is deleted
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(printed))
            if in_graph:
                stack.enter_context(tf.Graph().as_default())
            for part in [part for part in before if part in lesson.blocks] + [kind]:
                names.pop("result", None)
                line, code = lesson.blocks[part]
                # The empty lines in front make tracebacks show the page's line numbers.
                exec(compile("\n" * line + code, lesson.page, "exec"), names)
    finally:
        root.handlers[:], root.level = handlers, level
        tempfile.tempdir = None
        shutil.rmtree(scratch, ignore_errors=True)
    if kind.startswith("answer"):
        return printed.getvalue()
    if "result" not in names:
        raise AssertionError(f"{lesson.page}:{lesson.blocks[kind][0]}: the block leaves no `result`")
    return as_arrays(names["result"])


def as_arrays(result) -> dict:
    """A result as a dict of float64 arrays; what is not a dict is called `result`."""
    if not isinstance(result, dict):
        result = {"result": result}
    return {key: np.asarray(value, np.float64) for key, value in result.items()}


def distance(one: dict, other: dict) -> float:
    """Largest absolute difference over all arrays; they must have the same names and shapes."""
    assert set(one) == set(other), (sorted(one), sorted(other))
    for key in one:
        assert one[key].shape == other[key].shape, (key, one[key].shape, other[key].shape)
    return max(float(np.abs(one[key] - other[key]).max()) for key in one)


def scale(one: dict) -> float:
    """Largest absolute value over all arrays."""
    return max(float(np.abs(value).max()) for value in one.values())


def stated_distance(lesson: Lesson, keras: int) -> float:
    """The N of the lesson's "differs by **N**", or of its "differs by **N** (Keras 3)" where it depends on Keras."""
    own = re.findall(rf"differs\s+by\s+\*\*([-+.\de]+)\*\*\s+\(Keras\s+{keras}\)", lesson.prose)
    both = re.findall(r"differs\s+by\s+\*\*([-+.\de]+)\*\*(?!\s+\(Keras)", lesson.prose)
    if len(own) + len(both) != 1:
        raise AssertionError(f"lesson {lesson.name}: say 'differs by **N**' once, not {own + both}")
    return float((own + both)[0])


def stated_failure(lesson: Lesson) -> str:
    """The exception's name in the lesson's "raises **Name**"."""
    (name,) = re.findall(r"raises\s+\*\*(\w+)\*\*", lesson.prose)
    return name


def same_to_two_digits(measured: float, stated: float) -> bool:
    """Whether both round to the same two significant digits, the last of them give or take one half."""
    if stated == 0 or measured == 0:
        return measured == stated
    return abs(measured - stated) <= 0.55 * 10.0 ** (np.floor(np.log10(abs(stated))) - 1)


def write_witness() -> None:
    """Run all TF1 blocks under the TensorFlow 1.x at hand and write their answers."""
    import tensorflow as tf

    if not tf.__version__.startswith("1."):
        raise SystemExit("the witness is TensorFlow 1.12; this is " + tf.__version__)
    try:
        import tensorflow.compat.v1  # noqa: F401

        has_compat_v1 = True
    except ImportError:
        has_compat_v1 = False
        sys.modules["tensorflow.compat.v1"] = tf
        tf.compat.v1 = tf
    results = {}
    for lesson in lessons():
        for kind in lesson.blocks:
            if kind.startswith("tf1") or kind == "answer keras2":
                answer = run(lesson, kind)
                if kind.startswith("tf1"):
                    answer = {key: value.tolist() for key, value in answer.items()}
                results[f"{lesson.name} {kind}"] = answer
                print(f"{lesson.name:20} {kind}")
    results = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(results.items()))
    heads = {"tensorflow": tf.__version__, "python": sys.version.split()[0], "compat.v1": has_compat_v1}
    with open(WITNESS, "w", encoding="utf-8") as file:
        file.write(f"{json.dumps(heads)[:-1]}, \"results\": {{\n{results}\n}}}}\n")


if __name__ == "__main__":
    write_witness()
