"""`python -m closer_tf COMMAND ...`."""

from closer_tf.cli import main

raise SystemExit(main())
