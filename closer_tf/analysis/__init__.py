"""What is made of results and beside them: statistics, accuracy over epochs, published numbers, other data, shared signals."""
