"""`python -m closer_tf.config` prints the JSON Schema of a run config."""

import json

from closer_tf.config import json_schema

if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
