"""The paper's panels: `panels` what each of them shows and the sweep behind it, `results` what runs found, `table` ours beside
the published numbers, `draw` the pictures, `claims` the orderings that the paper claims, `estimate` how long it all takes.
"""
