"""The paper's panels: `panels` what each of them shows and the sweep behind it, `selection` which of its points are run,
`results` what runs found, `table` ours beside the published numbers, `matrices` those of figure 2a, `draw` the pictures,
`claims` what the paper claims, `estimate` how long it all takes.
"""
