"""A naive second implementation of the generators: one attempt at a time, with scikit-image 0.17's own functions.

It shares no code with `data_gen`. It ran under Python 3.6, NumPy 1.19 and scikit-image 0.17.2 to make witness.json
(settings, a hash of the frames, and the next three random numbers), against which test_witness.py holds the
generators:

    PYTHONPATH=. python tests/data_gen/witness.py > tests/data_gen/witness.json

No other version of scikit-image gives the same bits.
"""

import hashlib
import json
import os
import warnings

import numpy as np

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "golden", "generators.npz")
DIGIT, PLACING_RADIUS, WALL_RADIUS = 110, 11, 2


def wall(p, radius, side):
    return p[0] - radius <= 0 or p[0] + radius >= side or p[1] - radius <= 0 or p[1] + radius >= side


def directed(angle, s):
    return np.array([np.cos(angle) * s["vx"], np.sin(angle) * s["vy"]])


def start_spring(s):
    radius = PLACING_RADIUS if s["kind"] == "mnist" else s["radius"]
    centre = np.random.rand(2) * (s["side"] - 2 * (radius + s["equil"])) + radius + s["equil"]
    angle = np.random.rand() * 2 * np.pi
    stretch = np.random.rand() + 0.5
    arm = np.array([np.cos(angle), np.sin(angle)]) * s["equil"] * stretch
    angles = np.random.rand(2) * 2 * np.pi
    return [centre + arm, centre - arm], [directed(angles[0], s), directed(angles[1], s)]


def force_spring(p, s):
    length = np.linalg.norm(p[0] - p[1])
    force = s["k"] * (length - 2 * s["equil"]) * ((p[0] - p[1]) / length)
    return [-force, force]


def start_bodies(s):
    np.random.rand(2)
    angles = [np.random.rand() * 2 * np.pi]
    angles.append(angles[0] + 2 * np.pi / 3 + (np.random.rand() - 0.5) / 2)
    angles.append(angles[0] + 4 * np.pi / 3 + (np.random.rand() - 0.5) / 2)
    radius = (np.random.rand() / 2 + 0.75) * s["side"] / 4
    sense = 1 if np.random.randint(0, 2) else -1
    drift = np.random.rand(2) - 0.5
    p = [np.array([np.cos(a) * radius + s["side"] / 2, np.sin(a) * radius + s["side"] / 2]) for a in angles]
    return p, [directed(a + sense * np.pi / 2, s) + drift for a in angles]


def force_bodies(p, s):
    forces = []
    for i in range(3):
        total = 0
        for j in range(3):
            if i != j:
                total = total - s["g"] * s["m"] * s["m"] * (p[i] - p[j]) / np.linalg.norm(p[i] - p[j]) ** 3
        forces.append(total)
    return forces


def start_ball(s):
    u = np.random.rand(2)
    height = s["side"] / 2 - s["radius"] if s["g"] else s["side"] - 2 * s["radius"]
    p = np.array([u[0] * (s["side"] - 2 * s["radius"]) + s["radius"], u[1] * height + s["radius"]])
    return [p], [directed(np.random.rand() * 2 * np.pi, s)]


def bounce(p, v, s):
    for d in range(2):
        if p[d] - s["radius"] <= 0:
            v[d], p[d] = -v[d], -(p[d] - s["radius"]) + s["radius"]
        if p[d] + s["radius"] >= s["side"]:
            v[d], p[d] = -v[d], s["side"] - (p[d] + s["radius"] - s["side"]) - s["radius"]


def rejected(p, s):
    if s["kind"] == "ball":
        return False
    radius = WALL_RADIUS if s["kind"] == "mnist" else s["radius"]
    if any(wall(q, radius, s["side"]) for q in p):
        return True
    pairs = [(0, 1), (1, 2), (0, 2)] if s["kind"] == "3bp" else []
    return any(np.linalg.norm(p[i] - p[j]) <= s["radius"] + 1 for i, j in pairs)


KINDS = {
    "spring": (start_spring, force_spring),
    "mnist": (start_spring, force_spring),
    "3bp": (start_bodies, force_bodies),
    "ball": (start_ball, lambda p, s: [np.array([0, s["g"]])]),
}


def attempt(s):
    """Positions at each frame, or None."""
    start, force = KINDS[s["kind"]]
    p, v = start(s)
    path = []
    step = s["dt"] / s["ode_steps"]
    for _ in range(s["seq_len"]):
        path.append([q.copy() for q in p])
        for _ in range(s["ode_steps"]):
            forces = force(p, s)
            v = [v[i] + step * forces[i] for i in range(len(p))]
            p = [p[i] + step * v[i] for i in range(len(p))]
            if s["kind"] == "ball":
                bounce(p[0], v[0], s)
            if rejected(p, s):
                return None
    return path


def draw_balls(p, s):
    from skimage.draw import circle
    from skimage.transform import resize

    side = s["side"] * 10
    canvas = np.zeros([side, side, 3 if s["color"] else 1], np.float32)
    for j, q in enumerate(p):
        rows, cols = circle(int(q[1] * 10), int(q[0] * 10), s["radius"] * 10, shape=[side, side])
        canvas[rows, cols, 2 - j if s["color"] else 0] = 1
    return (resize(canvas, [s["side"], s["side"]], anti_aliasing=True) * 255).astype(np.uint8)


