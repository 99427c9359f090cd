"""The executable course of MIGRATION.md: how its code blocks are found, run and compared.

A lesson is what follows a comment `<!-- lesson: NAME -->`, up to the next one or the next heading. Its fenced
blocks say in their first line what they are for: `python given` (inputs; runs before each of the others),
`python tf1`, `python tf2`, `python naive`; a second word (`tf1 keras2`, `tf1 contrib`, `tf2 addons`) names
what a block needs besides TensorFlow. Each leaves its answer in `result`: a number, an array, or a dict of
arrays. A `python loud` block raises an exception.

Runs on Python 3.6 too, so that TensorFlow 1.12 itself can be the witness of the TF1 blocks:
`python tests/migration_lessons.py` under TF 1.12 writes their answers to tests/migration_tf112.json.
"""

import collections
import json
import logging
import os
import re
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DOCUMENT = os.path.join(ROOT, "MIGRATION.md")
WITNESS = os.path.join(ROOT, "tests", "migration_tf112.json")
KINDS = ("given", "tf1", "tf1 keras2", "tf1 contrib", "tf2", "tf2 addons", "naive", "loud")
PART = re.compile(r"(?ms)^(?:#+ ([^\n]*)|<!-- lesson: (.*?) -->)(.*?)(?=^#+ |^<!-- lesson: |\Z)")
PLAIN = ("text", "console")  # fences that hold no code

Lesson = collections.namedtuple("Lesson", "name section blocks prose")
Fence = collections.namedtuple("Fence", "line info code lesson")


def read_document() -> str:
    with open(DOCUMENT, encoding="utf-8") as file:
        return file.read()


def fences(text: str) -> list:
    """All code blocks of the document, in order, each with the lesson it stands in (None outside of one)."""
    found, lesson, info, start, code = [], None, None, 0, []
    for number, line in enumerate(text.splitlines(), 1):
        mark = re.match(r"\s*(`{3,}|~{3,})(.*)$", line)
        if info is not None:
            if mark and not mark.group(2).strip():
                found.append(Fence(start, info, "\n".join(code) + "\n", lesson))
                info = None
            else:
                code.append(line)
        elif mark:
            plain = re.match(r"```(?!`)(.*)$", line)  # any other spelling stays as it is: unknown
            info, start, code = (plain.group(1) if plain else line).strip(), number, []
        elif line.startswith(("    ", "\t", "<pre")):
            found.append(Fence(number, line.strip(), line + "\n", lesson))  # code without a fence
        elif line.startswith("#"):
            lesson = None
        elif line.startswith("<!-- lesson:"):
            lesson = line[len("<!-- lesson:"):].split("-->")[0].strip()
    if info is not None:
        raise ValueError(f"MIGRATION.md:{start}: this block is never closed")
    return found


def unknown_fences(text: str) -> list:
    """The blocks that no test would run: no known label, no lesson around it, or a label given twice."""
    wrong, seen = [], set()
    for fence in fences(text):
        if fence.info in PLAIN:
            continue
        kind = fence.info[len("python "):] if fence.info.startswith("python ") else None
        if kind not in KINDS or fence.lesson is None or (fence.lesson, kind) in seen:
            wrong.append(f"MIGRATION.md:{fence.line}: ```{fence.info}")
        seen.add((fence.lesson, kind))
    return wrong


def words(text: str) -> str:
    """The document without its code blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", text)


def lessons(text: str) -> list:
    """The lessons in the document's order."""
    blocks = collections.defaultdict(dict)
    for fence in fences(text):
        if fence.lesson is not None and fence.info.startswith("python "):
            blocks[fence.lesson][fence.info[len("python "):]] = (fence.line, fence.code)
    found, section = [], None
    for title, name, prose in PART.findall(words(text)):
        section = title or section
        if name:
            found.append(Lesson(name, section, blocks[name], prose))
    return found


def run(lesson: Lesson, kind: str):
    """The `result` of one block, as arrays; it runs in a fresh namespace, and TF1 in a fresh graph."""
    import tensorflow as tf

    namespace = {"__name__": f"lesson_{lesson.name}"}
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        if "given" in lesson.blocks:
            _execute(lesson, "given", namespace)
        if kind.startswith("tf1"):
            with tf.compat.v1.Graph().as_default():
                _execute(lesson, kind, namespace)
        else:
            _execute(lesson, kind, namespace)
    finally:
        root.handlers[:], root.level = handlers, level
    if "result" not in namespace:
        raise AssertionError(f"MIGRATION.md:{lesson.blocks[kind][0]}: the block leaves no `result`")
    return as_arrays(namespace["result"])


def _execute(lesson: Lesson, kind: str, namespace: dict) -> None:
    line, code = lesson.blocks[kind]
    # The empty lines in front make tracebacks show the document's line numbers.
    exec(compile("\n" * line + code, DOCUMENT, "exec"), namespace)


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
    """The N of the lesson's "off by **N**", or of its "off by **N** (Keras 3)" where it depends on Keras."""
    own = re.findall(rf"off by \*\*([-+.\de]+)\*\* \(Keras {keras}\)", lesson.prose)
    both = re.findall(r"off by \*\*([-+.\de]+)\*\*(?! \(Keras)", lesson.prose)
    if len(own) + len(both) != 1:
        raise AssertionError(f"lesson {lesson.name}: say 'off by **N**' once per Keras, not {own + both}")
    return float((own + both)[0])


def stated_failure(lesson: Lesson) -> str:
    """The exception's name in the lesson's "fails with **Name**"."""
    (name,) = re.findall(r"fails with \*\*(\w+)\*\*", lesson.prose)
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
        raise SystemExit(f"the witness is TensorFlow 1.12; this is {tf.__version__}")
    sys.modules["tensorflow.compat.v1"] = tf  # 1.12 does not have the module yet
    tf.compat.v1 = tf
    results = {}
    for lesson in lessons(read_document()):
        for kind in lesson.blocks:
            if kind.startswith("tf1"):
                answer = run(lesson, kind)
                results[f"{lesson.name} {kind}"] = {key: value.tolist() for key, value in answer.items()}
                print(f"{lesson.name:20} {kind:12} largest value {scale(answer):.6g}")
    results = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(results.items()))
    heads = f'"tensorflow": "{tf.__version__}", "python": "{sys.version.split()[0]}"'
    with open(WITNESS, "w", encoding="utf-8") as file:
        file.write(f'{{{heads}, "results": {{\n{results}\n}}}}\n')


if __name__ == "__main__":
    write_witness()
