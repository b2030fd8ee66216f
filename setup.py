from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = next(
    line.split('"')[1] for line in (HERE / "closer_tf" / "__init__.py").read_text().splitlines() if "__version__ =" in line
)

setup(
    name="closer_tf",
    version=VERSION,
    description="CLoSeR: ensembles of encoders with small receptive fields that learn from each other, in Keras",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["closer_tf", "closer_tf.*"]),
    package_data={
        "closer_tf": [
            "*.json",
            "reference/*.json",
            "panels/*.json",
            "panels/base/*.json",
            "report/*.html",
            "report/*.css",
            "report/*.js",
        ]
    },
    python_requires=">=3.11",
    install_requires=[  # without what Keras computes with: see the extras `tensorflow` and `jax`
        "keras>=3",
        "numpy>=1.23",
        "pandas>=1.5",
        "scikit-learn>=1.5",
        "scipy>=1.10",
        "joblib>=1.3",
        "threadpoolctl>=3.1",
        "pydantic>=2.7",
        "jinja2>=3.1",
        "matplotlib>=3.8",
        "networkx>=3",
        "pillow>=10",
        "rich>=13",
        "wrapt>=1.16",
        "filelock>=3.13",
        "h5py>=3.8",
    ],
    extras_require={
        "tensorflow": ["tensorflow>=2.17", "tensorflow-datasets>=4.9.6", "importlib_resources"],
        "jax": ["jax>=0.7"],
        "allen": ["allensdk>=2.16.2", "hdmf<5.1", "pyarrow<26"],
        "sweep": ["dask>=2024.8", "distributed>=2024.8", "dask-jobqueue>=0.9"],
        "nwb": ["pynwb>=2.8"],
        "umap": ["umap-learn>=0.5.6"],
        "onnx": ["tensorflow>=2.17", "onnx>=1.16,<1.19", "tf2onnx>=1.16.1", "onnxruntime>=1.18"],
        "dev": [
            "pytest>=8",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "hypothesis>=6.100",
            "jsonschema>=4.20",
            "ruff>=0.6",
            "dask>=2024.8",
            "distributed>=2024.8",
            "dask-jobqueue>=0.9",
            "nbclient>=0.10",
            "ipykernel>=6.29",
            "psutil>=5.9",
        ],
    },
    entry_points={"console_scripts": ["closer_tf=closer_tf.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
