"""What is made of results: statistics, tables, advice, pictures."""