def draw_digits(p, s):
    from skimage.transform import resize

    golden = np.load(GOLDEN)
    side = s["side"] * 5
    canvas = np.zeros([side, side, 3 if s["color"] else 1])
    if s["background"]:
        canvas = np.clip(resize(golden["background"] / 255.0, [side, side]) - 0.2, 0, 1)
    for j, q in enumerate(p):
        alpha = resize(golden["digits"][j, 3:-3, 3:-3] / 255.0, [DIGIT, DIGIT])
        color = np.zeros(canvas.shape[2])
        color[j if s["color"] else 0] = 1
        top, left = int(round(q[1] * 5)) - DIGIT // 2, int(round(q[0] * 5)) - DIGIT // 2
        rows, cols = slice(max(top, 0), min(top + DIGIT, side)), slice(max(left, 0), min(left + DIGIT, side))
        a = alpha[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left, None]
        canvas[rows, cols] = a * color + (1 - a) * canvas[rows, cols]
    return (resize(canvas, [s["side"], s["side"]], anti_aliasing=True) * 255).astype(np.uint8)


def run(s):
    """Frames uint8 [n, T, H, H, C] and the next three random numbers; None if 2000 attempts do not give them."""
    np.random.seed(s["seed"])
    paths = []
    for _ in range(2000):
        path = attempt(s)
        if path is not None:
            paths.append(path)
        if len(paths) == s["sequences"]:
            break
    else:
        return None
    after = np.random.rand(3).tolist()
    draw = draw_digits if s["kind"] == "mnist" else draw_balls
    return np.array([[draw(p, s) for p in path] for path in paths]), after


def random_settings(i):
    """The i-th settings, from a stream of its own."""
    random = np.random.RandomState(1000 + i)

    def pick(*values):
        return values[random.randint(len(values))]

    kind = sorted(KINDS)[i % 4]
    s = {"kind": kind, "seed": int(random.randint(2**31)), "sequences": int(random.randint(3, 6))}
    s.update(dt=pick(0.1, 0.15, 0.3, 0.5), ode_steps=pick(1, 3, 5, 10, 20), seq_len=int(random.randint(1, 16)))
    s.update(vx=pick(0.0, 2.0, 4.0, 8.0, 3.7), vy=pick(0.0, 2.0, 4.0, 8.0, 5.3), color=pick(True, False))
    if i % 8 < 4:
        s["seq_len"] = int(random.randint(16, 41))
    if kind == "spring":
        s.update(side=pick(24, 32, 33, 36, 40, 48), radius=pick(1, 1.5, 2, 2.3, 3, 4), k=pick(0.5, 1.0, 3.0, 4.0))
        s.update(equil=pick(2.5, 3, 4, 5, 6))
    if kind == "3bp":
        s.update(side=pick(32, 36, 40, 48, 60), radius=pick(1, 1.5, 2, 3), g=pick(9.8, 20.0, 60.0), m=pick(0.8, 1.0))
    if kind == "ball":
        s.update(side=pick(20, 32, 36, 48), radius=pick(1, 2, 2.5, 3, 4, 5), g=pick(0.0, 3.0, 9.8), color=False)
    if kind == "mnist":
        s.update(side=pick(48, 56, 64, 72, 80, 96), k=pick(1.0, 2.0), equil=pick(5, 8, 12), sequences=3)
        s.update(seq_len=s["seq_len"] // 4 + 1, background=pick(True, True, False))
        s["color"] = s["color"] or s["background"]
    return s


def resize_cases():
    """Hashes of `resize`'s own floats: discs' canvases (float32, by 10), digits' (float64, by 5), and enlarging."""
    from skimage.transform import resize

    canvases = [(np.float32, side * 10, side) for side in (20, 32, 36, 47)]
    canvases += [(np.float64, side * 5, side) for side in (32, 36, 48, 50, 60, 64, 72, 80, 90, 96, 100, 128)]
    canvases += [(np.float64, 32, side * 5) for side in (32, 36, 48, 50, 60, 64, 72, 80, 90, 96, 100, 128)]
    canvases += [(np.float64, 22, DIGIT)]
    for dtype, source, output in canvases:
        image = np.random.RandomState(source).rand(source, source).astype(dtype)
        result = resize(image, [output, output], anti_aliasing=True)
        digest = hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest()
        yield {"dtype": np.dtype(dtype).name, "source": source, "output": output, "sha256": digest}


def main(cases=96):
    warnings.simplefilter("ignore")
    results = []
    for i in range(cases):
        settings = random_settings(i)
        result = run(settings)
        if result is not None:
            digest = hashlib.sha256(np.ascontiguousarray(result[0]).tobytes()).hexdigest()
            results.append(dict(settings, frames_sha256=digest, rng_after=result[1]))
    write(results, list(resize_cases()))


def write(results, resized):
    generators, resizes = (
        ",\n".join(json.dumps(case, sort_keys=True) for case in cases) for cases in (results, resized)
    )
    print(f'{{"generators": [\n{generators}\n],\n"resize": [\n{resizes}\n]}}')


if __name__ == "__main__":
    main()
