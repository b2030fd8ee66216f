"""`python -m closer_tf.report`."""

from closer_tf.report import main

if __name__ == "__main__":
    raise SystemExit(main())
