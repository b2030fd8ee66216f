"""Short forms of texts."""

from closer_tf.common.values import counted, last_part, shortened


def test_texts_are_cut_to_what_fits():
    assert shortened("abcdef", 6) == "abcdef" and shortened("abcdef", 5) == "abcd…" and shortened(12345678, 4) == "123…"
    assert shortened("a" * 41, 40, "...") == "a" * 37 + "..." and len(shortened("a" * 99, 40, "...")) == 40


def test_keys_and_epochs():
    assert last_part("objective.graph.family") == "family" and last_part("seed") == "seed"
    assert [counted(number) for number in (0, 1, 20)] == ["0 epochs", "1 epoch", "20 epochs"]
