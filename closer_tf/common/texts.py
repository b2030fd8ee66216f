"""Short forms of texts for tables, pictures and messages."""


def shortened(text, most, mark="…"):
    """A text of at most `most` characters; where some are left out, `mark` stands for them at its end."""
    text = str(text)
    return text if len(text) <= most else text[: most - len(mark)] + mark


def last_part(key):
    """The last part of a key's path: 'family' of 'objective.graph.family'."""
    return key.rpartition(".")[2]


def counted(epochs):
    """A number of epochs in words: '1 epoch', '20 epochs'."""
    return f"{epochs} epoch{'' if epochs == 1 else 's'}"
