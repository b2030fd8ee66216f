"""`python -m closer_tf.sweeps` prints the JSON Schema of a sweep file."""

import json

from closer_tf.sweeps.config import json_schema

if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
