"""`python -m closer_tf.config` prints the JSON Schema of a run config; with `--reference`, the reference for readers."""

import argparse
import json

from closer_tf.config import json_schema
from closer_tf.config.reference import config_reference

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m closer_tf.config",
        description="Print the JSON Schema of a run config.",
        epilog="example: python -m closer_tf.config --reference > docs/config.md",
    )
    parser.add_argument("--reference", action="store_true", help="print the reference for readers, docs/config.md, instead")
    print(config_reference() if parser.parse_args().reference else json.dumps(json_schema(), indent=2))
