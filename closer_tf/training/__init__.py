"""One training: from a config to objects, through its epochs, into its run folder."""
